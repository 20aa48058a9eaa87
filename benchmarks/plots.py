"""Pictures of the stored results: the roofline, heat maps of the ratios, the ladder."""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks import store
from benchmarks.candidates import ONNX, OURS, TORCH
from benchmarks.cases import GATES
from benchmarks.frame import frame


def intensity(row: dict | pd.Series) -> float:
    """Operations per byte if the weights are read once per time step and everything else once: an upper estimate.

    Weights that fit into a cache are read from there, so the point belongs under that cache's roof.
    """
    rows = GATES[row["cell"]] * row["H"]
    weights = rows * row["H"] * row["T"] + rows * row["I"]
    activations = row["T"] * row["B"] * (row["I"] + row["H"])
    flops = 2 * row["T"] * row["B"] * rows * (row["I"] + row["H"])
    return flops / (4 * (weights + activations))


def roofline(result: dict, threads: int = 2, mode: str = "inference"):
    """GFLOP/s over operations per byte, ours and PyTorch's, under the measured roofs."""
    machine = result["machine"][str(threads)]
    table = frame(result)
    table = table[table["cell"] == "LSTM"]
    table = table[(table["group"] == "sweep") & (table["mode"] == mode) & (table["threads"] == threads)]
    figure, ax = plt.subplots(figsize=(6.4, 4.6))
    x = np.geomspace(0.1, 300, 200)
    for (level, bandwidth), style in zip(machine["read_gb_per_s"].items(), ("-", "--", "-.", ":"), strict=False):
        ax.plot(
            x, np.minimum(machine["gflops"], bandwidth * x), style, color="grey", label=f"{level}: {bandwidth:.0f} GB/s"
        )
    for name, marker, colour in ((TORCH, "x", "C1"), (OURS, "o", "C0")):
        if f"us {name}" in table:
            points = [intensity(row) for _, row in table.iterrows()]
            ax.plot(points, table["flops"] / table[f"us {name}"] / 1e3, marker, color=colour, label=name, alpha=0.7)
    ax.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="GFLOP/s", xlim=(0.1, 300))
    ax.set_title(f"LSTM {mode}, I = H, {threads} threads: peak {machine['gflops']:.0f} GFLOP/s")
    ax.legend(fontsize=8)
    figure.set_layout_engine("constrained")
    return figure


def heat_maps(result: dict, mode: str, against: str = TORCH, threads: int = 2):
    """The ratio over B and H, one map per T. Above 1 we are faster."""
    table = frame(result)
    table = table[table["cell"] == "LSTM"]
    table = table[(table["group"] == "sweep") & (table["mode"] == mode) & (table["threads"] == threads)]
    table = table.dropna(subset=[f"ratio {against}"])
    lengths = sorted(table["T"].unique())
    figure, axes = plt.subplots(1, max(1, len(lengths)), figsize=(4.2 * max(1, len(lengths)), 3.6), squeeze=False)
    for ax, T in zip(axes[0], lengths, strict=False):
        values = table[table["T"] == T].pivot(index="B", columns="H", values=f"ratio {against}")
        image = ax.imshow(np.log2(values), cmap="cividis", vmin=-1, vmax=4, aspect="auto")
        ax.set_xticks(range(len(values.columns)), values.columns)
        ax.set_yticks(range(len(values.index)), values.index)
        ax.set(xlabel="H", ylabel="B", title=f"T = {T}")
        for (row, column), value in np.ndenumerate(values.to_numpy()):
            if np.isfinite(value):
                ax.text(
                    column, row, f"{value:.1f}", ha="center", va="center", color="white" if value < 2.5 else "black"
                )
    if lengths:
        bar = figure.colorbar(image, ax=axes[0].tolist(), ticks=range(-1, 5))
        bar.ax.set_yticklabels(["0.5", "1", "2", "4", "8", "16"])
    figure.suptitle(f"LSTM {mode}: {against} / {OURS}, {threads} threads", y=1.02)
    return figure


def ladder(result: dict):
    """GFLOP/s of every rung, one panel per size."""
    sizes = result["sizes"]
    figure, axes = plt.subplots(len(sizes), 1, figsize=(6.4, 2.6 * len(sizes)), squeeze=False)
    for ax, size in zip(axes[:, 0], sizes, strict=True):
        names = list(size["rungs"])[::-1]
        rates = [size["rungs"][name]["gflops"] for name in names]
        ax.barh(names, rates, color=["C1" if name == "PyTorch" else "C0" for name in names])
        peak = result["machine"][str(size["threads"])]["gflops"]
        ax.axvline(peak, linestyle=":", color="grey")
        ax.set(xscale="log", xlim=(min(rates) / 2, peak * 3), title=f"T={size['T']} B={size['B']} H={size['H']}")
        for place, rate in enumerate(rates):
            ax.text(rate * 1.1, place, f"{rate:.3g}", va="center", fontsize=8)
    axes[-1, 0].set_xlabel("GFLOP/s (dotted: measured peak)")
    figure.set_layout_engine("constrained")
    return figure


def draw(results: Path, out: Path) -> list[Path]:
    """Draw everything there are results of; returns the files."""
    figures = {}
    if (results / "recurrent.json").is_file():
        recurrent = store.read_json(results / "recurrent.json")
        for threads in sorted(int(count) for count in recurrent["machine"]):
            for mode in ("inference", "training"):
                figures[f"roofline_{mode}_{threads}"] = roofline(recurrent, threads, mode)
                figures[f"ratios_torch_{mode}_{threads}"] = heat_maps(recurrent, mode, TORCH, threads)
            figures[f"ratios_onnx_inference_{threads}"] = heat_maps(recurrent, "inference", ONNX, threads)
    if (results / "ladder.json").is_file():
        figures["ladder"] = ladder(store.read_json(results / "ladder.json"))
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(out / f"{name}.svg")
        figure.savefig(paths[-1], bbox_inches="tight")
        plt.close(figure)
    return paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--results", type=Path, default=store.RESULTS, help="folder of the JSON files")
    parser.add_argument("--out", type=Path, default=store.SCRATCH / "plots", help="folder of the pictures")


def main(options: argparse.Namespace) -> int:
    """Draw and list."""
    for path in draw(options.results, options.out):
        print(path)
    return 0
