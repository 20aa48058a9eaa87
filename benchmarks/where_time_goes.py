"""Where the time of an LSTM layer goes, on one thread: matrix products, gates, and everything else.

The parts are measured apart. *Products*: the register tile on weights of the layer's size, as fast as it runs when
nothing else happens. *Gates*: the cell's equations on numbers in the L1 cache. *Rest* is the time of the real call
less both: moving pre-activations, gates and states between caches, packing weights, allocating results, the call
itself. The table also says what is the most that could be won: the ratio to PyTorch if the rest were nothing, and if
there were nothing but products at the machine's peak.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numba import njit

import lstm_numba as ln
from benchmarks import store
from benchmarks.candidates import OURS, TORCH, Problem, build
from benchmarks.cases import Case
from benchmarks.machine import QuietMachine
from benchmarks.measure import paired_times, ratio, summary
from benchmarks.provenance import provenance
from lstm_numba.cpu.cell_blocks import lstm_block_grad, lstm_gates
from lstm_numba.cpu.peak import peak_speed, tile_speed
from lstm_numba.cpu.simd import MAX_ROWS, VECTORS, lanes, lanes_of, pointer, step

T, BATCHES, SIZES = 128, (1, 16, 64), (16, 64, 128, 256, 512)


_SLOTS = 9  # vectors per row that the gates read or write, forward and backward


@njit(error_model="numpy", fastmath={"contract"})
def _forward_gates(buffer, repeats):
    at = pointer(buffer)
    U = lanes_of(at)
    rest, carry, h = step(at, 4 * MAX_ROWS * U), step(at, 7 * MAX_ROWS * U), step(at, 8 * MAX_ROWS * U)
    for _ in range(repeats):
        lstm_gates(MAX_ROWS, at, 4 * U, h, U, carry, carry, U, h, U, U, 0, False, at, rest)


@njit(error_model="numpy", fastmath={"contract"})
def _backward_gates(buffer, repeats):
    z = pointer(buffer)
    U = lanes_of(z)
    dh, dy, dcarry = step(z, 4 * MAX_ROWS * U), step(z, 5 * MAX_ROWS * U), step(z, 6 * MAX_ROWS * U)
    c_prev, c = step(z, 7 * MAX_ROWS * U), step(z, 8 * MAX_ROWS * U)
    for _ in range(repeats):
        lstm_block_grad(MAX_ROWS, z, 4 * U, dh, U, dy, U, dcarry, c_prev, c, c, c, U, U)


def seconds_per_unit(function, samples: int) -> float:
    """Seconds that a cell's equations take for one unit and step, the fastest of some samples."""
    units = MAX_ROWS * lanes(4)
    buffer = np.random.default_rng(0).normal(size=_SLOTS * units).astype(np.float32)
    repeats = 2000
    function(buffer, 1)
    best = np.inf
    for _ in range(samples):
        start = time.perf_counter()
        function(buffer, repeats)
        best = min(best, time.perf_counter() - start)
    return best / repeats / units


def product_seconds(case: Case) -> float:
    """Seconds of the matrix products of one call, at the speed of the tile on weights of these sizes."""
    U = lanes(4)
    blocks = -(-case.H // U)
    rows = min(MAX_ROWS, case.B)
    flop = 2 * case.T * case.B * blocks * 4 * U  # for each number that is summed over
    forward = flop * case.H / tile_speed("float32", 1, rows, VECTORS, case.H, blocks) / 1e9
    forward += flop * case.I / tile_speed("float32", 1, MAX_ROWS, VECTORS, case.I, blocks) / 1e9
    if case.mode == "inference":
        return forward
    # Backward: dz times both matrices, whose depth is 4H; and two products whose depth is the rows of a chunk.
    depth = blocks * 4 * U
    state = flop * case.H / tile_speed("float32", 1, rows, VECTORS, min(depth, 2048), max(1, blocks // 4)) / 1e9
    others = flop * (case.H + 2 * case.I) / peak_speed("float32", 1) / 1e9
    return forward + state + others


def measure(case: Case, gates: dict[str, float], rounds: int, seconds: float, quiet: QuietMachine | None) -> dict:
    """One row of the table."""
    candidates, _ = build(Problem(case), (OURS, TORCH))
    samples = paired_times({name: candidates[name].run for name in (OURS, TORCH)}, rounds, seconds, quiet=quiet)
    times = {name: summary(values) for name, values in samples.seconds.items()}
    total = times[OURS]["median_us"] * 1e-6
    units = case.T * case.B * (-(-case.H // lanes(4))) * lanes(4)
    cells = units * (gates["forward"] + (gates["backward"] if case.mode == "training" else 0.0))
    products, at_peak = product_seconds(case), case.flops / peak_speed("float32", 1) / 1e9
    theirs = times[TORCH]["median_us"] * 1e-6
    return case.as_row() | {
        "times": times,
        "ratio": ratio(samples.seconds[TORCH], samples.seconds[OURS]),
        "load": samples.load,
        "share_products": products / total,
        "share_gates": cells / total,
        "share_rest": 1 - (products + cells) / total,
        "share_of_peak": at_peak / total,
        "ratio_without_rest": theirs / (products + cells),
        "ratio_at_peak": theirs / at_peak,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="two small shapes, few samples")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/where_time_goes.json")


def main(options: argparse.Namespace) -> int:
    """Measure in a process of its own, with one thread, and write."""
    task = {"quick": options.quick, "rounds": 3 if options.quick else 7, "seconds": 0.002 if options.quick else 0.03}
    process = subprocess.run(
        store.python_command("-m", "benchmarks.where_time_goes"),
        input=json.dumps(task),
        env=store.process_environment(1),
        cwd=store.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(process.stdout.splitlines()[-1])
    for row in result["rows"]:
        print(
            f"{row['mode']:9} B={row['B']:3} H={row['H']:4}  products {row['share_products']:4.0%}  gates "
            f"{row['share_gates']:4.0%}  rest {row['share_rest']:4.0%}   x{row['ratio']['of_medians']:.2f}, "
            f"x{row['ratio_without_rest']:.2f} without the rest, x{row['ratio_at_peak']:.2f} at the peak",
            flush=True,
        )
    out = options.out or (store.SCRATCH if options.quick else store.RESULTS) / "where_time_goes.json"
    about = f"where the time of an LSTM layer goes, float32, T={T}, I=H, one thread"
    store.write_json(out, {"about": about, "provenance": provenance(0), **result})
    return 0


def _worker(task: dict) -> None:
    import torch

    torch.set_num_threads(1)
    ln.set_num_threads(1)
    quick = task["quick"]
    quiet = QuietMachine.of_a_run(quick)
    gates = {
        "forward": seconds_per_unit(_forward_gates, 3 if quick else 30),
        "backward": seconds_per_unit(_backward_gates, 3 if quick else 30),
    }
    rows = []
    for mode in ("inference", "training"):
        for H in SIZES[:1] if quick else SIZES:
            for B in BATCHES[:1] if quick else BATCHES:
                case = Case("where", "LSTM", mode, 16 if quick else T, B, H, H, threads=1)
                rows.append(measure(case, gates, task["rounds"], task["seconds"], quiet))
    peak = peak_speed("float32", 1)
    print(json.dumps({"threads": 1, "peak_gflops": peak, "seconds_per_unit": gates, "rows": rows}))


if __name__ == "__main__":
    _worker(json.load(sys.stdin))
