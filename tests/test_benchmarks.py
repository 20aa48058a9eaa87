"""The benchmarks refuse wrong candidates, leave nothing out silently, resume, and say where results come from.

Nothing here times anything: the clocks run for fractions of a millisecond, and no number of theirs is asserted.
"""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import lstm_numba as ln
from benchmarks import __main__ as command_line
from benchmarks import (
    candidates,
    cases,
    cold_start,
    ladder,
    machine,
    measure,
    memory,
    plots,
    recurrent,
    report,
    store,
    streaming,
    stress,
    training_loop,
    where_time_goes,
)
from benchmarks.candidates import ONNX, OURS, REFERENCE, TORCH, Candidate, Problem, build
from benchmarks.cases import Case
from benchmarks.provenance import provenance

RESULTS = sorted((Path(__file__).parents[1] / "benchmarks" / "results").glob("*.json"))
PROVENANCE = ("date", "commit", "command", "seed", "processor", "cores", "python", "versions")
SMALL = Case("test", "LSTM", "inference", 5, 3, 4, 6, threads=1)


# -- cases -----------------------------------------------------------------------------------------------------------


def test_keys_are_unique_and_cases_come_back_from_rows():
    for quick in (False, True):
        chosen = cases.cases(quick=quick)
        assert len({case.key for case in chosen}) == len(chosen)
        assert [cases.case_of(json.loads(json.dumps(case.as_row()))) for case in chosen] == chosen


def test_the_suite_holds_what_was_asked_for():
    chosen = cases.cases()
    sweep = {(case.T, case.B, case.H) for case in chosen if case.group == "sweep" and case.threads == 2}
    assert {T for T, _, _ in sweep} == {32, 128, 512}
    assert {B for _, B, _ in sweep} == {1, 4, 16, 64, 256}
    assert {H for _, _, H in sweep} == {16, 32, 64, 128, 256, 512, 1024}
    assert {case.cell for case in chosen} == {"LSTM", "GRU", "RNN"}
    assert {case.layers for case in chosen} == {1, 2, 4}
    assert {case.threads for case in chosen} == {1, 2}
    for wanted in ("bidirectional", "variable", "proj", "compiled"):
        assert {case.mode for case in chosen if getattr(case, wanted)} == set(cases.MODES)
    assert {100, 200, 333} <= {case.H for case in chosen if case.group == "odd"}
    assert {3, 13} <= {case.B for case in chosen if case.group == "odd"}
    assert any(case.I != case.H for case in chosen)


def test_limits_are_kept_and_a_quick_run_samples_every_group():
    assert all(case.gflop_forward <= cases.LIMIT_GFLOP[case.mode] for case in cases.cases())
    quick = cases.cases(quick=True)
    assert {case.group for case in quick} == set(cases.group_names())
    assert {case.mode for case in quick} == set(cases.MODES)


def test_the_suite_fits_its_time():
    assert sum(cases.estimated_seconds(case, 5, 0.02) for case in cases.cases()) < 20 * 60
    assert sum(cases.estimated_seconds(case, 3, 0.01) for case in cases.cases(quick=True)) < 3 * 60


def test_operations_are_counted():
    assert Case("", "LSTM", "inference", 2, 3, 5, 7).flops == 2 * 3 * 2 * 4 * 7 * (5 + 7)
    assert Case("", "GRU", "training", 2, 3, 5, 7).flops == 3 * 2 * 3 * 2 * 3 * 7 * (5 + 7)
    assert Case("", "LSTM", "inference", 1, 1, 5, 8, proj=3).flops == 2 * 4 * 8 * (5 + 3) + 2 * 3 * 8
    assert Case("", "RNN", "inference", 1, 1, 5, 7, layers=2, bidirectional=True).flops == 4 * 7 * (5 + 7 + 14 + 7)
    variable = Case("", "RNN", "inference", 9, 4, 5, 7, variable=True)
    assert variable.flops == variable.lengths().sum() * 2 * 7 * (5 + 7)
    assert variable.lengths().max() == 9


# -- candidates ------------------------------------------------------------------------------------------------------

KINDS = [
    SMALL,
    replace(SMALL, mode="training"),
    replace(SMALL, mode="training", layers=2, bidirectional=True),
    replace(SMALL, layers=2, bidirectional=True, variable=True),
    replace(SMALL, mode="training", variable=True),
    replace(SMALL, cell="GRU", layers=2),
    replace(SMALL, cell="GRU", mode="training"),
    replace(SMALL, cell="GRU", bidirectional=True, variable=True),
    replace(SMALL, cell="RNN", layers=2),
    replace(SMALL, cell="RNN", mode="training", bidirectional=True),
    replace(SMALL, proj=2),
    replace(SMALL, mode="training", proj=2),
]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("case", KINDS, ids=[case.key for case in KINDS])
def test_all_candidates_agree_and_none_is_lost(case):
    found, unavailable = build(Problem(case))
    assert set(found) | set(unavailable) == {OURS, TORCH, ONNX, REFERENCE}
    assert TORCH in found
    errors, failures = recurrent.validate(found)
    assert failures == {}
    assert set(errors) == set(found)
    assert all(reason for reason in unavailable.values())


def test_training_candidates_return_every_gradient():
    found, _ = build(Problem(replace(SMALL, mode="training")))
    names = {"y", "dx", "dh0", "dc0", "dweight_ih_l0", "dweight_hh_l0", "dbias_ih_l0", "dbias_hh_l0"}
    assert set(found[OURS].results()) == set(found[TORCH].results()) == names


def test_weights_change_between_training_calls():
    """Otherwise weights packed once would be timed as if a training step could use them again."""
    problem = Problem(replace(SMALL, mode="training"))
    layer = candidates.make_layer(problem.case, "cpu")
    seen = []

    class Spy(type(layer)):
        def __call__(self, *arguments, **options):
            seen.append({name: value.copy() for name, value in self.parameters.items()})
            return super().__call__(*arguments, **options)

    candidate = candidates.package(problem)
    spied = candidate.run.__closure__
    cell = next(cell for cell in spied if isinstance(cell.cell_contents, type(layer)))
    cell.cell_contents.__class__ = Spy
    candidate.run()
    candidate.run()
    assert all((seen[0][name] != seen[1][name]).any() for name in seen[0])
    assert all(np.abs(seen[0][name] - seen[1][name]).max() < 1e-5 for name in seen[0])


def test_a_missing_feature_is_named(monkeypatch):
    monkeypatch.delattr(candidates.ln, "LSTM")
    found, unavailable = build(Problem(SMALL))
    assert unavailable[OURS] == "lstm_numba has no LSTM"
    assert OURS not in found


@pytest.mark.parametrize("wrong", ["value", "nan", "shape", "missing", "crash"])
def test_nothing_is_timed_before_it_is_right(monkeypatch, wrong):
    def broken(problem):
        right = candidates.package(problem)

        def results(outputs):
            arrays = dict(right.results())
            if wrong == "value":
                arrays["y"] = arrays["y"] + 1e-3
            elif wrong == "nan":
                arrays["y"] = arrays["y"] * np.nan
            elif wrong == "shape":
                arrays["y"] = arrays["y"][:-1]
            elif wrong == "missing":
                del arrays["h_n"]
            else:
                raise FloatingPointError("broken on purpose")
            return arrays

        return Candidate(right.run, results)

    monkeypatch.setitem(candidates.BUILDERS, OURS, broken)
    row = recurrent.time_case(SMALL, rounds=1, seconds=1e-5, budget=0, seed=0, quiet=None)
    assert OURS in row["failures"]
    assert OURS not in row["times"]
    assert TORCH in row["times"]
    assert "FAILED" in recurrent.line_of(row)


# -- measuring -------------------------------------------------------------------------------------------------------


def test_ratio_is_paired_within_rounds():
    """A slow round slows both and leaves the spread of the ratio alone."""
    assert measure.ratio([2.0, 20.0, 4.0], [1.0, 10.0, 2.0]) == {"of_medians": 2.0, "low": 2.0, "high": 2.0}


def test_the_machine_is_what_it_has_shown_at_its_best():
    slow_memory = {"gflops": 200.0, "vectors": 4, "read_gb_per_s": {"L1": 300.0, "memory": 9.0}}
    slow_core = {"gflops": 150.0, "vectors": 2, "read_gb_per_s": {"L1": 200.0, "memory": 20.0}}
    best = {"gflops": 200.0, "vectors": 4, "read_gb_per_s": {"L1": 300.0, "memory": 20.0}}
    assert recurrent._best_of(slow_memory, slow_core) == best == recurrent._best_of(slow_core, slow_memory)


def test_a_machine_that_changes_its_speed_between_rounds_is_noticed():
    theirs, ours = [12.0, 12.0, 12.0, 17.0, 17.0], [9.0, 9.0, 12.5, 12.5, 12.5]
    assert measure.contradicts(measure.ratio(theirs, ours))
    assert not measure.contradicts(measure.ratio(theirs, [theirs_one / 1.4 for theirs_one in theirs]))


def test_rounds_that_disagree_are_undecided_and_more_rounds_join_them():
    few = measure.Samples({"theirs": [8.0, 12.0], "ours": [10.0, 10.0]}, {"theirs": 1, "ours": 1}, [0.0], 1)
    more = measure.Samples({"theirs": [12.0] * 6, "ours": [10.0] * 6}, {"theirs": 2, "ours": 2}, [0.1], 2)
    both = few.joined(more)
    assert measure.undecided(measure.ratio(few.seconds["theirs"], few.seconds["ours"]))
    assert not measure.undecided(measure.ratio(both.seconds["theirs"], both.seconds["ours"]))
    assert (both.seconds["theirs"], both.loads, both.rejected) == ([8.0] + [12.0] * 7, [0.0, 0.1], 3)
    assert len(few.seconds["theirs"]) == 2, "the rounds joined are a copy"


def test_every_candidate_is_timed_in_every_round():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    samples = measure.paired_times(runs, rounds=3, minimum_seconds=1e-6)
    assert {name: len(values) for name, values in samples.seconds.items()} == {"a": 3, "b": 3, "c": 3}
    assert samples.load is None
    assert not samples.disturbed


def test_rounds_with_other_load_are_rejected_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(measure, "foreign_load", lambda before, after: 1.0)
    quiet = machine.QuietMachine(once=0.0, budget=1.0)
    samples = measure.paired_times({"a": lambda: None}, rounds=3, minimum_seconds=1e-6, quiet=quiet)
    assert samples.rejected == 5
    assert len(samples.seconds["a"]) == 3
    assert samples.disturbed


def test_waiting_for_quiet_ends(monkeypatch):
    monkeypatch.setattr(machine, "foreign_load", lambda before, after: 1.0)
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: None)
    quiet = machine.QuietMachine(once=0.01, budget=0.02)
    assert quiet.wait() == 1.0


def test_peak_and_state_can_be_measured():
    measured = machine.peak_gflops(1)
    assert measured["gflops"] > 0.1
    assert "multiply-add" in measured["how"]
    assert machine.read_bandwidth(0.01) > 0.01
    state = machine.torch_state()
    assert state["denormals_kept"]
    assert state["denormals_kept_numpy"]


# -- running and storing ---------------------------------------------------------------------------------------------


@pytest.fixture
def run_here(tmp_path, monkeypatch):
    """Run cases in this process instead of another one."""
    monkeypatch.setattr(store, "SCRATCH", tmp_path)
    monkeypatch.setattr(
        recurrent, "capabilities", lambda threads: {"gflops": 100.0, "how": "invented", "read_gb_per_s": {}}
    )
    settings = {"rounds": 1, "seconds": 1e-5, "budget": 0.0, "seed": 0, "wait_once": 0.0, "wait_total": 0.0}

    class Process:
        def __init__(self, *arguments, **options):
            self.returncode = None
            self.stdin = self

        def write(self, text):
            self.task = json.loads(text)

        def close(self):
            try:
                recurrent.worker(self.task)
                self.returncode = 0
            except SystemExit as crash:
                self.returncode = crash.code

        def poll(self):
            return self.returncode

    monkeypatch.setattr(recurrent, "subprocess", SimpleNamespace(Popen=Process, PIPE=None))
    return lambda chosen, **options: recurrent.run(tmp_path / "recurrent.json", chosen, settings, **options)


def test_a_run_writes_complete_rows_and_the_report_reads_them(run_here, tmp_path):
    chosen = [SMALL, replace(SMALL, mode="training"), replace(SMALL, cell="GRU")]
    result = run_here([replace(case, group="sweep", threads=1) for case in chosen])
    assert store.read_json(tmp_path / "recurrent.json") == json.loads(json.dumps(result))
    assert not list(tmp_path.glob("*.jsonl"))
    assert [row["cell"] for row in result["rows"]] == ["LSTM", "LSTM", "GRU"]
    for row in result["rows"]:
        assert row["torch_state_changed"] == {}
        assert row["times"][TORCH]["low_us"] <= row["times"][TORCH]["median_us"] <= row["times"][TORCH]["high_us"]
        assert set(row["times"]) | set(row["unavailable"]) == {OURS, TORCH, ONNX, REFERENCE}
    text = report.full_report(tmp_path)
    assert "LSTM inference, against torch" in text
    assert "No results in streaming.json" in text
    figures = plots.draw(tmp_path, tmp_path / "plots")
    assert {path.suffix for path in figures} == {".svg"}


def test_a_crash_of_the_process_costs_one_case_only(run_here, monkeypatch):
    real = recurrent.time_case

    def crash(case, **options):
        if case.cell == "GRU":
            raise SystemExit(139)
        return real(case, **options)

    monkeypatch.setattr(recurrent, "time_case", crash)
    result = run_here([SMALL, replace(SMALL, cell="GRU"), replace(SMALL, B=2)])
    assert [bool(row["failures"]) for row in result["rows"]] == [False, True, False]
    assert "code 139" in result["rows"][1]["failures"][OURS]


def test_an_interrupted_run_goes_on_only_with_the_same_clean_sources(tmp_path, monkeypatch):
    clean = {"commit": "a", "sources_modified": False, "versions": {}, "processor": "p", "python": "3"}
    monkeypatch.setattr(store, "provenance", lambda seed: clean)
    path = tmp_path / "journal.jsonl"
    store.Journal(path, {"rounds": 1}, 0).append({"row": {"key": "k"}})
    with path.open("a") as file:
        file.write('{"row": {"key": "cut o')
    assert [line["row"]["key"] for line in store.Journal(path, {"rounds": 1}, 0).lines() if "row" in line] == ["k"]
    assert len(store.Journal(path, {"rounds": 2}, 0).lines()) == 1
    store.append_line(path, {"row": {"key": "k"}})
    monkeypatch.setattr(store, "provenance", lambda seed: clean | {"sources_modified": True})
    assert len(store.Journal(path, {"rounds": 2}, 0).lines()) == 1


def test_every_command_has_options(capsys):
    parser = command_line.parser_of_everything()
    assert set(command_line.SUITE) < set(command_line.COMMANDS)
    for name in command_line.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            parser.parse_args([name.replace("_", "-"), "--help"])
        assert stop.value.code == 0
    assert command_line.main(["recurrent", "--list", "--quick"]) == 0
    assert "sweep LSTM inference" in capsys.readouterr().out


# -- the other measurements ------------------------------------------------------------------------------------------


def test_streaming_candidates_agree():
    row = streaming.time_size(5, rounds=1, seconds=1e-5, quiet=None)
    assert row["failures"] == {}
    for name in (streaming.STREAM, streaming.IN_COMPILED_CODE):
        assert (name in row["times"]) != (name in row["unavailable"])
    assert "## Streaming" in report.streaming_report({"rows": [row]})


def test_both_training_loops_have_the_same_losses():
    row = training_loop.compare(1, rounds=1, seconds=1e-5, quiet=None)
    assert row["loss_difference"] < 1e-3
    assert "## Training loop" in report.loop_report({"about": "a loop", "rows": [row]})


def test_parts_of_the_time_add_up():
    gates = {"forward": 2e-9, "backward": 1e-9}
    for mode in cases.MODES:
        case = cases.Case("where", "LSTM", mode, 8, 2, 16, 16, threads=1)
        row = where_time_goes.measure(case, gates, rounds=1, seconds=1e-5, quiet=None)
        assert row["share_products"] + row["share_gates"] + row["share_rest"] == pytest.approx(1)
        assert 0 < row["share_of_peak"] < row["share_products"] * 1.5
        assert row["ratio_without_rest"] * (row["share_products"] + row["share_gates"]) == pytest.approx(
            row["ratio"]["of_medians"]
        )
        assert "## Where the time goes" in report.where_report({"about": "a layer", "rows": [row]})


def test_gates_take_time_in_proportion():
    forward = where_time_goes.seconds_per_unit(where_time_goes._forward_gates, 1)
    assert 0 < forward < 1e-6


def test_memory_of_a_candidate():
    measured = memory.measure(replace(SMALL, T=64, B=32, H=32), TORCH)
    assert measured.get("bytes", 1) > 0
    row = SMALL.as_row() | {"memory": {OURS: 2**20, TORCH: 2**21}, "unavailable": {}}
    assert "0.50 of PyTorch's" in report.memory_report({"rows": [row]})


def test_cold_start_code_is_valid():
    for cell in ("LSTM", "GRU", "RNN"):
        for training in (True, False):
            compile(cold_start._TIMED.format(code=cold_start._CALL.format(cell=cell, training=training)), "", "exec")
            compile(cold_start._TIMED.format(code=cold_start._TORCH_CALL.format(training=training)), "", "exec")
    value = {"median_s": 0.5}
    name = "LSTM first inference call, warm cache, import included"
    assert "hit" in report.cold_report({"times": {name: value}, "unavailable": {"GRU": "none"}})


def test_ladder_rungs_agree(tmp_path):
    row = ladder.time_size("tiny", (3, 2, 5), rounds=1, seconds=1e-5, quiet=None)
    assert all(rung["error"] < 1e-5 for rung in row["rungs"].values())
    result = {"machine": {str(row["threads"]): {"gflops": 100.0}}, "sizes": [row]}
    store.write_json(tmp_path / "ladder.json", result)
    assert "## The ladder" in report.full_report(tmp_path)
    assert [path.name for path in plots.draw(tmp_path, tmp_path)] == ["ladder.svg"]


def test_stress_options_are_options_of_the_layers():
    rng = np.random.default_rng(0)
    kinds = [stress.random_layer_options(rng) for _ in range(60)]
    assert {options["cell"] for options in kinds} == set(stress.CELLS)
    for options in kinds:
        assert stress.make(options, "reference").hidden_size == options["hidden_size"]


def test_freed_arrays_leave_the_process_if_they_have_pages_of_their_own():
    # In a process of its own, because the setting stays.
    code = (
        "import numpy as np\n"
        "from benchmarks.machine import _status, give_arrays_their_own_pages\n"
        "if give_arrays_their_own_pages():\n"
        "    before = _status('VmRSS')\n"
        "    arrays = [np.ones(70_000, np.uint8) for _ in range(1000)]\n"
        "    kept = arrays[-1]\n"
        "    assert _status('VmRSS') - before > 50_000_000\n"
        "    del arrays\n"
        "    assert _status('VmRSS') - before < 10_000_000\n"
    )
    subprocess.run(store.python_command("-c", code), check=True, env=store.process_environment(1), cwd=store.ROOT)


def test_stress_finds_a_wrong_result(monkeypatch):
    # One kind of layer, because every further one would have to be compiled.
    options = {"cell": "LSTM", "input_size": 4, "hidden_size": 6, "dtype": "float32", "seed": 1, "batch_first": False}
    monkeypatch.setattr(stress, "random_layer_options", lambda rng: dict(options))
    result = stress.run(0.005, seed=0, progress=0)
    assert result["failures"] == []
    assert result["trials"] > 0
    real = stress.Trial.results

    def sometimes_wrong(self, layer):
        arrays = real(self, layer)
        if layer.backend == "cpu":
            arrays[0] = arrays[0] + 1
        return arrays

    monkeypatch.setattr(stress.Trial, "results", sometimes_wrong)
    assert "array 0 is off by" in stress.run(0.002, seed=0)["failures"][0]
    assert "failures" in report.stress_report(result)


@pytest.mark.parametrize("path", RESULTS, ids=[path.name for path in RESULTS])
def test_stored_results_say_where_they_come_from(path):
    stored = json.loads(path.read_text())["provenance"]
    for key in PROVENANCE:
        assert stored[key] is not None, f"{path.name}: {key} is missing"
    assert not stored["sources_modified"], f"{path.name} was made with uncommitted changes"


@pytest.mark.skipif(ln.get_num_threads() < 2, reason="needs two threads")
def test_layers_overlap_with_the_same_numbers():
    from benchmarks import overlap

    rows = overlap.run([(2, 100, 32), (2, 20, 8)], 3, 1e-4)  # compares before it times
    assert [row["chosen"] for row in rows] == [True, False]
    means = overlap.means(rows)
    assert [entry["cases"] for entry in means.values()] == [1, 1]
    assert "| 2 | 100 | 32 |" in report.overlap_report({"about": "small", "means": means, "rows": rows})


def test_stored_overlap_pays_where_it_is_chosen():
    from benchmarks import overlap

    result = store.read_json(store.RESULTS / "overlap.json")
    assert result["means"] == overlap.means(result["rows"])
    chosen = [row for row in result["rows"] if row["chosen"]]
    assert result["means"]["overlapped"]["mean"] > 1.05
    assert all(row["ratio"]["high"] >= 1 for row in chosen), "overlapping costs time in three rounds of four"
    assert result["means"]["left alone"]["mean"] < 1


def test_checkpointing_trades_memory_for_time():
    from benchmarks import checkpointing

    rows = checkpointing.run(100, 3, 1e-4)
    assert "## Checkpointing" in report.checkpointing_report({"about": "a layer", "rows": rows})
    assert [row["checkpoint"] for row in rows] == [None, 25, 10, 1]
    assert rows[2]["peak_bytes"] < rows[1]["peak_bytes"] < rows[0]["peak_bytes"]
    assert all(row["slower_than_without"]["of_medians"] > 0 for row in rows)


def test_attention_agrees_with_torch_before_it_is_timed(tmp_path):
    from benchmarks import attention

    journal = store.Journal(tmp_path / "attention.jsonl", {}, 0)
    chosen = attention.cases((16,), (2,), (16,))
    rows = attention.run(chosen, 3, 1e-4, journal)
    assert {(row["what"], row["training"]) for row in rows} == {
        (what, training) for what in ("core", "layer", "block") for training in (False, True)
    }
    assert all(row["peak_bytes"] > 0 and row["ratio"]["of_medians"] > 0 for row in rows)
    assert attention.run(chosen, 3, 1e-4, journal) == json.loads(json.dumps(rows)), "a journal is not measured again"
    table = attention.means(rows)
    assert [entry["cases"] for entry in table] == [1] * 6
    assert "| core | forward |" in report.attention_report({"about": "small", "means": table, "rows": rows})


def test_stored_attention_results_are_complete():
    from benchmarks import attention

    path = store.RESULTS / "attention.json"
    result = store.read_json(path)
    measured = {tuple(row[name] for name in attention.Case._fields): row for row in result["rows"]}
    assert set(measured) == set(attention.cases((16, 64, 256, 1024), (1, 8, 32), (64, 256)))
    assert len(measured) == len(result["rows"])
    assert result["means"] == attention.means(result["rows"])
    for row in result["rows"]:
        medians = {name: times["median_us"] for name, times in row["times"].items()}
        theirs = min(value for name, value in medians.items() if name != attention.OURS)
        assert row["ratio"]["of_medians"] == pytest.approx(theirs / medians[attention.OURS], rel=0.05)


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("benchmarks/__main__.py", "benchmarks"),
        ("benchmarks/fair_fight/__main__.py", "benchmarks.fair_fight"),
        ("benchmarks/vanishing.py", "benchmarks.vanishing"),
    ],
)
def test_the_command_in_a_provenance_can_be_run_again(script, name, monkeypatch):
    monkeypatch.setattr("sys.argv", [str(Path(__file__).parents[1] / script), "--seeds", "3"])
    assert provenance(0)["command"] == f"python -m {name} --seeds 3"
