"""The blockwise kernels equal the specification, for every shape, mask, dtype and number of threads."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstm_numba as ln
from lstm_numba.cpu import attention as cpu
from lstm_numba.gradcheck import relative_error
from lstm_numba.reference import attention as reference
from tests.conftest import TOLERANCE


def draw(rng, T, S, B, N, D, dtype):
    """q, k and v are views into one array where they can be, as in the layer."""
    if T == S:
        z = rng.normal(size=(T, B, 3, N, D)).astype(dtype)
        arrays = [z[:, :, n] for n in range(3)]
    else:
        arrays = [rng.normal(size=(size, B, N, D)).astype(dtype) for size in (T, S, S)]
    return arrays, rng.normal(size=(T, B, N, D)).astype(dtype)


def compare(arrays, do, dtype, **masks):
    scale = arrays[0].shape[3] ** -0.5
    o, lse = cpu.attention_forward(*arrays, scale, **masks)
    gradients = cpu.attention_backward(do, *arrays, o, lse, scale, **masks)
    exact = [array.astype(np.float64) for array in arrays]
    o_r, lse_r = reference.attention_forward(*exact, scale, **masks)
    expected = reference.attention_backward(do.astype(np.float64), *exact, o_r, lse_r, scale, **masks)
    assert relative_error(o, o_r) < TOLERANCE[dtype]
    seen = np.isfinite(lse_r)
    np.testing.assert_array_equal(np.isneginf(lse), ~seen)
    np.testing.assert_allclose(lse[seen], lse_r[seen], atol=TOLERANCE[dtype] * 10)
    for ours, theirs in zip(gradients, expected, strict=True):
        # With one visible key the scores' gradients are zero but for rounding: judge them beside the inputs.
        assert np.abs(ours - theirs).max() < TOLERANCE[dtype] * max(1, np.abs(theirs).max())


sizes = st.tuples(st.integers(1, 150), st.integers(1, 150), st.integers(1, 2), st.integers(1, 3), st.integers(1, 40))


switches = st.fixed_dictionaries(
    {name: st.booleans() for name in ("square", "causal", "blocked", "padding", "added", "dropout")}
)


@settings(max_examples=50)
@given(sizes, st.sampled_from(sorted(TOLERANCE)), switches)
def test_equals_the_reference(size, dtype, on):
    T, S, B, N, D = size
    S = T if on["square"] else S
    rng = np.random.default_rng(list(size))
    arrays, do = draw(rng, T, S, B, N, D, dtype)
    blocked = rng.random((rng.choice([1, B]), rng.choice([1, N]), rng.choice([1, T]), S)) < 0.3
    padding = rng.random((B, S)) < 0.3
    added = rng.normal(size=(rng.choice([1, B]), rng.choice([1, N]), rng.choice([1, T]), S)).astype(dtype)
    added[rng.random(added.shape) < 0.1] = -np.inf
    compare(
        arrays,
        do,
        dtype,
        causal=on["causal"],
        blocked=blocked if on["blocked"] else None,
        padding=padding if on["padding"] else None,
        added=added if on["added"] else None,
        dropout=0.3 if on["dropout"] else 0.0,
        seed=int(rng.integers(2**63)),
    )


@pytest.mark.parametrize("D", [64, 70, 130])
def test_wide_heads(rng, dtype, D):
    """More features than one panel holds."""
    compare(*draw(rng, 60, 60, 1, 1, D, dtype), dtype, causal=True)


def test_dropout_of_zero_changes_no_bit(rng):
    arrays, _ = draw(rng, 30, 30, 2, 2, 8, "float32")
    o, _ = cpu.attention_forward(*arrays, 0.4)
    same, _ = cpu.attention_forward(*arrays, 0.4, dropout=0.0, seed=5)
    other, _ = cpu.attention_forward(*arrays, 0.4, dropout=0.5, seed=5)
    np.testing.assert_array_equal(o, same)
    assert np.abs(o - other).max() > 0.01


def test_writes_into_strided_arrays(rng):
    """As a layer does whose sequences come with the batch first."""
    arrays, _ = draw(rng, 9, 9, 2, 3, 5, "float64")
    out = np.zeros((2, 9, 3, 5)).swapaxes(0, 1)
    o, _ = cpu.attention_forward(*arrays, 0.4, out=out)
    assert o is out
    np.testing.assert_array_equal(out, cpu.attention_forward(*arrays, 0.4)[0])


def test_large_scores_do_not_overflow(rng, dtype):
    arrays, do = draw(rng, 50, 50, 1, 1, 8, dtype)
    arrays[0] *= 300
    scale = 1.0
    o, lse = cpu.attention_forward(*arrays, scale)
    assert np.isfinite(o).all()
    assert np.isfinite(lse).all()
    assert all(np.isfinite(g).all() for g in cpu.attention_backward(do, *arrays, o, lse, scale))
    assert relative_error(o, reference.attention_forward(*(a.astype("f8") for a in arrays), scale)[0]) < 1e-3


def test_nan_reaches_the_output(rng):
    arrays, _ = draw(rng, 10, 10, 1, 2, 4, "float32")
    arrays[1][3, 0, 0, 1] = np.nan
    o, _ = cpu.attention_forward(*arrays, 0.5, causal=True)
    assert np.isnan(o[3:, 0, 0]).all()
    assert np.isfinite(o[:3]).all()
    assert np.isfinite(o[:, 0, 1]).all()


@pytest.mark.skipif(ln.get_num_threads() < 2, reason="needs two threads")
@pytest.mark.parametrize(("B", "N"), [(1, 1), (3, 1)])
def test_threads_do_not_change_a_bit(rng, B, N):
    arrays, do = draw(rng, 400, 400, B, N, 16, "float32")
    masks = {"causal": True, "dropout": 0.2, "seed": 2**40 + 3}

    def everything():
        o, lse = cpu.attention_forward(*arrays, 0.25, **masks)
        return [o, lse, *cpu.attention_backward(do, *arrays, o, lse, 0.25, **masks)]

    several = everything()
    before = ln.get_num_threads()
    ln.set_num_threads(1)
    try:
        alone = everything()
    finally:
        ln.set_num_threads(before)
    for a, b in zip(several, alone, strict=True):
        np.testing.assert_array_equal(a, b)


def test_step_equals_the_reference(rng, dtype, tolerance):
    B, N, S, D = 2, 3, 9, 5
    q = rng.normal(size=(B, N, D)).astype(dtype)
    keys, values = (rng.normal(size=(B, N, S, D)).astype(dtype) for _ in range(2))
    ours = cpu.attention_step(q, keys, values, 7, 0.4)
    assert relative_error(ours, reference.attention_step(q, keys, values, 7, 0.4)) < tolerance


def peak(run):
    run()
    tracemalloc.start()
    run()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_memory_grows_with_T_not_with_its_square(rng):
    """Four times the steps: four times the memory for the kernels, sixteen times for the matrix of weights."""

    def forward_and_backward(module, T):
        arrays, do = draw(np.random.default_rng(0), T, T, 1, 2, 8, "float32")

        def run():
            o, lse = module.attention_forward(*arrays, 0.4, causal=True)
            module.attention_backward(do, *arrays, o, lse, 0.4, causal=True)

        return peak(run)

    ours = [forward_and_backward(cpu, T) for T in (512, 2048)]
    theirs = [forward_and_backward(reference, T) for T in (128, 512)]
    assert ours[1] < 4.2 * ours[0]
    assert theirs[1] > 12 * theirs[0]
    assert ours[1] < 2048 * 2048  # bytes: less than a quarter of one matrix of weights
