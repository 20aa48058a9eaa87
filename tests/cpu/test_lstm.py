"""The compiled kernels against the reference, and against themselves with other numbers of threads."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lstm_numba as ln
from lstm_numba.cpu import lstm as scan
from lstm_numba.cpu import lstm_tiled as tiled
from lstm_numba.cpu.threads import SERIAL_FLOPS, threads_for
from lstm_numba.gradcheck import relative_error
from lstm_numba.reference import lstm as reference
from tests.conftest import TOLERANCE


@pytest.mark.parametrize("cpu", [scan, tiled], ids=["scan", "tiled"])
@given(
    T=st.integers(1, 9),
    B=st.integers(0, 15),
    I=st.one_of(st.integers(1, 6), st.integers(60, 70)),
    H=st.one_of(st.integers(1, 9), st.integers(14, 35)),
    bias=st.booleans(),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_reference(cpu, T, B, I, H, bias, dtype, seed):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=shape).astype(dtype)

    x, h0, c0, W_ih, W_hh = draw(T, B, I), draw(B, H), draw(B, H), draw(4 * H, I), draw(4 * H, H)
    biases = (draw(4 * H), draw(4 * H)) if bias else (None, None)
    upstream = draw(T, B, H), draw(B, H), draw(B, H)
    results = {}
    for backend in (reference, cpu):
        y, h_n, c_n, cache = backend.lstm_forward(x, h0, c0, W_ih, W_hh, *biases, True)
        results[backend] = [y, h_n, c_n, *cache, *backend.lstm_backward(*upstream, cache, W_ih, W_hh)]
    for ours, expected in zip(results[cpu], results[reference], strict=True):
        assert ours.dtype == expected.dtype == np.dtype(dtype)
        assert relative_error(ours, expected) < TOLERANCE[dtype]


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core: there is no second thread to compare")
def test_results_do_not_depend_on_the_number_of_threads(rng, dtype):
    """Bit for bit. A weight gradient summed inside the parallel loop would fail here."""
    layer = ln.LSTM(5, 16, dtype=dtype, seed=0)
    x, dy = rng.normal(size=(100, 33, 5)).astype(dtype), rng.normal(size=(100, 33, 16)).astype(dtype)
    before = ln.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            ln.set_num_threads(threads)
            layer.zero_grad()
            y, (h_n, c_n) = layer(x)
            dx, (dh0, dc0) = layer.backward(dy)
            results.append([y, h_n, c_n, dx, dh0, dc0, *(grad.copy() for grad in layer.grads.values())])
    finally:
        ln.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (10**6, ValueError), (1.0, TypeError), (True, TypeError)])
def test_set_num_threads_rejects(n, error):
    with pytest.raises(error, match=r"^n: expected"):
        ln.set_num_threads(n)


def test_small_work_stays_on_one_thread_and_the_setting_comes_back():
    before = ln.get_num_threads()
    with threads_for(SERIAL_FLOPS - 1) as threads:
        assert threads == ln.get_num_threads() == 1
    assert ln.get_num_threads() == before
    with threads_for(SERIAL_FLOPS) as threads:
        assert threads == ln.get_num_threads() == before
