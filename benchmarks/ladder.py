"""The ladder of the book's chapter on Numba, at sizes too large for a page: every rung against rung 0.

The rungs are the functions of :mod:`lstm_numba.teaching.ladder`, and on top the package's layer with one thread and
with all. PyTorch stands beside it. Plain Python is timed once.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import lstm_numba as ln
from benchmarks import store
from benchmarks.machine import QuietMachine, capabilities
from benchmarks.measure import paired_times, summary
from benchmarks.provenance import provenance
from benchmarks.recurrent import difference

SIZES = {"small": (32, 8, 16), "medium": (32, 16, 64), "large": (16, 32, 256)}
PYTHON_LIMIT = 2e8  # operations above which plain Python is left out: minutes


def package_layer(W_ih, W_hh, b):
    """The package's layer with these weights, in inference mode."""
    H = W_hh.shape[1]
    layer = ln.LSTM(W_ih.shape[1], H, seed=0).eval()
    zero = np.zeros_like(b)
    layer.load_state_dict({"weight_ih_l0": W_ih, "weight_hh_l0": W_hh, "bias_ih_l0": b, "bias_hh_l0": zero})
    return layer


def time_size(name: str, shape: tuple[int, int, int], rounds: int, seconds: float, quiet: QuietMachine | None) -> dict:
    """Check every rung against the lowest that is fast enough, then time them in turn."""
    import torch

    from lstm_numba.teaching.ladder import RUNGS, problem

    T, B, H = shape
    flops = 2 * T * B * 4 * H * 2 * H
    x, W_ih, W_hh, b = problem(T, B, H)
    layer = package_layer(W_ih, W_hh, b)
    module = torch.nn.LSTM(H, H)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in layer.state_dict().items()})
    threads = ln.get_num_threads()
    tensor = torch.from_numpy(x)

    def one_thread():
        ln.set_num_threads(1)
        try:
            return layer(x)[0]
        finally:
            ln.set_num_threads(threads)

    def pytorch():
        with torch.inference_mode():
            return module(tensor)[0].numpy()

    runs = {rung: lambda function=function: function(x, W_ih, W_hh, b) for rung, function in RUNGS.items()}
    runs["register tile, 1 thread"] = one_thread
    runs[f"register tile, {threads} threads"] = lambda: layer(x)[0]
    runs["PyTorch"] = pytorch
    if flops > PYTHON_LIMIT:
        del runs["Python loops"]
    expected = None
    errors, slow = {}, {}
    for rung, run in runs.items():
        start = time.perf_counter()
        y = run()
        seconds_taken = time.perf_counter() - start
        expected = y if expected is None else expected
        errors[rung] = difference(y, expected)
        if errors[rung] > 1e-4:
            raise AssertionError(f"{rung} differs from the lowest rung by {errors[rung]:.1e}")
        if rung == "Python loops" and seconds_taken > 0.5:
            slow[rung] = [seconds_taken]
    samples = paired_times({rung: run for rung, run in runs.items() if rung not in slow}, rounds, seconds, quiet=quiet)
    rungs = {}
    for rung in runs:
        times = summary(slow.get(rung) or samples.seconds[rung])
        rungs[rung] = times | {"gflops": flops / times["median_us"] / 1e3, "error": errors[rung]}
    return {
        "name": name,
        "T": T,
        "B": B,
        "H": H,
        "flops": flops,
        "threads": threads,
        "load": samples.load,
        "rungs": rungs,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="the small size only")
    parser.add_argument("--threads", type=int, default=2, help="threads of the parallel rungs (2)")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/ladder.json")


def main(options: argparse.Namespace) -> int:
    """Measure in a process of its own, write and print."""
    names = ["small"] if options.quick else list(SIZES)
    process = subprocess.run(
        store.python_command("-m", "benchmarks.ladder"),
        input=json.dumps({"names": names, "rounds": 3 if options.quick else 7, "quick": options.quick}),
        env=store.process_environment(options.threads),
        cwd=store.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(process.stdout.splitlines()[-1])
    out = options.out or (store.SCRATCH if options.quick else store.RESULTS) / "ladder.json"
    about = "one forward pass of an LSTM, I = H, float32, from Python loops to the package's layer"
    store.write_json(out, {"about": about, "provenance": provenance(0), **result})
    for size in result["sizes"]:
        print(f"{size['name']}: T={size['T']} B={size['B']} H={size['H']}")
        for rung, value in size["rungs"].items():
            print(f"  {rung:28}{value['median_us']:12.1f} us{value['gflops']:9.3f} GFLOP/s")
    return 0


def _worker(task: dict) -> None:
    import torch

    torch.set_num_threads(ln.get_num_threads())
    quiet = QuietMachine.of_a_run(task["quick"])
    machine = {str(threads): capabilities(threads) for threads in sorted({1, ln.get_num_threads()})}
    sizes = [time_size(name, SIZES[name], task["rounds"], 0.02, quiet) for name in task["names"]]
    print(json.dumps({"machine": machine, "sizes": sizes}))


if __name__ == "__main__":
    _worker(json.load(sys.stdin))
