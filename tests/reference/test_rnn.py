"""The simple recurrent network against PyTorch, ONNX Runtime, the complex step and central differences."""

import numpy as np
import pytest
import torch

from lstm_numba.gradcheck import central_difference, complex_step, relative_error
from lstm_numba.reference.rnn import rnn_backward, rnn_forward
from tests.reference.onnx_node import run_node


def random_problem(rng, T, B, I, H, dtype="float64"):
    shapes = {"x": (T, B, I), "h0": (B, H), "W_ih": (H, I), "W_hh": (H, H), "b_ih": (H,), "b_hh": (H,)}
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize(("T", "B", "I", "H"), [(1, 1, 1, 1), (2, 3, 4, 5), (6, 2, 1, 3)])
def test_every_gradient_three_ways(rng, T, B, I, H, nonlinearity):
    problem = random_problem(rng, T, B, I, H)
    dy, dh_n = rng.normal(size=(T, B, H)), rng.normal(size=(B, H))
    y, _, cache = rnn_forward(**problem, training=True, nonlinearity=nonlinearity)
    dx, dh0, dW_ih, dW_hh, db = rnn_backward(dy, dh_n, cache, problem["W_ih"], problem["W_hh"])
    ours = {"x": dx, "h0": dh0, "W_ih": dW_ih, "W_hh": dW_hh, "b_ih": db, "b_hh": db}
    if nonlinearity == "relu" and y.size > 10:
        assert 0.1 < (y == 0).mean() < 0.9  # both branches are in the test

    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in problem.items()}
    step = {"tanh": torch.rnn_tanh_cell, "relu": torch.rnn_relu_cell}[nonlinearity]
    h, loss = tensors["h0"], 0
    for t in range(T):
        h = step(tensors["x"][t], h, *(tensors[name] for name in ("W_ih", "W_hh", "b_ih", "b_hh")))
        loss = loss + (h * torch.tensor(dy[t])).sum()
    (loss + (h * torch.tensor(dh_n)).sum()).backward()

    for name, value in problem.items():

        def loss_of(value, name=name):
            y, h_n, _ = rnn_forward(**(problem | {name: value}), training=False, nonlinearity=nonlinearity)
            return (y * dy).sum() + (h_n * dh_n).sum()

        assert relative_error(ours[name], complex_step(loss_of, value)) < 1e-12, name
        assert relative_error(ours[name], central_difference(loss_of, value)) < 1e-7, name
        assert relative_error(ours[name], tensors[name].grad.numpy()) < 1e-10, name


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_equals_onnx_runtime(rng, nonlinearity):
    p = random_problem(rng, 4, 3, 4, 5, "float32")
    bias = np.concatenate([p["b_ih"], p["b_hh"]])
    activation = {"tanh": "Tanh", "relu": "Relu"}[nonlinearity]
    theirs = run_node("RNN", p["x"], p["W_ih"], p["W_hh"], bias, (p["h0"],), "yh", activations=[activation])
    *ours, cache = rnn_forward(**p, training=False, nonlinearity=nonlinearity)
    assert cache is None
    for our_value, their_value in zip(ours, theirs, strict=True):
        assert our_value.dtype == np.float32
        assert relative_error(our_value, their_value) < 1e-5


def test_relu_keeps_nan_and_the_slope_at_its_kink_is_zero():
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    y, *_ = rnn_forward(np.full((1, 1, 1), np.nan), zero, one, one, None, None, False, nonlinearity="relu")
    assert np.isnan(y).all()
    *_, cache = rnn_forward(zero[None], zero, one, one, None, None, True, nonlinearity="relu")
    dx, *_ = rnn_backward(one[None], zero, cache, one, one)
    assert dx == 0


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_without_bias_equals_zero_bias(rng, nonlinearity):
    problem = random_problem(rng, 3, 2, 4, 5)
    zero = problem | {"b_ih": 0 * problem["b_ih"], "b_hh": 0 * problem["b_hh"]}
    without = problem | {"b_ih": None, "b_hh": None}
    np.testing.assert_array_equal(
        *(rnn_forward(**arguments, training=False, nonlinearity=nonlinearity)[0] for arguments in (zero, without))
    )
