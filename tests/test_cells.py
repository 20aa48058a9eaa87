"""The scalar equations against the `math` module, and their derivatives against central differences."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba import cells
from lstm_numba.variants import ACTIVATIONS, VariantOptions
from tests.variants import OPTION_SETS

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
    numbers = (numba.float32,) * 12
    for function, count in (
        (cells.sigmoid, 1),
        (cells.lstm_step, 5),
        (cells.lstm_step_grad, 8),
        (cells.gru_step, 5),
        (cells.gru_step_grad, 6),
        (cells.gru_reset, 2),
        (cells.gru_reset_grad, 3),
        (cells.gru_update, 3),
        (cells.gru_update_grad, 4),
        (cells.rnn_tanh_step, 1),
        (cells.rnn_tanh_step_grad, 2),
        (cells.rnn_relu_step, 1),
        (cells.rnn_relu_step_grad, 2),
        (cells.mingru_gates, 2),
        (cells.mingru_gates_grad, 4),
        (cells.minlstm_shares, 2),
        (cells.minlstm_gates, 3),
        (cells.minlstm_gates_grad, 5),
        (cells.log_sigmoid, 1),
        (cells.exponential_gates, 3),
        (cells.exponential_gates_grad, 5),
        (cells.slstm_step, 7),
        (cells.slstm_step_grad, 12),
    ):
        signature = function.compile(numbers[:count]).__name__ and function.overloads[numbers[:count]].signature
        returned = signature.return_type
        types = list(returned) if isinstance(returned, numba.types.BaseTuple) else [returned]
        assert types == [numba.float32] * len(types)


@pytest.mark.parametrize("x", [np.float32(-1e4), np.float32(1e4), np.float32(-np.inf), np.float32(np.inf)])
def test_sigmoid_saturates_without_overflow(x):
    assert cells.sigmoid(x) == (1 if x > 0 else 0)


def test_nan_stays_nan():
    assert all(math.isnan(value) for value in cells.lstm_step(*[math.nan] * 5))
    assert all(math.isnan(value) for value in cells.gru_step(*[math.nan] * 5))
    assert math.isnan(cells.rnn_tanh_step(math.nan))
    assert math.isnan(cells.rnn_relu_step(math.nan))


def logistic(z):
    return 1 / (1 + math.exp(-z))


def slopes(loss, point, eps=1e-6):
    """Central differences of a function of several numbers."""
    steps = eps * np.eye(len(point))
    return [(loss(*(point + step)) - loss(*(point - step))) / (2 * eps) for step in steps]


@given(z_r=number, z_z=number, n_x=number, n_h=number, h_prev=small)
def test_gru_step_equals_the_printed_equations(z_r, z_z, n_x, n_h, h_prev):
    r, z, n, h = cells.gru_step(z_r, z_z, n_x, n_h, h_prev)
    assert (r, z) == pytest.approx((logistic(z_r), logistic(z_z)), rel=1e-13)
    assert n == pytest.approx(math.tanh(n_x + logistic(z_r) * n_h), rel=1e-12, abs=1e-13)
    assert h == pytest.approx((1 - z) * n + z * h_prev, rel=1e-12, abs=1e-13)


@given(point=st.tuples(small, small, small, small, small), dh=small)
def test_gru_step_grad_equals_central_differences(point, dh):
    r, z, n, _ = cells.gru_step(*point)
    gradient = cells.gru_step_grad(dh, r, z, n, point[3], point[4])
    assert gradient == pytest.approx(slopes(lambda *v: dh * cells.gru_step(*v)[3], np.array(point)), abs=1e-8)


@given(z_r=small, z_z=small, x_n=small, w=small, h_prev=small, dh=small)
def test_gru_with_reset_before_equals_central_differences(z_r, z_z, x_n, w, h_prev, dh):
    """The two halves with a recurrent weight ``w`` between them, as a kernel puts them together."""

    def loss(z_r, z_z, x_n, h_prev):
        _, rh = cells.gru_reset(z_r, h_prev)
        return dh * cells.gru_update(z_z, x_n + w * rh, h_prev)[2]

    r, rh = cells.gru_reset(z_r, h_prev)
    z, n, _ = cells.gru_update(z_z, x_n + w * rh, h_prev)
    dz_z, dz_n, direct = cells.gru_update_grad(dh, z, n, h_prev)
    dz_r, through_reset = cells.gru_reset_grad(dz_n * w, r, h_prev)
    gradient = (dz_r, dz_z, dz_n, direct + through_reset)
    assert gradient == pytest.approx(slopes(loss, np.array([z_r, z_z, x_n, h_prev])), abs=1e-7)


@given(z=small, dh=small)
def test_rnn_steps_and_their_gradients(z, dh):
    assert cells.rnn_tanh_step(z) == pytest.approx(math.tanh(z), rel=1e-13)
    assert cells.rnn_relu_step(z) == max(z, 0)
    slope = 1 - math.tanh(z) ** 2
    assert cells.rnn_tanh_step_grad(dh, cells.rnn_tanh_step(z)) == pytest.approx(dh * slope, rel=1e-11, abs=1e-13)
    assert cells.rnn_relu_step_grad(dh, cells.rnn_relu_step(z)) == (dh if z > 0 else 0)


@pytest.mark.parametrize("name", OPTION_SETS)
def test_variant_step_grad_equals_central_differences(rng, name):
    options = OPTION_SETS[name]
    codes = options._replace(
        input_activation=ACTIVATIONS.index(options.input_activation),
        output_activation=ACTIVATIONS.index(options.output_activation),
    )
    dh, dc, di, df, do = rng.normal(size=5)
    point, eps = rng.normal(size=8), 1e-6  # z_i, z_f, z_g, z_o, c_prev, p_i, p_f, p_o

    def loss(values):
        i, f, _, o, c, h = cells.lstm_variant_step(codes, *values)
        return dh * h + dc * c + di * i + df * f + do * o

    i, f, g, o, c, _ = cells.lstm_variant_step(codes, *point)
    gradient = cells.lstm_variant_step_grad(codes, dh, dc, di, df, do, i, f, g, o, point[4], c, *point[5:])
    for position in range(5):
        step = np.zeros(8)
        step[position] = eps
        slope = (loss(point + step) - loss(point - step)) / (2 * eps)
        assert gradient[position] == pytest.approx(slope, abs=1e-8)


@given(z=st.tuples(small, small, small, small), c_prev=small)
def test_the_default_variant_is_lstm_step(z, c_prev):
    codes = VariantOptions(input_activation=0, output_activation=0)
    assert cells.lstm_variant_step(codes, *z, c_prev, 9.0, 9.0, 9.0) == cells.lstm_step(*z, c_prev)


@pytest.mark.parametrize("kind", range(len(ACTIVATIONS)))
@given(x=small)
def test_activations_of_the_family(kind, x):
    logistic = 1 / (1 + math.exp(-x))
    expected = (math.tanh(x), x, logistic, 2 * logistic - 1, 4 * logistic - 2)[kind]
    value = cells.activation(kind, x)
    assert value == pytest.approx(expected, abs=1e-14)
    slope = (cells.activation(kind, x + 1e-6) - cells.activation(kind, x - 1e-6)) / 2e-6
    assert cells.dactivation(kind, value) == pytest.approx(slope, abs=1e-8)


@given(z_z=small, n=small, h_prev=small, dh=small)
def test_mingru_gates_and_their_gradient(z_z, n, h_prev, dh):
    a, b = cells.mingru_gates(z_z, n)
    assert (a, b) == pytest.approx((1 - logistic(z_z), logistic(z_z) * n), rel=1e-13)

    def loss(z_z, n):
        a, b = cells.mingru_gates(z_z, n)
        return dh * (a * h_prev + b)

    assert cells.mingru_gates_grad(dh, z_z, n, h_prev) == pytest.approx(slopes(loss, np.array([z_z, n])), abs=1e-8)


@given(z_i=small, z_f=small, g=small, h_prev=small, dh=small)
def test_minlstm_gates_and_their_gradient(z_i, z_f, g, h_prev, dh):
    i, f = logistic(z_i), logistic(z_f)
    assert cells.minlstm_gates(z_i, z_f, g) == pytest.approx((f / (f + i), i / (f + i) * g), rel=1e-13)

    def loss(z_i, z_f, g):
        a, b = cells.minlstm_gates(z_i, z_f, g)
        return dh * (a * h_prev + b)

    gradient = cells.minlstm_gates_grad(dh, z_i, z_f, g, h_prev)
    assert gradient == pytest.approx(slopes(loss, np.array([z_i, z_f, g])), abs=1e-8)


@pytest.mark.parametrize("z_i", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("z_f", [-1e4, 0.0, 1e4])
def test_minlstm_shares_sum_to_one_however_closed_the_gates(z_i, z_f):
    f, i = cells.minlstm_shares(z_i, z_f)
    assert f + i == 1
    assert f == pytest.approx(0.5 if z_i == z_f else {True: 1.0, False: f}[z_i == -1e4])


@given(x=st.floats(-600, 600))
def test_log_sigmoid_equals_its_definition(x):
    expected = -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))
    assert cells.log_sigmoid(x) == pytest.approx(expected, rel=1e-13)


@given(z_i=number, z_f=number, m_prev=number)
def test_exponential_gates_are_the_gates_in_units_of_the_scale(z_i, z_f, m_prev):
    i, f, m = cells.exponential_gates(z_i, z_f, m_prev)
    assert max(i, f) == 1
    assert i * math.exp(m) == pytest.approx(math.exp(z_i), rel=1e-11)
    assert f * math.exp(m - m_prev) == pytest.approx(logistic(z_f), rel=1e-11)


def test_exponential_gates_of_an_empty_memory():
    assert cells.exponential_gates(-5000.0, 3.0, -math.inf) == (1.0, 0.0, -5000.0)
    assert cells.exponential_gates(5000.0, 3.0, 2.0) == (1.0, 0.0, 5000.0)


@given(z=st.tuples(small, small, small, small), c_prev=small, n_prev=st.floats(1, 4), m_prev=small, d=small)
def test_slstm_step_equals_the_unstabilised_equations(z, c_prev, n_prev, m_prev, d):
    """And its gradient, for a fixed scale, equals the differences of those."""

    def step(z_i, z_f, z_g, z_o, c_prev, n_prev):
        i, f = math.exp(z_i), logistic(z_f)
        c = f * c_prev * math.exp(m_prev) + i * math.tanh(z_g)
        n = f * n_prev * math.exp(m_prev) + i
        return logistic(z_o) * c / n, c * math.exp(-m), n * math.exp(-m)

    i, f, g, o, c, n, m, h = cells.slstm_step(*z, c_prev, n_prev, m_prev)
    point = np.array([*z, c_prev, n_prev])
    assert (h, c, n) == pytest.approx(step(*point), rel=1e-11, abs=1e-12)
    gradient = cells.slstm_step_grad(d, 0.5, -0.25, i, f, g, o, z[1], c_prev, n_prev, c, n)

    def loss(*values):
        h, c, n = step(*values)
        return d * h + 0.5 * c - 0.25 * n

    assert gradient == pytest.approx(slopes(loss, point), abs=1e-7)
