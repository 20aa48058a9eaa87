"""The checks of chapter 2.8 accept right answers and name the mistake of a wrong one."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_2_8 as checks
from lstm_numba.variants import VARIANTS, VariantOptions


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def count(I, H, gates, peepholes, recurrent):
    return (gates + 1) * H * (I + H + 2) + peepholes * gates * H + recurrent * (gates * H) ** 2


def step(z, c_prev, p, seen=None, p_o=1):
    i, f = sigmoid(z[0] + p[0] * c_prev), sigmoid(z[1] + p[1] * c_prev)
    c = f * c_prev + i * np.tanh(z[2])
    return c, sigmoid(z[3] + p_o * p[2] * (c if seen is None else seen)) * np.tanh(c)


def coupled(dc, i, g, c_prev):
    return dc * (g - c_prev) * i * (1 - i)


def largest(f, T):
    return sum(f**k for k in range(T))


def interval(a, b, chosen):
    return np.quantile((a - b)[chosen].mean(axis=1), [0.025, 0.975])


def test_right_answers_pass():
    checks.check_count_parameters(count).expect_pass()
    checks.check_vanilla_step(step).expect_pass()
    checks.check_coupled_grad(coupled).expect_pass()
    checks.check_largest_state(largest).expect_pass()
    checks.check_interval(interval).expect_pass()
    checks.check_1997(VariantOptions(forget_gate=False)).expect_pass()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda I, H, n, p, r: count(I, H, n, p, r) - (n + 1) * H, "two bias vectors"),
        (lambda I, H, n, p, r: count(I, H, n - 1, p, r) + p * H, "one block more than there are gates"),
        (lambda I, H, n, p, r: count(I, H, n, p, r) + p * H, "Only gates have peepholes"),
        (lambda I, H, n, p, r: count(I, H, n, p, False) + r * n * H * H, "matrix for each pair"),
        (lambda I, H, n, p, r: count(I, H, n, False, r) + p * n * H * H, "not a matrix"),
        (lambda I, H, n, p, r: 4 * H, "H rows in each block"),
    ],
)
def test_count_parameters(wrong, hint):
    assert_rejects(checks.check_count_parameters, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda z, c, p: step(z, c, p, seen=c), "the old cell state"),
        (lambda z, c, p: step(z, c, 0 * p), "add p * c_prev"),
        (lambda z, c, p: step(z, c, p, p_o=0), "has a peephole too"),
        (lambda z, c, p: (step(z, c, p)[0], step(z, c, 0 * p)[1]), "No peephole reached"),
        (lambda z, c, p: step(z, c, p)[::-1], "order is c, h"),
        (lambda z, c, p: step(z, c, p)[0], "Return two arrays"),
    ],
)
def test_vanilla_step(wrong, hint):
    assert_rejects(checks.check_vanilla_step, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda dc, i, g, c: dc * g * i * (1 - i), "how much is forgotten"),
        (lambda dc, i, g, c: dc * (g + c) * i * (1 - i), "watch the sign"),
        (lambda dc, i, g, c: dc * (g - c), "One more factor"),
        (lambda dc, i, g, c: dc * (c - g) * i * (1 - i), "other way round"),
        (lambda dc, i, g, c: dc, "Differentiate"),
    ],
)
def test_coupled_grad(wrong, hint):
    assert_rejects(checks.check_coupled_grad, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda f, T: 1.0, "Each step adds up to 1"),
        (lambda f, T: float(T), "multiplied by f at every step"),
        (lambda f, T: T if f == 1 else 1 / (1 - f), "limit for very many steps"),
        (lambda f, T: T if f == 1 else f**T, "what is left of the first"),
        (lambda f, T: largest(f, T + 1), "T additions"),
        (lambda f, T: 0.0, "every term is 1"),
    ],
)
def test_largest_state(wrong, hint):
    assert_rejects(checks.check_largest_state, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda a, b, n: interval(b, a, n), "The difference is a - b"),
        (lambda a, b, n: np.quantile((a - b)[n], [0.025, 0.975]), "mean of each resample"),
        (lambda a, b, n: np.quantile(a - b, [0.025, 0.975]), "Nothing was resampled"),
        (lambda a, b, n: np.quantile((a - b)[n].mean(axis=0), [0.025, 0.975]), "along axis 1"),
        (lambda a, b, n: np.quantile((a - b)[n].mean(axis=1), [0.05, 0.95]), "That holds 90 %"),
        (lambda a, b, n: interval(a, b, n) * 2, "np.quantile"),
        (lambda a, b, n: interval(a, b, n)[0], "(2,)"),
    ],
)
def test_interval(wrong, hint):
    assert_rejects(checks.check_interval, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("1997", "VariantOptions"),
        (VARIANTS["NP"], "f = 1"),
        (VARIANTS["NFG"], "Peepholes came in 2000"),
        (VariantOptions(forget_gate=False, output_gate=False), "an input gate and an output gate"),
        (VARIANTS["HS97"], "defaults"),
    ],
)
def test_1997(wrong, hint):
    assert_rejects(checks.check_1997, wrong, hint_contains=hint)
