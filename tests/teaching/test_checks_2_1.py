"""The checks of chapter 2.1 accept right answers and answer planted mistakes with the intended hint."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks.ch_2_1 import (
    check_bias_for_half_life,
    check_count_parameters,
    check_direct_path,
    check_half_life,
    check_latch,
    check_run_unit,
)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def run_unit(z, c0, *, order=(0, 1, 2, 3), g_of=np.tanh, show=lambda o, c, before: o * np.tanh(c)):
    c, states, shown = c0, [], []
    for row in z:
        z_i, z_f, z_g, z_o = row[list(order)]
        before, c = c, sigmoid(z_f) * c + sigmoid(z_i) * g_of(z_g)
        states.append(c)
        shown.append(show(sigmoid(z_o), c, before))
    return np.array(states), np.array(shown)


def latch(content, marker, *, closed=-10.0, write_f=-10.0, speak=10.0):
    z = np.empty((len(content), 4))
    z[:, 0] = np.where(marker == 1, 10, closed)
    z[:, 1] = np.where(marker == 1, write_f, 10)
    z[:, 2] = 3 * content
    z[:, 3] = -10
    z[-1, 3] = speak
    return z


def direct_path(f):
    return np.vstack([np.cumprod(f[::-1], axis=0)[::-1], np.ones((1, f.shape[1]))])


RIGHT = [
    (check_half_life, lambda b: np.log(0.5) / np.log(sigmoid(b))),
    (check_half_life, lambda b: np.log(2) / np.log1p(np.exp(-b))),  # another way to write it
    (check_bias_for_half_life, lambda n: -np.log(2 ** (1 / n) - 1)),
    (check_run_unit, run_unit),
    (check_latch, latch),
    (check_direct_path, direct_path),
    (check_count_parameters, lambda I, H: 4 * H * (I + H + 2)),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass(check, answer):
    check(answer).expect_pass()


def stub(*args):
    """Answer nothing, as the notebook's stubs do."""


@pytest.mark.parametrize("check", [right[0] for right in RIGHT])
def test_stub_is_not_attempted(check):
    report = check(stub)
    assert not report.attempted
    assert not report.passed


WRONG = [
    (check_half_life, lambda b: np.log(sigmoid(b)) / np.log(0.5), "upside down"),
    (check_half_life, lambda b: np.log(0.5) / np.log(1 - sigmoid(b)), "kept"),
    (check_half_life, lambda b: 0.5 / (1 - sigmoid(b)), "acts as a power"),
    (check_half_life, lambda b: np.log(0.5) / np.log(b + 2), "solve f ** n"),
    (check_bias_for_half_life, lambda n: 0.5 ** (1 / n), "gate f itself"),
    (check_bias_for_half_life, lambda n: np.log(2 ** (1 / n) - 1), "sign"),
    (check_bias_for_half_life, np.log, "wrong for short ones"),
    (check_run_unit, lambda z, c0: run_unit(z, c0, order=(0, 2, 1, 3)), "order is i, f, g, o"),
    (check_run_unit, lambda z, c0: run_unit(z, c0, order=(1, 0, 2, 3)), "i and f are exchanged"),
    (check_run_unit, lambda z, c0: run_unit(z, 0.0), "instead of c0"),
    (check_run_unit, lambda z, c0: run_unit(z, c0, g_of=sigmoid), "not a sigmoid"),
    (check_run_unit, lambda z, c0: run_unit(z, c0, g_of=lambda v: v), "not squashed"),
    (check_run_unit, lambda z, c0: run_unit(z, c0, show=lambda o, c, before: o * c), "squashed before"),
    (check_run_unit, lambda z, c0: run_unit(z, c0, show=lambda o, c, before: np.tanh(o * c)), "after the squashing"),
    (check_run_unit, lambda z, c0: run_unit(z, c0, show=lambda o, c, b: o * np.tanh(b)), "before this step"),
    (check_run_unit, lambda z, c0: run_unit(z, c0)[0], "pair"),
    (check_run_unit, lambda z, c0: (np.append(c0, run_unit(z, c0)[0]), run_unit(z, c0)[1]), "leave the initial"),
    (check_latch, lambda x, m: latch(x, m, closed=0.0), "unmarked content"),
    (check_latch, lambda x, m: latch(x, m, write_f=10.0), "added to the old one"),
    (check_latch, lambda x, m: latch(x, m, speak=-10.0), "nothing comes out"),
    (check_latch, lambda x, m: latch(x, m) * [1, 0.1, 1, 1], "loses the bit"),
    (check_latch, lambda x, m: latch(x, m) * [1, 1, 1, -1], "before it is asked"),
    (check_latch, lambda x, m: latch(x, m) * [1, 1, -1, 1], "sign or the size"),
    (check_latch, lambda x, m: latch(x, m).T, "wrong order"),
    (check_direct_path, lambda f: np.vstack([np.ones((1, 3)), np.cumprod(f, axis=0)]), "gates *after* t"),
    (check_direct_path, lambda f: np.vstack([direct_path(f)[1:], np.ones((1, 3))]), "one factor too few"),
    (check_direct_path, lambda f: np.vstack([np.cumsum(f[::-1], axis=0)[::-1], np.ones((1, 3))]), "multiply"),
    (check_direct_path, lambda f: direct_path(f)[:-1], "T + 1 states"),
    (check_direct_path, lambda f: direct_path(f) ** 2, "row t is"),
    (check_count_parameters, lambda I, H: 4 * H * (I + H + 1), "one bias vector is missing"),
    (check_count_parameters, lambda I, H: 4 * H * (I + H), "two bias vectors"),
    (check_count_parameters, lambda I, H: 3 * H * (I + H + 2), "candidate g has weights"),
    (check_count_parameters, lambda I, H: H * (I + H + 2), "one block"),
    (check_count_parameters, lambda I, H: 4 * I * (I + H + 2), "exchanged"),
]


@pytest.mark.parametrize(("check", "wrong", "hint"), WRONG)
def test_wrong_answers_get_the_intended_hint(check, wrong, hint):
    assert_rejects(check, wrong, hint_contains=hint)


def test_remembering_the_first_bit_is_not_enough():
    def first_only(content, marker):
        later = marker.copy()
        later[np.flatnonzero(marker)[0]] = 0
        return latch(content, marker - later)

    assert_rejects(check_latch, first_only, hint_contains="added to the old one")
