"""What the PyTorch modules cost on top of the layer they wrap, and how they compare with ``torch.nn``.

Each case is timed three ways on the same numbers: the layer on NumPy arrays, the module of ``lstm_numba.torch`` on
tensors, and PyTorch's own module. Inference runs under ``torch.inference_mode``; training is one call and all its
gradients. Results must agree before anything is timed.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import lstm_numba as ln
from benchmarks import store
from benchmarks.candidates import OURS, TORCH
from benchmarks.machine import QuietMachine
from benchmarks.measure import paired_times, ratio, summary
from benchmarks.provenance import provenance
from lstm_numba.gradcheck import relative_error

MODULE = f"{OURS}.torch"
# name of the class, T, B, I, H, options
CASES = (
    ("LSTM", 1, 1, 8, 16, {}),
    ("LSTM", 16, 1, 32, 64, {}),
    ("LSTM", 64, 32, 32, 128, {}),
    ("LSTM", 64, 32, 32, 128, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    ("LSTM", 100, 64, 256, 512, {}),
    ("GRU", 64, 32, 32, 128, {}),
    ("RNN", 64, 32, 32, 128, {}),
)


def candidates_of(name: str, T: int, B: int, I: int, H: int, options: dict, training: bool) -> dict:
    """Functions without arguments that return the output and, in training, the gradient of the input."""
    import torch

    import lstm_numba.torch as lt

    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, T, I) if options.get("batch_first") else (T, B, I)).astype(np.float32)
    theirs = getattr(torch.nn, name)(I, H, **options).train(training)
    modules = {MODULE: lt.accelerate(theirs, copy=True), TORCH: theirs}
    layer = lt.to_layer(theirs)
    dy = np.ones((*x.shape[:2], H * (2 if options.get("bidirectional") else 1)), np.float32)

    def run_layer():
        if not training:
            return [layer(x)[0]]
        y, _ = layer(x)
        layer.zero_grad()
        return [y, layer.backward(dy)[0]]

    def runner(module):
        given, gradient = torch.from_numpy(x.copy()).requires_grad_(training), torch.from_numpy(dy)

        def infer():
            with torch.inference_mode():
                return [module(given)[0].numpy()]

        def train():
            module.zero_grad(set_to_none=True)
            given.grad = None
            y, _ = module(given)
            y.backward(gradient)
            return [y.detach().numpy(), given.grad.numpy()]

        return train if training else infer

    return {OURS: run_layer} | {kind: runner(module) for kind, module in modules.items()}


def compare(case: tuple, training: bool, rounds: int, seconds: float, quiet: QuietMachine | None) -> dict:
    """Check and time one case; returns a row."""
    candidates = candidates_of(*case, training)
    expected = [value.copy() for value in candidates[TORCH]()]
    for name in (OURS, MODULE):
        worst = max(relative_error(a, b) for a, b in zip(candidates[name](), expected, strict=True))
        if worst > 1e-4:
            raise AssertionError(f"{name} differs from {TORCH} by {worst:.1e} in {case}")
    samples = paired_times(candidates, rounds, seconds, quiet=quiet)
    name, T, B, I, H, options = case
    return {
        "cell": name, "T": T, "B": B, "I": I, "H": H, "options": options,
        "mode": "training" if training else "inference",
        "load": samples.load,
        "disturbed": samples.disturbed,
        "times": {kind: summary(values) for kind, values in samples.seconds.items()},
        "overhead_us": float(1e6 * (np.median(samples.seconds[MODULE]) - np.median(samples.seconds[OURS]))),
        "ratio": ratio(samples.seconds[TORCH], samples.seconds[MODULE]),
    }  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="fewer samples of the smaller cases")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/torch_adapter.json")


def main(options: argparse.Namespace) -> int:
    """Measure with one and two threads, each in a process of its own, and write."""
    rows = []
    for threads in (1, 2):
        task = {
            "threads": threads,
            "quick": options.quick,
            "cases": len(CASES) if not options.quick else 3,
            "rounds": 3 if options.quick else 9,
            "seconds": 0.02 if options.quick else 0.1,
        }
        process = subprocess.run(
            store.python_command("-m", "benchmarks.torch_adapter"),
            input=json.dumps(task),
            env=store.process_environment(threads),
            cwd=store.ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for line in process.stdout.splitlines():
            row = json.loads(line)
            rows.append({"threads": threads, **row})
            shown = "  ".join(f"{name} {value['median_us']:.0f} us" for name, value in row["times"].items())
            where = f"{row['cell']} T={row['T']} B={row['B']} H={row['H']} {row['mode']}"
            print(f"{threads} threads  {where}  {shown}  x{row['ratio']['of_medians']:.2f}", flush=True)
    out = options.out or (store.SCRATCH if options.quick else store.RESULTS) / "torch_adapter.json"
    about = "the modules of lstm_numba.torch, the layers they wrap, and torch.nn, float32"
    store.write_json(out, {"about": about, "provenance": provenance(0), "rows": rows})
    return 0


def _worker(task: dict) -> None:
    import torch

    torch.set_num_threads(task["threads"])
    ln.set_num_threads(task["threads"])
    quiet = QuietMachine.of_a_run(task["quick"])
    for case in CASES[: task["cases"]]:
        for training in (False, True):
            print(json.dumps(compare(case, training, task["rounds"], task["seconds"], quiet)), flush=True)


if __name__ == "__main__":
    _worker(json.load(sys.stdin))
