"""The register tile and the matrix products, on this processor and on others that it can pretend to be."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba.cpu import gemm, simd
from lstm_numba.gradcheck import relative_error
from tests.conftest import TOLERANCE

X86 = platform.machine().lower() in ("x86_64", "amd64")

# Enough of the LSTM to pass through every kernel, checked against the reference in a process of its own.
PROGRAM = """
import numpy as np
import lstm_numba as ln
from lstm_numba.cpu.simd import VECTOR_UNIT
rng = np.random.default_rng(0)
for dtype, limit in (("float32", 1e-5), ("float64", 1e-10)):
    results = []
    for backend in ("cpu", "reference"):
        layer = ln.LSTM(19, 21, dtype=dtype, backend=backend, seed=0)
        x = np.random.default_rng(1).normal(size=(5, 9, 19)).astype(dtype)
        y, (h, c) = layer(x)
        dx, (dh, dc) = layer.backward(y)
        results.append([y, h, c, dx, dh, dc, *layer.grads.values()])
    for ours, expected in zip(*results):
        assert ln.gradcheck.relative_error(ours, expected) < limit
print(VECTOR_UNIT.name)
"""


@given(
    M=st.integers(1, 70),
    K=st.one_of(st.integers(1, 20), st.integers(250, 270)),
    N=st.one_of(st.integers(1, 20), st.integers(60, 140)),
    threads=st.integers(1, 3),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_products_equal_numpy(M, K, N, threads, dtype, seed):
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(M, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
    C, D = np.empty((M, N), dtype), np.empty((K, N), dtype)
    gemm.multiply(C, A, B, threads)
    assert relative_error(C, A @ B) < TOLERANCE[dtype]
    gemm.multiply_transposed(D, A, C, threads)
    assert relative_error(D, A.T @ C) < TOLERANCE[dtype]


@pytest.mark.parametrize("transpose", [False, True])
def test_packing_keeps_every_number_once(rng, dtype, transpose):
    B = rng.normal(size=(5, 3 * simd.panel_width(np.empty(0, dtype)) + 1)).astype(dtype)
    packed = gemm.pack(np.ascontiguousarray(B.T) if transpose else B, transpose)
    assert packed.size == 4 * 5 * simd.panel_width(packed)
    np.testing.assert_array_equal(np.sort(packed[packed != 0]), np.sort(B.ravel()))


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
