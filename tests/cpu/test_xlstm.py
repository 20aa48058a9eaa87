"""The compiled sLSTM and mLSTM against the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_numba.cpu import xlstm as cpu
from lstm_numba.gradcheck import relative_error
from lstm_numba.reference import xlstm as reference
from tests.conftest import TOLERANCE
from tests.recurrences import everything, random_problem


@settings(max_examples=40)
@given(
    cell=st.sampled_from(["slstm", "mlstm"]),
    T=st.integers(1, 2 * cpu.STRIDE + 3),
    B=st.integers(0, 3),
    I=st.integers(1, 5),
    heads=st.integers(1, 3),
    D=st.integers(1, 9),
    bias=st.booleans(),
    empty=st.booleans(),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_reference(cell, T, B, I, heads, D, bias, empty, dtype, seed):
    x, state, weights, dy, dstate = random_problem(
        np.random.default_rng(seed), cell, T, B, I, heads * D, dtype, bias, heads
    )
    if empty:
        state = *(np.zeros_like(part) for part in state[:-1]), np.full_like(state[-1], -np.inf)
    if dtype == "float32":
        # A single unit divides by whatever its one overlap is; near zero two orders of summing differ at once.
        x, dy = x / 4, dy / 4
    ours, expected = (everything(module, cell, x, state, weights, dy, dstate) for module in (cpu, reference))
    assert ours.keys() == expected.keys()
    for name, value in ours.items():
        assert value.dtype == expected[name].dtype == np.dtype(dtype), name
        assert relative_error(value, expected[name]) < TOLERANCE[dtype], name


@pytest.mark.parametrize("cell", ["slstm", "mlstm"])
def test_large_inputs_do_not_overflow(rng, cell, dtype):
    x, state, weights, dy, dstate = random_problem(rng, cell, 20, 2, 3, 4, dtype)
    state = *(np.zeros_like(part) for part in state[:-1]), np.full_like(state[-1], -np.inf)
    values = everything(cpu, cell, 1000 * x, state, weights, dy, dstate)
    assert all(np.isfinite(value).all() for value in values.values())


@pytest.mark.parametrize("cell", ["slstm", "mlstm"])
def test_inference_keeps_nothing_and_computes_the_same(rng, cell):
    x, state, weights, _, _ = random_problem(rng, cell, 4, 2, 3, 4)
    forward = getattr(cpu, f"{cell}_forward")
    y, final, cache = forward(x, state, weights, False)
    assert cache is None
    for one, two in zip((y, *final), (lambda r: (r[0], *r[1]))(forward(x, state, weights, True)), strict=True):
        np.testing.assert_array_equal(one, two)
