"""The checks of chapter 5.2 accept the right answer and name the mistake of a wrong one; the ladder's rungs agree."""

import math

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects, ladder
from lstm_numba.teaching.checks import ch_5_2


def rates(clock, latency, lanes, units):
    return 2 * clock / latency, 2 * clock * lanes * units


def amdahl(p, s):
    return 1 / ((1 - p) + p / s)


def shares(B, threads):
    return [(k * B // threads, (k + 1) * B // threads) for k in range(threads)]


def rows(registers, V):
    return (registers - V - 1) // V


def test_right_answers_pass():
    ch_5_2.check_rates(rates).expect_pass()
    ch_5_2.check_amdahl(amdahl).expect_pass()
    ch_5_2.check_private({"z", "h", "c"}).expect_pass()
    ch_5_2.check_shares(shares).expect_pass()
    ch_5_2.check_loads(lambda R, V: (R + V) / (R * V)).expect_pass()
    ch_5_2.check_largest_rows(rows).expect_pass()


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        ("rates", lambda *a: rates(*a)[::-1], "exchanged"),
        ("rates", lambda *a: rates(*a)[0], "Return the pair"),
        ("rates", lambda f, L, V, u: (f / L, 2 * f * V * u), "two operations"),
        ("rates", lambda f, L, V, u: (2 * f * L, 2 * f * V * u), "divide by it"),
        ("rates", lambda f, L, V, u: (2 * f, 2 * f * V * u), "every `latency` cycles"),
        ("rates", lambda f, L, V, u: (2 * f / L, f * V * u), "two operations"),
        ("rates", lambda f, L, V, u: (2 * f / L, 2 * f * V * u / L), "do not wait"),
        ("rates", lambda f, L, V, u: (2 * f / L, 2 * f * V), "per unit"),
        ("amdahl", lambda p, s: 1 / amdahl(p, s), "inverse"),
        ("amdahl", lambda p, s: p * s + 1 - p, "Times add up"),
        ("amdahl", lambda p, s: s, "stays as slow"),
        ("private", {"z", "h", "c", "W_hh_T"}, "only read"),
        ("private", {"z", "h", "c", "y"}, "Nobody else"),
        ("private", {"h", "c"}, "whole of one scratch"),
        ("private", {"z", "h"}, "both `h` and `c`"),
        ("private", {"z", "W"}, "Choose from"),
        ("private", "z", "set of strings"),
        ("shares", lambda B, n: [(k * (B // n), (k + 1) * (B // n)) for k in range(n)], "drop the remainder"),
        ("shares", lambda B, n: [(0, B)] * n, "begins where"),
        ("shares", lambda B, n: [(0, B)] + [(B, B)] * (n - 1), "spread the remainder"),
        ("shares", lambda B, n: shares(B, min(B, n)), "empty share"),
        ("shares", lambda B, n: B // n, "list of pairs"),
        ("loads", lambda R, V: R * V / (R + V), "Upside down"),
        ("loads", lambda R, V: 1 / R, "hidden state"),
        ("loads", lambda R, V: 1 / V, "vectors of weights"),
        ("loads", lambda R, V: R + V, "per step of the sum"),
        ("loads", lambda R, V: (R + V) / (R * V) + 2, "stay in registers"),
        ("largest_rows", lambda N, V: (N - V - 1) / V, "divide with //"),
        ("largest_rows", lambda N, V: N // V, "multiplier"),
        ("largest_rows", lambda N, V: (N - 1) // V, "weights need"),
        ("largest_rows", lambda N, V: math.ceil((N - V - 1) / V), "fits in part"),
    ],
)
def test_wrong_answers_get_their_hint(check, wrong, hint):
    assert_rejects(getattr(ch_5_2, f"check_{check}"), wrong, hint_contains=hint)


def test_the_rungs_agree():
    problem = ladder.problem(4, 3, 5)
    expected = ladder.python_loops(*problem)
    for name, rung in ladder.RUNGS.items():
        assert np.abs(rung(*problem) - expected).max() < 1e-6, name
