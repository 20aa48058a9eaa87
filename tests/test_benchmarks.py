"""The benchmarks run, refuse wrong candidates, and the stored results say where they come from."""

import json
from pathlib import Path

import pytest

from benchmarks import lstm_cpu, timing

RESULTS = sorted((Path(__file__).parents[1] / "benchmarks" / "results").glob("*.json"))
PROVENANCE = ("date", "commit", "command", "seed", "processor", "cores", "python", "versions")


def test_a_small_run_writes_complete_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(lstm_cpu, "SHAPES", [(3, 2, 4)])
    out = tmp_path / "result.json"
    result = lstm_cpu.run(out, threads=1, rounds=3, seconds=1e-4, seed=0)
    assert json.loads(out.read_text()) == result
    assert [row["training"] for row in result["rows"]] == [False, True]
    for row in result["rows"]:
        assert row["cpu"]["low_us"] <= row["cpu"]["median_us"] <= row["cpu"]["high_us"]
        assert row["gflops"] > 0
    assert lstm_cpu.geometric_mean(result, True) == pytest.approx(result["rows"][1]["speedup_over_torch"]["median"])


def test_nothing_is_timed_before_it_is_right(tmp_path, monkeypatch):
    monkeypatch.setattr(lstm_cpu, "SHAPES", [(3, 2, 4)])
    candidates = lstm_cpu._candidates

    def with_a_wrong_one(*arguments):
        good = candidates(*arguments)
        return good | {"cpu": lambda: good["cpu"]() + 1}

    monkeypatch.setattr(lstm_cpu, "_candidates", with_a_wrong_one)
    with pytest.raises(AssertionError, match="cpu differs from PyTorch"):
        lstm_cpu.run(tmp_path / "result.json", threads=1, rounds=1, seconds=1e-4, seed=0)


def test_ratio_is_paired_within_rounds():
    """A slow round slows both and leaves the ratio alone."""
    assert timing.ratio([2.0, 20.0, 4.0], [1.0, 10.0, 2.0]) == {"median": 2.0, "low": 2.0, "high": 2.0}


@pytest.mark.parametrize("path", RESULTS, ids=[path.name for path in RESULTS])
def test_stored_results_say_where_they_come_from(path):
    stored = json.loads(path.read_text())["provenance"]
    for key in PROVENANCE:
        assert stored[key] is not None, f"{path.name}: {key} is missing"
    assert not stored["sources_modified"], f"{path.name} was made with uncommitted changes"
