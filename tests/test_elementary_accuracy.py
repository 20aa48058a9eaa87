"""The script that goes through all float32 numbers, on a few of them; and the stored result of all of them."""

import json

import numpy as np
import pytest

from benchmarks import elementary_accuracy as accuracy
from tests.test_elementary import ULP


def bits(value):
    return int(np.float32(value).view(np.uint32))


def test_a_small_run(tmp_path):
    out = tmp_path / "result.json"
    result = accuracy.run(out, seed=0, samples=1000, first=bits(0.5), last=bits(0.51))
    assert json.loads(out.read_text()) == result
    for name, by_dtype in result["functions"].items():
        for dtype in ("float32", "float64"):
            assert 0 < by_dtype[dtype]["max_ulp"] < ULP[name]
            assert by_dtype[dtype]["inputs_in_range"] > 1000
        assert by_dtype["float32"]["inputs"] == bits(0.51) - bits(0.5)


def tally_of(monkeypatch, wrong):
    """A tally of tanh computed by something else."""

    def function(x, y):
        y[:] = wrong(x)

    monkeypatch.setattr(accuracy, "compiled", lambda name: function)
    return accuracy.Tally("tanh", "float32")


def test_an_error_of_three_units_is_seen(monkeypatch):
    tally = tally_of(monkeypatch, lambda x: np.tanh(x) + np.float32(3) * np.spacing(np.tanh(x)))
    tally.add(np.array([0.25, 0.75], np.float32))
    assert 2 < tally.max_ulp < 4


def test_a_lost_or_new_nan_is_seen(monkeypatch):
    tally = tally_of(monkeypatch, lambda x: np.where(np.isnan(x), 0, np.nan))
    tally.add(np.array([np.nan, 1, 2], np.float32))
    assert (tally.nan_lost, tally.nan_made) == (1, 2)
    assert not tally.max_ulp < 1e300


def test_every_float32_number_is_visited_once():
    starts = [(chunk[0].view(np.uint32), chunk.size) for chunk in accuracy.all_float32(0, 3 * accuracy.CHUNK + 5)]
    assert [int(start) for start, _ in starts] == [n * accuracy.CHUNK for n in range(4)]
    assert starts[-1][1] == 5


@pytest.fixture(scope="module")
def stored():
    return json.loads(accuracy.RESULT.read_text())


@pytest.mark.parametrize("name", ULP)
def test_the_stored_maxima_are_within_the_bounds(stored, name):
    assert stored["float32_bit_patterns"] == [0, 2**32]
    for dtype, found in stored["functions"][name].items():
        assert found["max_ulp"] < ULP[name], dtype
        assert found["nan_lost"] == found["nan_made"] == 0, dtype
    float32 = stored["functions"][name]["float32"]
    assert float32["inputs"] == 2**32
    assert float32["nan_inputs"] == 2 * (2**23 - 1)
    beyond = sum(entry["inputs"] for entry in float32["beyond_the_range"].values())
    assert float32["inputs_in_range"] + float32["nan_inputs"] + beyond == 2**32
