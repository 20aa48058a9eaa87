"""The gradient checker finds planted errors and accepts correct layers."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba import gradcheck


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def rosenbrock_gradient(x):
    gradient = np.zeros_like(x)
    gradient[:-1] += -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    gradient[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return gradient


def test_differences_and_complex_step_on_a_known_gradient(rng):
    x = rng.normal(size=7)
    expected = rosenbrock_gradient(x)
    assert gradcheck.relative_error(gradcheck.complex_step(rosenbrock, x), expected) < 1e-14
    assert gradcheck.relative_error(gradcheck.central_difference(rosenbrock, x), expected) < 1e-8


def test_differentiation_leaves_the_point_alone(rng):
    x = rng.normal(size=(2, 3))
    before = x.copy()
    gradcheck.central_difference(lambda v: float((v**2).sum()), x)
    gradcheck.complex_step(lambda v: (v**2).sum(), x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_central_difference_wants_float64(dtype):
    with pytest.raises(TypeError, match="x: expected dtype float64, got"):
        gradcheck.central_difference(lambda v: 0.0, np.zeros(2, dtype))


def test_complex_step_wants_a_real_point():
    with pytest.raises(TypeError, match="x: expected a real array"):
        gradcheck.complex_step(lambda v: v.sum(), np.zeros(2, complex))


def test_relative_error_wants_one_shape():
    with pytest.raises(ValueError, match=r"actual: expected shape \(2,\), got \(3,\)"):
        gradcheck.relative_error(np.zeros(3), np.zeros(2))


@pytest.mark.parametrize(
    ("actual", "expected", "error"),
    [([0.0], [0.0], 0.0), ([], [], 0.0), ([1.0, 4.0], [1.0, 5.0], 0.2), ([5.0], [-5.0], 2.0)],
)
def test_relative_error(actual, expected, error):
    assert gradcheck.relative_error(np.array(actual), np.array(expected)) == pytest.approx(error)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("with_state", [True, False])
def test_accepts_the_lstm(backend, bias, with_state, rng):
    layer = ln.LSTM(2, 3, num_layers=2, bias=bias, bidirectional=True, dtype="float64", backend=backend, seed=0)
    state = (rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 2, 3))) if with_state else None
    before = layer.state_dict()
    report = gradcheck.check_layer(layer, rng.normal(size=(4, 2, 2)), state)
    assert report.passed, str(report)
    assert set(report.errors) == {"x", *layer.parameters, *(("h0", "c0") if with_state else ())}
    assert all(np.array_equal(before[name], value) for name, value in layer.parameters.items())
    assert all(not grad.any() for grad in layer.grads.values())


def test_accepts_dense_and_sequential(rng):
    model = ln.Sequential(
        ln.LSTM(2, 3, batch_first=True, dtype="float64", seed=0),
        ln.LastStep(batch_first=True, dtype="float64"),
        ln.Dense(3, 2, dtype="float64", seed=1),
    )
    report = gradcheck.check_layer(model, rng.normal(size=(3, 4, 2)))
    assert report.passed, str(report)
    assert "0.weight_hh_l0" in report.errors
    assert gradcheck.check_layer(ln.Dense(3, 2, bias=False, dtype="float64", seed=1), rng.normal(size=(2, 4, 3))).passed


@pytest.mark.parametrize(
    "bug",
    [
        "forget gate without its derivative",
        "dc not carried",
        "one bias counted twice",
        "a transposed recurrent gradient",
    ],
)
def test_rejects_planted_bugs(bug, rng, monkeypatch):
    from lstm_numba.reference import lstm as reference

    true_backward = reference.lstm_backward

    def broken(dy, dh_n, dc_n, cache, W_ih, W_hh):
        dx, dh0, dc0, dW_ih, dW_hh, db = true_backward(dy, dh_n, dc_n, cache, W_ih, W_hh)
        H = dh_n.shape[1]
        if bug == "forget gate without its derivative":
            dW_ih[H : 2 * H] *= 4
        elif bug == "dc not carried":
            dc0 = np.zeros_like(dc0)
        elif bug == "one bias counted twice":
            db = 2 * db
        else:
            dW_hh[:H] = dW_hh[:H].T.copy()
        return dx, dh0, dc0, dW_ih, dW_hh, db

    monkeypatch.setattr(reference, "lstm_backward", broken)
    layer = ln.LSTM(2, 3, dtype="float64", backend="reference", seed=0)
    state = (rng.normal(size=(1, 2, 3)), rng.normal(size=(1, 2, 3)))
    assert not gradcheck.check_layer(layer, rng.normal(size=(4, 2, 2)), state).passed


def test_nan_does_not_pass():
    assert not gradcheck.GradientReport({"x": float("nan")}, 1e-7).passed


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (ln.LSTM(2, 3), TypeError, "layer: expected dtype float64, got float32"),
        (ln.LSTM(2, 3, dtype="float64").eval(), ValueError, "layer: expected training mode"),
        (ln.LSTM(2, 3, num_layers=2, dropout=0.1, dtype="float64"), ValueError, "layer: expected no dropout"),
    ],
)
def test_check_layer_refuses_what_it_cannot_check(layer, error, message):
    with pytest.raises(error, match=message):
        gradcheck.check_layer(layer, np.zeros((1, 1, 2)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_never_passes(value):
    error = gradcheck.relative_error(np.array([value, 1.0]), np.array([1.0, 1.0]))
    assert not error <= 1e300
    assert not gradcheck.GradientReport({"x": error}, tolerance=1.0).passed
