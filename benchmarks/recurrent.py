"""Recurrent layers of ``lstm_numba`` against PyTorch, ``torch.compile``, ONNX Runtime and NumPy.

All candidates of a group of cases run in one process and take turns. Nothing is timed before it is right: outputs and
gradients must agree first. A candidate that cannot do a case is listed with the reason. A case is timed again if its
medians contradict its rounds, because the machine changed its speed meanwhile, and gets more rounds if those it has do
not say who is faster. A run that was stopped goes on where it was.
"""

import argparse
import json
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from benchmarks import store
from benchmarks.candidates import COMPILED, ONNX, OURS, REFERENCE, TORCH, Candidate, Problem, build
from benchmarks.cases import LIMIT_GFLOP, QUICK_LIMIT_GFLOP, Case, case_of, cases, group_names
from benchmarks.machine import QuietMachine, capabilities, torch_state
from benchmarks.measure import Samples, contradicts, paired_times, ratio, summary, undecided

TOLERANCE = 1e-4  # largest relative difference (by the largest element) between float32 candidates
STALL_SECONDS = 240  # a case that takes longer than this is ended and recorded
MOST_REPEATS = 2  # of a case in which the machine changed its speed
MOST_ADDITIONS = 3  # of rounds to a case that is undecided; all rounds count


def difference(value: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest expected element."""
    if value.shape != expected.shape:
        return float("inf")
    scale = max(float(np.abs(expected).max(initial=0)), 1e-30)
    worst = float(np.abs(value.astype(np.float64) - expected).max(initial=0)) / scale
    return worst if np.isfinite(worst) else float("inf")


def validate(candidates: dict[str, Candidate]) -> tuple[dict[str, float], dict[str, str]]:
    """Compare everything each candidate returns with the NumPy reference or, where it is too slow, with PyTorch.

    Returns
    -------
    errors, failures
        The largest difference per candidate, and a message for each that must not be timed.
    """
    errors: dict[str, float] = {}
    failures: dict[str, str] = {}
    results = {}
    for name, candidate in candidates.items():
        try:
            candidate.run()  # a second call must not depend on the first
            results[name] = candidate.results()
        except Exception as error:  # a crash of one candidate is a result, not the end of the run
            failures[name] = f"{type(error).__name__}: {error}"[:500]
            traceback.print_exc()
    judge = next((name for name in (REFERENCE, TORCH) if name in results), None)
    if judge is None:
        return errors, failures
    for name, arrays in results.items():
        by_array = {key: difference(arrays[key], results[judge][key]) for key in arrays if key in results[judge]}
        expected = {"y"} if name in (ONNX, COMPILED) else set(results[judge])
        if missing := expected - set(by_array):
            failures[name] = f"does not return {', '.join(sorted(missing))}"
            continue
        worst = max(by_array, key=by_array.__getitem__)
        errors[name] = by_array[worst]
        if by_array[worst] > TOLERANCE:
            failures[name] = f"{worst} differs from {judge} by {by_array[worst]:.1e}"
    return errors, failures


def _ratios(samples: Samples) -> dict[str, dict[str, float]]:
    """How many times faster we are than each other candidate."""
    ours = samples.seconds.get(OURS)
    return {name: ratio(theirs, ours) for name, theirs in samples.seconds.items() if ours and name != OURS}


def time_case(case: Case, *, rounds: int, seconds: float, budget: float, seed: int, quiet: QuietMachine | None) -> dict:
    """Validate and time one case; returns its row."""
    candidates, unavailable = build(Problem(case, seed))
    errors, failures = validate(candidates)
    runs = {name: candidate.run for name, candidate in candidates.items() if name not in failures}
    row = case.as_row() | {"errors": errors, "unavailable": unavailable, "failures": failures}
    notes = {name: candidates[name].notes for name in runs if candidates[name].notes}
    samples = paired_times(runs, rounds, seconds, budget=budget, quiet=quiet)
    repeats = 0
    while repeats < MOST_REPEATS and any(map(contradicts, _ratios(samples).values())):
        samples = paired_times(runs, rounds, seconds, budget=budget, quiet=quiet)
        repeats += 1
    additions = 0
    while additions < MOST_ADDITIONS and any(map(undecided, _ratios(samples).values())):
        samples = samples.joined(paired_times(runs, rounds, seconds, budget=budget, quiet=quiet))
        additions += 1
    row["times"] = {name: summary(values) for name, values in samples.seconds.items()}
    row |= {"load": samples.load, "disturbed": samples.disturbed, "rounds_rejected": samples.rejected, "notes": notes}
    row |= {"timed_again": repeats, "rounds_added": additions}
    if OURS in runs:
        row["ratios"] = _ratios(samples)
    for times in row["times"].values():
        times["gflops"] = case.flops / times["median_us"] / 1e3
    return row


def _state_difference(before: dict, after: dict) -> dict:
    return {key: [before[key], after[key]] for key in before if before[key] != after[key]}


def worker(task: dict) -> None:
    """Run cases in this process and append their rows to the journal; the parent process watches."""
    import torch

    import lstm_numba as ln

    journal, settings, threads = Path(task["journal"]), task["settings"], task["threads"]
    torch.set_num_threads(threads)
    ln.set_num_threads(threads)
    quiet = QuietMachine(once=settings["wait_once"], budget=task["wait_budget"])
    before = torch_state()
    quiet.wait()
    store.append_line(journal, {"machine": capabilities(threads), "threads": threads})
    for entry in task["cases"]:
        case = case_of(entry)
        store.append_line(journal, {"start": case.key})
        keys = ("rounds", "seconds", "budget", "seed")
        row = time_case(case, quiet=quiet, **{key: settings[key] for key in keys})
        row["torch_state_changed"] = _state_difference(before, torch_state())
        if row["torch_state_changed"]:
            torch.set_num_threads(threads)  # the following cases must be fair all the same
        store.append_line(journal, {"row": row})
        print(line_of(row), flush=True)


def line_of(row: dict) -> str:
    """One line on the screen."""
    times = "  ".join(f"{name} {value['median_us']:.1f} us" for name, value in row.get("times", {}).items())
    ratios = row.get("ratios", {})
    factor = f"x{ratios[TORCH]['of_medians']:.2f}" if TORCH in ratios else "   -  "
    bad = "".join(f"  FAILED {name}: {reason}" for name, reason in row["failures"].items())
    bad += f"  not available: {row['unavailable'][OURS]}" if OURS in row["unavailable"] else ""
    bad += f"  load {row['load']:.2f}" if row.get("disturbed") else ""
    bad += f"  CHANGED {row['torch_state_changed']}" if row.get("torch_state_changed") else ""
    return f"{row['key']:66} {factor:7} {times}{bad}"


def _lost(case: Case, reason: str) -> dict:
    """The row of a case in which the process died or did not come back."""
    lost = {"errors": {}, "unavailable": {}, "failures": {OURS: reason}, "times": {}, "ratios": {}, "notes": {}}
    return case.as_row() | lost | {"load": None, "disturbed": False, "rounds_rejected": 0, "torch_state_changed": {}}


def _watch(process: subprocess.Popen, journal: store.Journal) -> str | None:
    """Wait for a worker; end it if it makes no progress. Returns why it was ended."""
    size, since = journal.path.stat().st_size, time.monotonic()
    while process.poll() is None:
        time.sleep(0.2)
        if journal.path.stat().st_size != size:
            size, since = journal.path.stat().st_size, time.monotonic()
        if time.monotonic() - since > STALL_SECONDS:
            process.kill()
            process.wait()
            return f"did not end within {STALL_SECONDS} s"
    return None


def run(out: Path, chosen: list[Case], settings: dict, *, fresh: bool = False) -> dict:
    """Time the cases, in one process per group and number of threads, and write the results.

    Parameters
    ----------
    out
        JSON file to write.
    chosen
        What :func:`benchmarks.cases.cases` returned.
    settings
        ``rounds``, ``seconds``, ``budget``, ``seed``, ``wait_once``, ``wait_total``; see :func:`main`.
    fresh
        Forget the journal of an interrupted run.
    """
    journal = store.Journal(store.SCRATCH / f"{out.stem}.partial.jsonl", settings, settings["seed"], fresh=fresh)
    started = time.monotonic()
    wait_left = settings["wait_total"]
    for group, threads in dict.fromkeys((case.group, case.threads) for case in chosen):
        members = [case for case in chosen if (case.group, case.threads) == (group, threads)]
        while left := [case for case in members if case.key not in _rows(journal)]:
            task = {
                "journal": str(journal.path),
                "settings": settings,
                "threads": threads,
                "wait_budget": wait_left * len(left) / len(chosen),
                "cases": [case.as_row() for case in left],
            }
            process = subprocess.Popen(
                store.python_command("-m", "benchmarks.recurrent"),
                stdin=subprocess.PIPE,
                env=store.process_environment(threads),
                cwd=store.ROOT,
                text=True,
            )
            assert process.stdin is not None
            process.stdin.write(json.dumps(task))
            process.stdin.close()
            reason = _watch(process, journal)
            if process.returncode != 0:
                reason = reason or f"the process ended with code {process.returncode}"
                _record_lost(journal, left, reason)
    result = assemble(journal, chosen, settings, time.monotonic() - started)
    store.write_json(out, result)
    journal.remove()
    return result


def _rows(journal: store.Journal) -> dict[str, dict]:
    return {line["row"]["key"]: line["row"] for line in journal.lines() if "row" in line}


def _record_lost(journal: store.Journal, left: list[Case], reason: str) -> None:
    """Blame the case that was started last; without one the process cannot even start, and the run ends."""
    started = [line["start"] for line in journal.lines() if "start" in line]
    done = _rows(journal)
    for case in left:
        if case.key in started and case.key not in done:
            row = _lost(case, reason)
            journal.append({"row": row})
            print(line_of(row), flush=True)
            return
    raise RuntimeError(f"the benchmark's process {reason.removeprefix('the process ')} before its first case")


def assemble(journal: store.Journal, chosen: list[Case], settings: dict, seconds: float) -> dict:
    """Put the rows in order and add what they need to be understood."""
    machine: dict[str, dict] = {}
    for line in journal.lines():
        if "machine" in line:
            known = machine.get(str(line["threads"]), line["machine"])
            machine[str(line["threads"])] = _best_of(known, line["machine"])
    rows = _rows(journal)
    kept = [rows[case.key] for case in chosen if case.key in rows]
    for row in kept:
        peak = machine[str(row["threads"])]["gflops"]
        for times in row["times"].values():
            times["peak_share"] = times["gflops"] / peak
    return {
        "about": "recurrent layers, float32: medians of paired samples in one process",
        "provenance": journal.header["provenance"],
        "settings": settings,
        "seconds": round(seconds, 1),
        "machine": machine,
        "rows": kept,
    }


def _best_of(one: dict, other: dict) -> dict:
    """What the machine has shown it can do: a reading in a slow moment is no limit."""
    fastest = max(one, other, key=lambda reading: reading["gflops"])
    bandwidths = {level: max(one["read_gb_per_s"][level], rate) for level, rate in other["read_gb_per_s"].items()}
    return fastest | {"read_gb_per_s": bandwidths}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="a sample of small cases, in a few minutes")
    parser.add_argument(
        "--groups", nargs="+", default=[], choices=group_names(), help="only these groups", metavar="GROUP"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[], help="only cases with these numbers of threads")
    parser.add_argument(
        "--only", default="", help="only cases whose name contains this text, e.g. 'GRU training T=128'"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    parser.add_argument(
        "--out", type=Path, help="where to write; complete runs go to benchmarks/results/recurrent.json"
    )
    parser.add_argument("--rounds", type=int, help="samples per candidate and case (5, quick 3)")
    parser.add_argument("--seconds", type=float, help="length of one sample (0.02, quick 0.01)")
    parser.add_argument(
        "--budget", type=float, help="seconds per case after which only three rounds are made (6, quick 2)"
    )
    parser.add_argument("--wait", type=float, help="total seconds to wait for a quiet machine (300, quick 30)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the inputs and weights")
    parser.add_argument("--fresh", action="store_true", help="do not continue an interrupted run")


def main(options: argparse.Namespace) -> int:
    """Run what the command line asks for; returns the number of failures."""
    quick = options.quick
    chosen = cases(quick=quick, groups=tuple(options.groups), threads=tuple(options.threads))
    chosen = [case for case in chosen if options.only in case.key]
    if options.list:
        print("\n".join(case.key for case in chosen))
        return 0
    if not chosen:
        raise SystemExit("no case fits these options; --list shows all")
    settings = {
        "quick": quick,
        "rounds": options.rounds or (3 if quick else 5),
        "seconds": options.seconds or (0.01 if quick else 0.02),
        "budget": options.budget or (2.0 if quick else 6.0),
        "seed": options.seed,
        "wait_once": 2.0 if quick else 10.0,
        "wait_total": (30.0 if quick else 300.0) if options.wait is None else options.wait,
        "limit_gflop_forward": QUICK_LIMIT_GFLOP if quick else LIMIT_GFLOP,
    }
    complete = not (quick or options.groups or options.threads or options.only)
    out = options.out or (store.RESULTS if complete else store.SCRATCH) / "recurrent.json"
    result = run(out, chosen, settings, fresh=options.fresh)
    failures = [(row["key"], name, text) for row in result["rows"] for name, text in row["failures"].items()]
    print(f"\n{len(result['rows'])} cases in {result['seconds']:.0f} s, written to {out}")
    for key, name, text in failures:
        print(f"FAILED {key}: {name}: {text}")
    return len(failures)


if __name__ == "__main__":
    worker(json.load(sys.stdin))
