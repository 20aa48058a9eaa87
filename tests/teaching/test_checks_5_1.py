"""The checks of chapter 5.1 accept the right answer and name the mistake of a wrong one."""

import math

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_5_1


def flops(T, B, I, H):
    return 8 * T * B * H * (I + H)


def intensity(B, H, itemsize):
    return 8 * B * H**2 / (itemsize * (4 * H**2 + 8 * B * H))


def batch(peak, bandwidth, itemsize):
    return math.ceil(itemsize * peak / (2 * bandwidth))


def speedup(theirs, ours):
    return np.median(np.asarray(theirs) / np.asarray(ours))


def test_right_answers_pass():
    ch_5_1.check_step_flops(flops).expect_pass()
    ch_5_1.check_intensity(intensity).expect_pass()
    ch_5_1.check_roof(lambda a, p, b: np.minimum(p, b * a)).expect_pass()
    ch_5_1.check_smallest_batch(batch).expect_pass()
    ch_5_1.check_speedup(speedup).expect_pass()
    ch_5_1.check_geometric_mean(lambda r: np.exp(np.mean(np.log(r)))).expect_pass()


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        ("step_flops", lambda *a: flops(*a) // 2, "two operations"),
        ("step_flops", lambda *a: flops(*a) // 4, "pre-activations of four"),
        ("step_flops", lambda T, B, I, H: flops(1, B, I, H), "There are T"),
        ("step_flops", lambda T, B, I, H: flops(T, 1, I, H), "There are B"),
        ("step_flops", lambda T, B, I, H: flops(T, B, 0, H), "input is missing"),
        ("step_flops", lambda T, B, I, H: 8 * T * B * H * I, "recurrent product is missing"),
        ("step_flops", lambda *a: 1, "sums I + H products"),
        ("intensity", lambda *a: 1 / intensity(*a), "upside down"),
        ("intensity", lambda B, H, s: intensity(B, H, 1), "operations per *number*"),
        ("intensity", lambda B, H, s: intensity(B, H, 4), "use `itemsize`"),
        ("intensity", lambda *a: intensity(*a) / 2, "two operations"),
        ("intensity", lambda B, H, s: 2 * B / s, "Only the weights"),
        ("roof", lambda a, p, b: np.maximum(p, b * a), "higher of the two"),
        ("roof", lambda a, p, b: b * a, "has no end"),
        ("roof", lambda a, p, b: np.minimum(p, b / a), "*higher* rate"),
        ("roof", lambda a, p, b: np.full(a.shape, p), "flat roof alone"),
        ("roof", lambda a, p, b: min(p, b * a), "raised ValueError"),
        ("smallest_batch", lambda p, b, s: s * p / (2 * b), "whole number"),
        ("smallest_batch", lambda p, b, s: int(s * p / (2 * b)), "Round up"),
        ("smallest_batch", lambda p, b, s: math.ceil(p / b), "Which B has it"),
        ("smallest_batch", lambda p, b, s: math.ceil(2 * p / (s * b)), "inverted"),
        ("speedup", lambda t, o: 1 / speedup(t, o), "upside down"),
        ("speedup", lambda t, o: np.mean(np.asarray(t) / np.asarray(o)), "That is the mean"),
        ("speedup", lambda t, o: np.median(t) / np.median(o), "ratio of medians"),
        ("speedup", lambda t, o: min(t) / min(o), "Minima"),
        ("geometric_mean", np.mean, "arithmetic mean"),
        ("geometric_mean", lambda r: 1 / np.mean(1 / r), "harmonic"),
        ("geometric_mean", lambda r: np.prod(r), "needs a root"),
        ("geometric_mean", lambda r: np.mean(np.log(r)), "np.exp"),
        ("geometric_mean", lambda r: np.sqrt(np.prod(r)), "n-th root"),
    ],
)
def test_wrong_answers_get_their_hint(check, wrong, hint):
    assert_rejects(getattr(ch_5_1, f"check_{check}"), wrong, hint_contains=hint)


def test_a_product_that_overflows_is_found():
    def by_product(ratios):
        with np.errstate(over="ignore"):
            return np.prod(ratios) ** (1 / len(ratios))

    assert_rejects(ch_5_1.check_geometric_mean, by_product, hint_contains="overflows")
