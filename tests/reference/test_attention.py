"""The specification of attention against PyTorch and against definitions of the derivative."""

import numpy as np
import pytest
import torch

from lstm_numba.gradcheck import central_difference, complex_step, relative_error
from lstm_numba.reference import attention as reference

T, S, B, N, D = 4, 5, 2, 3, 2
SCALE = 0.7


@pytest.fixture
def arrays(rng):
    return {name: rng.normal(size=(size, B, N, D)) for name, size in (("q", T), ("k", S), ("v", S), ("do", T))}


@pytest.fixture(params=["none", "causal", "blocked and padding", "added", "dropout"])
def masks(request, rng):
    if request.param == "added":
        added = rng.normal(size=(B, 1, T, S))
        added[0, 0, 1, 2] = -np.inf
        return {"added": added, "causal": True}
    if request.param == "dropout":
        return {"dropout": 0.4, "seed": 11}
    if request.param == "blocked and padding":
        padding = np.zeros((B, S), bool)
        padding[1, 3:] = True
        return {"blocked": rng.random((B, N, T, S)) < 0.2, "padding": padding}
    return {"causal": request.param == "causal"}


@pytest.mark.parametrize("wrt", ["q", "k", "v"])
def test_gradients_equal_complex_step_and_central_differences(arrays, masks, wrt):
    do = arrays.pop("do")
    o, lse = reference.attention_forward(**arrays, scale=SCALE, **masks)
    gradients = reference.attention_backward(do, **arrays, o=o, lse=lse, scale=SCALE, **masks)
    analytic = gradients["qkv".index(wrt)]

    def loss(value):
        return (do * reference.attention_forward(**(arrays | {wrt: value}), scale=SCALE, **masks)[0]).sum()

    assert relative_error(analytic, complex_step(loss, arrays[wrt])) < 1e-12
    assert relative_error(analytic, central_difference(loss, arrays[wrt])) < 1e-8


def test_equals_torch_with_every_mask(arrays, masks):
    def swapped(name):
        return torch.tensor(arrays[name]).permute(1, 2, 0, 3).requires_grad_()

    q, k, v = swapped("q"), swapped("k"), swapped("v")
    mask = reference.forbidden(T, S, masks.get("blocked"), masks.get("padding"), masks.get("causal", False))
    added = np.broadcast_to(masks.get("added", np.zeros(1)), (B, N, T, S))
    scores = SCALE * (q @ k.mT) + torch.tensor(np.where(mask, -np.inf, added))
    # PyTorch draws its dropped weights from a generator; ours are given, so its definition is spelled out.
    factors = reference.dropout_factors(masks.get("dropout", 0.0), masks.get("seed", 0), B, N, T, S)
    expected = (scores.softmax(dim=-1) * torch.tensor(factors)) @ v
    if "dropout" not in masks:
        allowed = torch.tensor(np.where(mask, -np.inf, added))
        theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, allowed, scale=SCALE)
        torch.testing.assert_close(expected, theirs)
    expected.backward(swapped("do").detach())
    do = arrays.pop("do")
    o, lse = reference.attention_forward(**arrays, scale=SCALE, **masks)
    assert relative_error(o, expected.detach().permute(2, 0, 1, 3).numpy()) < 1e-12
    gradients = reference.attention_backward(do, **arrays, o=o, lse=lse, scale=SCALE, **masks)
    for ours, theirs in zip(gradients, (q, k, v), strict=True):
        assert relative_error(ours, theirs.grad.permute(2, 0, 1, 3).numpy()) < 1e-12


def test_a_query_without_keys_gets_zeros_and_passes_nothing_on(arrays):
    blocked = np.zeros((1, 1, T, S), bool)
    blocked[:, :, 2] = True
    do = arrays.pop("do")
    o, lse = reference.attention_forward(**arrays, scale=SCALE, blocked=blocked)
    dq, dk, _ = reference.attention_backward(do, **arrays, o=o, lse=lse, scale=SCALE, blocked=blocked)
    assert not o[2].any()
    assert not dq[2].any()
    assert o[1].all()
    assert np.isfinite(dk).all()
    assert np.isneginf(lse[:, :, 2]).all()


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_dropped_weights_are_random(dropout):
    """As many as asked for, in every row and column; neither neighbours nor other seeds know of each other."""
    shape = (4, 3, 60, 70)
    factors = reference.dropout_factors(dropout, 2**35 + 7, *shape)
    assert set(np.unique(factors)) == {0.0, 1 / (1 - dropout)}
    dropped = factors == 0
    count = dropped.size
    spread = np.sqrt(dropout * (1 - dropout))
    assert abs(dropped.mean() - dropout) < 4 * spread / np.sqrt(count)
    for axis in range(4):
        lines = dropped.mean(axis=tuple(other for other in range(4) if other != axis))
        assert np.abs(lines - dropout).max() < 4.5 * spread / np.sqrt(count / shape[axis])
        centred = dropped - dropout
        near, far = (np.take(centred, np.arange(n, shape[axis] - 1 + n), axis=axis) for n in (0, 1))
        assert abs((near * far).mean()) < 4.5 * spread**2 / np.sqrt(near.size)
    for seed in (2**35 + 8, 2**36 + 7, 7):
        other = reference.dropout_factors(dropout, seed, *shape) == 0
        assert abs(((dropped - dropout) * (other - dropout)).mean()) < 4.5 * spread**2 / np.sqrt(count)
    np.testing.assert_array_equal(reference.dropout_factors(0.0, 3, 1, 1, 2, 2), 1)


@pytest.mark.parametrize("wrt", ["query", "keys", "values", "w"])
def test_additive_gradients(rng, wrt):
    arrays = {
        "query": rng.normal(size=(B, 3)),
        "keys": rng.normal(size=(S, B, 3)),
        "values": rng.normal(size=(S, B, 4)),
        "w": rng.normal(size=3),
    }
    dcontext = rng.normal(size=(B, 4))
    _, weights = reference.additive_forward(**arrays)
    analytic = reference.additive_backward(dcontext, **arrays, weights=weights)[list(arrays).index(wrt)]
    numeric = complex_step(
        lambda value: (dcontext * reference.additive_forward(**(arrays | {wrt: value}))[0]).sum(), arrays[wrt]
    )
    assert relative_error(analytic, numeric) < 1e-12


def test_additive_padding_gets_no_weight(rng):
    padding = np.zeros((B, S), bool)
    padding[0, 2:] = True
    keys, values = rng.normal(size=(S, B, 3)), rng.normal(size=(S, B, 4))
    _, weights = reference.additive_forward(rng.normal(size=(B, 3)), keys, values, np.ones(3), padding)
    assert not weights[2:, 0].any()
    np.testing.assert_allclose(weights.sum(axis=0), 1)
