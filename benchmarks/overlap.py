"""Stacked layers that overlap, against one layer after the other: inference, one sequence, all threads.

Both ways give the same bits, which is checked before anything is timed. Shapes are measured whether the package would
overlap their layers or not: the ratio shows where it pays, and ``chosen`` what the package does.
"""

import argparse
from pathlib import Path

import numpy as np

import lstm_numba as ln
from benchmarks import store
from benchmarks.measure import geometric_mean, paired_times, ratio, summary
from benchmarks.provenance import provenance
from lstm_numba.cpu import recurrent, wavefront

SEQUENTIAL, OVERLAPPED = "one after the other", "overlapped"


def compare(layers: int, T: int, H: int, rounds: int, seconds: float) -> dict:
    """Time both ways for one shape."""
    layer = ln.LSTM(H, H, num_layers=layers, seed=0).eval()
    weights = layer._layer_weights
    x = np.random.default_rng(0).normal(size=(T, 1, H)).astype(np.float32)
    zeros = [(np.zeros((1, 1, H), np.float32),) * 2 for _ in range(layers)]
    chosen = wavefront.overlap_of(weights, T, 1)
    overlap = chosen or wavefront.Overlap(min(layers, ln.get_num_threads()), wavefront.chunk_for(T))

    def sequential() -> np.ndarray:
        y = x
        for state, layer_weights in zip(zeros, weights, strict=True):
            y, _, _ = recurrent.layer_forward("lstm", y, state, layer_weights, None, False)
        return y

    def overlapped() -> np.ndarray:
        found = wavefront.run_overlapped("lstm", x, zeros, weights, overlap)
        assert found is not None, "another call of this process holds the threads"
        return found[0]

    if not np.array_equal(sequential(), overlapped()):
        raise AssertionError(f"{layers} layers, T={T}, H={H}: results differ")
    samples = paired_times({SEQUENTIAL: sequential, OVERLAPPED: overlapped}, rounds, seconds, budget=2.0).seconds
    row = {
        "layers": layers,
        "T": T,
        "H": H,
        "chunk": overlap.chunk,
        "chosen": chosen is not None,
        "times": {name: summary(times) for name, times in samples.items()},
        "ratio": ratio(samples[SEQUENTIAL], samples[OVERLAPPED]),
    }
    print(
        f"{layers} layers, T={T:4}, H={H:4}: {row['ratio']['of_medians']:5.2f} {'(chosen)' if chosen else ''}",
        flush=True,
    )
    return row


def run(shapes: list[tuple[int, int, int]], rounds: int, seconds: float) -> list[dict]:
    """Measure (layers, T, H)."""
    return [compare(*shape, rounds, seconds) for shape in shapes]


def means(rows: list[dict]) -> dict:
    """Geometric means and extremes of the ratios where layers overlap, and of those where they do not."""
    result = {}
    for name, chosen in (("overlapped", True), ("left alone", False)):
        ratios = [row["ratio"]["of_medians"] for row in rows if row["chosen"] == chosen]
        if ratios:
            mean = geometric_mean(ratios)
            result[name] = {"cases": len(ratios), "mean": mean, "least": min(ratios), "most": max(ratios)}
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="two shapes and few rounds")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/overlap.json")


def main(options: argparse.Namespace) -> int:
    """Measure and write; returns the number of failures."""
    if ln.get_num_threads() < 2:
        print("One thread: nothing can overlap.")
        return 0
    if options.quick:
        rows = run([(2, 128, 32), (2, 32, 16)], 3, 0.002)
    else:
        rows = run([(L, T, H) for L in (2, 4) for H in (16, 32, 64, 128, 256) for T in (32, 128, 512)], 15, 0.02)
    about = f"LSTM layers with I = H, one sequence, inference, float32, {ln.get_num_threads()} threads"
    result = {"about": about, "provenance": provenance(0), "means": means(rows), "rows": rows}
    store.write_json(options.out or (store.SCRATCH if options.quick else store.RESULTS) / "overlap.json", result)
    return 0
