"""The register tile and the matrix products, on this processor and on others that it can pretend to be."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba.cpu import simd
from lstm_numba.cpu.launch import SPLIT_TILES, TILES
from lstm_numba.cpu.simd import call_tile, pointer
from lstm_numba.gradcheck import relative_error
from lstm_numba.jit import kernel
from tests.conftest import TOLERANCE

X86 = platform.machine().lower() in ("x86_64", "amd64")

# Enough of the LSTM to pass through every kernel, checked against the reference in a process of its own.
PROGRAM = """
import numpy as np
import lstm_numba as ln
from lstm_numba.cpu.simd import VECTOR_UNIT
rng = np.random.default_rng(0)
limits = {"float32": 1e-5, "float64": 1e-10}
for make, dtype in ((ln.LSTM, "float32"), (ln.LSTM, "float64"), (ln.GRU, "float32"), (ln.RNN, "float32")):
    for H, lengths in ((21, None), (70, [5, 1, 4, 3, 2, 5, 5, 1, 3])):
        results = []
        for backend in ("cpu", "reference"):
            layer = make(19, H, bidirectional=True, dtype=dtype, backend=backend, seed=0)
            x = np.random.default_rng(1).normal(size=(5, 9, 19)).astype(dtype)
            y, final = layer(x, lengths=lengths)
            dx, initial = layer.backward(y)
            flat = lambda state: list(state) if isinstance(state, tuple) else [state]
            results.append([y, *flat(final), dx, *flat(initial), *layer.grads.values()])
        for ours, expected in zip(*results):
            assert ln.gradcheck.relative_error(ours, expected) < limits[dtype]
print(VECTOR_UNIT.name)
"""


@kernel()
def run_tile(address, rows, C, S, s_row, A, a_step, B, K, segments):
    """Call a tile with arrays; A has one row per row of C, or is its transpose."""
    a_row = 1 if a_step > 1 else A.shape[1]
    call_tile(
        address,
        rows,
        pointer(C),
        C.shape[1],
        pointer(S),
        s_row,
        pointer(A),
        a_row,
        a_step,
        pointer(B),
        K,
        segments,
        K * a_step,
    )


@given(
    rows=st.integers(1, simd.MAX_ROWS),
    vectors=st.integers(1, 4),
    K=st.integers(0, 40),
    segments=st.integers(0, 3),
    transposed=st.booleans(),
    shared_start=st.booleans(),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_tile_is_a_matrix_product(rows, vectors, K, segments, transposed, shared_start, dtype, seed):
    rng = np.random.default_rng(seed)
    width = vectors * simd.lanes(np.dtype(dtype).itemsize)
    depth = K * segments
    A, B = rng.normal(size=(rows, depth + 1)).astype(dtype), rng.normal(size=(depth + 1, width)).astype(dtype)
    start = rng.normal(size=(1 if shared_start else rows, width)).astype(dtype)
    C = np.full((rows + 1, width), 7, dtype)
    given_A = np.ascontiguousarray(A.T) if transposed else A
    a_step = rows if transposed else 1
    if transposed and rows == 1:
        given_A, a_step = A, 1
    run_tile(
        TILES[vectors].address(dtype), rows, C, start, 0 if shared_start else width, given_A, a_step, B, K, segments
    )
    assert relative_error(C[:rows], start + A[:, :depth] @ B[:depth]) < TOLERANCE[dtype]
    np.testing.assert_array_equal(C[rows], 7)


@given(
    rows=st.integers(1, simd.MAX_ROWS),
    vectors=st.sampled_from([1, 2]),
    K=st.integers(0, 20),
    segments=st.integers(0, 3),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_split_tile_is_one_too(rows, vectors, K, segments, dtype, seed):
    rng = np.random.default_rng(seed)
    width, depth = vectors * simd.lanes(np.dtype(dtype).itemsize), 4 * K * segments
    A, B = rng.normal(size=(rows, depth + 1)).astype(dtype), rng.normal(size=(depth + 1, width)).astype(dtype)
    start = rng.normal(size=(rows, width)).astype(dtype)
    C, alone = np.full((rows + 1, width), 7, dtype), np.empty((1, width), dtype)
    tile = SPLIT_TILES[vectors].address(dtype)
    run_tile(tile, rows, C, start, width, A, 1, B, 4 * K, segments)
    assert relative_error(C[:rows], start + A[:, :depth] @ B[:depth]) < TOLERANCE[dtype]
    np.testing.assert_array_equal(C[rows], 7)
    for r in range(rows):  # the number of rows does not change a bit
        run_tile(tile, 1, alone, start[r : r + 1], width, A[r : r + 1], 1, B, 4 * K, segments)
        np.testing.assert_array_equal(alone[0], C[r])


@pytest.mark.parametrize(
    ("features", "machine", "unit"),
    [
        ("+avx2,+fma,+avx512f,+avx512dq,+avx512vl", "x86_64-unknown-linux-gnu", simd.AVX512),
        ("+avx2,+fma,-avx512f", "x86_64-unknown-linux-gnu", simd.AVX2),
        ("+avx2,-fma", "x86_64-unknown-linux-gnu", simd.PORTABLE),
        ("+neon", "aarch64-unknown-linux-gnu", simd.NEON),
        ("", "arm64-apple-darwin", simd.NEON),
        ("", "riscv64-unknown-linux-gnu", simd.PORTABLE),
    ],
)
def test_the_unit_follows_the_features(features, machine, unit):
    assert simd.choose_vector_unit(features, machine) == unit


@pytest.mark.parametrize(
    ("features", "unit"),
    [
        pytest.param("+avx2,+fma", "AVX2", marks=pytest.mark.skipif(not X86, reason="AVX2 exists on x86 only")),
        ("", "128-bit vectors" if X86 else "NEON"),
    ],
)
def test_a_forced_processor_computes_the_same(features, unit, tmp_path):
    """The narrower tiles run everywhere, so they are tested everywhere."""
    settings = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == unit
