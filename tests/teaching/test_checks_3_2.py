"""The checks of chapter 3.2 accept the right answer and name the mistake of a wrong one."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_3_2 as checks


def softmax(scores, axis=-1):
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def attention(q, k, v):
    return softmax(q @ k.T / np.sqrt(q.shape[1])) @ v


def causal_mask(T):
    return np.triu(np.ones((T, T), bool), 1)


def merge(first, second):
    m = max(first[0], second[0])
    l, a = (first[n] * np.exp(first[0] - m) + second[n] * np.exp(second[0] - m) for n in (1, 2))
    return m, l, a


def softmax_backward(p, dp):
    return p * (dp - (p * dp).sum(axis=1, keepdims=True))


def rotate(x, position):
    angle = position / 10000 ** (np.arange(0, len(x), 2) / len(x))
    out = np.empty_like(x)
    out[0::2] = x[0::2] * np.cos(angle) - x[1::2] * np.sin(angle)
    out[1::2] = x[0::2] * np.sin(angle) + x[1::2] * np.cos(angle)
    return out


def cache_bytes(layers, B, T, E, itemsize):
    return 2 * layers * B * T * E * itemsize


def test_right_answers_pass():
    checks.check_attention(attention).expect_pass()
    checks.check_causal_mask(causal_mask).expect_pass()
    checks.check_merge(merge).expect_pass()
    checks.check_softmax_backward(softmax_backward).expect_pass()
    checks.check_rotate(rotate).expect_pass()
    checks.check_cache_bytes(cache_bytes).expect_pass()
    checks.check_crossing(768).expect_pass()


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (checks.check_attention, lambda q, k, v: softmax(q @ k.T) @ v, "not divided by the square root"),
        (checks.check_attention, lambda q, k, v: softmax(q @ k.T / q.shape[1]) @ v, "not by D"),
        (checks.check_attention, lambda q, k, v: softmax(q @ k.T / q.shape[1] ** 0.5, 0) @ v, "sum to one over"),
        (checks.check_attention, lambda q, k, v: q @ k.T / q.shape[1] ** 0.5 @ v, "softmax is missing"),
        (checks.check_attention, lambda q, k, v: np.exp(q @ k.T / q.shape[1] ** 0.5) @ v, "Divide the exponentials"),
        (checks.check_attention, lambda q, k, v: v, "shape"),
        (checks.check_causal_mask, lambda T: ~causal_mask(T), "upside down"),
        (checks.check_causal_mask, lambda T: causal_mask(T).T, "hides the past"),
        (checks.check_causal_mask, lambda T: causal_mask(T) | np.eye(T, dtype=bool), "may see itself"),
        (checks.check_merge, lambda x, y: (max(x[0], y[0]), x[1] + y[1], x[2] + y[2]), "different largest scores"),
        (checks.check_merge, lambda x, y: (*merge(x, y)[:2], x[2] + y[2]), "same correction"),
        (checks.check_merge, lambda x, y: (*merge(x, y)[:2], merge(x, y)[2] / merge(x, y)[1]), "Do not divide yet"),
        (checks.check_merge, lambda x, y: merge(x, y)[:2], "Return the three"),
        (checks.check_merge, lambda x, y: (x[0] + y[0], 0, 0), "larger of the two"),
        (checks.check_softmax_backward, lambda p, dp: p * dp, "a term is missing"),
        (checks.check_softmax_backward, lambda p, dp: p * (1 - p) * dp, "derivative of the sigmoid"),
        (checks.check_softmax_backward, lambda p, dp: p * (dp - (p * dp).sum(axis=0)), "last axis"),
        (checks.check_softmax_backward, lambda p, dp: p * (dp - dp.mean(1, keepdims=True)), "weighted by p"),
        (checks.check_rotate, lambda x, position: rotate(x, -position), "the other way round"),
        (
            checks.check_rotate,
            lambda x, position: np.concatenate([rotate(x, position)[0::2], rotate(x, position)[1::2]]),
            "neighbours",
        ),
        (checks.check_rotate, lambda x, position: x, "Pair k turns"),
        (checks.check_cache_bytes, lambda *s: cache_bytes(*s) // 2, "a key *and* a value"),
        (checks.check_cache_bytes, lambda *s: cache_bytes(*s) // s[4], "number of numbers"),
        (checks.check_cache_bytes, lambda *s: cache_bytes(*s) // s[0], "a cache of its own"),
        (checks.check_cache_bytes, lambda *s: cache_bytes(*s) * s[2], "only keys and values"),
        (checks.check_cache_bytes, lambda *s: cache_bytes(*s) * 3 // 2, "used once"),
        (checks.check_crossing, 256, "projections of the attention alone"),
        (checks.check_crossing, 1536, "weighted mean of the values"),
        (checks.check_crossing, 512, "add them to"),
    ],
)
def test_wrong_answers_get_their_hint(check, wrong, hint):
    assert_rejects(check, wrong, hint_contains=hint)
