"""Checks of chapter 1.2, backpropagation through time.

Expected gradients come from the complex step on the forward equations below, never from a backward pass: a check
must not share the mistake that it looks for.
"""

from collections.abc import Callable

import numpy as np

from lstm_numba.gradcheck import complex_step, relative_error
from lstm_numba.teaching.exercises import Check, Mistake, exercise

__all__ = [
    "check_central_difference",
    "check_leaky_backward",
    "check_repaired_backward",
    "check_step_size",
    "check_total_derivative",
    "check_truncated_gradient",
]

_WEIGHTS = ("W_ih", "W_hh", "b")


def _scalar_run(w, h0: float, x: np.ndarray):  # -> h (T+1,)
    h = [h0]
    for x_t in x:
        h.append(np.tanh(w * h[-1] + x_t))
    return np.array(h)


def _forward(x, h0, p, leak: float = 1.0):  # -> h (T+1, B, H); leak 1 is the plain network
    h = [h0]
    for x_t in x:
        candidate = np.tanh(x_t @ p["W_ih"].T + h[-1] @ p["W_hh"].T + p["b"])
        h.append((1.0 - leak) * h[-1] + leak * candidate)
    return np.stack(h)


def _problem(seed: int, T: int, B: int = 2, I: int = 3, H: int = 4):
    """Inputs, initial state, parameters and the direct gradient of a random weighted sum of all states."""
    rng = np.random.default_rng(seed)
    p = {
        "W_ih": 0.5 * rng.normal(size=(H, I)),
        "W_hh": 0.6 * rng.normal(size=(H, H)),
        "b": 0.3 * rng.normal(size=H),
    }
    return rng.normal(size=(T, B, I)), 0.5 * rng.normal(size=(B, H)), p, rng.normal(size=(T, B, H))


def _true_gradients(x, h0, p, dy, leak: float = 1.0) -> dict[str, np.ndarray]:
    def loss(x=x, h0=h0, **weights):
        return (dy * _forward(x, h0, {**p, **weights}, leak)[1:]).sum()

    found = {
        "dx": complex_step(lambda value: loss(x=value), x),
        "dh0": complex_step(lambda value: loss(h0=value), h0),
    }
    for name in _WEIGHTS:
        found[name] = complex_step(lambda value, name=name: loss(**{name: value}), p[name])
    return found


def _sweep(
    dy, x, h, p, *, leak: float = 1.0, carry: Callable | None = None, through_tanh: Callable | None = None
) -> dict[str, np.ndarray]:
    """A backward pass whose parts can be replaced by wrong ones, to recognise mistakes."""
    T = len(x)
    grads = {name: np.zeros_like(p[name]) for name in _WEIGHTS}
    dx, dh_next = np.empty_like(x), np.zeros_like(h[0])
    for t in range(T, 0, -1):
        dh = dy[t - 1] + dh_next
        candidate = (h[t] - (1.0 - leak) * h[t - 1]) / leak
        dz = through_tanh(dh, h[t], candidate) if through_tanh else leak * dh * (1.0 - candidate**2)
        grads["W_ih"] += dz.T @ x[t - 1]
        grads["W_hh"] += dz.T @ h[t - 1]
        grads["b"] += dz.sum(axis=0)
        dx[t - 1] = dz @ p["W_ih"]
        dh_next = carry(dh, dz, t) if carry else dz @ p["W_hh"] + (1.0 - leak) * dh
    return {"dx": dx, "dh0": dh_next, **grads}


@exercise("1.2", hint="Two running values are enough: the state, and its derivative with respect to w.")
def check_total_derivative(check: Check, total_derivative) -> None:
    """`total_derivative(w, h0, x)` returns d h_T / d w of the scalar network."""
    rng = np.random.default_rng(12)
    for T in (1, 2, 7):
        w, h0, x = 0.8, 0.4, rng.normal(scale=0.5, size=T)
        h = _scalar_run(w, h0, x)
        expected = complex_step(lambda value, h0=h0, x=x: _scalar_run(value[0], h0, x)[-1], np.array([w]))[0]
        slope = 1.0 - h[1:] ** 2
        no_tanh, no_transport = 0.0, 0.0
        for t in range(T):
            no_tanh = h[t] + w * no_tanh
            no_transport += slope[t] * h[t]
        result = check.call(f"runs for T = {T}", total_derivative, w, h0, x)
        check.shape(f"returns one number for T = {T}", result, ())
        check.close(
            f"is the total derivative for T = {T}",
            result,
            expected,
            mistakes=[
                Mistake(
                    slope[-1] * h[-2],
                    "That is the immediate derivative: only the last copy of w was moved. "
                    "Earlier copies act through the previous state.",
                ),
                Mistake(no_tanh, "The factor 1 - h_t**2 of the tanh is missing."),
                Mistake(
                    no_transport,
                    "These are the immediate derivatives of all steps, added up without carrying each of them "
                    "forward: multiply the running derivative by w * (1 - h_t**2) at every step.",
                ),
                Mistake(h[-1], "That is the state h_T, not its derivative."),
            ],
            hint="Write h_t = tanh(z_t) with z_t = w h_{t-1} + x_t. How does z_t move when w moves? Twice.",
        )


@exercise("1.2", hint="Move one entry at a time, both ways, and divide by the distance between the two points.")
def check_central_difference(check: Check, my_central_difference) -> None:
    """`my_central_difference(f, x, eps)` returns an array of the shape of x."""
    eps = 1e-2  # large on purpose: one-sided differences are then visibly different
    for x in (np.array([0.7]), np.array([0.3, -1.2, 2.0]), np.array([[0.5, -0.4, 0.2], [1.5, 1.1, -0.8]])):
        weights = np.cos(np.arange(x.size)).reshape(x.shape)

        def f(v, weights=weights):
            return float((weights * np.exp(v)).sum() + v.ravel()[0] * v.ravel()[-1])

        unit = [np.eye(1, x.size, k).reshape(x.shape) * eps for k in range(x.size)]

        def arranged(values, x=x):
            return np.array(values).reshape(x.shape)

        central = arranged([(f(x + e) - f(x - e)) / (2 * eps) for e in unit])
        forward = arranged([(f(x + e) - f(x)) / eps for e in unit])
        backward = arranged([(f(x) - f(x - e)) / eps for e in unit])
        label = f"for an array of shape {x.shape}"
        result = check.call(f"runs {label}", my_central_difference, f, x, eps)
        check.shape(f"has the shape of x {label}", result, x.shape)
        check.close(
            f"is the central difference {label}",
            result,
            central,
            rtol=1e-9,
            mistakes=[
                Mistake(forward, "That is the forward difference: its error is proportional to eps. Step both ways."),
                Mistake(backward, "That is the backward difference: its error is proportional to eps. Step both ways."),
                Mistake(2 * central, "Twice too large: the two points lie 2 * eps apart."),
                Mistake(-central, "The sign is reversed: f(x + eps) comes first."),
                Mistake(
                    np.full(x.shape, central.sum()),
                    "All entries were moved together. Move one, and put it back before the next.",
                ),
            ],
            hint="Each entry of the result belongs to one moved entry of x; all others stay where they were.",
        )


@exercise("1.2")
def check_step_size(check: Check, best_step) -> None:
    """`best_step(f, third_derivative, unit)` minimises eps**2 * |f'''| / 6 + unit * |f| / eps."""
    cases = {
        "a well-scaled function in float64": (1.0, 1.0, 2.0**-53),
        "the same function in float32": (1.0, 1.0, 2.0**-24),
        "a large value with a small slope": (1e6, 1.0, 2.0**-53),
        "a wiggly function": (2.0, -500.0, 2.0**-53),
    }
    for name, (f, third, unit) in cases.items():
        a, b = abs(third) / 6.0, unit * abs(f)
        result = check.call(f"runs for {name}", best_step, f, third, unit)
        check.close(
            f"best step for {name}",
            result,
            (b / (2.0 * a)) ** (1 / 3),
            mistakes=[
                Mistake(np.sqrt(b / a), "A square root belongs to the forward difference, whose error starts at eps."),
                Mistake((b / a) ** (1 / 3), "That makes both terms equal. The minimum is where the slopes cancel."),
                Mistake(np.cbrt(3 * unit * f / third), "Take absolute values: a step must be positive."),
            ],
            hint="Differentiate the bound with respect to eps, set it to zero, solve for eps cubed.",
        )


def _compare(check: Check, name: str, found: dict, expected: dict, mistakes: list, hint: str) -> bool:
    """Expect all gradients to agree; a known mistake must match in all of them to be named."""
    wrong = [key for key in found if not _agree(found, expected, key)]  # NaN counts as wrong
    for values, text in mistakes if wrong else []:
        if all(_agree(found, values, key) for key in found):
            check.true(name, False, hint=text)
            return False
    right = [key for key in found if key not in wrong]
    verdict = f"Wrong: {_listed(wrong)}. Right: {_listed(right)}."
    check.true(name, not wrong, hint=f"{verdict} {hint}")
    return not wrong


def _agree(found: dict, expected: dict, name: str) -> bool:
    return relative_error(found[name], expected[name]) < 1e-8


def _listed(names: list[str]) -> str:
    return ", ".join(name if name.startswith("d") else f"d{name}" for name in names) or "none"


def _gradients(check: Check, name: str, result, expected: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take apart the (dx, dh0, grads) of a backward pass and look at the shapes."""
    if not (isinstance(result, tuple) and len(result) == 3 and isinstance(result[2], dict)):
        check.fail(name, "Return three things: dx, dh0 and the dictionary of weight gradients.")
    dx, dh0, grads = result
    return _shaped(check, name, {"dx": dx, "dh0": dh0, **grads}, expected)


def _shaped(check: Check, name: str, found: dict, expected: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if set(found) != set(expected):
        missing = [key for key in expected if key not in found]
        unknown = sorted(str(key) for key in found if key not in expected)
        check.fail(name, f"Missing gradients: {_listed(missing)}; unknown: {', '.join(unknown) or 'none'}.")
    arrays = {}
    for key in expected:
        try:
            arrays[key] = np.asarray(found[key], dtype=np.float64)
        except (TypeError, ValueError):
            check.fail(name, f"{_listed([key])} must be an array of real numbers, got {type(found[key]).__name__}.")
        if arrays[key].shape != expected[key].shape:
            check.fail(name, f"{_listed([key])} must have shape {expected[key].shape}, got {arrays[key].shape}.")
    check.true(name, True, hint="")
    return arrays


@exercise("1.2")
def check_repaired_backward(check: Check, backward) -> None:
    """`backward(dy, x, h, p)` is the plain backward sweep, repaired."""

    def run(T: int):
        x, h0, p, dy = _problem(seed=T, T=T)
        h = _forward(x, h0, p)
        expected = _true_gradients(x, h0, p, dy)
        result = check.call(f"runs for T = {T}", backward, dy, x, h, p)
        found = _gradients(check, f"returns gradients of the right shapes for T = {T}", result, expected)
        return found, expected, _sweep(dy, x, h, p, carry=lambda dh, dz, t: 0.0 * dh)

    found, expected, _ = run(1)
    if _agree(found, expected, "W_hh"):
        check.true(
            "adds up what the sequences of the batch contribute to db",
            _agree(found, expected, "b"),
            hint="dW_hh is right and db is not. A bias is shared by all sequences of the batch: add their "
            "contributions, as the matrix product does for the weights.",
        )
        check.true(
            "sends dz back through W_hh",
            _agree(found, expected, "dh0"),
            hint="With one step, dh0 is the only thing that is sent back through W_hh, and it is wrong. In "
            "z = W_hh h the matrix stands on the left; on the way back, for rows, which way round is it?",
        )
    found, expected, direct = run(5)
    check.true(
        "adds what the next step sends back to what the loss sends directly",
        not _agree(found, direct, "W_hh"),
        hint="Nothing that the next step sends back arrives. Follow the variable that carries it: is it overwritten?",
    )
    _compare(
        check,
        "agrees with the complex step over five steps",
        found,
        expected,
        [],
        "Ask of each array that is wrong which lines only it passes through.",
    )


@exercise("1.2")
def check_truncated_gradient(check: Check, truncated_backward) -> None:
    """`truncated_backward(dy, x, h, p, window)`: no gradient crosses a window's boundary."""
    T = 6
    x, h0, p, dy = _problem(seed=6, T=T)
    h = _forward(x, h0, p)
    for window in (6, 3, 2, 1, 4):
        expected = _true_truncated(dy, x, h, p, window)
        result = check.call(f"runs for windows of {window}", truncated_backward, dy, x, h, p, window)
        if not isinstance(result, dict):
            check.fail("returns a dictionary", f"Return a dictionary with the keys {', '.join(_WEIGHTS)}.")
        found = _shaped(check, f"returns gradients of the right shapes for windows of {window}", result, expected)
        whole = T // window * window  # steps in windows of full length
        last = T - (T - 1) // window * window  # steps in the last window
        mistakes = [
            (_sweep(dy, x, h, p), "The gradient was never cut: this is full BPTT."),
            (_windows(dy[:whole], x[:whole], h[: whole + 1], p, window), "The last, shorter window is missing."),
            (_windows(dy[-last:], x[-last:], h[-last - 1 :], p, last), "Only the last window was used: add all."),
            (
                _sweep(dy, x, h, p, carry=lambda dh, dz, t, w=window: dz @ p["W_hh"] * (t % w != 0)),
                "Cut one step away from where it belongs: steps 1 to `window` belong together.",
            ),
        ]
        if window == T:
            mistakes = mistakes[1:]
        good = _compare(
            check,
            f"agrees with the complex step of every window of {window}",
            found,
            expected,
            mistakes,
            "Windows start at step 1, window + 1, 2 * window + 1, ...; the last may be shorter. At the start of "
            "each of them, what would go further back is dropped.",
        )
        if not good:
            return  # one hint at a time


def _true_truncated(dy, x, h, p, window: int) -> dict[str, np.ndarray]:
    """Each window differentiated by itself, from the state that was carried into it."""
    parts = [_true_gradients(x[s : s + window], h[s], p, dy[s : s + window]) for s in range(0, len(x), window)]
    return {name: sum(part[name] for part in parts) for name in _WEIGHTS}


def _windows(dy, x, h, p, window: int) -> dict[str, np.ndarray]:
    parts = [_sweep(dy[s : s + window], x[s : s + window], h[s : s + window + 1], p) for s in range(0, len(x), window)]
    return {name: sum(part[name] for part in parts) for name in _WEIGHTS}


@exercise("1.2")
def check_leaky_backward(check: Check, leaky_backward) -> None:
    """`leaky_backward(dy, x, h, p, a)` of h_t = (1 - a) h_{t-1} + a tanh(z_t)."""
    for a in (0.25, 0.8):
        x, h0, p, dy = _problem(seed=8, T=4)
        h = _forward(x, h0, p, leak=a)
        expected = _true_gradients(x, h0, p, dy, leak=a)
        result = check.call(f"runs for a = {a}", leaky_backward, dy, x, h, p, a)
        found = _gradients(check, f"returns gradients of the right shapes for a = {a}", result, expected)

        def one_road(dh, dz, t, p=p):
            return dz @ p["W_hh"]

        mistakes = [
            (
                _sweep(dy, x, h, p, leak=a, carry=one_road),
                "h_{t-1} reaches h_t by two roads: through W_hh, and directly through the factor 1 - a.",
            ),
            (
                _sweep(dy, x, h, p, leak=a, through_tanh=lambda dh, h_t, tanh_z: dh * (1.0 - tanh_z**2)),
                "The factor a in front of the tanh is missing in dz.",
            ),
            (
                _sweep(dy, x, h, p, leak=a, through_tanh=lambda dh, h_t, tanh_z, a=a: a * dh * (1.0 - h_t**2)),
                "h_t is no longer tanh(z_t). Recover tanh(z_t) from h_t and h_{t-1}, then use 1 - tanh(z_t)**2.",
            ),
            (
                _sweep(dy, x, h, p, leak=a, carry=lambda dh, dz, t, p=p: dz @ p["W_hh"] + dh),
                "The direct road has the factor 1 - a.",
            ),
            (_sweep(dy, x, h, p), "This is the backward pass of the plain network: where is a?"),
        ]
        good = _compare(
            check,
            f"agrees with the complex step for a = {a}",
            found,
            expected,
            mistakes,
            "List every road that leads into h_t and into z_t, and give each its factor.",
        )
        if not good:
            return
