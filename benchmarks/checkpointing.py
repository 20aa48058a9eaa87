"""What `checkpoint=` costs and saves: memory at its peak and time of one training call, by length of the segments.

All layers have the same weights and see the same input; their gradients must agree before anything is timed. Memory
is what NumPy allocates between the start of the call and the end of `backward`, input and results included.
"""

import argparse
import gc
import math
import tracemalloc
from pathlib import Path

import numpy as np

import lstm_numba as ln
from benchmarks import store
from benchmarks.measure import paired_times, ratio, summary
from benchmarks.provenance import provenance

LAYERS, B, I, H = 2, 16, 16, 64


def train_once(layer: ln.LSTM, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """One forward and one backward pass."""
    layer.zero_grad()
    layer(x)
    return layer.backward(dy)[0]


def peak_memory(size: int | None, x: np.ndarray, dy: np.ndarray) -> int:
    """Peak of the bytes that a fresh layer's call and backward allocate."""
    layer = ln.LSTM(I, H, LAYERS, seed=0, checkpoint=size)
    gc.collect()
    tracemalloc.start()
    train_once(layer, x, dy)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def run(T: int, rounds: int, seconds: float) -> list[dict]:
    """Measure segments of the whole sequence, a quarter of it, about sqrt(T) steps and one step."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(T, B, I)).astype(np.float32)
    dy = rng.normal(size=(T, B, H)).astype(np.float32)
    sizes = [None, *sorted({max(1, T // 4), math.isqrt(T), 1}, reverse=True)]
    layers = {size: ln.LSTM(I, H, LAYERS, seed=0, checkpoint=size) for size in sizes}
    expected = None
    for size, layer in layers.items():
        results = [train_once(layer, x, dy), *(grad.copy() for grad in layer.grads.values())]
        expected = expected or results
        for ours, theirs in zip(results, expected, strict=True):
            error = ln.gradcheck.relative_error(ours, theirs)
            if not error < 1e-4:
                raise AssertionError(f"checkpoint={size} differs from the layer without by {error:.1e}")
    times = paired_times(
        {str(size): lambda layer=layer: train_once(layer, x, dy) for size, layer in layers.items()}, rounds, seconds
    ).seconds
    rows = []
    for size in sizes:
        rows.append(
            {
                "T": T,
                "checkpoint": size,
                "peak_bytes": peak_memory(size, x, dy),
                "time": summary(times[str(size)]),
                "slower_than_without": ratio(times[str(size)], times["None"]),
            }
        )
        print(
            f"T={T}, checkpoint={size!s:>5}: peak {rows[-1]['peak_bytes'] / 2**20:7.1f} MiB, "
            f"{rows[-1]['slower_than_without']['of_medians']:.2f} times the time of the layer without",
            flush=True,
        )
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="a short sequence and few rounds")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/checkpointing.json")


def main(options: argparse.Namespace) -> int:
    """Measure and write; returns the number of failures."""
    rows = run(64, 3, 0.005) if options.quick else [row for T in (256, 1024) for row in run(T, 9, 0.05)]
    out = options.out or (store.SCRATCH if options.quick else store.RESULTS) / "checkpointing.json"
    about = f"LSTM, {LAYERS} layers, float32, B={B}, I={I}, H={H}, training"
    result = {"about": about, "provenance": provenance(0), "threads": ln.get_num_threads(), "rows": rows}
    store.write_json(out, result)
    return 0
