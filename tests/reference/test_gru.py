"""Both GRUs against PyTorch, ONNX Runtime, the complex step and central differences."""

import numpy as np
import pytest
import torch

from lstm_numba.gradcheck import central_difference, complex_step, relative_error
from lstm_numba.reference.gru import gru_backward, gru_forward
from tests.reference.onnx_node import reorder, run_node


def random_problem(rng, T, B, I, H, dtype="float64"):
    shapes = {"x": (T, B, I), "h0": (B, H), "W_ih": (3 * H, I), "W_hh": (3 * H, H), "b_ih": (3 * H,), "b_hh": (3 * H,)}
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def torch_step(x, h, W_ih, W_hh, b_ih, b_hh, reset_after):
    if reset_after:
        return torch.gru_cell(x, h, W_ih, W_hh, b_ih, b_hh)
    r_x, z_x, n_x = (x @ W_ih.T + b_ih).chunk(3, dim=1)
    W_hr, W_hz, W_hn = W_hh.chunk(3)
    b_hr, b_hz, b_hn = b_hh.chunk(3)
    r = torch.sigmoid(r_x + h @ W_hr.T + b_hr)
    z = torch.sigmoid(z_x + h @ W_hz.T + b_hz)
    n = torch.tanh(n_x + (r * h) @ W_hn.T + b_hn)
    return z * h + (1 - z) * n


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(("T", "B", "I", "H"), [(1, 1, 1, 1), (2, 3, 4, 5), (6, 2, 1, 3)])
def test_every_gradient_three_ways(rng, T, B, I, H, reset_after):
    problem = random_problem(rng, T, B, I, H)
    dy, dh_n = rng.normal(size=(T, B, H)), rng.normal(size=(B, H))
    *_, cache = gru_forward(**problem, training=True, reset_after=reset_after)
    names = ("x", "h0", "W_ih", "W_hh", "b_ih", "b_hh")
    ours = dict(zip(names, gru_backward(dy, dh_n, cache, problem["W_ih"], problem["W_hh"]), strict=True))

    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in problem.items()}
    h, loss = tensors["h0"], 0
    for t in range(T):
        h = torch_step(tensors["x"][t], h, *(tensors[name] for name in names[2:]), reset_after)
        loss = loss + (h * torch.tensor(dy[t])).sum()
    (loss + (h * torch.tensor(dh_n)).sum()).backward()

    for name, value in problem.items():

        def loss_of(value, name=name):
            y, h_n, _ = gru_forward(**(problem | {name: value}), training=False, reset_after=reset_after)
            return (y * dy).sum() + (h_n * dh_n).sum()

        assert relative_error(ours[name], complex_step(loss_of, value)) < 1e-12, name
        assert relative_error(ours[name], central_difference(loss_of, value)) < 1e-7, name
        assert relative_error(ours[name], tensors[name].grad.numpy()) < 1e-10, name


@pytest.mark.parametrize("reset_after", [True, False])
def test_equals_onnx_runtime(rng, reset_after):
    """ONNX stacks the gates as z, r, h and calls the choice `linear_before_reset`."""
    p = random_problem(rng, 7, 3, 4, 5, "float32")
    W, R, b_ih, b_hh = (reorder(p[name], (1, 0, 2)) for name in ("W_ih", "W_hh", "b_ih", "b_hh"))
    bias = np.concatenate([b_ih, b_hh])
    theirs = run_node("GRU", p["x"], W, R, bias, (p["h0"],), "yh", linear_before_reset=int(reset_after))
    *ours, cache = gru_forward(**p, training=False, reset_after=reset_after)
    assert cache is None
    for our_value, their_value in zip(ours, theirs, strict=True):
        assert relative_error(our_value, their_value) < 1e-5


def test_the_two_forms_differ(rng):
    problem = random_problem(rng, 4, 2, 3, 5)
    after, before = (gru_forward(**problem, training=False, reset_after=flag)[0] for flag in (True, False))
    assert np.abs(after - before).max() > 0.01


def test_an_open_update_gate_keeps_the_state(rng):
    """z = 1 is PyTorch's 'keep'; a swapped convention would replace the state here."""
    H = 3
    problem = random_problem(rng, 5, 2, 4, H)
    problem["b_ih"][H : 2 * H] = 1e4
    np.testing.assert_array_equal(gru_forward(**problem, training=False)[1], problem["h0"])


@pytest.mark.parametrize("reset_after", [True, False])
def test_without_bias_equals_zero_bias(rng, reset_after):
    problem = random_problem(rng, 3, 2, 4, 5)
    zero = problem | {"b_ih": 0 * problem["b_ih"], "b_hh": 0 * problem["b_hh"]}
    without = problem | {"b_ih": None, "b_hh": None}
    np.testing.assert_array_equal(
        *(gru_forward(**arguments, training=False, reset_after=reset_after)[0] for arguments in (zero, without))
    )
