"""The checks of chapter 0.1 accept right answers and answer planted mistakes with the intended hint."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks.ch_0_1 import (
    check_bits,
    check_bits_per_character,
    check_count,
    check_gates,
    check_shapes,
    check_windows,
)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def bits_per_character(p, target):
    return -np.mean([np.log2(row[k]) for row, k in zip(p, target, strict=True)])


def windows(ids, start, T, shift=1):
    rows = np.arange(T)[:, None] + start
    return ids[rows], ids[rows + shift]


def shapes(T, B, I, H, L, **other):
    right = {
        "y": (T, B, H),
        "h_n": (L, B, H),
        "weight_ih_l0": (4 * H, I),
        "weight_hh_l0": (4 * H, H),
        "weight_ih_l1": (4 * H, H),
    }
    return right | other


def gates(z, order=(0, 1, 2, 3), squash=(sigmoid, sigmoid, np.tanh, sigmoid)):
    blocks = np.split(z, 4, axis=1)
    return tuple(f(blocks[k]) for f, k in zip(squash, order, strict=True))


RIGHT = [
    (check_bits, lambda p: np.log2(1 / p)),
    (check_bits_per_character, bits_per_character),
    (check_windows, windows),
    (check_shapes, shapes),
    (check_shapes, lambda *sizes: {key: list(shape) for key, shape in shapes(*sizes).items()}),  # lists are fine too
    (check_gates, gates),
    (check_count, lambda V, H: 4 * H * V + 4 * H * H + 8 * H + V * H + V),
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
    (check_bits, lambda p: -np.log(p), "nats"),
    (check_bits, np.log2, "sign is wrong"),
    (check_bits, lambda p: 1 / p, "equally likely"),
    (check_bits, lambda p: 1 - p, "minus the logarithm"),
    (check_bits_per_character, lambda p, k: np.log(2) * bits_per_character(p, k), "nats"),
    (check_bits_per_character, lambda p, k: bits_per_character(p, k) * len(k), "mean"),
    (check_bits_per_character, lambda p, k: -bits_per_character(p, k), "sign is wrong"),
    (check_bits_per_character, lambda p, k: -np.log2(p[np.arange(len(k)), k].mean()), "logarithm of the mean"),
    (check_bits_per_character, lambda p, k: -np.log2(p).mean(), "every entry"),
    (check_bits_per_character, lambda p, k: -np.log2(p.max(axis=1)).mean(), "target is not used"),
    (check_bits_per_character, lambda p, k: -(p * np.log2(p)).sum(axis=1).mean(), "entropy"),
    (check_bits_per_character, lambda p, k: -np.log2(p[np.arange(len(k)), k]), "average over all letters"),
    (check_windows, lambda ids, start, T: windows(ids, start, T, shift=0), "could copy"),
    (
        check_windows,
        lambda ids, start, T: (windows(ids, start, T)[0], np.roll(windows(ids, start, T)[0], -1, 0)),
        "roll",
    ),
    (check_windows, lambda ids, start, T: windows(ids, start, T, shift=-1), "next"),
    (check_windows, lambda ids, start, T: tuple(a.T for a in windows(ids, start, T)), "wrong order"),
    (check_windows, lambda ids, start, T: windows(ids, start, T)[0], "pair"),
    (check_windows, lambda ids, start, T: windows(ids, start, T, shift=2), "ids[n + 1]"),
    (check_shapes, lambda T, B, I, H, L: shapes(T, B, I, H, L, y=(B, T, H)), "batch_first"),
    (check_shapes, lambda T, B, I, H, L: shapes(T, B, I, H, L, y=(T, B, 4 * H)), "inside the cell"),
    (check_shapes, lambda T, B, I, H, L: shapes(T, B, I, H, L, y=(L, T, B, H)), "top layer"),
    (check_shapes, lambda T, B, I, H, L: shapes(T, B, I, H, L, h_n=(B, H)), "every layer"),
    (check_shapes, lambda T, B, I, H, L: shapes(T, B, I, H, L, h_n=(T, B, H)), "last step only"),
    (check_shapes, lambda T, B, I, H, L: shapes(T, B, I, H, L, weight_ih_l0=(I, 4 * H)), "exchanged"),
    (check_shapes, lambda T, B, I, H, L: shapes(T, B, I, H, L, weight_hh_l0=(H, H)), "four blocks"),
    (check_shapes, lambda T, B, I, H, L: shapes(T, B, I, H, L, weight_ih_l1=(4 * H, I)), "does not see x"),
    (check_shapes, lambda T, B, I, H, L: {"y": (T, B, H)}, "keys"),
    (check_gates, lambda z: gates(z, order=(0, 1, 3, 2)), "order is i, f, g, o"),
    (check_gates, lambda z: gates(z, order=(1, 0, 2, 3)), "order is i, f, g, o"),
    (check_gates, lambda z: gates(z, squash=(sigmoid,) * 4), "not a sigmoid"),
    (check_gates, lambda z: gates(z, squash=(np.tanh,) * 4), "not a tanh"),
    (check_gates, lambda z: tuple(np.split(z, 4, axis=1)), "squashing function is missing"),
    (check_gates, lambda z: gates(z.reshape(len(z), -1, 4).swapaxes(1, 2).reshape(z.shape)), "interleaved"),
    (check_gates, lambda z: gates(np.tile(z, (2, 1)))[:3], "each of shape"),
    (check_gates, lambda z: tuple(sigmoid(a) for a in np.split(np.tile(z, (2, 1)), 4)), "axis 1"),
    (check_count, lambda V, H: 4 * H * (V + H + 2), "dense layer is missing"),
    (check_count, lambda V, H: 4 * H * (V + H + 2) + V * H, "has a bias"),
    (check_count, lambda V, H: 4 * H * (V + H + 1) + V * (H + 1), "two bias vectors"),
    (check_count, lambda V, H: H * (V + H + 2) + V * (H + 1), "four blocks"),
    (check_count, lambda V, H: 4 * H * (V + H + 2) + H * (V + 1), "from H to V"),
]


@pytest.mark.parametrize(("check", "wrong", "hint"), WRONG)
def test_wrong_answers_get_the_intended_hint(check, wrong, hint):
    assert_rejects(check, wrong, hint_contains=hint)
