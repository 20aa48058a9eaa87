"""`accelerate`, `restore` and `survey` on whole models; weights to layers and back."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import lstm_numba as ln
import lstm_numba.torch as lt
from lstm_numba.gradcheck import relative_error
from tests.conftest import TOLERANCE


class Tagger(nn.Module):
    """Several recurrent modules at several depths, one of them used twice."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 6)
        self.layers = nn.ModuleList([nn.LSTM(6, 6, batch_first=True), nn.GRU(6, 6, batch_first=True)])
        self.again = self.layers[0]
        self.head = nn.ModuleDict({"rnn": nn.RNN(6, 4, nonlinearity="relu", batch_first=True), "out": nn.Linear(4, 2)})

    def forward(self, symbols):
        x = self.embedding(symbols)
        for layer in (*self.layers, self.again, self.head["rnn"]):
            x = layer(x)[0]
        return self.head["out"](x)


class Special(nn.LSTM):
    """Computes something else."""

    def forward(self, input, hx=None):
        return super().forward(2 * input, hx)


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_a_model_keeps_its_objects_and_results():
    torch.manual_seed(0)
    model = Tagger()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    symbols = torch.randint(0, 10, (3, 7))
    expected = model(symbols)
    before = dict(model.named_modules()), dict(model.named_parameters()), model.state_dict()
    assert lt.accelerate(model) is model
    assert [type(m) for m in (*model.layers, model.again, model.head["rnn"])] == [lt.LSTM, lt.GRU, lt.LSTM, lt.RNN]
    assert all(one is other for one, other in zip(model.modules(), before[0].values(), strict=True))
    assert all(one is other for one, other in zip(model.parameters(), before[1].values(), strict=True))
    assert model.state_dict().keys() == before[2].keys()
    assert torch.allclose(model(symbols), expected, atol=1e-6)
    model(symbols).sum().backward()
    optimiser.step()
    changed = model(symbols)
    assert not torch.allclose(changed, expected, atol=1e-6)
    assert lt.restore(model) is model
    assert [type(m) for m in (*model.layers, model.head["rnn"])] == [nn.LSTM, nn.GRU, nn.RNN]
    assert torch.allclose(model(symbols), changed, atol=1e-6)
    fresh = Tagger()
    fresh.load_state_dict(model.state_dict())
    torch.jit.script(model.layers[0])  # nothing of ours is left behind


def test_copy_leaves_the_model_alone():
    model = nn.LSTM(3, 4)
    copied = lt.accelerate(model, copy=True)
    assert type(model) is nn.LSTM
    assert type(copied) is lt.LSTM
    with torch.no_grad():
        copied.weight_hh_l0.zero_()
    assert model.weight_hh_l0.any()


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_what_is_left_as_it_is_is_reported():
    model = nn.ModuleDict(
        {
            "good": nn.GRU(3, 4),
            "narrow": nn.LSTM(3, 4, dtype=torch.float16),
            "special": Special(3, 4),
            "cell": nn.GRUCell(3, 4),
            "scripted": torch.jit.script(nn.LSTM(3, 4)),
            "other": nn.Linear(3, 4),
        }
    )
    with pytest.warns(UserWarning, match="is not accelerated") as caught:
        lt.accelerate(model)
    messages = sorted(str(warning.message) for warning in caught)
    assert [message.split(" ")[0] for message in messages] == ["cell", "narrow", "scripted", "special"]
    assert "weight_ih_l0 is torch.float16" in messages[1]
    assert caught[0].filename == __file__
    found = {entry.name: entry for entry in lt.survey(model)}
    assert set(found) == {"good", "narrow", "special", "cell", "scripted"}
    assert [name for name, entry in found.items() if entry.accelerated] == ["good"]
    assert "a subclass, Special," in found["special"].reason
    assert "one step" in found["cell"].reason
    assert "TorchScript" in found["scripted"].reason
    assert lt.survey(nn.GRU(3, 4)) == [lt.Recurrent("", "GRU", False, "")]


LAYERS = {
    "lstm": lambda: ln.LSTM(3, 4, num_layers=2, dropout=0.3, bidirectional=True, seed=0),
    "projected": lambda: ln.LSTM(3, 4, bias=False, proj_size=2, batch_first=True, dtype="float64", seed=1),
    "gru": lambda: ln.GRU(3, 4, seed=2),
    "rnn": lambda: ln.RNN(3, 4, nonlinearity="relu", dtype="float64", seed=3),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_to_modules_and_back(kind, rng):
    layer = LAYERS[kind]().eval()
    module = lt.from_layer(layer)
    assert isinstance(module, getattr(nn, type(layer).__name__))
    assert not module.training
    x = rng.normal(size=(5, 2, 3)).astype(layer.dtype)
    y = module(torch.from_numpy(x))[0].detach().numpy()
    assert relative_error(y, layer(x)[0]) < TOLERANCE[layer.dtype.name]
    for source in (module, lt.restore(module)):
        back = lt.to_layer(source)
        assert repr(back) == repr(layer)
        assert not back.training
        for name, value in layer.parameters.items():
            np.testing.assert_array_equal(back.parameters[name], value)
    assert lt.to_layer(module.train(), backend="reference").training


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lt.from_layer(ln.GRU(3, 4, reset_after=False)), ValueError, "reset_after=True"),
        (lambda: lt.from_layer(ln.Dense(3, 4)), TypeError, "layer: expected .* got Dense"),
        (lambda: lt.to_layer(nn.Linear(3, 4)), TypeError, "module: expected .* got Linear"),
        (lambda: lt.to_layer(nn.LSTM(3, 4, dtype=torch.bfloat16)), TypeError, "got torch.bfloat16"),
    ],
)
def test_what_has_no_counterpart_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_without_the_framework_an_error_says_what_to_install(name):
    code = f"import sys; sys.modules[{name!r}] = None; import lstm_numba.{name}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"pip install 'lstm_numba[{name}]'" in run.stderr
    assert run.returncode == 1
