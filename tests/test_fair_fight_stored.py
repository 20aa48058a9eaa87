"""The stored fair fight is complete, was made by the committed protocol, and is what the pages read."""

import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fair_fight.__main__ import OUT
from benchmarks.fair_fight.study import FIGURES, KEY, Effort, Store, missing, read
from lstm_numba.teaching.fair_fight import MODELS, TASKS, best_setting, budget_for, draw_setting
from lstm_numba.teaching.fair_fight.study import Study

FEWEST_TASKS = 9
FEWEST_SAMPLED = 3  # tasks that are also trained on sets of fixed size
FEWEST_TRIALS = 4  # of the searches at equal operations and equal time; that at equal updates has eight
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def stored():
    return read(OUT)


@pytest.fixture(scope="module")
def trained(stored):
    return [run for run in stored[0] if run["phase"] != "streaming"]


def begun(trained, figure):
    """Tasks with at least one run of what a figure shows."""
    phase = {"tuning": "search", "samples": "samples"}.get(figure, "final")
    budget = FIGURES[figure].budget or "updates"
    tasks = {run["task"] for run in trained if (run["phase"], run["budget"]) == (phase, budget)}
    return tuple(name for name in TASKS if name in tasks)


@pytest.mark.parametrize("figure", FIGURES)
def test_every_model_and_seed_of_every_task_is_there(figure, trained):
    tasks = begun(trained, figure)
    assert len(tasks) >= (FEWEST_SAMPLED if figure == "samples" else FEWEST_TASKS)
    budget = FIGURES[figure].budget or "updates"
    trials = {run["number"] for run in trained if (run["phase"], run["budget"]) == ("search", budget)}
    assert len(trials) >= FEWEST_TRIALS
    assert missing(Store(OUT), Effort(tasks=tasks, trials=len(trials)), figure) == 0  # as many for all


def test_no_run_is_there_twice(stored):
    keys = Counter(tuple(run.get(name) for name in KEY) for run in stored[0])
    assert max(keys.values()) == 1


def test_runs_come_from_committed_sources(stored):
    _, sources = stored
    assert sources
    for source in sources:
        assert not source["sources_modified"]
        assert re.fullmatch("[0-9a-f]{40}", source["commit"])


def test_scores_are_numbers_at_every_length_of_the_task(trained):
    for run in trained:
        task = TASKS[run["task"]]
        lengths = task.lengths[:1] if run["phase"] == "search" else task.lengths
        assert list(map(int, run["by_length"])) == list(lengths)
        assert all(math.isfinite(score) and score >= 0 for score in run["by_length"].values())
        assert run["score"] == run["by_length"][str(task.lengths[0])]


def test_parameters_are_equal_within_five_percent(trained):
    for run in trained:
        assert abs(run["parameters"] / TASKS[run["task"]].parameters - 1) < 0.05, (run["task"], run["model"])


def test_budgets_were_kept(trained):
    for run in trained:
        if run["diverged"]:
            continue
        amount = budget_for(run["budget"], TASKS[run["task"]]).amount if run["budget"] != "flops" else None
        if run["budget"] == "updates":
            assert run["updates"] == amount
        elif run["budget"] == "seconds":
            assert run["seconds"] > 0.95 * amount


def test_operations_are_equal_to_one_update(trained):
    amounts = {name: budget_for("flops", task).amount for name, task in TASKS.items()}
    for run in trained:
        if run["budget"] == "flops" and not run["diverged"]:
            excess = run["flops"] / amounts[run["task"]] - 1
            assert -1e-4 < excess < 2 / run["updates"], (run["task"], run["model"])  # stored with five digits


def test_trials_are_the_same_for_all_and_the_best_one_was_taken(trained):
    for run in trained:
        if run["phase"] == "search":
            assert {name: run[name] for name in ("lr", "clip")} == draw_setting(run["number"])
    for budget, figure in (("updates", "parameters"), ("flops", "flops"), ("seconds", "seconds")):
        for task in begun(trained, figure):
            for model in MODELS:
                mine = [run for run in trained if (run["task"], run["model"]) == (task, model)]
                best = best_setting(mine, task, model, budget)
                for run in mine:
                    if run["phase"] != "search" and run["budget"] == budget:
                        assert {name: run[name] for name in ("lr", "clip")} == best, (task, model, budget)


def test_the_pages_read_this_file_and_all_rules_are_complete():
    for page in ("notebooks/3_3_fair_fight.ipynb", "book/should_i_use_an_lstm.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert OUT.name in re.findall(r"stored\(\\?\"([\w.]+)\\?\"\)", text)
    study = Study.from_text(OUT.read_text(encoding="utf-8"))
    assert set(study.tasks) <= set(TASKS)
    assert study.models == list(MODELS)
    assert study.budgets == ["updates", "flops", "seconds"]
    assert all(0 < rank <= len(MODELS) for budget in study.budgets for rank in study.ranks(budget).values())
    assert np.isfinite([study.per_update(task, model) for task in study.tasks for model in MODELS]).all()
