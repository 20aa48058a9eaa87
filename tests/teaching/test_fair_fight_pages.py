"""Verdicts, tables and figures of the fair fight, on runs whose outcome is known; and what the page of 2026 reads."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lstm_numba.teaching import lstm_in_2026 as answers
from lstm_numba.teaching.fair_fight import figures, tables
from lstm_numba.teaching.fair_fight.study import NOT_RUN, Study, compare, ranked, words
from lstm_numba.teaching.stored import stored

ROOT = Path(__file__).parents[2]
SEEDS = 5
# Means by task, budget and model. On parity, time turns the order of LSTM and Transformer; the GRU is like the LSTM.
MEANS = {
    "parity": {
        "updates": {"GRU": 0.1, "LSTM": 0.1, "Transformer": 0.3},
        "seconds": {"GRU": 0.4, "LSTM": 0.4, "Transformer": 0.2},
    },
    "copy": {
        "updates": {"GRU": 0.5, "LSTM": 0.6, "Transformer": 0.0},
        "seconds": {"GRU": 0.5, "LSTM": 0.6, "Transformer": 0.0},
    },
}
NOISE = {"GRU": 1.0, "LSTM": -0.5, "Transformer": 0.3}
RATES = (0.002, 0.02)


def run(phase, task, model, budget, number, score, **more):
    entry = {
        "phase": phase,
        "task": task,
        "model": model,
        "budget": budget,
        "number": number,
        "sequences": None,
        "scale": 1.0,
        "lr": RATES[number % 2],
        "score": score,
        "by_length": {"10": score, "40": min(2 * score, 1.0)},
        "diverged": False,
        "updates": 100,
        "flops": 1e6,
        "seconds": 5.0 if model == "Transformer" else 1.0,
    }
    return entry | more


def made_runs(tuned=("updates", "seconds")):
    runs = []
    for task, budgets in MEANS.items():
        for budget, means in budgets.items():
            for model, mean in means.items():
                for number in range(SEEDS):
                    noise = 0.01 * (-1) ** number * NOISE[model] * (mean > 0)
                    runs.append(run("final", task, model, budget, number, mean + noise))
                for number in range(2):
                    # the low rate suits the Transformer, the high one the others
                    worse = 0.3 * (number == (model == "Transformer"))
                    if budget in tuned:
                        runs.append(run("search", task, model, budget, number, mean + worse))
    for model in ("GRU", "LSTM", "Transformer"):
        for size in (32, 512):
            runs += [run("samples", "copy", model, "updates", n, 10 / size, sequences=size) for n in range(SEEDS)]
        steps = [
            {"context": t, "microseconds": 5.0 + n, "bytes": 256 * (t if model == "Transformer" else 1)}
            for n, t in enumerate((16, 128))
        ]
        runs.append(
            {"phase": "streaming", "task": "copy", "model": model, "budget": None, "scale": 1.0, "steps": steps}
        )
    return runs


def text_of(runs):
    return "\n".join(map(json.dumps, [{"provenance": {"sources_modified": False}}, *runs]))


@pytest.fixture(scope="module")
def study():
    return Study.from_text(text_of([*made_runs(), run("final", "adding", "RNN", "updates", 0, 0.1, scale=0.1)]))


def test_the_study_is_read_without_quick_tries(study):
    assert study.tasks == ["copy", "parity"]
    assert study.models == ["GRU", "LSTM", "Transformer"]
    assert len(study.sources) == 1
    assert study.budgets == ["updates", "seconds"]
    assert study.begun("flops") == []
    assert study.missing("updates", seeds=7) == 2 * 3 * 2


def test_ahead_are_the_best_and_those_that_cannot_be_told_from_it(study):
    assert set(study.ahead("parity", "updates")) == {"GRU", "LSTM"}
    assert study.ahead("parity", "seconds") == ["Transformer"]
    assert study.ahead("copy", "updates") == ["Transformer"]
    assert study.ahead("copy", "flops") == []
    assert study.best("copy", "flops") is None
    assert study.record("Transformer", "updates") == {"alone": ["copy"], "among": [], "behind": ["parity"]}
    assert study.record("GRU", "updates") == {"alone": [], "among": ["parity"], "behind": ["copy"]}


def test_ranks_are_means_over_tasks(study):
    assert study.ranks("updates")["Transformer"] == 2.0  # last on parity, first on copy
    assert sum(study.ranks("seconds").values()) == pytest.approx(1 + 2 + 3)
    assert study.ranks("flops") == {}


def test_reversals_name_both_winners(study):
    clearest = study.reversals()[0]
    assert (clearest.task, clearest.second, clearest.rules) == ("parity", "Transformer", ("updates", "seconds"))
    assert clearest.sure
    assert "at equal updates" in str(clearest)
    assert "behind it at equal time" in str(clearest)
    other_trials = Study.from_text(text_of(made_runs(tuned=("updates",))))
    assert not other_trials.reversals()  # the winner may have changed because of the number of trials
    assert (study.trials("seconds"), other_trials.trials("seconds")) == (2, 0)
    (a, b), (c, d) = study.setting_reversals()[0].scores
    assert a < b
    assert c > d
    assert {reversal.task for reversal in study.setting_reversals()} == {"parity"}


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.1, "worse"), (-0.1, "better"), (0.0, "undecided")], ids=["worse", "better", "undecided"]
)
def test_pairs_find_what_ranges_hide(shift, verdict):
    luck = np.array([0.1, 0.4, 0.2, 0.5, 0.3])  # far larger than the shift, and shared
    noise = np.array([0.01, -0.01, 0.0, 0.01, -0.01])
    assert compare(luck + shift + noise, luck) == verdict


def test_one_network_that_fails_does_not_hide_a_clear_order():
    usual = np.array([0.001, 0.002, 0.001, 0.002, 0.001])
    unreliable = np.array([0.01, 0.01, 0.01, 0.01, 0.9])  # the interval of the difference contains zero
    assert (compare(unreliable, usual), compare(usual, unreliable)) == ("worse", "better")
    unreliable[0] = 0.0
    assert compare(unreliable, usual) == "undecided"


def test_small_words():
    assert words(["a"]) == "a"
    assert words([]) == "none"
    assert ranked([2.0, 1.0, 1.0]).tolist() == [3.0, 1.5, 1.5]


def test_tables_have_a_row_for_each_and_say_what_is_missing(study):
    rows = tables.score_rows(study, "updates")
    assert [row[0] for row in rows] == study.tasks
    assert rows[0][3].startswith("**0.000")
    assert not rows[0][1].startswith("**")
    assert {entry for row in tables.score_rows(study, "flops") for entry in row[1:]} == {NOT_RUN}
    assert tables.rank_rows(study)[2] == ["Transformer", "2.0", NOT_RUN, "1.0"]
    assert tables.cost_rows(study)[2] == ["Transformer", "1.00 to 1.00", "5.0 to 5.0"]
    assert tables.setting_rows(study)[0] == ["copy", "0.002", "0.002", "0.002"]
    assert tables.task_rows(study)[0][1:] == ["Transformer", NOT_RUN, "Transformer", "LSTM"]
    assert tables.model_rows(study)[2] == ["Transformer", "copy", "parity", "parity", "none"]
    assert tables.solved_rows(study) == [["copy", "0", "0", "5"]]
    assert tables.streaming_rows(study)[-1] == ["Transformer, bytes", "4,096", "32,768"]
    assert all(len(row) == 4 for row in tables.size_rows(study))


EVERYTHING = ("search", "final", "samples", "streaming")


@pytest.mark.parametrize(
    ("name", "phases"),
    [(name, EVERYTHING) for name in ("what_is_equal", "scores", "lengths", "samples", "tuning", "streaming")]
    + [(name, ("search",)) for name in ("scores", "samples", "streaming")],
)
def test_figures_are_drawn_from_what_there_is(name, phases):
    runs = [r if r["task"] != "parity" else r | {"task": "adding"} for r in made_runs() if r["phase"] in phases]
    fig, alt = getattr(figures, f"draw_{name}")(Study.from_text(text_of(runs)))
    assert 20 <= len(alt) <= 600
    if "final" not in phases:
        assert NOT_RUN in alt
    elif name == "scores":
        assert "copy Transformer" in alt
    fig.canvas.draw()
    plt.close(fig)


def test_stored_results_are_found_from_everywhere_in_the_repository(monkeypatch):
    for folder in (ROOT, ROOT / "notebooks", ROOT / "book" / "_static"):
        monkeypatch.chdir(folder)
        assert json.loads(stored("streaming.json"))["rows"]
    with pytest.raises(FileNotFoundError):
        stored("nothing.json")


def test_outside_a_repository_results_come_from_github(monkeypatch, tmp_path):
    asked = []

    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def read(self):
            return b"{}"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lstm_numba.teaching.stored.urlopen", lambda address: asked.append(address) or Answer())
    assert stored("streaming.json") == "{}"
    assert asked[0].endswith("/main/benchmarks/results/streaming.json")


# -- the page of 2026 ----------------------------------------------------------------------------------------------


def test_speeds_are_summaries_of_the_measured_ratios():
    row = {"cell": "LSTM", "mode": "training", "threads": 2, "disturbed": False, "compiled": False}
    rows = [row | {"ratios": {"torch": {"of_medians": ratio}}} for ratio in (0.5, 2.0, 3.0)]
    rows += [row | {"disturbed": True, "ratios": {"torch": {"of_medians": 99.0}}}, row | {"ratios": {}}]
    assert answers.speed_ups(json.dumps({"rows": rows})) == [("LSTM", "training", 3, 0.5, 2.0, 3.0, 1)]


def test_the_page_of_2026_computes_every_number_it_quotes(capsys, monkeypatch):
    """Its cells run from top to bottom, its own assertions hold, and every quoted name is computed."""
    monkeypatch.chdir(ROOT / "book")
    page = (ROOT / "book" / "should_i_use_an_lstm.md").read_text(encoding="utf-8")
    cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```$", page, flags=re.M | re.S)
    assert len(cells) >= 5
    names = {}
    for cell in cells:
        code = "\n".join(line for line in cell.splitlines() if not line.startswith(":tags:"))
        exec(compile(code, "should_i_use_an_lstm.md", "exec"), names)
    glued = set(re.findall(r"^([a-z0-9-]+) = ", capsys.readouterr().out, flags=re.M))
    assert set(re.findall(r"\{glue:text\}`([^`]+)`", page)) <= glued
    prose = re.sub(r"^```\{code-cell\}.*?^```$", "", page, flags=re.M | re.S)
    assert not re.findall(r"\d+(?:\.\d+)? ?(?:µs|%|bytes)", prose)  # measured numbers are never typed
