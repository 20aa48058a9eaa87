"""The checks of chapter 2.4 accept the right answer and name the mistake of a wrong one."""

import numpy as np
import pytest

from lstm_numba.reference.lstm import lstm_backward, lstm_forward
from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_2_4 as checks


def our_order(theirs):
    i, f, o, g = np.split(theirs, 4)
    return np.concatenate([i, f, g, o])


def cell_step(x, h, c, W_ih, W_hh, b_ih, b_hh):
    _, h_n, c_n, _ = lstm_forward(x[None], h, c, W_ih, W_hh, b_ih, b_hh, training=False)
    return h_n, c_n


def batch_leak(predict, x):
    changed = x.copy()
    changed[:, 0] += 1.0
    return np.abs(predict(changed) - predict(x))[:, 1:].max()


def last_outputs(y, lengths):
    return y[lengths - 1, np.arange(len(lengths))]


LINES = {"A": "db", "B": "dx", "C": "dh", "D": "dc"}
PLACES = ["backward", "forward", "loop or mode", "data"]


def test_right_answers_pass():
    checks.check_our_order(our_order).expect_pass()
    checks.check_repaired_cell(cell_step).expect_pass()
    checks.check_repaired_backward(lstm_backward).expect_pass()
    checks.check_named_lines(LINES).expect_pass()
    checks.check_batch_leak(batch_leak).expect_pass()
    checks.check_last_outputs(last_outputs).expect_pass()
    checks.check_triage(PLACES).expect_pass()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda W: W.copy(), "third block is o"),
        (lambda W: checks._blocks(W, "ofig", "ifgo"), "Only the last two"),
        (lambda W: W[::-1].copy(), "rows inside a block"),
        (lambda W: W.reshape(len(W) // 4, 4, -1)[:, [0, 1, 3, 2]].reshape(W.shape), "not interleaved"),
        (lambda W: W[: len(W) // 4], "Expected shape"),
        (lambda W: checks._blocks(W, "fiog", "ifgo"), "into four blocks"),
    ],
)
def test_order(wrong, hint):
    assert_rejects(checks.check_our_order, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda *a: checks._cell(*a, bias="planted"), "slice of the bias"),
        (lambda *a: checks._cell(*a, update="planted"), "the wrong one"),
        (lambda *a: checks._cell(*a, bias="planted", update="planted"), "the wrong one"),
        (lambda *a: checks._cell(*a)[::-1], "gate by gate"),
        (lambda *a: checks._cell(*a)[0], "pair h, c"),
    ],
)
def test_cell(wrong, hint):
    assert_rejects(checks.check_repaired_cell, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (checks._PLANTED_ORDER, "second part"),
        (lambda *a: checks.MYSTERIES["A"].backward(*a), "order of two lines"),
        (lambda *a: lstm_backward(*a)[:3], "six arrays"),
    ],
)
def test_backward(wrong, hint):
    assert_rejects(checks.check_repaired_backward, wrong, hint_contains=hint)


@pytest.mark.parametrize("letter", "ABCD")
def test_names(letter):
    assert_rejects(checks.check_named_lines, LINES | {letter: "dW_ih"}, hint_contains=f"in {letter}")
    without = {key: value for key, value in LINES.items() if key != letter}
    assert_rejects(checks.check_named_lines, without, hint_contains=f"in {letter}")


def test_names_of_another_kind():
    assert_rejects(checks.check_named_lines, ["db"], hint_contains="dict")


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda predict, x: np.abs(predict(x + 1.0) - predict(x))[:, 1:].max(), "Look at sequences 1"),
        (lambda predict, x: 0.0, "Change ALL steps"),
        (lambda predict, x: np.zeros(3), "Expected shape"),
    ],
)
def test_leak(wrong, hint):
    assert_rejects(checks.check_batch_leak, wrong, hint_contains=hint)


def test_leak_that_looks_at_the_changed_sequence():
    def wrong(predict, x):
        changed = x.copy()
        changed[:, 0] += 1.0
        return np.abs(predict(changed) - predict(x)).max()

    assert_rejects(checks.check_batch_leak, wrong, hint_contains="y[:, 1:]")


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda y, lengths: y[-1], "padding"),
        (lambda y, lengths: y[np.minimum(lengths, 6), np.arange(4)], "Off by one"),
        (lambda y, lengths: y[lengths - 2, np.arange(4)], "Off by one"),
        (lambda y, lengths: y[lengths - 1], "Expected shape"),
        (lambda y, lengths: y[0], "both axes"),
    ],
)
def test_last(wrong, hint):
    assert_rejects(checks.check_last_outputs, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("position", "hint"), [(0, "what is left"), (1, "not an LSTM"), (2, "from one call"), (3, "From where")]
)
def test_triage(position, hint):
    answers = list(PLACES)
    answers[position] = "the weather"
    assert_rejects(checks.check_triage, answers, hint_contains=hint)


def test_triage_needs_four():
    assert_rejects(checks.check_triage, ["data"], hint_contains="list of 4")
