"""The specifications of the norms, GELU and positions against PyTorch and against definitions of the derivative."""

import numpy as np
import pytest
import torch

from lstm_numba.gradcheck import central_difference, complex_step, relative_error
from lstm_numba.reference import norm, positions

X_SHAPE = (3, 2, 5)


def layer_norm(x, weight, bias):
    return norm.layer_norm_forward(x, weight, bias, 1e-3)


def rms_norm(x, weight):
    return norm.rms_norm_forward(x, weight, 1e-3)


def arrays_for(forward, rng):
    arrays = [rng.normal(size=X_SHAPE), rng.normal(size=5), rng.normal(size=5)]
    return arrays[: 3 if forward is layer_norm else 2]


@pytest.mark.parametrize(
    ("forward", "backward"), [(layer_norm, norm.layer_norm_backward), (rms_norm, norm.rms_norm_backward)]
)
def test_norms_equal_torch_and_the_complex_step(rng, forward, backward):
    arrays = arrays_for(forward, rng)
    dy = rng.normal(size=X_SHAPE)
    y, cache = forward(*arrays)
    gradients = backward(dy, cache, arrays[1])
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    name = "layer_norm" if forward is layer_norm else "rms_norm"
    expected = getattr(torch.nn.functional, name)(tensors[0], (5,), *tensors[1:], eps=1e-3)
    expected.backward(torch.tensor(dy))
    assert relative_error(y, expected.detach().numpy()) < 1e-12
    for at, gradient in enumerate(gradients):
        assert relative_error(gradient, tensors[at].grad.numpy()) < 1e-12

        def loss(value, at=at):
            return (dy * forward(*(value if n == at else a for n, a in enumerate(arrays)))[0]).sum()

        assert relative_error(gradient, complex_step(loss, arrays[at])) < 1e-12


def test_gelu_equals_torch_and_central_differences(rng):
    x, dy = 3 * rng.normal(size=X_SHAPE), rng.normal(size=X_SHAPE)
    y, cache = norm.gelu_forward(x)
    dx = norm.gelu_backward(dy, cache)
    tensor = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.gelu(tensor)
    expected.backward(torch.tensor(dy))
    assert relative_error(y, expected.detach().numpy()) < 1e-12
    assert relative_error(dx, tensor.grad.numpy()) < 1e-12
    assert relative_error(dx, central_difference(lambda v: float((dy * norm.gelu_forward(v)[0]).sum()), x)) < 1e-8


def test_rotary_is_a_rotation_by_the_position(rng):
    """Lengths stay, and the dot product of two rotated vectors depends on the distance of their positions only."""
    x, y = rng.normal(size=(2, 6))
    rows = np.broadcast_to(x, (9, 6)), np.broadcast_to(y, (9, 6))
    u, v = (positions.rotary(row) for row in rows)
    np.testing.assert_allclose((u**2).sum(axis=1), (x**2).sum())
    np.testing.assert_allclose(u[2] @ v[5], u[5] @ v[8])
    assert abs(u[2] @ v[5] - u[2] @ v[6]) > 1e-3
    np.testing.assert_array_equal(positions.rotary(rows[0], first=3)[:5], u[3:8])
