"""The specification against PyTorch, ONNX Runtime, the complex step and central differences."""

import numpy as np
import pytest
import torch

from lstm_numba.contract import Weights
from lstm_numba.gradcheck import central_difference, complex_step, relative_error
from lstm_numba.reference.layer import layer_forward
from lstm_numba.reference.lstm import lstm_backward, lstm_forward
from tests.reference.onnx_node import reorder, run_node


def random_problem(rng, T, B, I, H, dtype="float64"):
    shapes = {
        "x": (T, B, I),
        "h0": (B, H),
        "c0": (B, H),
        "W_ih": (4 * H, I),
        "W_hh": (4 * H, H),
        "b_ih": (4 * H,),
        "b_hh": (4 * H,),
    }
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def gradients(problem, dy, dh_n, dc_n):
    *_, cache = lstm_forward(**problem, training=True)
    dx, dh0, dc0, dW_ih, dW_hh, db = lstm_backward(dy, dh_n, dc_n, cache, problem["W_ih"], problem["W_hh"])
    return {"x": dx, "h0": dh0, "c0": dc0, "W_ih": dW_ih, "W_hh": dW_hh, "b_ih": db, "b_hh": db}


def projected_loss(problem, name, dy, dh_n, dc_n):
    """The loss whose gradient `lstm_backward` returns, as a function of one of the arrays."""

    def loss(value):
        y, h_n, c_n, _ = lstm_forward(**(problem | {name: value}), training=False)
        return (y * dy).sum() + (h_n * dh_n).sum() + (c_n * dc_n).sum()

    return loss


@pytest.mark.parametrize(("T", "B", "I", "H"), [(1, 1, 1, 1), (2, 3, 4, 5), (6, 2, 1, 3)])
def test_every_gradient_three_ways(rng, T, B, I, H):
    problem = random_problem(rng, T, B, I, H)
    upstream = rng.normal(size=(T, B, H)), rng.normal(size=(B, H)), rng.normal(size=(B, H))
    ours = gradients(problem, *upstream)

    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in problem.items()}
    h, c = tensors["h0"], tensors["c0"]
    loss = 0
    for t in range(T):
        h, c = torch.lstm_cell(tensors["x"][t], (h, c), *(tensors[n] for n in ("W_ih", "W_hh", "b_ih", "b_hh")))
        loss = loss + (h * torch.tensor(upstream[0][t])).sum()
    (loss + (h * torch.tensor(upstream[1])).sum() + (c * torch.tensor(upstream[2])).sum()).backward()

    for name, value in problem.items():
        loss_of = projected_loss(problem, name, *upstream)
        assert relative_error(ours[name], complex_step(loss_of, value)) < 1e-12, name
        assert relative_error(ours[name], central_difference(loss_of, value)) < 1e-7, name
        assert relative_error(ours[name], tensors[name].grad.numpy()) < 1e-10, name


@pytest.mark.parametrize("lengths", [None, [7, 2, 5]])
def test_equals_onnx_runtime(rng, lengths):
    """ONNX stacks the gates as i, o, f, g."""
    T, B, I, H = 7, 3, 4, 5
    p = random_problem(rng, T, B, I, H, "float32")
    W, R, b_ih, b_hh = (reorder(p[name], (0, 3, 1, 2)) for name in ("W_ih", "W_hh", "b_ih", "b_hh"))
    state = p["h0"], p["c0"]
    theirs = run_node("LSTM", p["x"], W, R, np.concatenate([b_ih, b_hh]), state, "yhc", lengths)

    if lengths is None:
        *ours, cache = lstm_forward(**p, training=False)
    else:
        weights = (Weights(p["W_ih"], p["W_hh"], p["b_ih"], p["b_hh"]),)
        y, final, cache = layer_forward("lstm", p["x"], tuple(part[None] for part in state), weights, lengths, False)
        ours = [y, *(part[0] for part in final)]
    assert cache is None
    for our_value, their_value in zip(ours, theirs, strict=True):
        assert relative_error(our_value, their_value) < 1e-5


def test_without_bias_equals_zero_bias(rng):
    problem = random_problem(rng, 3, 2, 4, 5)
    zero = problem | {"b_ih": 0 * problem["b_ih"], "b_hh": 0 * problem["b_hh"]}
    without = problem | {"b_ih": None, "b_hh": None}
    np.testing.assert_array_equal(lstm_forward(**zero, training=False)[0], lstm_forward(**without, training=False)[0])
