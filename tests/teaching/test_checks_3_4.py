"""The checks of chapter 3.4 accept right answers and name the mistake of a wrong one."""

import numpy as np
import pytest

from lstm_numba.reference.scan import linear_scan_grad
from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_3_4 as checks


def compose(first, second):
    return second[0] * first[0], second[0] * first[1] + second[1]


def scan_grad(dy, a, h):
    return linear_scan_grad(dy, np.zeros(dy.shape[1]), a, h)


def no_shift(dy, a, h):
    db, running = np.empty_like(dy), 0
    for t in reversed(range(len(dy))):
        running = db[t] = a[t] * running + dy[t]
    return db * h[:-1], db, a[0] * db[0]


def parity_step(x):
    return 1 - 2 * x, 0


def stabilise(z_i, log_f, m_prev):
    m = np.maximum(log_f + m_prev, z_i)
    return np.exp(z_i - m), np.exp(log_f + m_prev - m), m


def read_memory(C, n, m, q):
    return C @ q / max(abs(n @ q), np.exp(-m))


def test_right_answers_pass():
    checks.check_compose(compose).expect_pass()
    checks.check_scan_grad(scan_grad).expect_pass()
    checks.check_parity_step(parity_step).expect_pass()
    checks.check_stabilise(stabilise).expect_pass()
    checks.check_read_memory(read_memory).expect_pass()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda first, second: compose(second, first), "the other way round"),
        (lambda first, second: (first[0] * second[0], first[1] + second[1]), "multiplied by a_2"),
        (lambda first, second: (first[0] + second[0], 0), "Factors multiply"),
        (lambda first, second: second[0] * first[0], "Return 2 values"),
        (lambda first, second: (second[0] * first[0], first[1]), "what does not multiply h"),
    ],
)
def test_compose(wrong, hint):
    assert_rejects(checks.check_compose, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda dy, a, h: (dy * h[:-1], dy, a[0] * dy[0]), "feeds the next step"),
        (no_shift, "not a[t]"),
        (lambda dy, a, h: (scan_grad(dy, a, h)[1] * h[1:], *scan_grad(dy, a, h)[1:]), "state before the step"),
        (lambda dy, a, h: (dy * h[:-1], *scan_grad(dy, a, h)[1:]), "total derivative"),
        (lambda dy, a, h: (*scan_grad(dy, a, h)[:2], scan_grad(dy, a, h)[1][0]), "one more factor"),
    ],
)
def test_scan_grad(wrong, hint):
    assert_rejects(checks.check_scan_grad, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x: (1 - x, -x), "second one must lead back"),
        (lambda x: (2 * x - 1, 0), "flips at the zeros"),
        (lambda x: (-1, 0), "flips at every bit"),
        (lambda x: (1 - 3 * x, 0), "at most 1"),
        (lambda x: (1 - x, x), "A one changes its sign"),
    ],
)
def test_parity_step(wrong, hint):
    assert_rejects(checks.check_parity_step, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda z, l, m: (np.exp(z), *stabilise(z, l, m)[1:]), "Divide by e^m"),
        (lambda z, l, m: (stabilise(z, l, m)[0], np.exp(l), stabilise(z, l, m)[2]), "divided by e^m_prev"),
        (lambda z, l, m: (*stabilise(z, l, m)[:2], np.maximum(l, z)), "compare log f + m_prev"),
        (lambda z, l, m: (*stabilise(z, l, m)[:2], np.maximum(m, z)), "shrinks by the forget gate"),
        (lambda z, l, m: (*stabilise(z, l, m)[:2], np.minimum(l + m, z)), "the larger one"),
        (
            lambda z, l, m: (stabilise(z, l, m)[0], np.exp(l - np.maximum(l + m, z)), stabilise(z, l, m)[2]),
            "belongs in the exponent",
        ),
        (lambda z, l, m: (np.exp(z) / np.exp(np.maximum(l + m, z)), *stabilise(z, l, m)[1:]), "before exp"),
    ],
)
def test_stabilise(wrong, hint):
    with np.errstate(over="ignore", invalid="ignore"):
        assert_rejects(checks.check_stabilise, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda C, n, m, q: C.T @ q / max(abs(n @ q), np.exp(-m)), "columns are keys"),
        (lambda C, n, m, q: C @ q, "Divide by the normaliser"),
        (lambda C, n, m, q: C @ q / (n @ q), "absolute value"),
        (lambda C, n, m, q: C @ q / abs(n @ q), "has a floor"),
        (lambda C, n, m, q: C @ q / max(abs(n @ q), 1), "becomes e^-m"),
        (lambda C, n, m, q: C @ q / max(n @ q, np.exp(-m)), "absolute value of the overlap"),
    ],
)
def test_read_memory(wrong, hint):
    assert_rejects(checks.check_read_memory, wrong, hint_contains=hint)
