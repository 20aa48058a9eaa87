"""The LSTM family's specification: PyTorch where PyTorch has the cell, the complex step and differences everywhere."""

import numpy as np
import pytest
import torch

from lstm_numba.gradcheck import central_difference, complex_step, relative_error
from lstm_numba.reference.lstm import lstm_forward
from lstm_numba.reference.lstm_variants import variant_backward, variant_forward
from lstm_numba.variants import VARIANTS, VariantOptions, VariantWeights, checked
from tests.variants import OPTION_SETS, random_variant

T, B, I, H = 4, 3, 2, 3


def losses(options, problem, upstream):
    """The loss whose gradient `variant_backward` returns, as a function of one named array."""

    def run(values):
        x, h0, c0 = values["x"], values["h0"], values["c0"]
        weights = VariantWeights(**{name: values.get(name) for name in VariantWeights._fields})
        y, h_n, c_n, _ = variant_forward(options, x, h0, c0, weights, False)
        return sum((w * value).sum() for w, value in zip(upstream, (y, h_n, c_n), strict=True))

    return {name: lambda value, name=name: run(problem | {name: value}) for name in problem}


@pytest.mark.parametrize("options", OPTION_SETS.values(), ids=OPTION_SETS)
def test_every_gradient_two_ways(rng, options):
    x, h0, c0, weights = random_variant(rng, options, T, B, I, H)
    upstream = rng.normal(size=(T, B, H)), rng.normal(size=(B, H)), rng.normal(size=(B, H))
    *_, cache = variant_forward(options, x, h0, c0, weights, True)
    dx, dh0, dc0, grads = variant_backward(options, *upstream, cache, weights)

    problem = {"x": x, "h0": h0, "c0": c0} | {k: v for k, v in weights._asdict().items() if v is not None}
    ours = {"x": dx, "h0": dh0, "c0": dc0} | {k: v for k, v in grads._asdict().items() if v is not None}
    assert ours.keys() == problem.keys()
    for name, loss in losses(options, problem, upstream).items():
        assert relative_error(ours[name], complex_step(loss, problem[name])) < 1e-12, name
        assert relative_error(ours[name], central_difference(loss, problem[name])) < 1e-7, name


def test_no_peepholes_is_the_lstm(rng):
    x, h0, c0, weights = random_variant(rng, VARIANTS["NP"], T, B, I, H)
    expected = lstm_forward(x, h0, c0, *weights[:4], training=False)
    for ours, theirs in zip(variant_forward(VARIANTS["NP"], x, h0, c0, weights, False), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_vanilla_against_torch_autograd(rng):
    """Peepholes, written out once more with another library's automatic derivatives."""
    x, h0, c0, weights = random_variant(rng, VARIANTS["V"], T, B, I, H)
    upstream = rng.normal(size=(T, B, H)), rng.normal(size=(B, H)), rng.normal(size=(B, H))
    tensors = {n: torch.tensor(v, requires_grad=True) for n, v in weights._asdict().items() if v is not None}
    p_i, p_f, p_o = tensors["peepholes"]
    h, c = torch.tensor(h0), torch.tensor(c0)
    loss = 0
    for t in range(T):
        z = torch.tensor(x[t]) @ tensors["W_ih"].T + h @ tensors["W_hh"].T + tensors["b_ih"] + tensors["b_hh"]
        z_i, z_f, z_g, z_o = z.chunk(4, dim=1)
        i, f = torch.sigmoid(z_i + p_i * c), torch.sigmoid(z_f + p_f * c)
        c = f * c + i * torch.tanh(z_g)
        h = torch.sigmoid(z_o + p_o * c) * torch.tanh(c)
        loss = loss + (h * torch.tensor(upstream[0][t])).sum()
    (loss + (h * torch.tensor(upstream[1])).sum() + (c * torch.tensor(upstream[2])).sum()).backward()

    _, h_n, _, cache = variant_forward(VARIANTS["V"], x, h0, c0, weights, True)
    assert relative_error(h_n, h.detach().numpy()) < 1e-12
    *_, grads = variant_backward(VARIANTS["V"], *upstream, cache, weights)
    for name, tensor in tensors.items():
        assert relative_error(getattr(grads, name), tensor.grad.numpy()) < 1e-10, name


def test_each_named_variant_is_one_change_away_from_vanilla():
    vanilla = VARIANTS["V"]
    for name in ("NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG", "NP", "FGR"):
        assert sum(a != b for a, b in zip(VARIANTS[name], vanilla, strict=True)) == 1, name


def test_a_part_that_is_switched_off_is_a_part_that_is_one(rng):
    """NIG, NFG and NOG are the vanilla cell with that gate saturated open, the other weights the same."""
    x, h0, c0, weights = random_variant(rng, VARIANTS["V"], T, B, I, H)
    for block, name in enumerate(("NIG", "NFG", "NOG")):
        open_gate = weights._replace(b_ih=weights.b_ih.copy())
        rows = slice((0, 1, 3)[block] * H, ((0, 1, 3)[block] + 1) * H)
        open_gate.b_ih[rows] = 1e3
        without = VariantWeights(
            *(np.delete(value, np.arange(4 * H)[rows], axis=0) for value in weights[:4]),
            np.delete(weights.peepholes, block, axis=0),
            None,
        )
        expected = variant_forward(VARIANTS["V"], x, h0, c0, open_gate, False)[0]
        np.testing.assert_allclose(variant_forward(VARIANTS[name], x, h0, c0, without, False)[0], expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (VariantOptions(input_activation="relu"), r"variant\.input_activation: expected one of 'tanh'"),
        (VariantOptions(coupled=True, input_gate=False), r"variant\.coupled: expected an input gate"),
        (VariantOptions(False, False, False, peepholes=True), "expected a gate for the peepholes"),
    ],
)
def test_impossible_cells_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        checked(options)
