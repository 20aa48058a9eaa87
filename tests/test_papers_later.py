"""The rows after 1997: every one runs, with a tiny budget, and measures what it says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.papers import __main__ as command_line
from benchmarks.papers import forgetting, later, study
from lstm_numba import tasks
from lstm_numba.teaching import rerun_1997 as rerun
from lstm_numba.teaching.after_1997 import PAPER_UPDATES, WATCHED, counted, judge, outcome

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


@pytest.mark.parametrize("name", [name for name in later.ROWS if not name.endswith(("0", "0-chrono"))])
def test_every_row_runs_and_repeats_itself(name):
    row = replace(later.ROWS[name], cap=2 * later.ROWS[name].batch, check_every=2)
    first, again = row.run(3), row.run(3)
    first.pop("seconds")
    assert again.pop("seconds") > 0
    assert first == again
    assert first["updates"] == 2
    assert first["seen"] == 2 * row.batch
    assert len(first["curve"]) == 1
    assert np.isfinite(first["best_loss"])
    assert first["row"] == name


@pytest.mark.parametrize("start", ["", "-chrono"])
def test_copy_starts_near_chance_and_the_baseline_is_the_papers(start):
    row = later.ROWS[f"copy-100{start}"]
    assert row.baseline == pytest.approx(10 * np.log(8) / 120)
    model = later.Model(row, 0, np.random.default_rng(0))
    loss, share = row.test(model, np.random.default_rng(1))
    assert loss == pytest.approx(np.log(10), rel=0.2)
    assert share == 0
    bias = model.lstm.parameters["bias_ih_l0"] + model.lstm.parameters["bias_hh_l0"]
    if start:
        np.testing.assert_allclose(bias[:40], -bias[40:80], rtol=1e-6)
        assert 0 < bias[40:80].min() < bias[40:80].max() < np.log(120)
    else:
        np.testing.assert_array_equal(bias[40:80], 1)


def test_the_gradient_of_a_row_is_that_of_its_loss():
    """The chain of read-out, scatter and layer, through one weight of each, against a difference of losses."""
    for name in ("counting-ab", "digits-rows", "parity-longer", "adding-100"):
        row = replace(later.ROWS[name], rate=0.0)
        batch = row.draw(np.random.default_rng(0), 8)
        model = later.Model(row, 0, np.random.default_rng(0))
        model.update(batch)
        ratios = []
        for layer, weight in ((model.lstm, "weight_hh_l0"), (model.dense, "weight")):
            gradient = layer.grads[weight]
            place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
            losses = []
            for sign in (1, -1):
                kept = layer.parameters[weight][place]
                layer.parameters[weight][place] += np.float32(sign * 0.02)
                losses.append(model.loss(model.predict(batch), batch))
                layer.parameters[weight][place] = kept
            ratios.append((losses[0] - losses[1]) / 0.04 / gradient[place])
        # Clipping to norm 1 divides all gradients by the same number, if by any.
        assert min(ratios) > 0.95
        assert max(ratios) < 1.1 * min(ratios)


class Perfect:
    """Answers as the task's own targets do; knows n only up to a limit."""

    def __init__(self, limit):
        self.limit = limit

    def predict(self, batch):
        good = batch.lengths[0] <= 1 + 2 * self.limit
        z = 20 * (batch.y - 0.5)
        return z if good else -z


def test_counting_is_asked_for_every_n():
    rng = np.random.default_rng(0)
    assert later.ROWS["counting-ab"].extra(Perfect(37), rng) == {"accepted_up_to": 37, "accepted": 37}
    assert later.ROWS["counting-ab"].extra(Perfect(10**6), rng)["accepted_up_to"] == later.COUNTS


def test_digits_are_split_once_and_only_the_order_differs():
    x, y, x_test, y_test = later._digits("pixels")
    assert x.shape[::2] == (64, 1)
    assert len(y) + len(y_test) == 1797
    permuted = later._digits("permuted")
    np.testing.assert_array_equal(y, permuted[1])
    np.testing.assert_allclose(np.sort(x[:, 0, 0]), np.sort(permuted[0][:, 0, 0]))
    rows = later._digits("rows")
    np.testing.assert_array_equal(rows[0][:, 5].ravel(), x[:, 5].ravel())
    assert rows[2].shape == (8, len(y_test), 8)
    assert x_test.max() <= 1


def test_a_thinned_curve_keeps_its_end():
    assert later._thinned(list(range(7)), 3) == [1, 3, 5, 6]
    assert later._thinned(list(range(6)), 3) == [1, 3, 5]


def test_a_row_of_2000_runs_and_repeats_itself():
    row = replace(forgetting.ROWS["gers-forget-rate"], cap=200)
    first, again = row.run(0), row.run(0)
    assert {**first, "seconds": 0} == {**again, "seconds": 0}
    assert first["after"] is None
    assert first["seen"] == 200
    assert len(first["states"]) == len(WATCHED)
    assert outcome(first) == "rest"
    assert outcome(first | {"best": 1001.0}) == "good"
    assert outcome(first | {"after": 100}) == "perfect"


def test_the_command_line_runs_the_new_rows(tmp_path, monkeypatch):
    tiny = replace(later.ROWS["counting-ab"], cap=64, check_every=1)
    monkeypatch.setitem(study.OTHERS, "counting-ab", tiny)
    store = study.Store(tmp_path / "later.json", "test", 0, ["counting-ab", "copy-100", "hs97-6a"])
    for result in study.run_all([("counting-ab", 0)], 1, None):
        store.add(result)
    result = store.assemble()
    assert result["rows"]["counting-ab"][0]["seen"] == 64
    assert list(result["about"]) == ["counting-ab", "copy-100"]  # what has not run is described too
    assert result["about"]["copy-100"]["baseline"] == later.ROWS["copy-100"].baseline
    assert "about" not in study.Store(tmp_path / "1997.json", "test", 0, ["hs97-6a"]).assemble()
    assert command_line.rows_starting_with("gers-,copy-100") == [*forgetting.ROWS, "copy-100", "copy-100-chrono"]
    assert set(later.ROWS) | set(forgetting.ROWS) <= set(study.RUNNABLE)


def test_targets_of_an_answer_at_the_end():
    batch = tasks.adding(np.random.default_rng(0), 4, 24, variant="2016")
    t, b, target = later._what_counts(batch)
    assert t.tolist() == [23] * 4
    assert b.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(target, batch.y)


def test_dask_runs_the_trials_that_this_process_would_run(tmp_path):
    """The flag --dask, on a cluster of threads in this process."""
    import distributed  # in requirements.txt: a missing one fails, it does not skip

    out = tmp_path / "cluster.json"
    arguments = ["run", "hs97-3a-guess", "--trials", "2", "--seed", "3", "--out", str(out)]
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        command_line.main([*arguments, "--dask", cluster.scheduler_address])
    trials = json.loads(out.read_text())["rows"]["hs97-3a-guess"]
    assert [trial["seed"] for trial in trials] == [3, 4]
    for trial in trials:
        here = rerun.run_trial("hs97-3a-guess", trial["seed"])
        assert {**here, "seconds": 0} == {**trial, "seconds": 0}


def test_the_stored_study_belongs_to_the_rows_and_nothing_is_missing():
    stored = json.loads((RESULTS / "papers_modern.json").read_text(encoding="utf-8"))
    assert not stored["provenance"]["sources_modified"]
    assert set(stored["rows"]) <= set(stored["about"]) == set(study.OTHERS)
    for name, about in stored["about"].items():
        assert about == json.loads(json.dumps(study.describe(study.OTHERS[name]))), name
    for name, trials in stored["rows"].items():
        seeds = [trial["seed"] for trial in trials]
        assert seeds == sorted(set(seeds)), name
        for trial in trials:
            assert trial["row"] == name
            assert trial["after"] is None or trial["after"] <= trial["seen"]
            assert trial["seen"] < stored["about"][name]["cap"] + 32  # the last batch may reach beyond it
            assert trial["seconds"] > 0
    assert counted(stored) == {"complete": len(study.OTHERS), "judged": 0, "started": 0, "not run": 0}
    verdicts = {judge(stored["rows"][name]) for name in stored["about"] if not name.startswith("gers-")}
    assert verdicts <= {"solved", "mostly", "sometimes", "not in this budget"}


def test_runs_of_copy_memory_with_the_papers_updates_go_on_from_the_stored_ones():
    longer, short = (
        json.loads((RESULTS / f"papers_{name}.json").read_text(encoding="utf-8")) for name in ("copy", "modern")
    )
    assert not longer["provenance"]["sources_modified"]
    for name, trials in longer["rows"].items():
        before = {trial["seed"]: trial for trial in short["rows"][name]}
        for trial in trials:
            assert trial["updates"] == PAPER_UPDATES
            assert trial["best_loss"] <= before[trial["seed"]]["best_loss"]
