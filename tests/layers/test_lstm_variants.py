"""The layer of the LSTM family: its parameters, its agreement with PyTorch, and what it refuses."""

import numpy as np
import pytest
import torch

import lstm_numba as ln
from lstm_numba.gradcheck import check_layer, relative_error
from lstm_numba.variants import VARIANTS, VariantOptions


@pytest.fixture(params=["cpu", "reference"])
def backend(request):
    return request.param


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_equal_central_differences(rng, name, backend):
    layer = ln.LSTMVariant(2, 3, name, dtype="float64", backend=backend, seed=0)
    state = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    report = check_layer(layer, rng.normal(size=(4, 2, 2)), state)
    assert report.passed, str(report)
    assert set(report.errors) == {"x", "h0", "c0", *layer.parameters}


def test_np_equals_torch_and_our_lstm(rng, backend, dtype, tolerance):
    """Same seed, same names, same numbers, same gradients."""
    T, B, I, H = 9, 4, 3, 6
    ours = ln.LSTMVariant(I, H, "NP", dtype=dtype, backend=backend, seed=5)
    lstm = ln.LSTM(I, H, dtype=dtype, seed=5)
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, lstm.parameters[name])
    theirs = torch.nn.LSTM(I, H, dtype=getattr(torch, dtype))
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})

    x, dy = (rng.normal(size=(T, B, n)).astype(dtype) for n in (I, H))
    h0, c0 = (rng.normal(size=(B, H)).astype(dtype) for _ in range(2))
    x_t = torch.tensor(x, requires_grad=True)
    y_t, (h_t, c_t) = theirs(x_t, (torch.tensor(h0)[None], torch.tensor(c0)[None]))
    (y_t * torch.tensor(dy)).sum().backward()
    y, (h_n, c_n) = ours(x, (h0, c0))
    dx, _ = ours.backward(dy)
    assert relative_error(y, y_t.detach().numpy()) < tolerance
    assert relative_error(h_n, h_t[0].detach().numpy()) < tolerance
    assert relative_error(c_n, c_t[0].detach().numpy()) < tolerance
    assert relative_error(dx, x_t.grad.numpy()) < tolerance
    for name, parameter in theirs.named_parameters():
        assert relative_error(ours.grads[name], parameter.grad.numpy()) < tolerance, name


def test_parameters_hold_what_the_variant_has():
    def shapes(variant):
        return {name: p.shape for name, p in ln.LSTMVariant(5, 4, variant, seed=0).parameters.items()}

    vanilla = shapes("V")
    assert vanilla["weight_ih_l0"] == (16, 5)
    assert vanilla["weight_peephole_l0"] == (3, 4)
    assert "weight_gates_l0" not in vanilla
    assert shapes("NIG") == shapes("NFG") == shapes("NOG") == shapes("CIFG")
    assert shapes("CIFG")["weight_hh_l0"] == (12, 4)
    assert shapes("CIFG")["weight_peephole_l0"] == (2, 4)
    assert "weight_peephole_l0" not in shapes("NP")
    assert shapes("FGR")["weight_gates_l0"] == (12, 12)  # nine H x H matrices
    assert "bias_ih_l0" not in ln.LSTMVariant(5, 4, bias=False, seed=0).parameters


def test_batch_first_is_a_transposition(rng):
    first, second = ln.LSTMVariant(3, 4, seed=0), ln.LSTMVariant(3, 4, batch_first=True, seed=0)
    x, dy = rng.normal(size=(6, 2, 3)).astype("f4"), rng.normal(size=(6, 2, 4)).astype("f4")
    y, _ = first(x)
    dx, _ = first.backward(dy)
    y_b, _ = second(x.transpose(1, 0, 2))
    dx_b, _ = second.backward(dy.transpose(1, 0, 2))
    np.testing.assert_array_equal(y, y_b.transpose(1, 0, 2))
    np.testing.assert_array_equal(dx, dx_b.transpose(1, 0, 2))


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "FGR"])
def test_a_sequence_in_two_pieces_is_the_sequence(rng, name):
    """The state carries everything, except for the recurrence of the gates, which starts anew (see the notes)."""
    layer = ln.LSTMVariant(3, 4, name, dtype="float64", seed=0).eval()
    x = rng.normal(size=(8, 2, 3))
    whole, _ = layer(x)
    first, state = layer(x[:5])
    second, _ = layer(x[5:], state)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-13)


def test_gate_recurrence_matters_after_the_first_step(rng):
    layer = ln.LSTMVariant(3, 4, "FGR", seed=0).eval()
    x = rng.normal(size=(2, 1, 3)).astype("f4")
    before, _ = layer(x)
    layer.parameters["weight_gates_l0"][...] = 0
    after, _ = layer(x)
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[1] - after[1]).max() > 1e-3


def test_trains_inside_sequential_with_fit(rng):
    x = rng.normal(size=(64, 5, 1)).astype("f4")
    target = x.sum(axis=1)
    lstm = ln.LSTMVariant(1, 8, "CIFG", batch_first=True, seed=0)
    model = ln.Sequential(lstm, ln.LastStep(batch_first=True), ln.Dense(8, 1, seed=1))
    history = ln.fit(model, x, target, loss=ln.mse_loss, optimiser=ln.Adam(model, lr=0.02), epochs=30, progress=False)
    assert history.train_loss[-1] < 0.1 * history.train_loss[0]


def test_backward_uses_the_input_as_it_was(rng):
    layer = ln.LSTMVariant(2, 3, seed=0)
    x = rng.normal(size=(4, 2, 2)).astype("f4")
    y, _ = layer(x)
    layer.backward(y)
    expected = layer.grads["weight_ih_l0"].copy()
    layer.zero_grad()
    layer(x)
    x[...] = 0
    layer.backward(y)
    np.testing.assert_array_equal(layer.grads["weight_ih_l0"], expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ln.LSTMVariant(2, 3, "LSTM"), ValueError, r"variant: expected one of 'V', 'NIG'"),
        (lambda: ln.LSTMVariant(2, 3, VariantOptions(output_activation="relu")), ValueError, "output_activation"),
        (lambda: ln.LSTMVariant(2, 3, backend="gpu"), ValueError, "backend: expected one of 'cpu', 'reference'"),
        (lambda: ln.LSTMVariant(2, 0), ValueError, "hidden_size: expected"),
        (lambda: ln.LSTMVariant(2, 3)(np.zeros((4, 1, 5), "f4")), ValueError, r"x: expected shape \(T, B, I=2\)"),
        (lambda: ln.LSTMVariant(2, 3)(np.zeros((4, 1, 2))), TypeError, "x: expected dtype float32"),
        (lambda: ln.LSTMVariant(2, 3)(np.zeros((0, 1, 2), "f4")), ValueError, "at least one time step"),
        (lambda: ln.LSTMVariant(2, 3)(np.zeros((1, 1, 2), "f4"), 0), TypeError, "state: expected a pair"),
        (lambda: ln.LSTMVariant(2, 3).backward(np.zeros((1, 1, 3), "f4")), RuntimeError, "backward: expected a call"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
