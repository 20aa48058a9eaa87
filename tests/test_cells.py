"""The scalar equations against the `math` module, and their derivatives against central differences."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba import cells

number = st.floats(-30, 30)
small = st.floats(-4, 4)


@given(x=number)
def test_sigmoid_equals_its_definition(x):
    assert cells.sigmoid(x) == pytest.approx(1 / (1 + math.exp(-x)), rel=1e-14)


@given(x=small)
def test_activation_derivatives_equal_central_differences(x):
    eps = 1e-6
    sigmoid_slope = (cells.sigmoid(x + eps) - cells.sigmoid(x - eps)) / (2 * eps)
    tanh_slope = (math.tanh(x + eps) - math.tanh(x - eps)) / (2 * eps)
    assert cells.dsigmoid(cells.sigmoid(x)) == pytest.approx(sigmoid_slope, abs=1e-9)
    assert cells.dtanh(math.tanh(x)) == pytest.approx(tanh_slope, abs=1e-9)


@given(z_i=number, z_f=number, z_g=number, z_o=number, c_prev=small)
def test_lstm_step_equals_the_printed_equations(z_i, z_f, z_g, z_o, c_prev):
    def logistic(z):
        return 1 / (1 + math.exp(-z))

    i, f, g, o, c, h = cells.lstm_step(z_i, z_f, z_g, z_o, c_prev)
    assert (i, f, g, o) == pytest.approx((logistic(z_i), logistic(z_f), math.tanh(z_g), logistic(z_o)), rel=1e-13)
    assert c == pytest.approx(logistic(z_f) * c_prev + logistic(z_i) * math.tanh(z_g), rel=1e-12, abs=1e-13)
    assert h == pytest.approx(o * math.tanh(c), rel=1e-12, abs=1e-13)


@given(z=st.tuples(small, small, small, small), c_prev=small, dh=small, dc=small)
def test_lstm_step_grad_equals_central_differences(z, c_prev, dh, dc):
    def loss(values):
        *_, c, h = cells.lstm_step(*values)
        return dh * h + dc * c

    i, f, g, o, c, _ = cells.lstm_step(*z, c_prev)
    gradient = cells.lstm_step_grad(dh, dc, i, f, g, o, c_prev, c)
    point, eps = np.array([*z, c_prev]), 1e-6
    for position in range(5):
        step = np.zeros(5)
        step[position] = eps
        slope = (loss(tuple(point + step)) - loss(tuple(point - step))) / (2 * eps)
        assert gradient[position] == pytest.approx(slope, abs=1e-8)


def test_float32_in_gives_float32_out():
    """A single untyped literal would promote a whole kernel to float64."""
    numbers = (numba.float32,) * 8
    for function, count in ((cells.sigmoid, 1), (cells.lstm_step, 5), (cells.lstm_step_grad, 8)):
        signature = function.compile(numbers[:count]).__name__ and function.overloads[numbers[:count]].signature
        returned = signature.return_type
        types = list(returned) if isinstance(returned, numba.types.BaseTuple) else [returned]
        assert types == [numba.float32] * len(types)


@pytest.mark.parametrize("x", [np.float32(-1e4), np.float32(1e4), np.float32(-np.inf), np.float32(np.inf)])
def test_sigmoid_saturates_without_overflow(x):
    assert cells.sigmoid(x) == (1 if x > 0 else 0)


def test_nan_stays_nan():
    assert all(math.isnan(value) for value in cells.lstm_step(*[math.nan] * 5))
