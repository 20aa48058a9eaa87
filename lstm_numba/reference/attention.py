"""Scaled dot-product attention in NumPy, with the whole matrix of weights, and its derivative by hand.

Heads are an axis: queries (T, B, N, D), keys and values (S, B, N, D) for T queries, S keys, N heads of D features.
A mask says what may *not* be attended to. A query that may attend to nothing gets zeros, and passes no gradient on.
Numbers may be added to the scores, and weights be dropped: multiplied by 0, or by 1 / (1 - dropout) if they stay.
"""

import numpy as np


def forbidden(T, S, blocked, padding, causal):
    """Join the three masks to one, broadcastable to (B, N, T, S): True where a query must not see a key."""
    mask = np.zeros((1, 1, T, S), bool)
    if blocked is not None:
        mask = mask | blocked  # (B or 1, N or 1, T or 1, S)
    if padding is not None:
        mask = mask | padding[:, None, None, :]  # (B, S)
    if causal:
        mask = mask | (np.arange(S) > np.arange(T)[:, None])
    return mask


def _mix(x):
    """Scatter 32 bits: a change of one bit changes every other one with a probability near one half."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def dropout_factors(dropout, seed, B, N, T, S):
    """What dropout multiplies the weights (B, N, T, S) by: 0, or 1 / (1 - dropout) for a weight that stays.

    Nothing is drawn in order. Every number is a hash of the seed and of its place, so that any part of the array can
    be computed again by itself: whoever needs the same factors later keeps the seed only.
    """
    golden = np.uint32(0x9E3779B9)
    low, high = np.uint32(seed & 0xFFFFFFFF), np.uint32((seed >> 32) & 0xFFFFFFFF)
    with np.errstate(over="ignore"):
        queries = np.arange(B * N * T, dtype=np.uint32).reshape(B, N, T, 1)
        inner = _mix(queries * golden + low)
        numbers = _mix(_mix(np.arange(S, dtype=np.uint32) * golden + inner) ^ _mix(inner ^ high))
    limit = max(1, min(2**32 - 1, round(dropout * 2**32))) if dropout else 0
    return np.where(numbers >= limit, 1 / (1 - dropout), 0.0)


def attention_weights(q, k, scale, blocked=None, padding=None, causal=False, added=None):
    """Return the softmax over the keys (B, N, T, S) and the logarithm of its denominator (B, N, T)."""
    T, S = len(q), len(k)
    scores = scale * np.einsum("tbnd,sbnd->bnts", q, k)
    seen = ~np.broadcast_to(forbidden(T, S, blocked, padding, causal), scores.shape)
    if added is not None:
        seen = seen & ~np.isneginf(added)
        scores = scores + np.where(np.isneginf(added), 0, added)
    largest = np.where(seen, scores.real, -np.inf).max(axis=-1)
    largest = np.where(np.isneginf(largest), 0, largest)  # a query that sees nothing
    # The largest score is subtracted so that exp cannot overflow; it cancels in the quotient.
    e = np.where(seen, np.exp(np.where(seen, scores - largest[..., None], 0)), 0)
    total = e.sum(axis=-1)
    nothing = ~seen.any(axis=-1)
    weights = e / np.where(nothing, 1, total)[..., None]
    return weights, np.where(nothing, -np.inf, largest + np.log(np.where(nothing, 1, total)))


def attention_forward(
    q,  # (T, B, N, D)
    k,  # (S, B, N, D)
    v,  # (S, B, N, D)
    scale,
    blocked=None,  # (B or 1, N or 1, T or 1, S) of bool
    padding=None,  # (B, S) of bool
    causal=False,
    added=None,  # (B or 1, N or 1, T or 1, S) of numbers, -inf included
    dropout=0.0,
    seed=0,  # of the dropped weights
    out=None,  # o to write into
    keep=True,  # a backward pass will follow
):
    """Return ``o (T, B, N, D)`` and the logarithms of the softmax's denominators, ``lse (B, N, T)``, or None."""
    weights, lse = attention_weights(q, k, scale, blocked, padding, causal, added)
    if dropout:
        weights = (weights * dropout_factors(dropout, seed, *weights.shape)).astype(weights.dtype)
    o = np.einsum("bnts,sbnd->tbnd", weights, v)
    if out is not None:
        out[...] = o
        o = out
    return o, lse if keep else None


def attention_backward(
    do,  # (T, B, N, D) gradient of the loss with respect to o
    q,
    k,
    v,
    o,  # what the forward pass returned
    lse,
    scale,
    blocked=None,
    padding=None,
    causal=False,
    added=None,
    dropout=0.0,
    seed=0,
    out=None,  # dq, dk, dv to write into
    need_added=False,  # return the gradient of what is added to the scores too, (B, N, T, S)
):
    """Return ``dq, dk, dv``. The specification computes the weights again from q and k, and needs no o and lse."""
    weights, _ = attention_weights(q, k, scale, blocked, padding, causal, added)
    factors = dropout_factors(dropout, seed, *weights.shape).astype(weights.real.dtype) if dropout else 1
    dv = np.einsum("bnts,tbnd->sbnd", weights * factors, do)
    dweights = np.einsum("tbnd,sbnd->bnts", do, v) * factors
    # Softmax: every score raises its own weight and lowers all others of the same query.
    dscores = weights * (dweights - (weights * dweights).sum(axis=-1, keepdims=True))
    dq = scale * np.einsum("bnts,sbnd->tbnd", dscores, k)
    dk = scale * np.einsum("bnts,tbnd->sbnd", dscores, q)
    gradients = dq, dk, dv
    if out is not None:
        for target, gradient in zip(out, gradients, strict=True):
            target[...] = gradient
        gradients = tuple(out)
    return (*gradients, dscores) if need_added else gradients


def attention_step(
    q,  # (B, N, D) one query per sequence
    keys,  # (B, N, S, D)
    values,  # (B, N, S, D)
    length,  # how many of the S slots are filled
    scale,
):
    """Attention of one new query over the filled slots of a cache. Returns ``o (B, N, D)``."""
    k, v = (np.moveaxis(cache[:, :, :length], 2, 0) for cache in (keys, values))
    return attention_forward(q[None], k, v, scale)[0][0]


def additive_forward(
    query,  # (B, A) projected state that asks
    keys,  # (S, B, A) projected memory
    values,  # (S, B, H) the memory itself
    w,  # (A,)
    padding=None,  # (B, S) of bool
):
    """Bahdanau's attention: scores ``w . tanh(query + key)``. Returns ``context (B, H)``, ``weights (S, B)``."""
    scores = np.tanh(query + keys) @ w
    if padding is not None:
        scores = np.where(padding.T, -np.inf, scores)
    e = np.exp(scores - scores.real.max(axis=0))
    weights = e / e.sum(axis=0)
    return np.einsum("sb,sbh->bh", weights, values), weights


def additive_backward(
    dcontext,  # (B, H)
    query,
    keys,
    values,
    w,
    weights,  # (S, B) from the forward pass
):
    """Return ``dquery, dkeys, dvalues, dw``."""
    a = np.tanh(query + keys)  # (S, B, A)
    dvalues = weights[..., None] * dcontext
    dweights = np.einsum("bh,sbh->sb", dcontext, values)
    dscores = weights * (dweights - (weights * dweights).sum(axis=0))
    dkeys = dscores[..., None] * w * (1 - a**2)
    return dkeys.sum(axis=0), dkeys, dvalues, np.einsum("sb,sba->a", dscores, a)
