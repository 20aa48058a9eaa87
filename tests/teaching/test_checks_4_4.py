"""The checks of chapter 4.4 accept right answers and answer planted mistakes with the intended hint."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_4_4 as checks


def seasonal_naive(y, origin, period, horizon):
    return y[origin - period + np.arange(horizon) % period]


def mase(forecast, truth, train, period):
    return np.abs(forecast - truth).mean() / np.abs(train[period:] - train[:-period]).mean()


def best_lag(forecast, truth, max_lag):
    n = len(truth)
    return int(np.argmax([np.corrcoef(forecast[k:], truth[: n - k])[0, 1] for k in range(max_lag + 1)]))


def training_origins(origins, first_test, horizon):
    return origins[origins + horizon <= first_test]


def leaks(pipeline, y, origin):
    poisoned = y.copy()
    poisoned[origin:] = 1e6
    return bool((pipeline(y.copy(), origin) != pipeline(poisoned, origin)).any())


def paired(model, baseline):
    saving = baseline - model
    return saving.mean(), (saving > 0).mean()


ANSWERS = {
    checks.check_seasonal_naive: seasonal_naive,
    checks.check_mase: mase,
    checks.check_best_lag: best_lag,
    checks.check_training_origins: training_origins,
    checks.check_leaks: leaks,
    checks.check_paired: paired,
}


@pytest.mark.parametrize("check", ANSWERS, ids=lambda check: check.__name__)
def test_right_answer_passes(check):
    check(ANSWERS[check]).expect_pass()


@pytest.mark.parametrize("check", ANSWERS, ids=lambda check: check.__name__)
def test_stub_counts_as_not_attempted(check):
    def stub(*arguments): ...

    report = check(stub)
    assert not report.attempted
    assert not report.passed


def partly_poisoned(start=0, stop=None, size=1e6):
    def answer(pipeline, y, origin):
        poisoned = y.copy()
        poisoned[origin + start : None if stop is None else origin + stop] += size
        return bool((pipeline(y.copy(), origin) != pipeline(poisoned, origin)).any())

    return answer


def poisons_the_past_too(pipeline, y, origin):
    return bool((pipeline(y.copy(), origin) != pipeline(np.full_like(y, 1e6), origin)).any())


def poisons_in_place(pipeline, y, origin):
    before = pipeline(y, origin)
    y[origin:] = 1e6
    return bool((before != pipeline(y, origin)).any())


def origins_before(limit):
    return lambda origins, first_test, horizon: origins[origins < limit]


def abs_scale(forecast, truth, train, period):
    return np.abs(forecast - truth).mean() / np.abs(truth[period:] - truth[:-period]).mean()


WRONG = [
    (checks.check_seasonal_naive, lambda y, o, p, h: y[o - p : o - p + h], "the future"),
    (checks.check_seasonal_naive, lambda y, o, p, h: y[o - p + 1 + np.arange(h) % p], "one step late"),
    (checks.check_seasonal_naive, lambda y, o, p, h: np.full(h, y[o - 1]), "persistence"),
    (checks.check_seasonal_naive, lambda y, o, p, h: y[o - p : o], "expected shape"),
    (checks.check_mase, lambda f, t, train, p: np.abs(f - t).mean(), "that is the MAE"),
    (checks.check_mase, lambda f, t, train, p: np.abs(f - t).mean() / np.abs(np.diff(train)).mean(), "by lag 1"),
    (checks.check_mase, abs_scale, "training values"),
    (checks.check_mase, lambda f, t, train, p: np.abs(f - t).mean() / train.std(), "not a deviation"),
    (checks.check_mase, lambda *a: 1 / mase(*a), "upside down"),
    (checks.check_mase, lambda f, t, train, p: np.abs(f - t), "expected shape"),
    (checks.check_best_lag, lambda f, t, m: -best_lag(f, t, m), "sign"),
    (checks.check_best_lag, lambda f, t, m: 0, "largest"),
    (
        checks.check_best_lag,
        lambda f, t, m: int(np.argmax([-np.abs(f[k:] - t[: len(t) - k]).mean() for k in range(m + 1)])),
        "use the correlation",
    ),
    (checks.check_training_origins, origins_before(80), "inside the test"),
    (checks.check_training_origins, origins_before(74), "one too few"),
    (checks.check_training_origins, origins_before(76), "one too many"),
    (checks.check_training_origins, lambda origins, f, h: origins, "test origins"),
    (checks.check_leaks, partly_poisoned(start=1), "position `origin` itself"),
    (checks.check_leaks, partly_poisoned(stop=5), "to the end"),
    (checks.check_leaks, partly_poisoned(size=1e-9), "something large"),
    (checks.check_leaks, poisons_the_past_too, "change nothing before it"),
    (checks.check_leaks, poisons_in_place, "in place"),
    (checks.check_leaks, lambda p, y, o: False, "to the end"),
    (checks.check_leaks, lambda p, y, o: 0.0, "got float"),
    (checks.check_paired, lambda m, b: ((m - b).mean(), (m < b).mean()), "turned round"),
    (checks.check_paired, lambda m, b: (np.abs(m - b).mean(), (m < b).mean()), "no absolute value"),
    (checks.check_paired, lambda m, b: ((b - m).sum(), (m < b).mean()), "sum over all days"),
    (checks.check_paired, lambda m, b: ((b - m).mean(), (m <= b).mean()), "a tie"),
    (checks.check_paired, lambda m, b: ((b - m).mean(), (m > b).mean()), "baseline won"),
    (checks.check_paired, lambda m, b: ((b - m).mean(), (m < b).sum()), "between 0 and 1"),
    (checks.check_paired, lambda m, b: (b - m).mean(), "a tuple"),
]


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_planted_mistake_gets_its_hint(check, answer, hint):
    assert_rejects(check, answer, hint_contains=hint)
