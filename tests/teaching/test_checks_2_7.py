"""The checks of chapter 2.7 accept right answers and answer planted mistakes with the intended hint."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks.ch_2_7 import (
    check_auc_of_unit,
    check_choose_and_judge,
    check_cut_unit,
    check_linear_influence,
    check_p_value,
    check_survival,
)


def auc_of_unit(value, label, *, tie=0.5):
    yes, no = value[label][:, None], value[~label]
    return np.mean((yes > no) + tie * (yes == no))


def choose_and_judge(chosen, judged):
    unit = int(np.argmax(np.abs(chosen - 0.5)))
    return unit, judged[unit] if chosen[unit] > 0.5 else 1 - judged[unit]


def p_value(observed, null):
    return (1 + np.sum(null >= observed)) / (1 + len(null))


def cut_unit(W_hh, b_hh, W_out, b_out, j, value, *, axis=1, share=lambda column, value: column * value):
    cut = []
    for weight, bias in ((W_hh, b_hh), (W_out, b_out)):
        keep = weight.copy()
        keep[(slice(None), j) if axis == 1 else j] = 0
        cut += [keep, bias + share(weight[:, j], value)]
    return cut


def linear_influence(W_ih, W_hh, W_out, K, *, first=0, power=np.linalg.matrix_power, norm=np.linalg.norm):
    return np.array([norm(W_out @ power(W_hh, k) @ W_ih) for k in range(first, first + K)])


RIGHT = [
    (check_survival, lambda f, s, t: np.exp(np.log(f[s + 1 : t + 1]).sum())),
    (check_auc_of_unit, auc_of_unit),
    (check_choose_and_judge, choose_and_judge),
    (check_p_value, p_value),
    (check_cut_unit, cut_unit),
    (check_linear_influence, linear_influence),
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
    (check_survival, lambda f, s, t: np.prod(f[s : t + 1]), "*before* the state"),
    (check_survival, lambda f, s, t: np.prod(f[s + 1 : t]), "has acted too"),
    (check_survival, lambda f, s, t: np.prod(f[s:t]), "one step early"),
    (check_survival, lambda f, s, t: np.sum(f[s + 1 : t + 1]), "multiply them."),
    (check_survival, lambda f, s, t: np.mean(f[s + 1 : t + 1]), "no mean"),
    (check_survival, lambda f, s, t: f[t], "Multiply the forget gates"),
    (check_auc_of_unit, lambda v, y: 1 - auc_of_unit(v, y), "sides are exchanged"),
    (check_auc_of_unit, lambda v, y: auc_of_unit(v, y, tie=0), "count nothing"),
    (check_auc_of_unit, lambda v, y: auc_of_unit(v, y, tie=1), "count fully"),
    (check_auc_of_unit, lambda v, y: auc_of_unit(v, y) * y.sum() * (~y).sum() / len(y) ** 2, "not by all pairs"),
    (check_auc_of_unit, lambda v, y: auc_of_unit(v, y) * y.sum() * (~y).sum(), "Divide to get a share"),
    (check_auc_of_unit, lambda v, y: 0.5 + abs(auc_of_unit(v, y) - 0.5), "Do not fold"),
    (check_auc_of_unit, lambda v, y: np.corrcoef(v, y)[0, 1], "share of pairs"),
    (check_choose_and_judge, lambda a, b: (int(np.argmax(a)), b[np.argmax(a)]), "distance from 0.5"),
    (check_choose_and_judge, lambda a, b: (int(np.argmax(abs(b - 0.5))), b.max()), "there to judge"),
    (check_choose_and_judge, lambda a, b: (choose_and_judge(a, b)[0], 0.5 + abs(a - 0.5).max()), "was chosen on"),
    (
        check_choose_and_judge,
        lambda a, b: (choose_and_judge(a, b)[0], 0.5 + abs(b[choose_and_judge(a, b)[0]] - 0.5)),
        "folded on the second",
    ),
    (check_choose_and_judge, lambda a, b: (choose_and_judge(a, b)[0], b[choose_and_judge(a, b)[0]]), "turn its AUC"),
    (check_choose_and_judge, lambda a, b: choose_and_judge(a, b)[1], "pair"),
    (check_choose_and_judge, lambda a, b: (0, 0.5), "farthest from 0.5"),
    (check_p_value, lambda x, null: np.mean(null >= x), "no finite number"),
    (check_p_value, lambda x, null: (1 + np.sum(null > x)) / (1 + len(null)), "*equal*"),
    (check_p_value, lambda x, null: (1 + np.sum(null >= x)) / len(null), "n + 1 results"),
    (check_p_value, lambda x, null: (1 + np.sum(null <= x)) / (1 + len(null)), "upside down"),
    (check_p_value, lambda x, null: 0.05, "number of shuffled values"),
    (check_cut_unit, lambda *a: cut_unit(*a, axis=0), "cleared row j"),
    (check_cut_unit, lambda *a: cut_unit(*a, share=lambda column, value: 0), "replaces h_j by 0"),
    (check_cut_unit, lambda *a: cut_unit(*a, share=lambda column, value: value), "weighted"),
    (check_cut_unit, lambda *a: cut_unit(*a, share=lambda column, value: -column * value), "sign is wrong"),
    (check_cut_unit, lambda *a: [*cut_unit(*a)[:2], *a[2:4]], "still read by W_out"),
    (check_cut_unit, lambda *a: cut_unit(*a)[0], "Return `W_hh"),
    (check_linear_influence, lambda *a: linear_influence(*a, first=1), "start at lag 1"),
    (check_linear_influence, lambda *a: linear_influence(*a)[::-1], "reversed"),
    (check_linear_influence, lambda *a: linear_influence(*a, power=np.power), "power of each entry"),
    (check_linear_influence, lambda i, h, o, K: linear_influence(i, h.T, o, K), "transposed"),
    (check_linear_influence, lambda *a: linear_influence(*a, norm=lambda m: np.linalg.norm(m, 2)), "singular value"),
    (
        check_linear_influence,
        lambda i, h, o, K: np.linalg.norm(o) * linear_influence(np.eye(4), h, np.eye(4), K) * np.linalg.norm(i),
        "only a bound",
    ),
    (check_linear_influence, lambda *a: linear_influence(*a) ** 2, "Frobenius norm for each k"),
    (check_linear_influence, lambda *a: linear_influence(*a)[1:], "Expected shape"),
]


@pytest.mark.parametrize(("check", "wrong", "hint"), WRONG)
def test_wrong_answers_get_the_intended_hint(check, wrong, hint):
    assert_rejects(check, wrong, hint_contains=hint)
