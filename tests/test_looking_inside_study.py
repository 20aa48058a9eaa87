"""The script behind chapter 2.7 trains, stores and goes on; what is stored fits the networks and the page."""

import json
from pathlib import Path

import numpy as np
import pytest

import lstm_numba as ln
from benchmarks import looking_inside as study
from lstm_numba.teaching import looking_inside as protocol

STORED = Path(study.OUT)
MOST_BYTES = 1_000_000


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(study, "NETWORKS", {"LSTM": ("LSTM", 8, 0), "RNN": ("RNN", 8, 0), "LSTM 1": ("LSTM", 8, 1)})
    monkeypatch.setattr(protocol, "TRAINING", ("shlex", "csv"))
    monkeypatch.setattr(protocol, "HELD_OUT", {"choose": ("calendar",), "judge": ("timeit",)})


def test_a_run_that_was_stopped_goes_on(small, tmp_path):
    out = tmp_path / "result.json"
    first = study.run(out, characters=20_000, networks=("LSTM",))
    assert list(first["networks"]) == ["LSTM"]
    second = study.run(out, characters=20_000, networks=("LSTM", "RNN", "LSTM 1"))
    assert second["networks"]["LSTM"] == first["networks"]["LSTM"]
    assert list(second["networks"]) == ["LSTM", "RNN", "LSTM 1"]
    assert second["networks"]["RNN"]["best_units"] is None
    assert json.loads(out.read_text()) == second
    stored = np.load(out.with_suffix(".npz"))
    assert {name.split("/")[0] for name in stored} == set(study.STORED)
    other = study.run(out, characters=24_000, networks=("LSTM",))  # another study: nothing of the old one counts
    assert list(other["networks"]) == ["LSTM"]


def test_training_lowers_the_cost(monkeypatch):
    monkeypatch.setattr(study, "SETTINGS", study.SETTINGS | {"batch": 4, "steps": 16, "warmup": 5})
    model = protocol.character_model(ln.LSTM(len(protocol.SYMBOLS), 16, seed=0), seed=1)
    text = "for x in y:\n    z = f(x)\n" * 400
    before = study.bits_per_character(model.eval(), text[:500])
    curve = study.train(model, protocol.encode(text), 40_000, 1e-2)
    assert study.bits_per_character(model, text[:500]) < 0.7 * before
    assert curve[-1][1] < curve[0][1]


def test_what_is_stored_fits_the_networks():
    result = json.loads(STORED.read_text())
    weights = np.load(STORED.with_suffix(".npz"))
    assert STORED.with_suffix(".npz").stat().st_size < MOST_BYTES
    for name in study.STORED:
        about = result["networks"][name]
        model = protocol.untrained(about["cell"], about["hidden_size"], about["seed"])
        assert {key: value.shape for key, value in model.parameters.items()} == {
            key.removeprefix(f"{name}/"): weights[key].shape for key in weights if key.startswith(f"{name}/")
        }
        assert about["parameters"] == protocol.parameter_count(model)
    small, large = sorted(result["networks"][name]["parameters"] for name in study.STORED)
    assert large < 1.01 * small


def test_stored_weights_give_the_stored_cost():
    result = json.loads(STORED.read_text())
    weights = np.load(STORED.with_suffix(".npz"))
    text = protocol.read_modules(protocol.HELD_OUT["judge"])
    if protocol.digest(text) != result["study"]["held_out"]["judge"]["sha256"]:
        pytest.skip("this Python's standard library is another version than the one the numbers are for")
    model = protocol.untrained("LSTM", result["networks"]["LSTM"]["hidden_size"], 0).eval()
    for key, value in model.parameters.items():
        value[...] = weights[f"LSTM/{key}"]
    assert study.bits_per_character(model, text) == pytest.approx(result["networks"]["LSTM"]["bits"]["judge"], abs=1e-3)
