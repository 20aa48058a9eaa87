"""Peak memory of one call of a layer, on top of the process before the layer existed.

Each candidate runs in a process of its own. A call on two time steps comes first, so that imported libraries and
compiled kernels are not counted; then a fresh layer is made and called twice on the real input. What is counted is the
layer, its gradients, everything kept between the forward and the backward pass, and the results.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks import store
from benchmarks.candidates import OURS, TORCH, Problem, build
from benchmarks.cases import Case, case_of
from benchmarks.machine import forget_peak, peak_bytes, resident_bytes
from benchmarks.provenance import provenance

CASES = [
    Case("memory", "LSTM", "training", 128, 16, 64, 64),
    Case("memory", "LSTM", "training", 512, 64, 64, 64),
    Case("memory", "LSTM", "training", 128, 64, 256, 256),
    Case("memory", "LSTM", "training", 128, 16, 64, 64, layers=4),
    Case("memory", "LSTM", "training", 32, 16, 1024, 1024),
    Case("memory", "GRU", "training", 128, 64, 256, 256),
    Case("memory", "LSTM", "inference", 512, 64, 64, 64),
    Case("memory", "LSTM", "inference", 128, 64, 256, 256),
    Case("memory", "GRU", "inference", 128, 64, 256, 256),
]
QUICK = CASES[:1] + CASES[6:7]


def measure(case: Case, name: str) -> dict:
    """Run in a process of its own: bytes of one candidate, or why not."""
    short = Problem(replace(case, T=2))
    candidates, unavailable = build(short, (name,))
    if name in unavailable:
        return {"unavailable": unavailable[name]}
    for _ in range(2):
        candidates[name].run()
    del candidates, short
    problem = Problem(case)
    before = resident_bytes()
    if before is None or not forget_peak():
        return {"unavailable": "this system does not tell a process its peak memory"}
    candidates, _ = build(problem, (name,))
    for _ in range(2):
        candidates[name].run()
    peak = peak_bytes()
    assert peak is not None
    return {"bytes": peak - before}


def run(cases: list[Case], names: tuple[str, ...]) -> list[dict]:
    """Measure every candidate of every case."""
    rows = []
    for case in cases:
        row = case.as_row() | {"memory": {}, "unavailable": {}}
        for name in names:
            process = subprocess.run(
                store.python_command("-m", "benchmarks.memory"),
                input=json.dumps({"case": case.as_row(), "name": name}),
                env=store.process_environment(case.threads),
                cwd=store.ROOT,
                capture_output=True,
                text=True,
            )
            answer = json.loads(process.stdout.splitlines()[-1]) if process.returncode == 0 else None
            if answer is None:
                row["unavailable"][name] = "failed: " + process.stderr.strip().splitlines()[-1][:300]
            elif "bytes" in answer:
                row["memory"][name] = answer["bytes"]
            else:
                row["unavailable"][name] = answer["unavailable"]
        rows.append(row)
        shown = "  ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in row["memory"].items())
        print(f"{row['key']:66} {shown}  {row['unavailable'] or ''}", flush=True)
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="two cases")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/memory.json")


def main(options: argparse.Namespace) -> int:
    """Measure, write, and return the number of failures."""
    rows = run(QUICK if options.quick else CASES, (OURS, TORCH))
    out = options.out or (store.SCRATCH if options.quick else store.RESULTS) / "memory.json"
    store.write_json(out, {"about": __doc__.splitlines()[0], "provenance": provenance(0), "rows": rows})
    return sum(text.startswith("failed") for row in rows for text in row["unavailable"].values())


if __name__ == "__main__":
    task = json.load(sys.stdin)
    print(json.dumps(measure(case_of(task["case"]), task["name"])))
