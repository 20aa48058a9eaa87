"""The readable scan, which the book shows, against the reference."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba.cpu import lstm as scan
from lstm_numba.gradcheck import relative_error
from lstm_numba.reference import lstm as reference
from tests.conftest import TOLERANCE


@given(
    T=st.integers(1, 9),
    B=st.integers(0, 15),
    I=st.one_of(st.integers(1, 6), st.integers(60, 70)),
    H=st.one_of(st.integers(1, 9), st.integers(14, 35)),
    bias=st.booleans(),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_reference(T, B, I, H, bias, dtype, seed):
    rng = np.random.default_rng(seed)

    def draw(*shape, scale=1.0):
        return (rng.normal(size=shape) * scale).astype(dtype)

    x, h0, c0 = draw(T, B, I), draw(B, H), draw(B, H)
    # Larger recurrent weights make a network that amplifies the last bit of every number from step to step.
    W_ih, W_hh = draw(4 * H, I, scale=I**-0.5), draw(4 * H, H, scale=H**-0.5)
    biases = (draw(4 * H), draw(4 * H)) if bias else (None, None)
    upstream = draw(T, B, H), draw(B, H), draw(B, H)
    results = {}
    for backend in (reference, scan):
        y, h_n, c_n, cache = backend.lstm_forward(x, h0, c0, W_ih, W_hh, *biases, True)
        results[backend] = [y, h_n, c_n, *cache, *backend.lstm_backward(*upstream, cache, W_ih, W_hh)]
    for ours, expected in zip(results[scan], results[reference], strict=True):
        assert ours.dtype == expected.dtype == np.dtype(dtype)
        assert relative_error(ours, expected) < TOLERANCE[dtype]
