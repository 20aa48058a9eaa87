"""Checks of chapter 2.3, the backward pass. What is expected comes from the complex step wherever it can."""

from collections.abc import Callable, Set

import numpy as np

from lstm_numba.contract import LSTMCache
from lstm_numba.gradcheck import complex_step
from lstm_numba.reference.lstm import lstm_forward, sigmoid
from lstm_numba.teaching.exercises import Check, Mistake, exercise

_STEP_NAMES = ("dz_i", "dz_f", "dz_g", "dz_o", "dc_prev")
_CALLED = "the loss of the check is sum(dh * h) + sum(dc * c), and all arrays have shape (B, H)."


def _activations(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
    z = rng.normal(size=(4, *shape))
    i, f, g, o = sigmoid(z[0]), sigmoid(z[1]), np.tanh(z[2]), sigmoid(z[3])
    c_prev, dh, dc = rng.normal(size=(3, *shape))
    return z, i, f, g, o, c_prev, dh, dc


def _step_loss(z_i, z_f, z_g, z_o, c_prev, dh, dc):
    c = sigmoid(z_f) * c_prev + sigmoid(z_i) * np.tanh(z_g)
    return (dh * sigmoid(z_o) * np.tanh(c) + dc * c).sum()


def _step_by_hand(dh, dc, i, f, g, o, c_prev, c, *, wrong: str = "") -> tuple[np.ndarray, ...]:
    """One step back, with at most one named mistake; the names appear in ``check_step_grad``."""
    a = np.tanh(c)
    slope = 1.0 if wrong == "no slope of tanh(c)" else 1 - a**2
    shown = 0.0 if wrong == "not through h" else dh * o * slope
    total = shown if wrong == "not along the belt" else dc + shown
    slope_i, slope_f, slope_g, slope_o = i * (1 - i), f * (1 - f), 1 - g**2, o * (1 - o)
    if wrong == "no slopes":
        slope_i = slope_f = slope_g = slope_o = 1.0
    if wrong == "sigmoid slope on g":
        slope_g = g * (1 - g)
    kept = c if wrong == "new c in df" else c_prev
    belt = {"no f on the belt": total, "belt before h": dc * f}.get(wrong, total * f)
    return total * g * slope_i, total * kept * slope_f, total * i * slope_g, dh * a * slope_o, belt


_STEP_MISTAKES = {
    "belt before h": "dc_prev must start from the total dc, after the part that came through h was added.",
    "not through h": "c_t also reaches the loss through h_t: add dh * o * (1 - a**2) to dc before you use dc.",
    "not along the belt": "You replaced dc. It already holds what came back along the belt: add to it.",
    "no slope of tanh(c)": "h is o * tanh(c): on the way from dh to dc the slope of that tanh, 1 - a**2, is missing.",
    "no slopes": "You stopped at the gates. Each needs one more factor, the slope of its sigmoid or tanh.",
    "sigmoid slope on g": "The candidate g is a tanh, not a sigmoid: its slope is 1 - g**2.",
    "new c in df": "The forget gate multiplied the OLD cell state: df needs c_prev.",
    "no f on the belt": "On the way to c_prev the gradient passes the forget gate: multiply by f.",
}


@exercise("2.3")
def check_step_grad(check: Check, lstm_step_grad: Callable) -> None:
    """One step back through one LSTM cell."""
    rng = np.random.default_rng(2301)
    z, i, f, g, o, c_prev, dh, dc = _activations(rng, (2, 3))
    c = f * c_prev + i * g
    arguments = (dh, dc, i, f, g, o, c_prev, c)
    result = check.call("runs on a batch of 2 and 3 units", lstm_step_grad, *arguments, hint=_CALLED)
    _five_arrays(check, result, _STEP_NAMES)
    wrong = {name: _step_by_hand(*arguments, wrong=name) for name in _STEP_MISTAKES}
    points = [*z, c_prev]
    for number, name in enumerate(_STEP_NAMES):

        def loss(value, number=number):
            return _step_loss(*points[:number], value, *points[number + 1 :], dh, dc)

        check.close(
            name,
            result[number],
            complex_step(loss, points[number]),
            mistakes=[Mistake(wrong[key][number], hint) for key, hint in _STEP_MISTAKES.items()],
            hint=f"Write down every path from {name[1:]} to h_t and to c_t, and add them up.",
        )


def _five_arrays(check: Check, result, names: tuple[str, ...]) -> None:
    got = len(result) if isinstance(result, tuple | list) else 1
    if got != len(names):
        check.fail(f"returns {len(names)} arrays", f"Expected a tuple {', '.join(names)}; got {got} thing(s).")


@exercise("2.3")
def check_coupled_step_grad(check: Check, coupled_step_grad: Callable) -> None:
    """One step back when the forget gate is one minus the input gate."""
    rng = np.random.default_rng(2302)
    z, i, _, g, o, c_prev, dh, dc = _activations(rng, (2, 3))
    c = (1 - i) * c_prev + i * g
    result = check.call("runs on a batch of 2 and 3 units", coupled_step_grad, dh, dc, i, g, o, c_prev, c, hint=_CALLED)
    names = ("dz_i", "dz_g", "dz_o", "dc_prev")
    _five_arrays(check, result, names)
    total = dc + dh * o * (1 - np.tanh(c) ** 2)
    slope = i * (1 - i)
    mistakes = {
        "dz_i": [
            Mistake(total * g * slope, "i has two uses now: it writes g and, as 1 - i, it keeps c_prev. Add both."),
            Mistake(total * (g + c_prev) * slope, "Mind the sign: the derivative of 1 - i with respect to i is -1."),
            Mistake(total * (g - c_prev), "The slope of the sigmoid, i * (1 - i), is missing."),
            Mistake(dc * (g - c_prev) * slope, _STEP_MISTAKES["not through h"]),
        ],
        "dz_g": [Mistake(total * i * g * (1 - g), _STEP_MISTAKES["sigmoid slope on g"])],
        "dz_o": [Mistake(dh * np.tanh(c), "The slope of the sigmoid, o * (1 - o), is missing.")],
        "dc_prev": [
            Mistake(total * i, "The old state was multiplied by the forget gate, and that is 1 - i."),
            Mistake(total, "The old state was multiplied by the forget gate, and that is 1 - i."),
            Mistake(dc * (1 - i), _STEP_MISTAKES["belt before h"]),
        ],
    }

    def loss(z_i, z_g, z_o, c_prev):
        i = sigmoid(z_i)
        c = (1 - i) * c_prev + i * np.tanh(z_g)
        return (dh * sigmoid(z_o) * np.tanh(c) + dc * c).sum()

    points = [z[0], z[2], z[3], c_prev]
    for number, name in enumerate(names):
        expected = complex_step(
            lambda value, number=number: loss(*points[:number], value, *points[number + 1 :]), points[number]
        )
        check.close(
            name,
            result[number],
            expected,
            mistakes=mistakes[name],
            hint=f"Write down every path from {name[1:]} to h_t and to c_t, and add them up.",
        )


def _sequence(seed: int, T: int = 5, B: int = 2, I: int = 3, H: int = 4) -> tuple:
    """A small random problem: the forward arguments and the gradients of its three outputs."""
    rng = np.random.default_rng(seed)
    arguments = {
        "x": rng.normal(size=(T, B, I)),
        "h0": rng.normal(size=(B, H)) / 2,
        "c0": rng.normal(size=(B, H)),
        "W_ih": rng.normal(size=(4 * H, I)) / 2,
        "W_hh": rng.normal(size=(4 * H, H)) / 2,
        "b_ih": rng.normal(size=4 * H) / 2,
        "b_hh": rng.normal(size=4 * H) / 2,
    }
    return arguments, (rng.normal(size=(T, B, H)), rng.normal(size=(B, H)), rng.normal(size=(B, H)))


def _backward(dy, dh_n, dc_n, cache: LSTMCache, W_ih, W_hh, *, wrong: Set[str] = frozenset()) -> tuple:
    """The backward pass with named mistakes; written apart from the reference so that neither can hide the other."""
    x, h, c, gates = cache
    dz = np.empty_like(gates)
    dh, dc = dh_n, dc_n
    for t in range(len(x) - 1, -1, -1):
        i, f, g, o = np.split(gates[t], 4, axis=1)
        dh = dh + dy[t]
        *blocks, dc = _step_by_hand(dh, dc, i, f, g, o, c[t], c[t + 1])
        if "no slope on f" in wrong:
            blocks[1] = blocks[1] / (f * (1 - f))
        dz[t] = np.concatenate(blocks, axis=1)
        dh = dz[t] @ W_hh
    fed_back = h[1:] if "h one step late" in wrong else h[:-1]
    return (
        dz @ W_ih,
        dh,
        dc,
        np.einsum("tbm,tbk->mk", dz, x),
        np.einsum("tbm,tbk->mk", dz, fed_back),
        dz.sum(axis=(0, 1)),
    )


@exercise("2.3")
def check_repaired_backward(check: Check, backward: Callable) -> None:
    """The planted bugs are gone, and nothing else was broken."""
    arguments, (dy, dh_n, dc_n) = _sequence(2303)
    *_, cache = lstm_forward(**arguments, training=True)
    inputs = (dy, dh_n, dc_n, cache, arguments["W_ih"], arguments["W_hh"])
    result = check.call("runs on T = 5, B = 2, I = 3, H = 4", backward, *inputs)
    names = ("dx", "dh0", "dc0", "dW_ih", "dW_hh", "db")
    _five_arrays(check, result, names)
    late, slope = "h one step late", "no slope on f"
    late_hint = "At step t the recurrent weights read h_{t-1}, and that is h[t]: slot 0 holds the initial state."
    slope_hint = "One of the four gates never gets the slope of its sigmoid. Compare the four dz lines."
    wrong = {bugs: _backward(*inputs, wrong=bugs) for bugs in (frozenset({late}), frozenset({slope}))}
    both = _backward(*inputs, wrong=frozenset({late, slope}))
    for number, (name, expected) in enumerate(zip(names, _backward(*inputs), strict=True)):
        check.close(
            name,
            result[number],
            expected,
            mistakes=[
                Mistake(wrong[frozenset({slope})][number], slope_hint),
                Mistake(wrong[frozenset({late})][number], late_hint),
                Mistake(both[number], f"Two bugs are still in this one. {slope_hint}"),
            ],
            hint="This one was right before. Undo the last change and go line by line through the derivation.",
        )


def mystery_backward(dy, dh_n, dc_n, cache, W_ih, W_hh):
    """Backpropagate through time, almost. Find the flaw by measuring; the exercise is lost to those who read on."""
    return _backward(dy, dh_n, np.zeros_like(dc_n), cache, W_ih, W_hh)


@exercise("2.3")
def check_errors_by_output(check: Check, errors_by_output: Callable) -> None:
    """A gradient check that looks at one output of the LSTM at a time."""
    good = check.call("runs on a correct backward pass", errors_by_output, _backward)
    _three_errors(check, good)
    for name in ("y", "h_n", "c_n"):
        check.true(
            f"finds nothing wrong with a correct backward pass, loss on {name}",
            good[name] < 1e-10,
            hint=f"The error for {name} is {good[name]:.1e}. Give backward the weights of the loss for {name} and "
            "zeros for the other two, and use the same loss in complex_step.",
        )
    bad = check.call("runs on mystery_backward", errors_by_output, mystery_backward)
    _three_errors(check, bad)
    for name, flawed in (("y", False), ("h_n", False), ("c_n", True)):
        check.true(
            f"{'sees the flaw' if flawed else 'sees no flaw'} through {name}",
            bad[name] > 0.5 if flawed else bad[name] < 1e-10,
            hint=f"The error for {name} is {bad[name]:.1e}. Is {name}, and nothing else, part of that loss?",
        )


def _three_errors(check: Check, errors) -> None:
    if not isinstance(errors, dict) or set(errors) != {"y", "h_n", "c_n"}:
        check.fail("returns three errors", "Expected a dict with the keys 'y', 'h_n' and 'c_n'.")


@exercise("2.3")
def check_clipped(check: Check, clipped: Callable) -> None:
    """Clipping by the global norm."""
    rng = np.random.default_rng(2305)
    grads = {"W_hh": 3 * rng.normal(size=(8, 2)), "b": rng.normal(size=8)}
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    result = check.call("runs on two arrays", clipped, grads, 2.0)
    if not isinstance(result, dict) or set(result) != set(grads):
        check.fail("returns a dict with the same keys", "Expected a new dict with the keys of `grads`.")
    for name, gradient in grads.items():
        check.close(
            f"{name}, when the norm is too large",
            result[name],
            gradient * 2.0 / norm,
            mistakes=[
                Mistake(gradient * 2.0 / np.linalg.norm(gradient), "One norm over ALL arrays, not one per array."),
                Mistake(
                    np.clip(gradient, -2, 2), "Clipping entry by entry turns the direction. Scale all by one factor."
                ),
                Mistake(gradient * 2.0 / norm**2, "The norm is the square root of the sum of squares."),
            ],
            rtol=1e-5,  # torch adds 1e-6 to the norm; so may the reader
            hint="Every array is multiplied by max_norm / norm.",
        )
    small = check.call("runs on a small gradient", clipped, grads, 10 * norm)
    for name, gradient in grads.items():
        check.close(
            f"{name}, when the norm is small enough",
            small[name],
            gradient,
            mistakes=[Mistake(gradient * 10, "A gradient below the limit must stay as it is, not grow up to it.")],
            hint="Nothing may change when the norm is below max_norm.",
        )


@exercise("2.3")
def check_cache_bytes(check: Check, cache_bytes: Callable) -> None:
    """The bytes that one layer's forward pass keeps for its backward pass."""
    for T, B, I, H, item in ((7, 3, 5, 4, 8), (100, 32, 20, 64, 4)):
        result = check.call(f"runs on T={T}, B={B}, I={I}, H={H}, {item} bytes", cache_bytes, T, B, I, H, item)
        cells = T * B * I + 2 * (T + 1) * B * H + T * B * 4 * H
        check.equal(
            f"T={T}, B={B}, I={I}, H={H}, {item} bytes",
            result,
            cells * item,
            mistakes=[
                Mistake(cells, "That is the number of numbers. How many bytes has each?"),
                Mistake((cells - 2 * B * H) * item, "h and c have T + 1 slots: slot 0 is the initial state."),
                Mistake((cells - T * B * 3 * H) * item, "There are four blocks of gates: (T, B, 4H)."),
                Mistake((cells - T * B * I) * item, "The input x is kept too: dW_ih needs it."),
                Mistake((cells - (T + 1) * B * H) * item, "Both h and c are kept, T + 1 slots each."),
            ],
            hint="Add up the four shapes of LSTMCache and multiply by the bytes of one number.",
        )


@exercise("2.3")
def check_learned_state_grad(check: Check, learned_state_grad: Callable) -> None:
    """The gradient of one initial state that every sequence of the batch starts from."""
    arguments, (dy, dh_n, dc_n) = _sequence(2307, B=3)
    h_init = np.random.default_rng(7).normal(size=4) / 2

    def loss(h_init):
        h0 = np.ones((3, 1)) * h_init
        y, h_n, c_n, _ = lstm_forward(**(arguments | {"h0": h0}), training=False)
        return (dy * y).sum() + (dh_n * h_n).sum() + (dc_n * c_n).sum()

    *_, cache = lstm_forward(**(arguments | {"h0": np.ones((3, 1)) * h_init}), training=True)
    _, dh0, *_ = _backward(dy, dh_n, dc_n, cache, arguments["W_ih"], arguments["W_hh"])
    result = check.call("runs on dh0 of shape (3, 4)", learned_state_grad, dh0)
    check.close(
        "equals the complex step",
        check.shape("has the shape of h_init", result, (4,), letters="(H,)", hint="One number per hidden unit."),
        complex_step(loss, h_init),
        mistakes=[
            Mistake(dh0.mean(axis=0), "A mean is B times too small: h_init is used B times, and uses add up."),
            Mistake(dh0[0], "All sequences of the batch start from h_init, not only the first."),
        ],
        hint="h_init has B uses, one per sequence. Sum over uses.",
    )
