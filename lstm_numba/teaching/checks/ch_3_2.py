"""Checks of chapter 3.2, attention and a small Transformer from scratch."""

import numpy as np

from lstm_numba.reference.attention import attention_forward
from lstm_numba.reference.positions import rotary
from lstm_numba.teaching import Check, Mistake, exercise


def _softmax(scores, axis=-1):
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@exercise("3.2")
def check_attention(check: Check, attention) -> None:
    """A function from one head's queries, keys and values to outputs."""
    rng = np.random.default_rng(32)
    for T, S, D in ((3, 4, 5), (6, 2, 3)):
        q, k, v = rng.normal(size=(T, D)), rng.normal(size=(S, D)), rng.normal(size=(S, D))
        size = f"T={T}, S={S}, D={D}"
        o = check.call(f"runs for {size}", attention, q, k, v)
        check.shape(f"shape for {size}", o, (T, D), letters="(T, D)")
        scores = q @ k.T
        expected = attention_forward(q[:, None, None], k[:, None, None], v[:, None, None], D**-0.5)[0][:, 0, 0]
        check.close(
            f"outputs for {size}",
            o,
            expected,
            mistakes=[
                Mistake(_softmax(scores) @ v, "The scores are not divided by the square root of D."),
                Mistake(_softmax(scores / D) @ v, "Divide by the square root of D, not by D."),
                Mistake(
                    _softmax(scores / np.sqrt(D), axis=0) @ v,
                    "The weights of a query must sum to one over the keys, the last axis of the scores.",
                ),
                Mistake((scores / np.sqrt(D)) @ v, "The scores are not weights yet: the softmax is missing."),
                Mistake(np.exp(scores / np.sqrt(D)) @ v, "Divide the exponentials by their sum over the keys."),
            ],
            hint="scores = q k^T / sqrt(D); softmax over the keys; times v.",
        )


@exercise("3.2")
def check_causal_mask(check: Check, causal_mask) -> None:
    """A function from a length to a mask, True where attention is not allowed."""
    for T in (1, 3, 5):
        mask = check.call(f"runs for T={T}", causal_mask, T)
        check.shape(f"shape for T={T}", mask, (T, T), letters="(T, T)")
        expected = np.arange(T) > np.arange(T)[:, None]
        check.equal(
            f"mask for T={T}",
            np.asarray(mask).astype(int),
            expected.astype(int),
            mistakes=[
                Mistake((~expected).astype(int), "True marks what is *not* allowed; this mask is upside down."),
                Mistake(
                    expected.T.astype(int),
                    "Rows are queries and columns are keys: this one hides the past and shows the future.",
                ),
                Mistake(
                    (expected | np.eye(T, dtype=bool)).astype(int),
                    "A step may see itself; at the first step there is nothing else to see.",
                ),
            ],
            hint="Entry (t, s) is True exactly if s > t.",
        )


@exercise("3.2")
def check_merge(check: Check, merge) -> None:
    """A function that joins the results of two blocks of keys into the result over both."""
    rng = np.random.default_rng(33)
    for size in (1, 4):
        scores = [3 * rng.normal(size=size + 1), 3 * rng.normal(size=size)]
        values = [rng.normal(size=(size + 1, 3)), rng.normal(size=(size, 3))]
        parts = []
        for s, v in zip(scores, values, strict=True):
            e = np.exp(s - s.max())
            parts.append((s.max(), e.sum(), e @ v))
        (m_1, l_1, a_1), (m_2, l_2, a_2) = parts
        merged = check.call(f"runs for blocks of {size + 1} and {size}", merge, *parts)
        check.true(
            "three results",
            isinstance(merged, tuple) and len(merged) == 3,
            hint="Return the three numbers of the joined block: m, l, a.",
        )
        m = max(m_1, m_2)
        e_1, e_2 = np.exp(m_1 - m), np.exp(m_2 - m)
        check.close("largest score", merged[0], m, hint="The largest score of both blocks is the larger of the two.")
        check.close(
            "sum of exponentials",
            merged[1],
            l_1 * e_1 + l_2 * e_2,
            mistakes=[
                Mistake(
                    l_1 + l_2,
                    "The sums are relative to different largest scores: multiply each by exp(its m - the new m).",
                ),
                Mistake(l_1 / e_1 + l_2 / e_2, "The correction is upside down: exp(old m - new m) is at most one."),
            ],
            hint="Each old sum is multiplied by exp(its m - the new m).",
        )
        check.close(
            "weighted sum of values",
            merged[2],
            a_1 * e_1 + a_2 * e_2,
            mistakes=[
                Mistake(a_1 + a_2, "The weighted sums need the same correction as the sums of exponentials."),
                Mistake(
                    (a_1 * e_1 + a_2 * e_2) / (l_1 * e_1 + l_2 * e_2),
                    "Do not divide yet: a third block may follow. The division comes once, at the very end.",
                ),
            ],
            hint="Treat a as you treat l.",
        )


@exercise("3.2")
def check_softmax_backward(check: Check, softmax_backward) -> None:
    """A function from weights and their gradients to the gradients of the scores."""
    rng = np.random.default_rng(34)
    for T, S in ((2, 3), (4, 6)):
        p, dp = _softmax(rng.normal(size=(T, S))), rng.normal(size=(T, S))
        ds = check.call(f"runs for T={T}, S={S}", softmax_backward, p, dp)
        check.shape(f"shape for T={T}, S={S}", ds, (T, S), letters="(T, S)")
        check.close(
            f"gradients for T={T}, S={S}",
            ds,
            p * (dp - (p * dp).sum(axis=1, keepdims=True)),
            mistakes=[
                Mistake(p * dp, "Raising one score lowers the weights of all other keys: a term is missing."),
                Mistake(
                    p * (1 - p) * dp, "That is the derivative of the sigmoid. In a softmax all scores are connected."
                ),
                Mistake(
                    p * (dp - (p * dp).sum(axis=0, keepdims=True)),
                    "The sum runs over the keys of one query, the last axis.",
                ),
                Mistake(p * (dp - dp.mean(axis=1, keepdims=True)), "The mean that is subtracted is weighted by p."),
            ],
            hint="ds = p (dp - sum over the keys of p dp).",
        )


@exercise("3.2")
def check_rotate(check: Check, rotate) -> None:
    """A function that turns the pairs of a vector by angles that grow with its position."""
    rng = np.random.default_rng(35)
    for D, position in ((2, 3), (6, 5)):
        x = rng.normal(size=D)
        angle = position / 10000 ** (np.arange(0, D, 2) / D)
        even, odd = x[0::2], x[1::2]
        expected = rotary(x[None], first=position)[0]
        back = np.stack([even * np.cos(angle) + odd * np.sin(angle), odd * np.cos(angle) - even * np.sin(angle)], 1)
        halves = np.concatenate(
            [even * np.cos(angle) - odd * np.sin(angle), even * np.sin(angle) + odd * np.cos(angle)]
        )
        turned = check.call(f"runs for D={D}", rotate, x, position)
        check.shape(f"shape for D={D}", turned, (D,), letters="(D,)")
        mistakes = [Mistake(back.reshape(-1), "The vector turns the other way round: check the signs of the sines.")]
        if D > 2:
            mistakes.append(
                Mistake(
                    halves, "The pairs are neighbours, entries 2k and 2k + 1: put the results back where they were."
                )
            )
        check.close(
            f"numbers for D={D}",
            turned,
            expected,
            mistakes=mistakes,
            hint="Pair k turns by position / 10000^(2k / D): (a cos - b sin, a sin + b cos).",
        )


@exercise("3.2")
def check_cache_bytes(check: Check, cache_bytes) -> None:
    """A function from the sizes of a model to the bytes of its key-value cache."""
    for layers, B, T, E, itemsize in ((1, 1, 10, 8, 4), (3, 2, 7, 12, 8)):
        size = f"{layers} layers, B={B}, T={T}, E={E}, {itemsize} bytes a number"
        expected = 2 * layers * B * T * E * itemsize
        check.equal(
            size,
            check.call(f"runs for {size}", cache_bytes, layers, B, T, E, itemsize),
            expected,
            mistakes=[
                Mistake(expected // 2, "A step leaves a key *and* a value behind."),
                Mistake(expected // itemsize, "That is the number of numbers; each has itemsize bytes."),
                *([Mistake(expected // layers, "Every layer has a cache of its own.")] if layers > 1 else []),
                Mistake(expected * T, "The weights between steps are not kept, only keys and values."),
                Mistake(expected * 3 // 2, "Queries are used once and forgotten."),
            ],
            hint="Two vectors of E numbers for each layer, sequence and step.",
        )


@exercise("3.2")
def check_crossing(check: Check, crossing) -> None:
    """One number: the length at which attention's scores cost as much as a block's matrix products."""
    E = 128
    check.close(
        "length of the crossing",
        crossing,
        6 * E,
        rtol=1e-9,
        mistakes=[
            Mistake(
                2 * E, "Those are the four projections of the attention alone: the network's two products count too."
            ),
            Mistake(12 * E, "Both the scores and the weighted mean of the values cost T * T * E multiply-adds."),
            Mistake(4 * E, "The four projections cost E * E multiply-adds a step each: add them to the network's."),
        ],
        hint="2 T^2 E = 4 T E^2 + 2 T E (4 E), in multiply-adds.",
    )
