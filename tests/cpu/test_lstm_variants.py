"""The compiled scans of the LSTM family against the reference, for every choice of parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba.cpu import lstm_variants as cpu
from lstm_numba.gradcheck import relative_error
from lstm_numba.reference import lstm_variants as reference
from tests.conftest import TOLERANCE
from tests.variants import OPTION_SETS, random_variant


def everything(backend, options, x, h0, c0, weights, upstream):
    y, h_n, c_n, cache = backend.variant_forward(options, x, h0, c0, weights, True)
    dx, dh0, dc0, grads = backend.variant_backward(options, *upstream, cache, weights)
    present = {name: grad for name, grad in grads._asdict().items() if grad is not None}
    return {"y": y, "h_n": h_n, "c_n": c_n, "dx": dx, "dh0": dh0, "dc0": dc0} | present


@given(
    name=st.sampled_from(sorted(OPTION_SETS)),
    T=st.integers(1, 7),
    B=st.integers(0, 4),
    I=st.integers(1, 5),
    H=st.integers(1, 19),
    bias=st.booleans(),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_reference(name, T, B, I, H, bias, dtype, seed):
    rng = np.random.default_rng(seed)
    options = OPTION_SETS[name]
    problem = random_variant(rng, options, T, B, I, H, dtype, bias)
    upstream = [rng.normal(size=shape).astype(dtype) for shape in ((T, B, H), (B, H), (B, H))]
    ours, expected = (everything(backend, options, *problem, upstream) for backend in (cpu, reference))
    assert ours.keys() == expected.keys()
    for key, value in ours.items():
        assert value.dtype == expected[key].dtype == np.dtype(dtype), key
        assert relative_error(value, expected[key]) < TOLERANCE[dtype], key


@pytest.mark.parametrize("name", OPTION_SETS)
def test_every_option_set_once(rng, name):
    """Whatever the draw above leaves out."""
    options = OPTION_SETS[name]
    problem = random_variant(rng, options, 6, 3, 4, 17)
    upstream = [rng.normal(size=shape) for shape in ((6, 3, 17), (3, 17), (3, 17))]
    ours, expected = (everything(backend, options, *problem, upstream) for backend in (cpu, reference))
    for key, value in ours.items():
        assert relative_error(value, expected[key]) < TOLERANCE["float64"], key


def test_inference_keeps_nothing(rng):
    options = OPTION_SETS["V"]
    assert cpu.variant_forward(options, *random_variant(rng, options, 2, 1, 1, 3), False)[-1] is None
