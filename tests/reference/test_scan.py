"""The specification of linear recurrences, minGRU and minLSTM: PyTorch's derivatives and the complex step."""

import numpy as np
import pytest
import torch

from lstm_numba.gradcheck import complex_step, relative_error
from lstm_numba.reference import scan
from tests.recurrences import random_problem

T, B, I, H = 5, 3, 2, 4
CELLS = {
    "mingru": (scan.mingru_forward, scan.mingru_backward),
    "minlstm": (scan.minlstm_forward, scan.minlstm_backward),
}


def torch_layer(cell, x, h, weights):
    """The equations of the paper's sections 3.1 and 3.2, in PyTorch."""
    W, b = (*weights, 0)[:2]
    y = []
    for x_t in x:
        pre = x_t @ W.T + b
        if cell == "mingru":
            z, candidate = pre.chunk(2, dim=1)
            z = torch.sigmoid(z)
            h = (1 - z) * h + z * candidate
        else:
            i, f, candidate = pre.chunk(3, dim=1)
            i, f = torch.sigmoid(i), torch.sigmoid(f)
            h = f / (f + i) * h + i / (f + i) * candidate
        y.append(h)
    return torch.stack(y)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_against_torch_autograd(rng, cell, bias):
    x, (h0,), weights, dy, (dh_n,) = random_problem(rng, cell, T, B, I, H, bias=bias)
    tensors = [torch.tensor(value, requires_grad=True) for value in (x, h0, *weights)]
    expected = torch_layer(cell, *tensors[:2], tensors[2:])
    ((expected * torch.tensor(dy)).sum() + (expected[-1] * torch.tensor(dh_n)).sum()).backward()

    forward, backward = CELLS[cell]
    y, (h_n,), cache = forward(x, (h0,), weights, True)
    dx, (dh0,), grads = backward(dy, (dh_n,), cache, weights)
    assert relative_error(y, expected.detach().numpy()) < 1e-12
    np.testing.assert_array_equal(h_n, y[-1])
    for ours, tensor in zip((dx, dh0, *grads), tensors, strict=True):
        assert relative_error(ours, tensor.grad.numpy()) < 1e-12


@pytest.mark.parametrize("cell", CELLS)
def test_every_gradient_by_the_complex_step(rng, cell):
    x, (h0,), weights, dy, (dh_n,) = random_problem(rng, cell, T, B, I, H)
    forward, backward = CELLS[cell]
    *_, cache = forward(x, (h0,), weights, True)
    dx, (dh0,), grads = backward(dy, (dh_n,), cache, weights)
    arrays = [x, h0, *weights]
    for place, ours in enumerate((dx, dh0, *grads)):

        def loss(value, place=place):
            x, h0, *weights = [*arrays[:place], value, *arrays[place + 1 :]]
            y, (h_n,), _ = forward(x, (h0,), tuple(weights), False)
            return (dy * y).sum() + (dh_n * h_n).sum()

        assert relative_error(ours, complex_step(loss, arrays[place])) < 1e-12


def test_scan_grad_by_the_complex_step(rng):
    a, b, dy = rng.normal(size=(3, 6, 2))
    h0, dh_n = rng.normal(size=(2, 2))
    da, db, dh0 = scan.linear_scan_grad(dy, dh_n, a, scan.linear_scan(a, b, h0))

    def loss(a, b, h0):
        h = scan.linear_scan(a, b, h0)
        return (dy * h[1:]).sum() + (dh_n * h[-1]).sum()

    assert relative_error(da, complex_step(lambda value: loss(value, b, h0), a)) < 1e-12
    assert relative_error(db, complex_step(lambda value: loss(a, value, h0), b)) < 1e-12
    assert relative_error(dh0, complex_step(lambda value: loss(a, b, value), h0)) < 1e-12


def test_the_state_stays_between_the_candidates(rng):
    """Both cells average: the new state lies between the old one and the candidate."""
    for cell, (forward, _) in CELLS.items():
        x, (h0,), weights, *_ = random_problem(rng, cell, 40, B, I, H)
        y, _, cache = forward(x, (h0,), weights, True)
        candidates = cache[-1]
        low, high = np.minimum(h0, candidates.min(axis=0)), np.maximum(h0, candidates.max(axis=0))
        assert (y >= low - 1e-12).all()
        assert (y <= high + 1e-12).all()
