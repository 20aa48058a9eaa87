"""The checks of chapter 3.3 accept right answers and name the mistake of a wrong one."""

from itertools import combinations

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_3_3 as checks


def gru_flops(I, H, K, T, B):
    return 6 * B * T * (3 * H * (I + H) + K * H)


def count(H, I, K):
    return 4 * H * (I + H + 2) + K * (H + 1)


def lstm_width(parameters, I, K):
    return min(range(1, 1000), key=lambda H: abs(count(H, I, K) - parameters))


def largest_within(parameters, I, K):
    return max(H for H in range(1, 1000) if count(H, I, K) <= parameters)


def expected_best(scores, k):
    return np.mean([min(chosen) for chosen in combinations(scores, k)])


def with_replacement(scores, k):
    ordered, n = np.sort(scores), len(scores)
    at_most = 1 - (1 - np.arange(n + 1) / n) ** k
    return ordered @ np.diff(at_most)


def paired_interval(a, b, quantile=2.776, ddof=1):
    difference = a - b
    half = quantile * difference.std(ddof=ddof) / np.sqrt(len(difference))
    return difference.mean() - half, difference.mean() + half


def unpaired(a, b):
    half = 2.776 * np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 5)
    return (a - b).mean() - half, (a - b).mean() + half


def cache_bytes(blocks, heads, E, t, size):
    return 2 * blocks * E * t * size


VERDICT = {"A": "parameters", "B": "tuning", "C": "test data", "D": "seeds", "E": "nothing"}


def test_right_answers_pass():
    checks.check_gru_flops(gru_flops).expect_pass()
    checks.check_lstm_width(lstm_width).expect_pass()
    checks.check_expected_best(expected_best).expect_pass()
    checks.check_paired_interval(paired_interval).expect_pass()
    checks.check_cache_bytes(cache_bytes).expect_pass()
    checks.check_unfair(VERDICT).expect_pass()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda I, H, K, T, B: 3 * B * T * (3 * H * (I + H) + K * H), "two operations"),
        (lambda I, H, K, T, B: 2 * B * T * (3 * H * (I + H) + K * H), "That is the forward pass"),
        (lambda I, H, K, T, B: 4 * B * T * (3 * H * (I + H) + K * H), "3 in all"),
        (lambda I, H, K, T, B: 6 * T * (3 * H * (I + H) + K * H), "B of them"),
        (lambda I, H, K, T, B: 6 * B * (3 * H * (I + H) + K * H), "at every step"),
        (lambda I, H, K, T, B: 6 * B * T * 3 * H * (I + H), "The readout"),
        (lambda I, H, K, T, B: 6 * B * T * (4 * H * (I + H) + K * H), "four is an LSTM"),
        (lambda I, H, K, T, B: 6 * B * T * (3 * H * I + K * H), "*and* the state"),
        (lambda I, H, K, T, B: 0, "Entries of the matrices"),
    ],
)
def test_gru_flops(wrong, hint):
    assert_rejects(checks.check_gru_flops, wrong, hint_contains=hint)


def solved(count_parameters):
    return lambda parameters, I, K: min(range(1, 1000), key=lambda H: abs(count_parameters(H, I, K) - parameters))


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (solved(lambda H, I, K: 4 * H * (I + H + 2)), "The readout"),
        (solved(lambda H, I, K: 4 * H * (I + H + 1) + K * (H + 1)), "two biases"),
        (solved(lambda H, I, K: 4 * H * (I + H) + K * (H + 1)), "There are biases"),
        (largest_within, "one further"),
        (lambda parameters, I, K: 1, "for rising H"),
    ],
)
def test_lstm_width(wrong, hint):
    assert_rejects(checks.check_lstm_width, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda scores, k: scores[:k].min(), "the first k trials"),
        (with_replacement, "twice"),
        (lambda scores, k: np.mean([max(c) for c in combinations(scores, k)]), "Smaller is better"),
        (lambda scores, k: scores.min(), "best of all trials"),
        (lambda scores, k: scores.mean(), "k = 1"),
        (lambda scores, k: 7.0, "itertools.combinations"),
    ],
)
def test_expected_best(wrong, hint):
    assert_rejects(checks.check_expected_best, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda a, b: paired_interval(b, a), "not b - a"),
        (lambda a, b: paired_interval(a, b, ddof=0), "ddof=1"),
        (lambda a, b: paired_interval(a, b, quantile=1.96), "2.776"),
        (lambda a, b: paired_interval(a, b, quantile=2.776 * np.sqrt(5)), "root of the number of pairs"),
        (unpaired, "subtract first"),
        (lambda a, b: (0.0, 1.0), "Subtract pair by pair"),
        (lambda a, b: (a - b).mean(), "Return low, high"),
    ],
)
def test_paired_interval(wrong, hint):
    assert_rejects(checks.check_paired_interval, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda blocks, heads, E, t, size: blocks * E * t * size, "Both are kept"),
        (lambda blocks, heads, E, t, size: 2 * E * t * size, "Every block"),
        (lambda blocks, heads, E, t, size: 2 * blocks * E * t, "Those are numbers"),
        (lambda blocks, heads, E, t, size: 2 * blocks * heads * E * t * size, "share the width"),
        (lambda blocks, heads, E, t, size: 2 * blocks * (E // heads) * t * size, "so many heads"),
        (lambda blocks, heads, E, t, size: 2 * blocks * E * size, "*all* steps"),
        (lambda blocks, heads, E, t, size: 2 * blocks * E * t * t * size, "no table"),
        (lambda blocks, heads, E, t, size: 3, "Two rows"),
    ],
)
def test_cache_bytes(wrong, hint):
    assert_rejects(checks.check_cache_bytes, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"A": "parameters"}, "Keep the dictionary"),
        (VERDICT | {"A": "width"}, "Choose from"),
        (VERDICT | {"A": "seeds"}, "four blocks have not"),
        (VERDICT | {"B": "nothing"}, "how many settings"),
        (VERDICT | {"C": "tuning"}, "Which data chose"),
        (VERDICT | {"D": "nothing"}, "trained once more"),
        (VERDICT | {"E": "seeds"}, "All are there"),
    ],
)
def test_unfair(wrong, hint):
    assert_rejects(checks.check_unfair, wrong, hint_contains=hint)


def test_the_package_agrees_with_the_checks():
    from lstm_numba.teaching.fair_fight import MODELS, TASKS, Stepper, best_of, width_for

    task, model = TASKS["copy"], MODELS["Transformer"]
    assert lstm_width(task.parameters, task.inputs, task.outputs) == width_for(
        MODELS["LSTM"], task.parameters, task.inputs, task.outputs
    )
    width = width_for(model, task.parameters, task.inputs, task.outputs)
    stepper = Stepper(model.build(task.inputs, width, task.outputs, 0).eval())
    for _ in range(16):
        stepper.step(np.zeros((1, task.inputs), np.float32))
    assert stepper.nbytes == cache_bytes(2, 2, width, 16, 4)
    scores = np.random.default_rng(0).normal(size=6)
    np.testing.assert_allclose(best_of(scores), [expected_best(scores, k) for k in range(1, 7)])
