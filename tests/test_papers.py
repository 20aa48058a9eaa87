"""The stored re-run of 1997 is what the page and the command line say it is."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.papers import __main__ as command_line
from benchmarks.papers.check import FILES, differing, stored_trials
from benchmarks.papers.study import RUNNABLE, Store, study
from lstm_numba.teaching import rerun_1997 as rerun

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
PAGE = Path(__file__).parents[1] / "notebooks" / "2_6_1997_rerun.ipynb"


@pytest.fixture(scope="module")
def stored():
    return json.loads((RESULTS / "papers_1997.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def everything():
    """Trials of every row from all files that the page reads, each seed once; a later file replaces its seeds."""
    return stored_trials(RESULTS)


def test_every_table_has_its_rows():
    """Numbers of published rows, counted in the paper: none may be missing."""
    main = [row for row in rerun.ROWS.values() if not row.of]
    assert [sum(row.table == table for row in main) for table in rerun.TABLES] == [9, 9, 9, 3, 3, 2, 3, 2, 2]
    assert all(row.published for row in main)
    assert all(row.of in rerun.ROWS for row in rerun.ROWS.values() if row.of)
    assert all(row.deviations for row in main if row.run is None)


def test_stored_trials_belong_to_rows_and_are_complete(stored):
    assert set(stored["rows"]) <= set(rerun.ROWS)
    for name, trials in stored["rows"].items():
        seeds = [trial["seed"] for trial in trials]
        assert len(set(seeds)) == len(seeds), name
        for trial in trials:
            assert trial["row"] == name
            assert trial["after"] is None or 0 <= trial["after"] <= trial["seen"]
            assert trial["seconds"] > 0


def test_further_trials_have_further_seeds(stored):
    more = json.loads((RESULTS / "papers_1997_more.json").read_text(encoding="utf-8"))
    for name, trials in more["rows"].items():
        assert not {trial["seed"] for trial in trials} & {trial["seed"] for trial in stored["rows"][name]}, name
        assert all(trial["row"] == name and trial["seconds"] > 0 for trial in trials)


def test_longer_trials_go_on_from_those_that_were_given_up(stored):
    longer = json.loads((RESULTS / "papers_1997_longer.json").read_text(encoding="utf-8"))
    for name, trials in longer["rows"].items():
        first = {trial["seed"]: trial for trial in stored["rows"][name]}
        assert {trial["seed"] for trial in trials} == set(first), name
        for trial in trials:
            assert first[trial["seed"]]["after"] == trial["after"] or first[trial["seed"]]["after"] is None
            assert trial["after"] or trial["seen"] >= 2 * rerun.ROWS[name].published["after"]


def test_no_row_is_left_out_and_none_has_fewer_than_ten_trials(everything):
    counts = {name: len(rerun.trials_of(row, everything)) for name, row in rerun.ROWS.items() if row.run is not None}
    assert min(counts.values()) >= 10, {name for name, number in counts.items() if number < 10}
    verdicts = rerun.verdicts(everything)
    assert not {"not run yet", "too few trials", "given up too early"} & set(verdicts.values())


def test_every_row_gets_a_verdict_from_the_stored_trials(stored):
    judged = rerun.verdicts(stored["rows"])
    assert set(judged) == set(rerun.ROWS)
    for name, words in judged.items():
        row, trials = rerun.ROWS[name], rerun.trials_of(rerun.ROWS[name], stored["rows"])
        if words in ("reproduces", "ambiguous") or words.startswith("does not"):
            assert len(trials) >= 10 or words == "ambiguous", name
        assert (words == "quoted") == (row.run is None)


def test_the_page_reads_the_files_that_exist_and_types_no_count():
    text = PAGE.read_text(encoding="utf-8")
    for name in set(re.findall(r'stored\(\\"(\w+\.json)\\"\)', text)):
        assert (RESULTS / name).is_file(), name
    assert "hs97-6a" in text


def test_the_rule_of_the_verdicts():
    row = rerun.ROWS["hs97-6a"]  # published: 31,390, all solved

    def trials(*after):
        return [{"after": a, "seconds": 1.0, "seen": 300_000} for a in after]

    assert rerun.verdict(row, trials(*[30_000] * 9)) == "too few trials"
    assert rerun.verdict(row, trials(*[62_000] * 10)) == "reproduces"
    assert rerun.verdict(row, trials(*[63_000] * 10)) == "does not: slower"
    assert rerun.verdict(row, trials(*[15_000] * 10)) == "does not: faster"
    assert rerun.verdict(row, trials(*[30_000] * 7, None, None, None)) == "does not: fewer solved"
    never = rerun.ROWS["hs97-1-elman"]
    assert rerun.verdict(never, trials(*[None] * 10)) == "reproduces"
    assert rerun.verdict(never, trials(*[None] * 6, 1, 2, 3, 4)) == "does not: more solved"
    assert rerun.verdict(rerun.ROWS["hs97-1-rcc"], []) == "quoted"
    assert rerun.summary(trials(1, 2, 3, None, None))["median"] == 3
    assert rerun.summary(trials(1, 2, None, None))["median"] is None
    assert rerun.wilson(0, 10)[0] == 0
    assert rerun.wilson(0, 10)[1] == pytest.approx(0.2775, abs=1e-3)


def test_a_shared_trial_counts_at_its_earlier_goal():
    shared = [{"row": "hs97-5-13", "after": None, "goals": {"fewer than 140": 7}, "seen": 9, "seconds": 1.0}]
    assert rerun.trials_of(rerun.ROWS["hs97-5-140"], {"hs97-5-13": shared})[0]["after"] == 7


def test_what_differs_from_the_paper_is_shown_below_each_table(stored, capsys):
    for number in rerun.TABLES:
        rows = [row for row in rerun.ROWS.values() if row.table == number]
        texts = {text for row in rows for text in row.deviations}
        assert set(rerun.deviations(number)) == texts
        rerun.show_table(number, stored["rows"])
        shown = capsys.readouterr().out
        assert all(text in shown for text in texts)


def test_tiny_networks_take_a_fraction_of_a_microsecond_per_step(stored):
    """The stored trials of Tables 3 to 9, whose networks have at most a few hundred weights that change at a step."""
    rows = [row for row in rerun.ROWS.values() if row.table >= 3 and not row.of]
    times = [rerun.microseconds_per_step(stored["rows"].get(row.name, [])) for row in rows]
    times = sorted(value for value in times if value is not None)
    assert len(times) >= 15
    assert times[len(times) // 2] < 0.3
    assert rerun.microseconds_per_step([]) is None


def test_command_line_runs_goes_on_and_repeats_itself(tmp_path, capsys):
    command_line.main(["list"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in [*rerun.ROWS, *RUNNABLE])
    out = tmp_path / "guess.json"
    arguments = ["run", "hs97-3a-guess", "--seed", "3", "--out", str(out), "--jobs", "1"]
    command_line.main([*arguments, "--trials", "1"])
    first = json.loads(out.read_text())
    assert first["provenance"]["command"].endswith("--trials 1")
    command_line.main([*arguments, "--trials", "2"])  # only the second trial is new
    both = json.loads(out.read_text())
    assert [trial["seed"] for trial in both["rows"]["hs97-3a-guess"]] == [3, 4]
    assert both["rows"]["hs97-3a-guess"][0] == first["rows"]["hs97-3a-guess"][0]
    again = rerun.run_trial("hs97-3a-guess", 3)
    assert again["after"] == first["rows"]["hs97-3a-guess"][0]["after"]
    with pytest.raises(ValueError, match="quoted from the paper"):
        rerun.run_trial("hs97-1-rcc", 0)


def test_a_study_of_no_time_runs_nothing_and_keeps_what_there_is(tmp_path):
    store = Store(tmp_path / "study.json", "test", 0)
    study(store, ["hs97-3a-guess"], 0.0, 1, 0)
    assert json.loads((tmp_path / "study.json").read_text())["rows"] == {}


def test_check_runs_stored_trials_again_and_finds_what_was_changed(tmp_path, capsys):
    fast = [rerun.run_trial(name, 3) for name in ("hs97-3a-guess", "hs97-3a-rnn")]
    for file in FILES:
        rows = {trial["row"]: [trial] for trial in fast} if file == FILES[0] else {}
        (tmp_path / file).write_text(json.dumps({"rows": rows}))
    arguments = ["check", "--rows", "hs97-3a-guess,hs97-3a-rnn", "--results", str(tmp_path)]
    command_line.main(arguments)
    said = capsys.readouterr().out
    assert said.count("equal\n") == 2
    assert "2 equal, 0 different, 0 not reached" in said
    command_line.main([*arguments, "--minutes", "0"])
    assert "0 equal, 0 different, 2 not reached" in capsys.readouterr().out

    later = fast[0] | {"steps": fast[0]["steps"] + 1, "seconds": 0.0}
    (tmp_path / FILES[-1]).write_text(json.dumps({"rows": {later["row"]: [later]}}))
    with pytest.raises(SystemExit, match="1"):
        command_line.main(arguments)
    assert re.search(r"hs97-3a-guess +seed   3 after \d+ differs: steps\n", capsys.readouterr().out)
    with pytest.raises(SystemExit, match="1"):
        command_line.main([*arguments[:2], "hs97-6a-rnn", *arguments[3:]])
    assert "nothing is stored" in capsys.readouterr().out
    assert differing({"a": float("nan"), "b": None}, {"a": float("nan")}) == ["b"]
