"""A small model trained end to end, optimiser included: the ratio a user feels.

An LSTM with 32 units, its last step and a dense layer learn the sum of two marked numbers in a sequence, B = 32,
T = 64, mean squared error, clipping by global norm, Adam. Both implementations start from the same weights and see the
same batches; the losses must agree before anything is timed.
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

T, B, H, LR, CLIP = 64, 32, 32, 1e-3, 1.0
CHECKED_STEPS = 20


def batches(count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inputs (T, B, 2): a number and a mark; targets (B, 1): the sum of the two marked numbers."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        x = np.zeros((T, B, 2), np.float32)
        x[..., 0] = rng.uniform(size=(T, B))
        columns = np.arange(B)
        for half in (0, T // 2):
            x[half + rng.integers(0, T // 2, size=B), columns, 1] = 1
        made.append((x, (x[..., 0] * x[..., 1]).sum(axis=0)[:, None]))
    return made


def ours(state: dict[str, np.ndarray], data):
    """One optimiser step per call, in ``lstm_numba``; returns the loss."""
    model = ln.Sequential(ln.LSTM(2, H, seed=0), ln.LastStep(), ln.Dense(H, 1, seed=0))
    model.load_state_dict(state)
    optimiser = ln.Adam(model, lr=LR)
    turn = 0

    def step() -> float:
        nonlocal turn
        x, target = data[turn % len(data)]
        turn += 1
        model.zero_grad()
        loss, dy = ln.mse_loss(model(x), target)
        model.backward(dy)
        ln.clip_grad_norm(model.grads, CLIP)
        optimiser.step()
        return loss

    return step


def pytorch(state: dict[str, np.ndarray], data):
    """One optimiser step per call, in PyTorch; returns the loss."""
    import torch

    lstm, dense = torch.nn.LSTM(2, H), torch.nn.Linear(H, 1)
    tensors = {name: torch.from_numpy(value.copy()) for name, value in state.items()}
    lstm.load_state_dict({name.removeprefix("0."): value for name, value in tensors.items() if name[0] == "0"})
    dense.load_state_dict({name.removeprefix("2."): value for name, value in tensors.items() if name[0] == "2"})
    parameters = [*lstm.parameters(), *dense.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=LR)
    tensor_data = [(torch.from_numpy(x), torch.from_numpy(target)) for x, target in data]
    turn = 0

    def step() -> float:
        nonlocal turn
        x, target = tensor_data[turn % len(tensor_data)]
        turn += 1
        optimiser.zero_grad(set_to_none=True)
        loss = torch.nn.functional.mse_loss(dense(lstm(x)[0][-1]), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimiser.step()
        return loss.item()

    return step


def compare(threads: int, rounds: int, seconds: float, quiet: QuietMachine | None) -> dict:
    """Check and time; returns a row."""
    data = batches(8, seed=1)
    state = ln.Sequential(ln.LSTM(2, H, seed=2), ln.LastStep(), ln.Dense(H, 1, seed=3)).state_dict()
    steps = {OURS: ours(state, data), TORCH: pytorch(state, data)}
    losses = {name: [step() for _ in range(CHECKED_STEPS)] for name, step in steps.items()}
    worst = max(abs(a - b) / max(b, 1e-3) for a, b in zip(losses[OURS], losses[TORCH], strict=True))
    if worst > 1e-3:
        raise AssertionError(f"the losses of the first {CHECKED_STEPS} steps differ by {worst:.1e}")
    samples = paired_times(steps, rounds, seconds, quiet=quiet)
    return {
        "threads": threads,
        "loss_difference": worst,
        "load": samples.load,
        "disturbed": samples.disturbed,
        "times": {name: summary(values) for name, values in samples.seconds.items()},
        "ratio": ratio(samples.seconds[TORCH], samples.seconds[OURS]),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/training_loop.json")


def main(options: argparse.Namespace) -> int:
    """Measure with one and two threads, each in a process of its own, and write."""
    rows = []
    for threads in (1, 2):
        task = {
            "threads": threads,
            "quick": options.quick,
            "rounds": 3 if options.quick else 9,
            "seconds": 0.05 if options.quick else 0.2,
        }
        process = subprocess.run(
            store.python_command("-m", "benchmarks.training_loop"),
            input=json.dumps(task),
            env=store.process_environment(threads),
            cwd=store.ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        row = json.loads(process.stdout.splitlines()[-1])
        rows.append(row)
        shown = "  ".join(f"{name} {value['median_us']:.0f} us" for name, value in row["times"].items())
        print(f"{threads} threads  {shown}  x{row['ratio']['of_medians']:.2f}", flush=True)
    out = options.out or (store.SCRATCH if options.quick else store.RESULTS) / "training_loop.json"
    about = f"one optimiser step, LSTM T={T} B={B} H={H}"
    store.write_json(out, {"about": about, "provenance": provenance(1), "rows": rows})
    return 0


def _worker(task: dict) -> None:
    import torch

    torch.set_num_threads(task["threads"])
    ln.set_num_threads(task["threads"])
    quiet = QuietMachine.of_a_run(task["quick"])
    print(json.dumps(compare(task["threads"], task["rounds"], task["seconds"], quiet)))


if __name__ == "__main__":
    _worker(json.load(sys.stdin))
