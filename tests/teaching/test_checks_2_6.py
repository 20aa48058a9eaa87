"""The checks of chapter 2.6 accept right answers and answer planted mistakes with the intended hint."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks.ch_2_6 import (
    check_add_to_trace,
    check_count_weights,
    check_largest_mse,
    check_median_with_failures,
    check_step,
)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def count(inputs, outputs, blocks, cells):
    H = blocks * (2 + cells)
    return H * (inputs + H + 1) + outputs * (blocks * cells + 1)


def step(z_i, z_o, z_g, s, *, g=lambda z: 4 * sigmoid(z) - 2, h=lambda s: 2 * sigmoid(s) - 1, keep=1.0):
    s = keep * s + sigmoid(z_i) * g(z_g)
    return s, sigmoid(z_o) * h(s)


def median(runs):
    return float(np.median([np.inf if run is None else run for run in runs]))


def test_right_answers_pass():
    check_count_weights(count).expect_pass()
    check_step(step).expect_pass()
    check_add_to_trace(lambda trace, i, g, u: trace + g * i * (1 - i) * u).expect_pass()
    check_median_with_failures(median).expect_pass()
    check_largest_mse(lambda wrong, n, tol: (wrong + (n - wrong) * tol**2) / n).expect_pass()


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (check_count_weights, lambda i, o, b, c: b * (2 + c) * (i + b * c + 1) + o * (b * c + 1), "gates feed back"),
        (check_count_weights, lambda i, o, b, c: count(i, o, b, c) - b * (2 + c) - o, "biases are missing"),
        (check_count_weights, lambda i, o, b, c: count(i, o, b, c) + 1, "sees all inputs"),
        (check_step, lambda *z: step(*z, g=np.tanh), "not tanh"),
        (check_step, lambda *z: step(*z, h=np.tanh), "tanh(s / 2)"),
        (check_step, lambda *z: step(*z, g=lambda x: 2 * sigmoid(x) - 1), "swapped"),
        (check_step, lambda *z: step(*z)[0], "Return two things"),
        (check_add_to_trace, lambda trace, i, g, u: g * i * (1 - i) * u, "new part only"),
        (check_add_to_trace, lambda trace, i, g, u: trace + i * (1 - g**2 / 4) * u, "into the cell"),
        (check_add_to_trace, lambda trace, i, g, u: i * trace + g * i * (1 - i) * u, "Nothing multiplies"),
        (check_median_with_failures, lambda runs: float(np.median([r for r in runs if r])), "threw the failures away"),
        (check_median_with_failures, lambda runs: float(np.median([r or 0 for r in runs])), "after 0 sequences"),
        (check_median_with_failures, lambda runs: min(median(runs), 50.0), "no finite number"),
        (check_largest_mse, lambda wrong, n, tol: (wrong + (n - wrong) * tol) / n, "Square the errors"),
        (check_largest_mse, lambda wrong, n, tol: wrong / n, "count too"),
    ],
)
def test_wrong_answers_get_their_hint(check, wrong, hint):
    assert_rejects(check, wrong, hint_contains=hint)
