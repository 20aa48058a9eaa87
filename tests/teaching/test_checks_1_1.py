"""The checks of chapter 1.1 accept the right answer and name the mistake of a wrong one."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_1_1 as checks


def leaky(x, a, keep=None, take=None, every=True):
    keep, take = a if keep is None else keep, 1 - a if take is None else take
    m, states = 0.0, []
    for x_t in x:
        m = keep * m + take * x_t
        states.append(m)
    return np.array(states) if every else m


def step(x_t, h, W_ih, W_hh, b):
    return np.tanh(x_t @ W_ih.T + h @ W_hh.T + b)


def run(x, h0, W_ih, W_hh, b):
    h, states = h0, []
    for x_t in x:
        h = step(x_t, h, W_ih, W_hh, b)
        states.append(h)
    return np.stack(states)


def pieces(layer, x, size, carry=True, drop=False):
    outputs, state = [], None
    stop = len(x) // size * size if drop else len(x)
    for first in range(0, stop, size):
        y, new = layer(x[first : first + size], state)
        state = new if carry else None
        outputs.append(y)
    return np.concatenate(outputs)


def test_right_answers_pass():
    checks.check_leaky_average(leaky).expect_pass()
    checks.check_rnn_step(step).expect_pass()
    checks.check_rnn_run(run).expect_pass()
    checks.check_window_error(lambda p, k: 0.5 * (1 - p) ** k).expect_pass()
    checks.check_latch(2.0, 4.0).expect_pass()
    checks.check_read_in_pieces(pieces).expect_pass()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x, a: leaky(x, a, keep=1 - a, take=a), "exchanged"),
        (lambda x, a: leaky(x, a, take=1.0), "takes a share"),
        (lambda x, a: a * np.r_[0.0, x[:-1]] + (1 - a) * x, r"old \*input\*"),
        (lambda x, a: np.r_[x[0], leaky(np.r_[x[0] / (1 - a), x[1:]], a)[1:]], "the state before it is 0"),
        (lambda x, a: leaky(x, a, every=False), "(T,)"),
        (lambda x, a: np.cumsum(x), "Keep every m"),
    ],
)
def test_wrong_averages(wrong, hint):
    assert_rejects(checks.check_leaky_average, wrong, hint_contains=hint.replace("\\", ""))


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x, h, U, W, b: np.tanh(x @ U.T + h @ W + b), "lacks its transpose"),
        (lambda x, h, U, W, b: x @ U.T + h @ W.T + b, "tanh is missing"),
        (lambda x, h, U, W, b: np.tanh(x @ U.T + b), "old state is missing"),
        (lambda x, h, U, W, b: np.tanh(x @ U.T + h @ W.T), "bias is missing"),
        (lambda x, h, U, W, b: np.tanh(x @ U.T) + np.tanh(h @ W.T + b), "one tanh"),
        (lambda x, h, U, W, b: np.maximum(x @ U.T + h @ W.T + b, 0), "x_t @ W_ih.T"),
        (lambda x, h, U, W, b: (U @ x.T).sum(axis=0), "(B, H)"),
    ],
)
def test_wrong_steps(wrong, hint):
    assert_rejects(checks.check_rnn_step, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x, h, *w: np.stack([step(x_t, h, *w) for x_t in x]), "starts from h0"),
        (lambda x, h, *w: run(x, 0 * h, *w), "h0 is not used"),
        (lambda x, h, *w: run(x[::-1], h, *w)[::-1], "from the last to the first"),
        (lambda x, h, *w: run(x[::-1], h, *w), "from the last to the first"),
        (lambda x, h, *w: np.concatenate([h[None], run(x, h, *w)]), "initial state is in the result"),
        (lambda x, h, *w: run(x, h, *w)[-1], "states of all steps"),
        (lambda x, h, *w: np.sin(run(x, h, *w)), "Axis 0 is time"),
    ],
)
def test_wrong_runs(wrong, hint):
    assert_rejects(checks.check_rnn_run, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda p, k: (1 - p) ** k, "Half of the guesses"),
        (lambda p, k: 0.5 * p**k, "use 1 - p"),
        (lambda p, k: 1 - (1 - p) ** k, "no error at all"),
        (lambda p, k: 0.5 * (1 - p) ** (k - 1), "k chances"),
        (lambda p, k: 0.5 * (1 - p * k), "Multiply"),
        (lambda p, k: 0.25, "without any press"),
    ],
)
def test_wrong_window_errors(wrong, hint):
    assert_rejects(checks.check_window_error, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("w", "u", "hint"),
    [
        (2.0, -4.0, "u must be positive"),
        (0.9, 3.0, "well above 1"),
        (1.0, 3.0, "well above 1"),
        (-2.0, 4.0, "turns the state over"),
        (3.0, 2.0, "stronger"),
        (3.0, 0.5, "stronger"),
    ],
)
def test_wrong_latches(w, u, hint):
    report = checks.check_latch(w, u)
    with pytest.raises(AssertionError):
        report.expect_pass()
    assert hint in str(report)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda layer, x, size: pieces(layer, x, size, carry=False), "starts from zero"),
        (lambda layer, x, size: pieces(layer, x, size, drop=True), "shorter piece is lost"),
        (lambda layer, x, size: np.tanh(pieces(layer, x, size)), "state = None"),
        (lambda layer, x, size: layer(x)[1], "(T, B, H)"),
    ],
)
def test_wrong_readers(wrong, hint):
    assert_rejects(checks.check_read_in_pieces, wrong, hint_contains=hint)
