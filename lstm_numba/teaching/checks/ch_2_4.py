"""Checks of chapter 2.4, the bug zoo. The mysteries are bugs that the chapter does not show."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lstm_numba.gradcheck import complex_step
from lstm_numba.reference.lstm import lstm_backward, lstm_forward, sigmoid
from lstm_numba.teaching.bugs import HEALTHY, plant
from lstm_numba.teaching.exercises import Check, Mistake, exercise

_GATES = "ifgo"


def _blocks(array: np.ndarray, order: str, of: str) -> np.ndarray:
    """Restack the four blocks of ``array``, which stand in the order ``of``, into ``order``."""
    return np.concatenate([np.split(array, 4)[of.index(gate)] for gate in order])


@exercise("2.4")
def check_our_order(check: Check, our_order: Callable) -> None:
    """Weights whose gates are stacked i, f, o, g, restacked as i, f, g, o."""
    rng = np.random.default_rng(2401)
    for name, shape in (("a weight matrix", (12, 2)), ("a bias", (20,))):
        right = rng.normal(size=shape)
        theirs = _blocks(right, "ifog", "ifgo")
        result = check.call(f"runs on {name}", our_order, theirs)
        result = check.shape(f"{name}: shape", result, shape, letters="that of the input, 4H rows")
        units = len(right) // 4
        interleaved = theirs.reshape(units, 4, -1)[:, [0, 1, 3, 2]].reshape(shape)
        check.close(
            f"{name}: gates in the order i, f, g, o",
            result,
            right,
            mistakes=[
                Mistake(theirs, "This is the input unchanged: their third block is o, ours is g."),
                Mistake(
                    _blocks(theirs, "ofig", "ifgo"), "You moved the input gate. Only the last two blocks trade places."
                ),
                Mistake(theirs[::-1], "Whole blocks of H rows trade places; the rows inside a block keep their order."),
                Mistake(interleaved, "The gates are stacked in blocks of H rows, not interleaved row by row."),
            ],
            hint="Split the first axis into four blocks and put the last two in the other order.",
        )


def _cell(x, h, c, W_ih, W_hh, b_ih, b_hh, *, bias="healthy", update="healthy"):
    """One step of a cell with at most two named mistakes; exercise 2 prints both of them."""
    z = x @ W_ih.T + h @ W_hh.T
    i_x, f_x, g_x, o_x = np.split(z, 4, axis=-1)
    b_i, b_f, b_g, b_o = np.split(b_ih + b_hh, 4)
    i, f = sigmoid(i_x + b_i), sigmoid(f_x + (b_o if bias == "planted" else b_f))
    g, o = np.tanh(g_x + b_g), sigmoid(o_x + b_o)
    c_new = f * c + i * g
    h_new = o * np.tanh(c if update == "planted" else c_new)
    return h_new, c_new


@exercise("2.4")
def check_repaired_cell(check: Check, cell_step: Callable) -> None:
    """One step of a cell in which two lines were wrong."""
    rng = np.random.default_rng(2402)
    B, I, H = 2, 3, 4
    arguments = (
        rng.normal(size=(B, I)),
        *rng.normal(size=(2, B, H)),
        rng.normal(size=(4 * H, I)),
        rng.normal(size=(4 * H, H)),
        *rng.normal(size=(2, 4 * H)),
    )
    result = check.call("runs on one step", cell_step, *arguments)
    if not isinstance(result, tuple | list) or len(result) != 2:
        check.fail("returns h and c", "Expected the pair h, c of the new state.")
    _, h, c, _ = lstm_forward(arguments[0][None], *arguments[1:], training=False)
    h_bias, c_bias = _cell(*arguments, bias="planted")
    h_late, _ = _cell(*arguments, update="planted")
    h_both, _ = _cell(*arguments, bias="planted", update="planted")
    bias_hint = "The new cell state is still wrong. Which slice of the bias does each gate take?"
    late_hint = "The output shows a cell state, but the wrong one: compare with h_t = o_t tanh(c_t)."
    check.close(
        "c_t", result[1], c, mistakes=[Mistake(c_bias, bias_hint)], hint="Compare gate by gate with the equations."
    )
    check.close(
        "h_t",
        result[0],
        h,
        mistakes=[Mistake(h_late, late_hint), Mistake(h_both, late_hint), Mistake(h_bias, bias_hint)],
        hint="Compare h_t = o_t tanh(c_t) with the code.",
    )


_PLANTED_ORDER = plant(
    lstm_backward,
    ("        di = dc * g\n        df = dc * c[t]\n        dg = dc * i\n", ""),
    ("        do = dh * a\n", "        do = dh * a\n        di, df, dg = dc * g, dc * c[t], dc * i\n"),
)
_NAMES = ("dx", "dh0", "dc0", "dW_ih", "dW_hh", "db")


@exercise("2.4")
def check_repaired_backward(check: Check, backward: Callable) -> None:
    """A backward pass in which two lines stood in the wrong order."""
    rng = np.random.default_rng(2403)
    T, B, I, H = 4, 2, 3, 2
    arrays = [rng.normal(size=(T, B, I)), *rng.normal(size=(2, B, H))]
    arrays += [rng.normal(size=(4 * H, I)), rng.normal(size=(4 * H, H)), rng.normal(size=4 * H)]
    d = rng.normal(size=(T, B, H)), *rng.normal(size=(2, B, H))

    def loss(position, value):
        given = [*arrays[:position], value, *arrays[position + 1 :]]
        outputs = lstm_forward(*given, np.zeros(4 * H), training=False)
        return sum((w * v).sum() for w, v in zip(d, outputs[:3], strict=True))

    *_, cache = lstm_forward(*arrays, np.zeros(4 * H), training=True)
    result = check.call("runs", backward, *d, cache, arrays[3], arrays[4])
    if not isinstance(result, tuple | list) or len(result) != len(_NAMES):
        check.fail("returns six arrays", f"Expected the six arrays {', '.join(_NAMES)}.")
    planted = _PLANTED_ORDER(*d, cache, arrays[3], arrays[4])
    for position, name in enumerate(_NAMES):
        check.close(
            name,
            result[position],
            complex_step(lambda value, p=position: loss(p, value), arrays[position]),
            mistakes=[
                Mistake(planted[position], "dc has two parts. Some line uses dc before the second part is added.")
            ],
            hint="No line but the order of two lines was wrong. Put everything else back as it was.",
        )


#: Programs with one wrong line each, for the exercise in which the gradient check is read like a symptom.
MYSTERIES = {
    "A": replace(HEALTHY, backward=plant(lstm_backward, ("db += dz.sum(axis=0)", "db += dz.mean(axis=0)"))),
    "B": replace(HEALTHY, backward=plant(lstm_backward, ("dx[t] = dz @ W_ih", "dx[t] = dz[:, ::-1] @ W_ih"))),
    "C": replace(HEALTHY, backward=plant(lstm_backward, ("dh = dz @ W_hh", "dh = dh + dz @ W_hh"))),
    "D": replace(HEALTHY, backward=plant(lstm_backward, ("dc = dc * f", "dc = dc * i"))),
}
_LINES = {"A": "db", "B": "dx", "C": "dh", "D": "dc"}
_READ = {
    "A": "Only the two biases are wrong in A, so the mistake is in a line that nothing else depends on.",
    "B": "Only x is wrong in B, so the mistake is in a line that nothing else depends on.",
    "C": "In C what is handed to the step before is wrong, and spoils everything. Run it with steps=1: what is left?",
    "D": "In D what is handed to the step before is wrong, and spoils everything. Run it with steps=1: what is left?",
}


@exercise("2.4")
def check_named_lines(check: Check, answers: dict) -> None:
    """For every mystery the variable on the left of the wrong line."""
    if not isinstance(answers, dict):
        check.fail("a dict", 'Expected a dict such as {"A": "dx", ...}.')
    check.attempted(*answers.values())
    for letter, line in _LINES.items():
        check.equal(f"mystery {letter}", answers.get(letter, "no answer"), line, hint=_READ[letter])


def _alone(x):
    """Predict from every sequence alone: a leaky average along time."""
    y = np.zeros_like(x)
    for t in range(len(x)):
        y[t] = np.tanh(x[t] + (0.7 * y[t - 1] if t else 0.0))
    return y


def _mixing(x):
    """The same on values from which the mean of the batch was taken."""
    return _alone(x - x.mean(axis=1, keepdims=True))


def _through_time(x):
    """The same, with the axes of time and batch mixed up by a reshape."""
    T, B, features = x.shape
    return _alone(x.transpose(1, 0, 2).reshape(T, B, features))


@exercise("2.4")
def check_batch_leak(check: Check, batch_leak: Callable) -> None:
    """A detector: how far the other sequences move when sequence 0 is changed."""
    x = np.random.default_rng(2405).normal(size=(5, 3, 2))
    clean = check.call("runs on a healthy program", batch_leak, _alone, x)
    check.close(
        "0 for a healthy program",
        clean,
        0.0,
        atol=1e-12,
        hint="Sequence 0 itself may move, it was changed. Look at sequences 1, 2, ... only: y[:, 1:].",
    )
    for name, program in (("takes the mean over the batch", _mixing), ("reshapes", _through_time)):
        leak = check.call(f"runs on a program that {name}", batch_leak, program, x)
        check.true(
            f"more than 0.01 for a program that {name}",
            np.ndim(leak) == 0 and leak > 0.01,
            hint="Change ALL steps of sequence 0 by a good deal, and take the largest absolute difference of the "
            "other sequences' outputs. Something like x[:, 0] += 1 on a copy.",
        )


@exercise("2.4")
def check_last_outputs(check: Check, last_outputs: Callable) -> None:
    """The output at the last real step of every sequence."""
    rng = np.random.default_rng(2406)
    y = rng.normal(size=(7, 4, 3))
    lengths = np.array([3, 7, 1, 5])
    result = check.call("runs", last_outputs, y, lengths)
    result = check.shape("shape", result, (4, 3), letters="(B, H)")
    each = np.arange(4)
    check.close(
        "one output per sequence, at its own last step",
        result,
        y[lengths - 1, each],
        mistakes=[
            Mistake(y[-1], "y[-1] is the last step of the padding: right only for the longest sequence."),
            Mistake(y[np.minimum(lengths, 6), each], "Off by one: a sequence of length n ends at index n - 1."),
            Mistake(y[lengths - 2, each], "Off by one: a sequence of length n ends at index n - 1."),
            Mistake(y.transpose(1, 0, 2)[each, -1], "That is the last step of the padding again, axes first."),
        ],
        hint="Sequence b ends at step lengths[b] - 1: index both axes at once.",
    )


_REPORTS = {
    "gradient check fails, oracle passes": "backward",
    "gradient check passes, oracle fails": "forward",
    "both pass, the same batch gives two answers": "loop or mode",
    "all detectors pass, the loss is far below the noise": "data",
}


@exercise("2.4")
def check_triage(check: Check, places: list) -> None:
    """Where to look first, for four findings."""
    if not isinstance(places, list | tuple) or len(places) != len(_REPORTS):
        check.fail("four answers", f"Expected a list of {len(_REPORTS)} words.")
    check.attempted(*places)
    hints = (
        "The forward pass agrees with an independent LSTM, so what is left?",
        "The gradient is right for the forward pass there is. So which pass is not an LSTM?",
        "The cell is right as a function. Who keeps something from one call to the next?",
        "A model cannot predict noise. From where does it know it?",
    )
    for (finding, place), answer, hint in zip(_REPORTS.items(), places, hints, strict=True):
        check.equal(finding, answer, place, hint=hint)
