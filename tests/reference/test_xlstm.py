"""The specification of sLSTM and mLSTM: PyTorch, the complex step, and the formulas without a stabiliser."""

import numpy as np
import pytest
import torch

from lstm_numba.gradcheck import complex_step, relative_error
from lstm_numba.reference import xlstm
from tests.recurrences import everything, random_problem

T, B, I, H, HEADS = 5, 2, 3, 4, 2


def torch_slstm(x, h, c, n, m, W_ih, W_hh, b):
    """Equations 8 to 14 of the paper, without the stabiliser: gates and memory as they are."""
    c, n = c * torch.exp(m), n * torch.exp(m)
    y = []
    for x_t in x:
        z_i, z_f, z_g, z_o = (x_t @ W_ih.T + h @ W_hh.T + b).chunk(4, dim=1)
        i, f = torch.exp(z_i), torch.sigmoid(z_f)
        c = f * c + i * torch.tanh(z_g)
        n = f * n + i
        h = torch.sigmoid(z_o) * c / n
        y.append(h)
    return torch.stack(y), c, n


def torch_mlstm(x, C, n, m, W, b):
    """Equations 19 to 27 of the paper, without the stabiliser."""
    N, D = n.shape[1:]
    C, n = C * torch.exp(m)[..., None, None], n * torch.exp(m)[..., None]
    y = []
    for x_t in x:
        z = x_t @ W.T + b
        q, k, v, o = (part.reshape(-1, N, D) for part in z[:, : 4 * N * D].chunk(4, dim=1))
        i, f = z[:, 4 * N * D :].chunk(2, dim=1)
        i, f, k = torch.exp(i)[..., None], torch.sigmoid(f)[..., None], k / D**0.5
        C = f[..., None] * C + i[..., None] * v[..., :, None] * k[..., None, :]
        n = f * n + i * k
        size = torch.clamp((n * q).sum(-1, keepdim=True).abs(), min=1)
        y.append((torch.sigmoid(o) * (C @ q[..., None])[..., 0] / size).reshape(-1, N * D))
    return torch.stack(y), C, n


@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize("cell", ["slstm", "mlstm"])
def test_against_torch_autograd_of_the_unstabilised_formula(rng, cell, scale):
    """Two different computations of one function: the scale e^m must cancel, in the gradients too.

    The small inputs of the second case leave the mLSTM's normaliser below its floor of 1.
    """
    x, state, weights, dy, dstate = random_problem(rng, cell, T, B, I, H, heads=HEADS)
    x = scale * x
    tensors = [torch.tensor(value, requires_grad=True) for value in (x, *state, *weights)]
    layer = torch_slstm if cell == "slstm" else torch_mlstm
    expected, memory, normaliser = layer(*tensors)
    ours = everything(xlstm, cell, x, state, weights, dy, dstate)

    # The gradient of the final memory holds for a fixed scale: a loss on the memory itself, divided by it.
    parts = len(state)
    m_n = torch.tensor(ours[f"state[{parts - 1}]"])
    rest = (1,) * (memory.ndim - m_n.ndim)
    loss = (expected * torch.tensor(dy)).sum()
    if cell == "slstm":
        loss = loss + (expected[-1] * torch.tensor(dstate[0])).sum()
    loss = loss + (memory * torch.exp(-m_n).reshape(*m_n.shape, *rest) * torch.tensor(dstate[-2])).sum()
    rest = (1,) * (normaliser.ndim - m_n.ndim)
    loss = loss + (normaliser * torch.exp(-m_n).reshape(*m_n.shape, *rest) * torch.tensor(dstate[-1])).sum()
    loss.backward()

    assert relative_error(ours["y"], expected.detach().numpy()) < 1e-12
    assert relative_error(ours["dx"], tensors[0].grad.numpy()) < 1e-11
    for n in range(parts - 1):
        assert relative_error(ours[f"dstate0[{n}]"], tensors[1 + n].grad.numpy()) < 1e-11
    for n in range(len(weights)):
        assert relative_error(ours[f"grad[{n}]"], tensors[1 + parts + n].grad.numpy()) < 1e-11


@pytest.mark.parametrize("cell", ["slstm", "mlstm"])
def test_every_gradient_by_the_complex_step(rng, cell):
    """From an empty memory, of a loss that sees the outputs."""
    x, state, weights, dy, dstate = random_problem(rng, cell, T, B, I, H, heads=HEADS)
    state = *(np.zeros_like(part) for part in state[:-1]), np.full_like(state[-1], -np.inf)
    dstate = tuple(np.zeros_like(part) for part in dstate)
    ours = everything(xlstm, cell, x, state, weights, dy, dstate)
    forward = getattr(xlstm, f"{cell}_forward")
    for place, name in enumerate(["dx", *(f"grad[{n}]" for n in range(len(weights)))]):

        def loss(value, place=place):
            arrays = [x, *weights]
            arrays[place] = value
            return (dy * forward(arrays[0], state, tuple(arrays[1:]), False)[0]).sum()

        assert relative_error(ours[name], complex_step(loss, [x, *weights][place])) < 1e-11, name


@pytest.mark.parametrize("cell", ["slstm", "mlstm"])
def test_a_loss_split_in_two_pieces_has_the_same_gradients(rng, cell):
    """Without a gradient for the scale, the state's gradients still carry everything from piece to piece."""
    x, state, weights, dy, dstate = random_problem(rng, cell, 8, B, I, H, heads=HEADS)
    forward, backward = (getattr(xlstm, f"{cell}_{name}") for name in ("forward", "backward"))
    whole = everything(xlstm, cell, x, state, weights, dy, dstate)
    _, middle, first = forward(x[:3], state, weights, True)
    _, _, second = forward(x[3:], middle, weights, True)
    dx_2, d_middle, grads_2 = backward(dy[3:], dstate, second, weights)
    dx_1, initial, grads_1 = backward(dy[:3], d_middle, first, weights)
    assert relative_error(np.concatenate([dx_1, dx_2]), whole["dx"]) < 1e-12
    for n, part in enumerate(initial):
        assert relative_error(part, whole[f"dstate0[{n}]"]) < 1e-12
    for n, (one, two) in enumerate(zip(grads_1, grads_2, strict=True)):
        assert relative_error(one + two, whole[f"grad[{n}]"]) < 1e-12


@pytest.mark.parametrize("cell", ["slstm", "mlstm"])
def test_large_inputs_do_not_overflow(rng, cell):
    """Pre-activations of several hundred: e^z is infinite in float64, the stabilised cell is not."""
    x, state, weights, dy, dstate = random_problem(rng, cell, T, B, I, H, heads=HEADS)
    state = *(np.zeros_like(part) for part in state[:-1]), np.full_like(state[-1], -np.inf)
    with np.errstate(over="ignore"):
        assert np.isinf(np.exp(1000 * x @ weights[0].T)).any()
    values = everything(xlstm, cell, 1000 * x, state, weights, dy, dstate)
    assert all(np.isfinite(value).all() for value in values.values())


def test_slstm_forgets_what_a_larger_gate_overwrites():
    """The exponential gate's point: one input can outweigh all others, however many there were."""
    weights = np.zeros((4, 2)), np.zeros((4, 1))
    weights[0][0, 0] = 20.0  # input gate: the first feature
    weights[0][2, 1] = 1.0  # candidate: the second
    state = (*(np.zeros((1, 1)) for _ in range(3)), np.full((1, 1), -np.inf))
    x = np.zeros((100, 1, 2))
    x[:-1, 0, 1] = -2.0  # ninety-nine ordinary inputs ...
    x[-1, 0] = 1.0, 2.0  # ... and one that counts
    *_, (_, c, n, _), _ = xlstm.slstm_forward(x, state, weights, False)
    assert (c / n)[0, 0] == pytest.approx(np.tanh(2.0), abs=1e-6)
