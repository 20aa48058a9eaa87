"""`Dense`, `LastStep` and `Sequential` against PyTorch, and their error messages."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lstm_numba as ln
from lstm_numba.gradcheck import relative_error
from tests.conftest import TOLERANCE


@given(
    leading=st.lists(st.integers(0, 4), max_size=3),
    n_in=st.integers(1, 5),
    n_out=st.integers(1, 5),
    bias=st.booleans(),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_dense_equals_torch_linear(leading, n_in, n_out, bias, dtype, seed):
    rng = np.random.default_rng(seed)
    ours = ln.Dense(n_in, n_out, bias, dtype=dtype, seed=seed)
    theirs = torch.nn.Linear(n_in, n_out, bias, dtype=getattr(torch, dtype))
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
    x, dy = rng.normal(size=(*leading, n_in)).astype(dtype), rng.normal(size=(*leading, n_out)).astype(dtype)
    y, dx = ours(x), ours.backward(dy)
    their_x = torch.tensor(x, requires_grad=True)
    their_y = theirs(their_x)
    (their_y * torch.tensor(dy)).sum().backward()
    assert y.shape == tuple(their_y.shape)
    assert y.dtype == dx.dtype == np.dtype(dtype)
    assert relative_error(y, their_y.detach().numpy()) < TOLERANCE[dtype]
    assert relative_error(dx, their_x.grad.numpy()) < TOLERANCE[dtype]
    for name, parameter in theirs.named_parameters():
        assert relative_error(ours.grads[name], parameter.grad.numpy()) < TOLERANCE[dtype]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.zeros((2, 4), np.float32), ValueError, r"x: expected shape \(..., in_features=3\), got \(2, 4\)"),
        (np.float32(1), ValueError, r"x: expected shape \(..., in_features=3\), got"),
        (np.zeros((2, 3)), TypeError, "x: expected dtype float32, got float64"),
    ],
)
def test_dense_refuses(value, error, message):
    with pytest.raises(error, match=message):
        ln.Dense(3, 2)(value)


def test_dense_backward_needs_a_training_call():
    dense = ln.Dense(3, 2).eval()
    dense(np.zeros((1, 3), np.float32))
    with pytest.raises(RuntimeError, match="backward: expected a call of the layer in training mode"):
        dense.backward(np.zeros((1, 2), np.float32))


def test_dense_does_not_look_at_a_reused_buffer(rng):
    dense, x = ln.Dense(3, 2, dtype="float64", seed=0), rng.normal(size=(4, 3))
    original = x.copy()
    dense(x)
    x[...] = 0
    dense.backward(np.ones((4, 2)))
    np.testing.assert_allclose(dense.grads["weight"], np.ones((2, 4)) @ original)


def torch_model(dtype):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("0", torch.nn.LSTM(3, 4, 2, batch_first=True, dtype=dtype))
            self.add_module("2", torch.nn.Linear(4, 2, dtype=dtype))

        def forward(self, x):
            return self.get_submodule("2")(self.get_submodule("0")(x)[0][:, -1])

    return Model()


def test_sequential_equals_torch(backend, dtype, tolerance, rng):
    ours = ln.Sequential(
        ln.LSTM(3, 4, 2, batch_first=True, dtype=dtype, backend=backend, seed=0),
        ln.LastStep(batch_first=True, dtype=dtype),
        ln.Dense(4, 2, dtype=dtype, seed=1),
    )
    theirs = torch_model(getattr(torch, dtype))
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
    x, dy = rng.normal(size=(5, 6, 3)).astype(dtype), rng.normal(size=(5, 2)).astype(dtype)
    y, dx = ours(x), ours.backward(dy)
    their_x = torch.tensor(x, requires_grad=True)
    their_y = theirs(their_x)
    (their_y * torch.tensor(dy)).sum().backward()
    assert relative_error(y, their_y.detach().numpy()) < tolerance
    assert relative_error(dx, their_x.grad.numpy()) < tolerance
    for name, parameter in theirs.named_parameters():
        assert relative_error(ours.grads[name], parameter.grad.numpy()) < tolerance


def test_last_step_time_first(rng):
    y = rng.normal(size=(4, 2, 3)).astype(np.float32)
    layer = ln.LastStep()
    np.testing.assert_array_equal(layer(y), y[-1])
    dy = layer.backward(np.ones((2, 3), np.float32))
    assert dy.sum() == dy[-1].sum() == 6


def test_last_step_refuses():
    with pytest.raises(ValueError, match=r"y: expected shape \(T, B, H\), got \(4, 3\)"):
        ln.LastStep()(np.zeros((4, 3), np.float32))
    with pytest.raises(RuntimeError, match="backward: expected a call"):
        ln.LastStep().backward(np.zeros((4, 3), np.float32))


def test_sequential_modes_and_state(rng):
    model = ln.Sequential(ln.LSTM(3, 4, seed=0), ln.Dense(4, 1, seed=1))
    assert not model.eval().layers[0].training
    assert model.train().layers[1].training
    model(rng.normal(size=(2, 1, 3)).astype(np.float32))
    model.backward(np.ones((2, 1, 1), np.float32))
    assert any(grad.any() for grad in model.grads.values())
    model.zero_grad()
    assert not any(grad.any() for grad in model.grads.values())
    other = ln.Sequential(ln.LSTM(3, 4, seed=5), ln.Dense(4, 1, seed=6))
    other.load_state_dict(model.state_dict())
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(other.parameters[name], value)


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ((), ValueError, "layers: expected at least one layer"),
        ((ln.Dense(1, 1), "dense"), TypeError, r"layers\[1\]: expected a layer, got str"),
        ((ln.Dense(1, 1), ln.Dense(1, 1, dtype="float64")), TypeError, r"layers\[1\]: expected dtype float32"),
    ],
)
def test_sequential_refuses(layers, error, message):
    with pytest.raises(error, match=message):
        ln.Sequential(*layers)
