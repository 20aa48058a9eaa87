"""Every target is listed, hit or missed, and a miss says where the time goes; the page in the book is up to date."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks import compile_profile, report, store, targets
from benchmarks.candidates import ONNX, OURS, TORCH
from benchmarks.cases import Case
from benchmarks.frame import TARGETS
from benchmarks.limits import bandwidth, needed

MACHINE = {"gflops": 100.0, "read_gb_per_s": {"L1 (0.01 MB)": 100.0, "L2 (1 MB)": 50.0, "memory (100 MB)": 10.0}}
CASE = Case("sweep", "LSTM", "inference", 32, 1, 64, 64)
UNIT = {"forward": 2e-9, "backward": 1e-9}


def stored(case: Case, ours: float, theirs: float, rounds: tuple[float, float] | None = None) -> dict:
    """A row as the benchmark writes it; ``rounds`` are the quartiles of the ratios."""
    ratio = theirs / ours
    low, high = rounds or (ratio, ratio)
    times = {
        name: {"median_us": value, "low_us": value, "high_us": value, "gflops": case.flops / value / 1e3}
        for name, value in ((OURS, ours), (TORCH, theirs), (ONNX, theirs))
    }
    for entry in times.values():
        entry["peak_share"] = entry["gflops"] / MACHINE["gflops"]
    ratios = {name: {"of_medians": ratio, "low": low, "high": high} for name in (TORCH, ONNX)}
    return case.as_row() | {"times": times, "ratios": ratios, "torch_state_changed": {}, "failures": {}}


def recurrent(*rows: dict) -> dict:
    return {"machine": {"2": MACHINE, "1": MACHINE}, "rows": list(rows)}


def by_name(found: list[targets.Outcome]) -> dict[str, targets.Outcome]:
    return {one.name: one for one in found}


# -- what the machine asks for ---------------------------------------------------------------------------------------


def test_bandwidth_is_interpolated_and_never_beyond_the_measured():
    assert bandwidth(MACHINE, 1) == pytest.approx(50)
    assert bandwidth(MACHINE, 10) == pytest.approx(30)  # half way on the scale of the logarithm
    assert bandwidth(MACHINE, 1e-4) == 100
    assert bandwidth(MACHINE, 1e4) == 10


def test_needed_time_by_hand():
    one = needed(CASE.as_row(), MACHINE, UNIT)
    flops = 32 * 8 * 64 * 128
    assert one.arithmetic == pytest.approx(flops / 100e3)
    numbers = 4 * 64 * 64
    reading = 32 * 4 * numbers / bandwidth(MACHINE, 2 * numbers / 2**20) / 1e3  # two threads read half each
    assert one.weights == pytest.approx(reading - 32 * 2 * numbers / 100e3)
    assert one.gates == pytest.approx(32 * 64 * 2e-3 / 2)
    assert one.total == pytest.approx(one.arithmetic + one.weights + one.gates)


def test_needed_time_of_other_kinds():
    plain = needed(CASE.as_row(), MACHINE, UNIT)
    training = needed(replace(CASE, mode="training").as_row(), MACHINE, UNIT)
    assert training.arithmetic == pytest.approx(3 * plain.arithmetic)
    assert training.weights == pytest.approx(2 * plain.weights)
    assert training.gates == pytest.approx(1.5 * plain.gates)
    assert needed(replace(CASE, B=256).as_row(), MACHINE, UNIT).weights == 0  # reused so often that reading hides
    assert needed(replace(CASE, cell="GRU").as_row(), MACHINE, UNIT).gates == 0
    assert needed(CASE.as_row(), MACHINE, None).gates == 0
    both = needed(replace(CASE, bidirectional=True).as_row(), MACHINE, UNIT)
    assert both.gates == pytest.approx(2 * plain.gates)
    short = needed(replace(CASE, B=4, variable=True).as_row(), MACHINE, UNIT)
    assert short.arithmetic < needed(replace(CASE, B=4).as_row(), MACHINE, UNIT).arithmetic


# -- the arithmetic of the explanations --------------------------------------------------------------------------------


def test_share_to_remove_reaches_the_target_or_says_that_nothing_does():
    theirs, least, rest = np.array([10.0, 40.0]), np.array([2.0, 10.0]), np.array([8.0, 10.0])
    share = targets.share_to_remove(theirs, least, rest, 2.0)
    assert np.sqrt(np.prod(theirs / (least + (1 - share) * rest))) == pytest.approx(2.0)
    assert targets.share_to_remove(theirs, least, rest, 4.5) is None  # sqrt(5 * 4) at best
    assert targets.share_to_remove(theirs, least, rest, 1.0) == pytest.approx(0, abs=1e-9)


def test_fixed_cost_is_where_the_line_meets_no_steps():
    rows = [stored(replace(CASE, T=T), 7 + 0.5 * T, 100) for T in (32, 128)]
    rows += [stored(replace(CASE, T=T, B=4), 9 + 2 * T, 100) for T in (32, 128)]
    table = targets.with_parts(recurrent(*rows), None)
    assert targets.fixed_cost(table, "LSTM", "inference", 64, (1,)) == pytest.approx(7)
    assert targets.fixed_cost(table, "LSTM", "inference", 64, (1, 4)) == pytest.approx(8)
    assert targets.fixed_cost(table, "LSTM", "inference", 32, (1,)) is None


# -- outcomes ------------------------------------------------------------------------------------------------------


def test_a_hit_needs_no_reason_and_a_miss_has_one():
    fast = by_name(targets.ratio_outcomes(recurrent(stored(CASE, 100, 1000)), None))
    slow = by_name(targets.ratio_outcomes(recurrent(stored(CASE, 100, 90)), {"seconds_per_unit": UNIT, "rows": []}))
    mean, worst = (f"LSTM inference, against PyTorch: {what}" for what in ("geometric mean", "worst shape"))
    assert (fast[mean].hit, fast[mean].why, fast[worst].hit, fast[worst].why) == (True, "", True, "")
    assert slow[mean].hit is slow[worst].hit is False
    assert "| all | 1 | 0.90 |" in slow[mean].why
    assert "the rest, " in slow[worst].why
    assert len(fast) == 2 * len(TARGETS)
    assert fast["LSTM forward + backward, against PyTorch: worst shape"].hit is None  # no such row


@pytest.mark.parametrize(
    ("ours", "rounds", "text"),
    [
        (100.0, (0.8, 0.9), "the rest, "),
        (100.0, (0.8, 1.1), "undecided"),
        (100.0, (1.02, 1.1), "disturbed"),
    ],
)
def test_a_slow_shape_is_judged_by_its_rounds(ours, rounds, text):
    found = by_name(targets.ratio_outcomes(recurrent(stored(CASE, ours, 0.9 * ours, rounds)), None))
    assert text in found["LSTM inference, against PyTorch: worst shape"].why


@pytest.mark.parametrize(
    ("rival", "text"), [(99.96, "0.9996, LSTM"), (99.4, "0.99, LSTM"), (100.0, "1.00, LSTM"), (100.04, "1.00, LSTM")]
)
def test_rounding_does_not_turn_a_miss_into_a_hit(rival, text):
    found = by_name(targets.ratio_outcomes(recurrent(stored(CASE, 100, rival)), None))
    worst = found["LSTM inference, against PyTorch: worst shape"]
    assert worst.reached.startswith(text)
    assert worst.hit is (rival >= 100)


def test_a_shape_whose_limit_is_above_the_other_librarys_time_is_out_of_reach():
    least = needed(CASE.as_row(), MACHINE, None).total
    found = by_name(targets.ratio_outcomes(recurrent(stored(CASE, 2 * least, 0.9 * least)), None))
    assert "out of reach: 0.90" in found["LSTM inference, against PyTorch: worst shape"].why
    assert "beyond this machine" in found["LSTM inference, against PyTorch: geometric mean"].why


def test_few_steps_are_compared_with_the_fixed_cost_of_a_call():
    gru = Case("GRU", "GRU", "training", 32, 4, 512, 512)
    rows = [stored(replace(gru, T=T), 4000 + 10 * T, 1e6) for T in (32, 128)]
    rows.append(stored(replace(gru, T=1, group="DeepBench"), 4100, 4200))
    found = by_name(targets.ratio_outcomes(recurrent(*rows), None))
    assert (
        "fixed cost of a call, 4000 µs"
        in found["GRU, RNN, projection, lengths: training, against PyTorch: worst shape"].why
    )


def test_the_share_of_the_peak_names_the_profile_of_the_same_shape():
    case = replace(CASE, B=16, H=256, I=256)
    profile = {"seconds_per_unit": UNIT, "rows": []}
    row = {"mode": "inference", "B": 16, "H": 256, "share_products": 0.7, "share_gates": 0.1, "share_rest": 0.2}
    profile["rows"].append(row)
    slow, fast = case.flops / 80e3, case.flops / 95e3
    missed = targets.peak_outcomes(recurrent(stored(case, slow, 1), stored(replace(case, H=512), 1e9, 1)), profile)[0]
    assert missed.hit is False
    assert "| B=16 H=256 T=32 | 80.0 % | 70 % | 10 % | 20 % |" in missed.why.replace("\N{NO-BREAK SPACE}", " ")
    assert targets.peak_outcomes(recurrent(stored(case, fast, 1)), profile)[0].hit
    assert targets.peak_outcomes(recurrent(stored(CASE, 1, 1)), profile)[0].hit is None


def test_streaming_and_cold_start():
    times = {targets.STREAM: {"median_us": 2.5}, targets.IN_COMPILED_CODE: {"median_us": 1.0}}
    times |= {f"{TORCH}.nn.LSTM": {"median_us": 100.0}, ONNX: {"median_us": 20.0}}
    found = targets.streaming_outcomes({"rows": [{"H": 32, "times": times}, {"H": 64, "times": times}]})
    assert [one.hit for one in found] == [False, True]
    assert "takes 1.00 µs. The other 1.50 µs" in found[0].why
    assert targets.streaming_outcomes({"rows": []})[0].hit is None
    cold = {"times": {name: {"median_s": 10.0} for name in list(targets.COLD_LIMITS)[1:]}}
    profile = {"rows": [{"mode": "inference", "seconds": 9.0, "compiled": 5, "phases": {"a": 1.0}, "functions": {}}]}
    found = targets.cold_outcomes(cold, profile)
    assert [one.hit for one in found] == [None, False, True]
    assert "5 functions takes 9.0 s" in found[1].why


def test_failures_are_misses():
    row = stored(CASE, 1, 1) | {"torch_state_changed": {"threads": [2, 1]}, "failures": {OURS: "wrong"}}
    assert [one.hit for one in targets.state_outcomes(recurrent(row))] == [False, False]
    stress = {"failures": ["2 threads: off"], "trials": 3, "minutes": 10.0, "memory_growth": 2**25}
    wrong, grown = targets.stress_outcomes(stress)
    assert wrong.why == "- 2 threads: off"
    assert grown.hit is False
    assert "in a heap for each thread" in grown.why
    assert "something is kept" in targets.stress_outcomes(stress | {"own_pages": True})[1].why
    assert targets.stress_outcomes(stress | {"memory_growth": 2**20})[1].hit
    assert targets.stress_outcomes(stress | {"memory_growth": None})[1].hit is None
    rows = [{"mode": "training", "memory": {OURS: 3, TORCH: 2}}, {"mode": "inference", "memory": {OURS: 9, TORCH: 1}}]
    heavy = targets.memory_outcomes({"rows": rows})[0]
    assert heavy.hit is False
    assert "1.50" in heavy.reached


def test_what_was_not_measured_is_listed(tmp_path):
    found = targets.outcomes(tmp_path)
    assert {one.hit for one in found} == {None}
    assert len(found) == 5
    assert "not measured" in targets.page(tmp_path)
    (tmp_path / "memory.json").write_text(json.dumps({"rows": [], "provenance": {}}))
    assert "Memory of training" in by_name(targets.outcomes(tmp_path))


# -- the stored results ----------------------------------------------------------------------------------------------


def test_every_stored_miss_is_explained():
    found = targets.outcomes(store.RESULTS)
    assert len(found) >= 2 * len(TARGETS) + 8
    assert all(one.hit is not None for one in found)
    for one in found:
        assert bool(one.why) == (one.hit is False), one.name
    table = targets.with_parts(
        *(store.read_json(store.RESULTS / f"{n}.json") for n in ("recurrent", "where_time_goes"))
    )
    assert (table["rest"] > -0.15 * table[f"us {OURS}"]).all(), "the limit is beyond what was measured"


def test_the_page_and_the_report_are_those_of_the_stored_results(capsys):
    text = targets.page(store.RESULTS)
    assert report.TARGETS_PAGE.read_text(encoding="utf-8") == text, "run: python -m benchmarks report --update"
    options = {"quick": False, "results": None, "readme": False, "update": False, "targets": True}
    assert report.main(type("Options", (), options)) == 0
    assert capsys.readouterr().out.strip() == text.strip()


def test_updating_writes_the_table_and_the_page(tmp_path, monkeypatch):
    readme = (store.ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(readme.replace("| LSTM, inference | PyTorch |", "| an old row |"))
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(report, "TARGETS_PAGE", tmp_path / "targets.md")
    assert len(report.update_documents()) == 2
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == readme
    (tmp_path / "README.md").write_text("no table")
    with pytest.raises(RuntimeError, match="found 0"):
        report.update_documents()


# -- the profile of the compiler ---------------------------------------------------------------------------------------


def test_the_stopwatch_gives_each_second_to_the_innermost_interval():
    now = iter([0, 1, 3, 6, 10, 15, 21])
    watch = compile_profile.Stopwatch(lambda: next(now))
    watch.start("types", "f")  # 1 s outside before
    watch.start(compile_profile.LLVM, "")  # 2 s of types
    watch.stop()  # 3 s of LLVM, for f
    watch.stop()  # 4 s of types
    watch.start("lowering", "g")  # 5 s outside
    watch.stop()  # 6 s
    assert watch.phases == {compile_profile.OUTSIDE: 6, "types": 6, compile_profile.LLVM: 3, "lowering": 6}
    assert watch.functions == {"f": 9, "g": 6}


def test_phases_of_numbas_events():
    phase = compile_profile.phase_of
    assert phase("numba:llvm_lock", "") == compile_profile.LLVM
    assert phase("numba:run_pass", "native_lowering") == compile_profile.LOWERING
    assert phase("numba:run_pass", "nopython_type_inference") == compile_profile.TYPES
    assert phase("numba:run_pass", "dead_branch_prune") == compile_profile.OTHER
    assert compile_profile._function_of({"name": "native_lowering [f]"}) == ("native_lowering", "f")
    assert compile_profile._function_of({"name": "x [__numba_parfor_gufunc_0x7f]"})[1] == "the parallel loop"


def test_a_profile_accounts_for_all_of_the_time():
    found = compile_profile.profile(training=False)
    assert found["mode"] == "inference"
    assert sum(found["phases"].values()) == pytest.approx(1, abs=0.05)


def test_stored_profiles_are_of_compilations():
    rows = store.read_json(store.RESULTS / "compile_profile.json")["rows"]
    assert [row["mode"] for row in rows] == ["inference", "training"]
    for row in rows:
        assert row["compiled"] > 20
        assert sum(row["phases"].values()) == pytest.approx(1, abs=0.01)
        assert row["phases"][compile_profile.OUTSIDE] < 0.3
    assert pd.Series([row["seconds"] for row in rows]).is_monotonic_increasing
