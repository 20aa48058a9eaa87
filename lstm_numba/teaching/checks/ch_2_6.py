"""Checks of chapter 2.6, 1997 re-run: weight counts, the cell, its trace, medians with failures, an impossible MSE."""

from collections.abc import Callable

import numpy as np

from lstm_numba.teaching.exercises import Check, Mistake, exercise


def _logistic(z):
    return 1 / (1 + np.exp(-z))


@exercise("2.6")
def check_count_weights(check: Check, count_weights: Callable) -> None:
    """Inputs, outputs, blocks and cells per block to the number of weights, all units biased."""
    for inputs, outputs, blocks, cells in ((2, 1, 2, 2), (8, 4, 2, 2), (8, 8, 3, 2), (5, 3, 4, 1)):
        H, C = blocks * (2 + cells), blocks * cells
        expected = H * (inputs + H + 1) + outputs * (C + 1)
        check.equal(
            f"{inputs} inputs, {outputs} outputs, {blocks} blocks of {cells}",
            check.call(f"runs for {blocks} blocks of {cells}", count_weights, inputs, outputs, blocks, cells),
            expected,
            mistakes=[
                Mistake(
                    H * (inputs + C + 1) + outputs * (C + 1), "In 1997 the gates feed back too, not only the cells."
                ),
                Mistake(H * (inputs + H) + outputs * C, "The biases are missing: one for each hidden and output unit."),
                Mistake(
                    H * (inputs + H + 1) + outputs * (H + 1),
                    "The outputs see the cells only, not the gates, and a bias.",
                ),
                Mistake(
                    blocks * 4 * cells * (inputs + H + 1) + outputs * (C + 1),
                    "That counts four pre-activations per cell, as a modern LSTM has. Here a block has two gates that "
                    "its cells share.",
                ),
            ],
            hint="Each of the blocks * (2 + cells) hidden units sees all inputs, all hidden units and a bias.",
        )


@exercise("2.6")
def check_step(check: Check, step: Callable) -> None:
    """One cell, one step: gates, squashed input, state, output."""
    rng = np.random.default_rng(2601)
    z_i, z_o, z_g, s = rng.normal(size=(4, 5))
    new = s + _logistic(z_i) * (4 * _logistic(z_g) - 2)
    result = check.call("runs on five cells", step, z_i, z_o, z_g, s)
    check.true(
        "returns the state and the output",
        isinstance(result, tuple) and len(result) == 2,
        hint="Return two things: the new state s and the output y.",
    )
    if not (isinstance(result, tuple) and len(result) == 2):
        return
    check.close(
        "the new state",
        result[0],
        new,
        mistakes=[
            Mistake(s + _logistic(z_i) * np.tanh(z_g), "The candidate is 4 sigma(z) - 2, between -2 and 2, not tanh."),
            Mistake(
                s + _logistic(z_i) * (2 * _logistic(z_g) - 1), "You swapped the squashing functions: g has the range 4."
            ),
            Mistake(
                (1 - _logistic(z_i)) * s + _logistic(z_i) * (4 * _logistic(z_g) - 2),
                "Nothing is forgotten in 1997: the old state keeps the weight 1.",
            ),
        ],
        hint="s + sigma(z_i) * (4 sigma(z_g) - 2).",
    )
    check.close(
        "the output",
        result[1],
        _logistic(z_o) * (2 * _logistic(new) - 1),
        mistakes=[
            Mistake(_logistic(z_o) * (2 * _logistic(s) - 1), "The output shows the new state, not the old one."),
            Mistake(_logistic(z_o) * np.tanh(new), "h is 2 sigma(s) - 1, which is tanh(s / 2), not tanh(s)."),
            Mistake(
                _logistic(z_o) * (4 * _logistic(new) - 2), "You swapped the squashing functions: h has the range 2."
            ),
        ],
        hint="sigma(z_o) * (2 sigma(s) - 1) with the new s.",
    )


@exercise("2.6")
def check_add_to_trace(check: Check, add_to_trace: Callable) -> None:
    """The trace of the weights into the input gate after one more step."""
    rng = np.random.default_rng(2602)
    trace, u = rng.normal(size=(2, 6))
    i, g = 0.3, -1.4
    check.close(
        "one step of the trace",
        check.call("runs for six sources", add_to_trace, trace, i, g, u),
        trace + g * i * (1 - i) * u,
        mistakes=[
            Mistake(
                g * i * (1 - i) * u, "That is the new part only. The trace adds it to what it holds: s kept its past."
            ),
            Mistake(
                trace + i * (1 - g**2 / 4) * u, "That is the trace of the weights into the cell, not into the gate."
            ),
            Mistake(trace + g * u, "The derivative of the sigmoid, i (1 - i), is missing."),
            Mistake(
                trace * i + g * i * (1 - i) * u, "Nothing multiplies the old trace: its factor is the weight of s, 1."
            ),
        ],
        hint="s changes by i g; its derivative with respect to a weight into the input gate is g i (1 - i) u.",
    )


@exercise("2.6")
def check_median_with_failures(check: Check, median_with_failures: Callable) -> None:
    """The median of runs of which some never succeed."""
    runs = [30.0, None, 10.0, 20.0, None, 50.0, 40.0]
    successes = [r for r in runs if r is not None]
    check.close(
        "five successes, two failures",
        check.call("runs with two failures", median_with_failures, list(runs)),
        40.0,
        mistakes=[
            Mistake(
                float(np.median(successes)),
                "You threw the failures away. That makes a method look faster the more often it fails.",
            ),
            Mistake(float(np.mean(successes)), "That is the mean of the successes: neither a median nor honest."),
            Mistake(float(np.median([r or 0 for r in runs])), "A failure is not a success after 0 sequences."),
        ],
        hint="A run that never succeeds took longer than all others: treat it as infinite, then sort.",
    )
    result = check.call("runs with a majority of failures", median_with_failures, [5.0, None, None])
    check.true(
        "a majority of failures has no finite median",
        result == np.inf,
        hint="If the middle run failed, return infinity: no finite number would be true.",
    )


@exercise("2.6")
def check_largest_mse(check: Check, bound: Callable) -> None:
    """The largest possible MSE when only few errors exceed a tolerance."""
    for wrong, n, tolerance in ((14, 2560, 0.04), (139, 2560, 0.04), (5, 100, 0.2)):
        expected = tolerance**2 * (n - wrong) / n + wrong / n
        loose = tolerance**2 + wrong / n
        value = check.call(f"runs for {wrong} wrong of {n}", bound, wrong, n, tolerance)
        check.close(
            f"{wrong} of {n} errors above {tolerance}",
            value,
            expected,
            rtol=2e-3 if abs(np.asarray(value, float) - loose).max() < 1e-12 else 1e-9,
            mistakes=[
                Mistake(
                    tolerance * (n - wrong) / n + wrong / n, "Square the errors: this bounds the mean absolute error."
                ),
                Mistake(wrong / n, "The right answers may all be off by almost the tolerance: they count too."),
                Mistake(tolerance**2, "The wrong answers count too: each can be off by as much as 1."),
            ],
            hint="A wrong answer is off by at most 1, a right one by at most the tolerance.",
        )
