"""The projected LSTM against PyTorch, the complex step and central differences."""

import numpy as np
import pytest
import torch

from lstm_numba.gradcheck import central_difference, complex_step, relative_error
from lstm_numba.reference.lstm import lstm_forward
from lstm_numba.reference.lstm_projected import lstm_projected_backward, lstm_projected_forward


def random_problem(rng, T, B, I, H, P):
    shapes = {"x": (T, B, I), "h0": (B, P), "c0": (B, H), "W_ih": (4 * H, I), "W_hh": (4 * H, P)}
    shapes |= {"b_ih": (4 * H,), "b_hh": (4 * H,), "W_hr": (P, H)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(("T", "B", "I", "H", "P"), [(1, 1, 1, 2, 1), (4, 3, 2, 5, 3)])
def test_every_gradient_three_ways(rng, T, B, I, H, P):
    problem = random_problem(rng, T, B, I, H, P)
    dy, dh_n, dc_n = rng.normal(size=(T, B, P)), rng.normal(size=(B, P)), rng.normal(size=(B, H))
    *_, cache = lstm_projected_forward(**problem, training=True)
    weights = (problem[name] for name in ("W_ih", "W_hh", "W_hr"))
    dx, dh0, dc0, dW_ih, dW_hh, db, dW_hr = lstm_projected_backward(dy, dh_n, dc_n, cache, *weights)
    ours = {"x": dx, "h0": dh0, "c0": dc0, "W_ih": dW_ih, "W_hh": dW_hh, "b_ih": db, "b_hh": db, "W_hr": dW_hr}

    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in problem.items()}
    layer = torch.nn.LSTM(I, H, proj_size=P, dtype=torch.float64)
    names = ("W_ih", "W_hh", "b_ih", "b_hh", "W_hr")
    named = dict(zip((name for name, _ in layer.named_parameters()), (tensors[n] for n in names), strict=True))
    state = tensors["h0"][None], tensors["c0"][None]
    y, (h_n, c_n) = torch.func.functional_call(layer, named, (tensors["x"], state))
    ((y * torch.tensor(dy)).sum() + (h_n * torch.tensor(dh_n)).sum() + (c_n * torch.tensor(dc_n)).sum()).backward()

    for name, value in problem.items():

        def loss(value, name=name):
            y, h_n, c_n, _ = lstm_projected_forward(**(problem | {name: value}), training=False)
            return (y * dy).sum() + (h_n * dh_n).sum() + (c_n * dc_n).sum()

        assert relative_error(ours[name], complex_step(loss, value)) < 1e-12, name
        assert relative_error(ours[name], central_difference(loss, value)) < 1e-7, name
        assert relative_error(ours[name], tensors[name].grad.numpy()) < 1e-10, name


def test_the_identity_as_projection_is_the_plain_lstm(rng):
    problem = random_problem(rng, 5, 3, 2, 4, 4) | {"W_hr": np.eye(4)}
    plain = {name: value for name, value in problem.items() if name != "W_hr"}
    for ours, expected in zip(
        lstm_projected_forward(**problem, training=True)[:3], lstm_forward(**plain, training=True)[:3], strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-13, atol=1e-15)


def test_without_bias_equals_zero_bias(rng):
    problem = random_problem(rng, 3, 2, 4, 5, 2)
    zero = problem | {"b_ih": 0 * problem["b_ih"], "b_hh": 0 * problem["b_hh"]}
    without = problem | {"b_ih": None, "b_hh": None}
    np.testing.assert_array_equal(
        lstm_projected_forward(**zero, training=False)[0], lstm_projected_forward(**without, training=False)[0]
    )
