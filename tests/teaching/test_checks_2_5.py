"""The checks of chapter 2.5 accept the right answer and name the mistake of a wrong one."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_2_5 as checks


def bias_for(n):
    f = 0.5 ** (1 / n)
    return np.log(f / (1 - f))


def chrono_bias(u):
    return np.concatenate([-np.log(u), np.log(u), np.zeros(2 * len(u))])


def one_mask(rng, rate, T, B, H):
    return np.repeat((rng.random((1, B, H)) >= rate) / (1 - rate), T, axis=0)


def test_right_answers_pass():
    checks.check_bias_for(bias_for).expect_pass()
    checks.check_chrono_bias(chrono_bias).expect_pass()
    checks.check_kept_share(lambda rate, steps: (1 - rate) ** steps).expect_pass()
    checks.check_one_mask(one_mask).expect_pass()
    checks.check_unanswerable(lambda delay, chunk: min(1, delay / chunk)).expect_pass()
    checks.check_pick_rate(lambda rates, losses: rates[np.nanargmin(losses)] / 10).expect_pass()


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (checks.check_bias_for, lambda n: 0.5 ** (1 / n), "forget gate"),
        (checks.check_bias_for, lambda n: -bias_for(n), "sign"),
        (checks.check_bias_for, np.log, "time constant"),
        (checks.check_bias_for, lambda n: 1.0, "Solve f**n"),
        (checks.check_chrono_bias, lambda u: -chrono_bias(u), "Upside down"),
        (checks.check_chrono_bias, lambda u: np.abs(chrono_bias(u)), "MINUS"),
        (checks.check_chrono_bias, lambda u: np.r_[0 * u, np.log(u), 0 * u, 0 * u], "half of it"),
        (checks.check_chrono_bias, lambda u: chrono_bias(u).reshape(4, -1).T.ravel(), "interleaved"),
        (checks.check_chrono_bias, np.log, "Expected shape"),
        (checks.check_chrono_bias, lambda u: np.ones(4 * len(u)), "Four blocks"),
        (checks.check_kept_share, lambda rate, steps: 1 - rate, "one step"),
        (checks.check_kept_share, lambda rate, steps: rate**steps, "hit every time"),
        (checks.check_kept_share, lambda rate, steps: 1 - rate * steps, "multiply"),
        (checks.check_kept_share, lambda rate, steps: 0.123, "every step"),
        (checks.check_one_mask, lambda rng, p, T, B, H: (rng.random((T, B, H)) >= p) / (1 - p), "(1, B, H)"),
        (checks.check_one_mask, lambda rng, p, T, B, H: np.ones((T, B, H)), "own draw"),
        (checks.check_one_mask, lambda rng, p, T, B, H: one_mask(rng, p, T, B, H) * (1 - p), "scaled"),
        (
            checks.check_one_mask,
            lambda rng, p, T, B, H: np.repeat((rng.random((1, B, H)) < p) / (1 - p), T, axis=0),
            "not the share that is kept",
        ),
        (checks.check_one_mask, lambda rng, p, T, B, H: one_mask(rng, p, 1, B, H), "Expected shape"),
        (checks.check_unanswerable, lambda delay, chunk: delay / chunk, "never more than 1"),
        (checks.check_unanswerable, lambda delay, chunk: 1 - min(1, delay / chunk), "can be answered"),
        (checks.check_unanswerable, lambda delay, chunk: chunk / delay, "Upside down"),
        (checks.check_unanswerable, lambda delay, chunk: 0.123, "Count"),
        (checks.check_pick_rate, lambda rates, losses: rates[np.nanargmin(losses)], "about to diverge"),
        (checks.check_pick_rate, lambda rates, losses: rates[np.argmin(losses)] / 10, "nanargmin"),
        (checks.check_pick_rate, lambda rates, losses: rates[np.argmin(losses)], "nanargmin"),
        (checks.check_pick_rate, lambda rates, losses: np.nanmin(losses) / 10, "That is a loss"),
        (checks.check_pick_rate, lambda rates, losses: 0.5, "not NaN"),
    ],
)
def test_wrong_answers_get_their_hint(check, wrong, hint):
    assert_rejects(check, wrong, hint_contains=hint)
