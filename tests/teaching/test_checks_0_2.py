"""The checks of chapter 0.2 accept right answers and answer planted mistakes with the intended hint."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks.ch_0_2 import (
    check_make_windows,
    check_mase,
    check_mean_baseline_mse,
    check_running_parity,
    check_seasonal_naive,
    check_split_by_time,
)


def make_windows(y, k):
    return np.array([y[n : n + k] for n in range(len(y) - k)]), y[k:]


def seasonal_naive(y, m, horizon):
    return np.resize(y[-m:], horizon)


def mase(y_train, y_true, y_pred, m):
    return np.mean(np.abs(y_pred - y_true)) / np.mean(np.abs(y_train[:-m] - y_train[m:]))


def split_by_time(n, n_valid, n_test, order=("train", "valid", "test")):
    lengths = {"train": n - n_valid - n_test, "valid": n_valid, "test": n_test}
    parts, start = {}, 0
    for name in order:
        parts[name] = np.arange(start, start + lengths[name])
        start += lengths[name]
    return parts["train"], parts["valid"], parts["test"]


def parity(bits):
    return np.bitwise_xor.accumulate(bits)


def shuffled(n, n_valid, n_test):
    order = np.random.default_rng(0).permutation(n)
    return [order[part] for part in split_by_time(n, n_valid, n_test)]


RIGHT = [
    (check_mean_baseline_mse, lambda k, a: k * (a**2 / 3 - (a / 2) ** 2)),
    (check_make_windows, make_windows),
    (check_seasonal_naive, seasonal_naive),
    (check_mase, mase),
    (check_running_parity, parity),
    (check_split_by_time, split_by_time),
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
    (check_mean_baseline_mse, lambda k, a: k**2 * a**2 / 12, "k times"),
    (check_mean_baseline_mse, lambda k, a: k * a / 12, "a squared"),
    (check_mean_baseline_mse, lambda k, a: k / 12, "forgot a"),
    (check_mean_baseline_mse, lambda k, a: a**2 / 12, "one value"),
    (check_mean_baseline_mse, lambda k, a: k * a / 2, "best constant"),
    (check_mean_baseline_mse, lambda k, a: k * a**2 / 3, "mean square"),
    (check_mean_baseline_mse, lambda k, a: (k * a**2 / 12) ** 0.5, "standard deviation"),
    (check_mean_baseline_mse, lambda k, a: 0.1767, "variance of one uniform value"),
    (check_make_windows, lambda y, k: (make_windows(y, k)[0][:, ::-1], y[k:]), "oldest value comes first"),
    (check_make_windows, lambda y, k: (np.lib.stride_tricks.sliding_window_view(y, k)[1:], y[k:]), "last column"),
    (check_make_windows, lambda y, k: (make_windows(y, k)[0], y[k - 1 : -1]), "inside"),
    (check_make_windows, lambda y, k: (make_windows(y, k)[0], y[:-k]), "first values"),
    (check_make_windows, lambda y, k: (make_windows(y, k)[0], y[k:] + 1), "y[n + k]"),
    (check_make_windows, lambda y, k: (np.lib.stride_tricks.sliding_window_view(y, k), y[k:]), "followed by a value"),
    (check_make_windows, lambda y, k: make_windows(y, k)[0], "pair"),
    (check_seasonal_naive, lambda y, m, h: np.full(h, y[-1]), "without a season"),
    (check_seasonal_naive, lambda y, m, h: np.resize(y[:m], h), "first"),
    (check_seasonal_naive, lambda y, m, h: np.resize(y[-m - 1 : -1], h), "one step off"),
    (check_seasonal_naive, lambda y, m, h: np.resize(y[-m:][::-1], h), "backwards"),
    (check_seasonal_naive, lambda y, m, h: np.full(h, y[-m]), "walk through"),
    (check_seasonal_naive, lambda y, m, h: np.full(h, y[-m:].mean()), "mean of the season"),
    (check_seasonal_naive, lambda y, m, h: y[-m:], "repeat the season or cut it"),
    (check_seasonal_naive, lambda y, m, h: np.array([y[-m + s] for s in range(h)]), "step s"),
    (check_mase, lambda a, b, c, m: np.abs(b - c).mean(), "MAE"),
    (check_mase, lambda a, b, c, m: 1 / mase(a, b, c, m), "upside down"),
    (check_mase, lambda a, b, c, m: ((b - c) ** 2).mean() / np.abs(a[m:] - a[:-m]).mean(), "squared"),
    (check_mase, lambda a, b, c, m: mase(b, b, c, m), "test part"),
    (check_mase, lambda a, b, c, m: mase(a, b, c, 1), "lag 1"),
    (check_mase, lambda a, b, c, m: np.abs(b - c).mean() / np.abs(a - a.mean()).mean(), "spread around the mean"),
    (check_mase, lambda a, b, c, m: mase(a, b, c, m) * len(b), "sum"),
    (check_running_parity, np.cumsum, "counts the ones"),
    (check_running_parity, lambda bits: 1 - parity(bits), "exchanged"),
    (check_running_parity, lambda bits: np.append(0, parity(bits)[:-1]), "one step late"),
    (check_running_parity, lambda bits: bits.copy(), "you returned the bits"),
    (check_running_parity, np.maximum.accumulate, "flip"),
    (check_running_parity, lambda bits: np.append(bits[0], bits[1:] ^ bits[:-1]), "previous bit"),
    (check_running_parity, lambda bits: parity(bits)[-1], "after every step"),
    (
        check_split_by_time,
        lambda *sizes: split_by_time(*sizes, order=("test", "train", "valid")),
        "test part is the oldest",
    ),
    (
        check_split_by_time,
        lambda *sizes: split_by_time(*sizes, order=("train", "test", "valid")),
        "newer than the test",
    ),
    (
        check_split_by_time,
        lambda *sizes: split_by_time(*sizes, order=("valid", "train", "test")),
        "older than the training",
    ),
    (check_split_by_time, shuffled, "mixed in time"),
    (check_split_by_time, lambda n, v, t: [part[::-1] for part in split_by_time(n, v, t)], "ascending"),
    (check_split_by_time, lambda n, v, t: split_by_time(n, t, v), "lengths"),
    (check_split_by_time, lambda n, v, t: [part + 1 for part in split_by_time(n, v, t)], "counts from 1"),
    (check_split_by_time, lambda n, v, t: (np.arange(n - t), np.arange(n - t, n)), "validation and test indices"),
]


@pytest.mark.parametrize(("check", "wrong", "hint"), WRONG)
def test_wrong_answers_get_the_intended_hint(check, wrong, hint):
    assert_rejects(check, wrong, hint_contains=hint)
