"""Checks of chapter 1.1, a recurrent network from nothing."""

from collections.abc import Callable

import numpy as np

from lstm_numba.layers import RNN
from lstm_numba.teaching.exercises import Check, Mistake, exercise

__all__ = [
    "check_latch",
    "check_leaky_average",
    "check_read_in_pieces",
    "check_rnn_run",
    "check_rnn_step",
    "check_window_error",
]


@exercise("1.1")
def check_leaky_average(check: Check, leaky_average: Callable) -> None:
    """A function ``(x, a)`` -> all states of the leaky average."""
    rng = np.random.default_rng(1101)
    for a in (0.9, 0.25):
        x = rng.normal(size=7)
        states = check.call(f"runs for a = {a}", leaky_average, x, a)
        check.shape("one state per input", states, (7,), letters="(T,)")
        check.close(
            f"the states for a = {a}",
            states,
            _leaky(x, a, 1 - a),
            mistakes=[
                Mistake(_leaky(x, 1 - a, a), "The two factors are exchanged: a belongs to the old state."),
                Mistake(_leaky(x, a, 1.0), "That adds the whole input. An average takes a share 1 - a of it."),
                Mistake(_leaky(x[1:], a, 1 - a, x[0]), "The first state is (1 - a) * x[0]: the state before it is 0."),
                Mistake(a * np.r_[0.0, x[:-1]] + (1 - a) * x, "That mixes in the old *input*. Use the old *state*."),
            ],
            hint="m = a * m + (1 - a) * x[t], with m = 0 before the first input. Keep every m.",
        )


def _leaky(x: np.ndarray, keep: float, take: float, start: float | None = None) -> np.ndarray:
    states = [] if start is None else [start]
    m = 0.0 if start is None else start
    for x_t in x:
        m = keep * m + take * x_t
        states.append(m)
    return np.array(states)


def _weights(rng: np.random.Generator, I: int, H: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rng.normal(size=(H, I)), rng.normal(size=(H, H)), rng.normal(size=H)


@exercise("1.1")
def check_rnn_step(check: Check, rnn_step: Callable) -> None:
    """A function ``(x_t, h, W_ih, W_hh, b)`` -> the new state, for a batch."""
    rng = np.random.default_rng(1102)
    B, I, H = 5, 3, 4
    x, h, (W_ih, W_hh, b) = rng.normal(size=(B, I)), rng.normal(size=(B, H)), _weights(rng, I, H)
    new = check.call("runs", rnn_step, x, h, W_ih, W_hh, b)
    check.shape("shape of the new state", new, (B, H), letters="(B, H)")
    drive, back = x @ W_ih.T, h @ W_hh.T
    check.close(
        "the new state",
        new,
        np.tanh(drive + back + b),
        mistakes=[
            Mistake(
                np.tanh(drive + h @ W_hh + b),
                "W_hh lacks its transpose. Row j of W_hh holds the weights that lead *into* unit j, so for a batch of "
                "rows it is h @ W_hh.T. Both run, because W_hh is square.",
            ),
            Mistake(drive + back + b, "The tanh is missing: that is the pre-activation."),
            Mistake(np.tanh(drive + b), "The old state is missing. Without it this is a feed-forward layer."),
            Mistake(np.tanh(drive + back), "The bias is missing."),
            Mistake(np.tanh(drive) + np.tanh(back + b), "Add first, then one tanh around the whole sum."),
        ],
        hint="tanh(x_t @ W_ih.T + h @ W_hh.T + b)",
    )


@exercise("1.1")
def check_rnn_run(check: Check, rnn_run: Callable) -> None:
    """A function ``(x, h0, W_ih, W_hh, b)`` -> the states of all steps."""
    rng = np.random.default_rng(1103)
    T, B, I, H = 6, 2, 3, 4
    x, h0, (W_ih, W_hh, b) = rng.normal(size=(T, B, I)), rng.normal(size=(B, H)), _weights(rng, I, H)
    states = check.call("runs", rnn_run, x, h0, W_ih, W_hh, b)
    right = _run(x, h0, W_ih, W_hh, b)
    if isinstance(states, np.ndarray) and states.shape == (T + 1, B, H):
        check.fail("shape of the states", "The initial state is in the result. Return the T states that were computed.")
    if isinstance(states, np.ndarray) and states.shape == (B, H):
        check.fail("shape of the states", "That is one state. Keep the states of all steps in a list and stack them.")
    check.shape("shape of the states", states, (T, B, H), letters="(T, B, H)")
    always_first = np.stack([np.tanh(x_t @ W_ih.T + h0 @ W_hh.T + b) for x_t in x])
    backwards = _run(x[::-1], h0, W_ih, W_hh, b)
    check.close(
        "the states",
        states,
        right,
        mistakes=[
            Mistake(always_first, "Every step starts from h0. Feed each new state into the next step."),
            Mistake(_run(x, 0 * h0, W_ih, W_hh, b), "The given initial state h0 is not used; it need not be zero."),
            Mistake(backwards, "The steps run from the last to the first."),
            Mistake(backwards[::-1], "The steps run from the last to the first."),
        ],
        hint="h = h0; for each x[t]: h = your step; keep h. Axis 0 is time.",
    )


def _run(x, h, W_ih, W_hh, b):  # -> (T, B, H)
    states = []
    for x_t in x:
        h = np.tanh(x_t @ W_ih.T + h @ W_hh.T + b)
        states.append(h)
    return np.stack(states)


@exercise("1.1")
def check_window_error(check: Check, window_error: Callable) -> None:
    """A function ``(p, k)`` -> the smallest possible error of a window of k steps on the lamp."""
    for p, k in ((0.1, 8), (0.3, 1), (0.02, 50)):
        value = check.call(f"runs for p = {p}, k = {k}", window_error, p, k)
        check.close(
            f"error at p = {p}, k = {k}",
            value,
            0.5 * (1 - p) ** k,
            mistakes=[
                Mistake((1 - p) ** k, "That is how often the window is empty. Half of the guesses are right then."),
                Mistake(0.5 * p**k, "An empty window means that *no* press fell into it: use 1 - p for each step."),
                Mistake(1 - (1 - p) ** k, "That is how often the window holds a press, when there is no error at all."),
                Mistake(0.5 * (1 - p) ** (k - 1), "A window of k steps has k chances to hold a press, not k - 1."),
                Mistake(0.5 * (1 - p * k), "The chances do not add up: each step has its own. Multiply."),
            ],
            hint="How likely is a window without any press? And how often is a guess wrong?",
        )


@exercise("1.1")
def check_latch(check: Check, w: float, u: float) -> None:
    """Two weights of ``h = tanh(w h + u (on - off))`` that make it a lamp with two buttons."""
    check.attempted(w, u)
    w, u = float(w), float(u)

    def after(h: float, presses: list[int]) -> float:
        for press in presses:
            h = float(np.tanh(w * h + u * press))
        return h

    check.true("on lights it", after(0.0, [1]) > 0.3, hint="From h = 0 the state becomes tanh(u): u must be positive.")
    check.true(
        "it stays on for 1000 steps",
        all(after(0.0, [1] + [0] * steps) > 0.3 for steps in (1, 2, 999, 1000)),
        hint="A negative w turns the state over at every step."
        if w < 0
        else "Without a press h becomes tanh(w h). For w <= 1 the only resting point is 0: w must be well above 1.",
    )
    bright = after(1.0, [0] * 100)
    check.true(
        "one press switches it off",
        after(bright, [-1]) < -0.3 and after(after(bright, [-1]), [0] * 1000) < -0.3,
        hint="The old state pushes back with w * h. A press must be stronger: u larger than about w.",
    )
    check.true(
        "one press switches it on again",
        after(-bright, [1]) > 0.3,
        hint="By symmetry this works when switching off works: tanh(-w h + u) must be positive.",
    )


@exercise("1.1")
def check_read_in_pieces(check: Check, read_in_pieces: Callable) -> None:
    """A function ``(layer, x, size)`` that reads a long sequence in pieces as if it were read at once."""
    rng = np.random.default_rng(1106)
    layer = RNN(2, 3, dtype="float64", seed=rng, backend="reference").eval()
    layer.parameters["weight_hh_l0"][...] *= 2.0
    for T, size in ((12, 4), (11, 4)):
        x = rng.normal(size=(T, 2, 2))
        whole, _ = layer(x)
        pieces = [x[first : first + size] for first in range(0, T, size)]
        amnesia = np.concatenate([layer(piece)[0] for piece in pieces])
        name = f"{T} steps in pieces of {size}"
        answer = check.call(f"{name}: runs", read_in_pieces, layer, x, size)
        if isinstance(answer, np.ndarray) and answer.shape[0] == T // size * size < T:
            check.fail(f"{name}: length", "The last, shorter piece is lost. Slices may run past the end.")
        check.shape(f"{name}: shape", answer, (T, 2, 3), letters="(T, B, H)")
        check.close(
            f"{name}: outputs",
            answer,
            whole,
            mistakes=[Mistake(amnesia, "Every piece starts from zero. Pass the state that the last call returned.")],
            hint="y, state = layer(piece, state), with state = None for the first piece; then join the y along time.",
        )
