"""The ladder of the chapter on the GPU: every rung runs on the emulator and counts what it reads and launches.

Two naive kernels are written here, to be read. All others are the package's own. A :class:`StepModel` estimates what a
step of each rung would take on a chip, from constants that can be looked at; :func:`device_times` reads what a chip
really took, once somebody has measured it.
"""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
from numba import cuda, float32

from lstm_numba.cells import lstm_step
from lstm_numba.gpu.binding import Kernel
from lstm_numba.gpu.kernels import grid, slices, steps
from lstm_numba.reference.lstm import lstm_backward, lstm_forward
from lstm_numba.teaching.display import show
from lstm_numba.teaching.tables import table
from lstm_numba.teaching.threads import Trace, run_threads

__all__ = [
    "RUNGS",
    "LadderProblem",
    "LadderRun",
    "StepModel",
    "climb",
    "climb_back",
    "device_rows",
    "device_times",
    "naive_gates",
    "naive_product",
    "problem",
    "show_device_times",
    "stored_result",
]

_RESULTS = "https://raw.githubusercontent.com/lstm-numba/lstm_numba/main/benchmarks/results"

THREADS = 64  # per block of the naive kernels


def naive_product(h, R, z):
    """z = R h: one thread per pre-activation. h (B, H), R (H, 4, H), z (B, H, 4)."""
    n = cuda.grid(1)
    B, H = h.shape
    if n < B * H * 4:
        b, j, slot = n // (4 * H), n // 4 % H, n % 4
        total = float32(0)
        for k in range(H):
            total += R[j, slot, k] * h[b, k]
        z[b, j, slot] = total


def naive_gates(z, gx, c, h, hs, t):
    """The cells of step t: one thread per unit. gx (T, B, H, 4), c and h (B, H), hs (T + 1, B, H)."""
    n = cuda.grid(1)
    B, H = h.shape
    if n < B * H:
        b, j = n // H, n % H
        z_i, z_f = z[b, j, 0] + gx[t, b, j, 0], z[b, j, 1] + gx[t, b, j, 1]
        z_g, z_o = z[b, j, 2] + gx[t, b, j, 2], z[b, j, 3] + gx[t, b, j, 3]
        done = lstm_step(z_i, z_f, z_g, z_o, c[b, j])
        c[b, j] = done[4]
        h[b, j] = done[5]
        hs[t + 1, b, j] = done[5]


@dataclass(frozen=True)
class LadderProblem:
    """The recurrent part of a layer, as the kernels want it, and the reference's answer.

    The input part ``gx (T, B, H, 4)`` and the weights ``R (H, 4, H)`` have the four gates of a unit side by side.
    """

    gx: np.ndarray
    R: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    y: np.ndarray
    c_n: np.ndarray
    dy: np.ndarray
    dz: np.ndarray  # (T, B, H, 4)
    dh0: np.ndarray
    dc0: np.ndarray

    @property
    def sizes(self) -> tuple[int, int, int]:
        """T, B and H."""
        T, B, H, _ = self.gx.shape
        return T, B, H


def problem(T: int = 3, B: int = 5, H: int = 32, seed: int = 0) -> LadderProblem:
    """Random inputs in float32; the answer is computed by the reference in float64.

    Examples
    --------
    >>> from lstm_numba.teaching.gpu_ladder import problem
    >>> problem(T=2, B=3, H=16).R.shape
    (16, 4, 16)
    """
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    gx, R = draw(T, B, H, 4), (draw(H, 4, H) / np.sqrt(H)).astype(np.float32)
    h0, c0, dy = draw(B, H), draw(B, H), draw(T, B, H)
    # The reference gets the same numbers with the gates first, the input part through a unit matrix.
    x = gx.transpose(0, 1, 3, 2).reshape(T, B, 4 * H).astype(float)
    W_ih, W_hh = np.eye(4 * H), R.transpose(1, 0, 2).reshape(4 * H, H).astype(float)
    y, _, c_n, cache = lstm_forward(x, h0.astype(float), c0.astype(float), W_ih, W_hh, None, None, True)
    nothing = np.zeros((B, H))
    dx, dh0, dc0, *_ = lstm_backward(dy.astype(float), nothing, nothing, cache, W_ih, W_hh)
    dz = dx.reshape(T, B, 4, H).transpose(0, 1, 3, 2)
    return LadderProblem(gx, R, h0, c0, y, c_n, dy, dz, dh0, dc0)


@dataclass
class LadderRun:
    """What one rung computed, and what it took."""

    hs: np.ndarray  # (T + 1, B, H)
    c: np.ndarray  # (B, H)
    launches: int = 0
    threads: int = 0  # of one launch
    reads: Counter = field(default_factory=Counter)  # numbers read from global memory, by array
    traces: list[Trace] = field(default_factory=list)
    saved: np.ndarray | None = None
    cs: np.ndarray | None = None

    def error(self, problem: LadderProblem) -> float:
        """The largest difference to the reference, in the hidden states and the last cell state."""
        return float(max(np.abs(self.hs[1:] - problem.y).max(), np.abs(self.c - problem.c_n).max()))


def _count(run: LadderRun, trace: Trace) -> Trace:
    run.launches += 1
    run.threads = max(run.threads, trace.threads)
    run.traces.append(trace)
    for name in trace.touches:
        run.reads[name] += int(trace.reads(name).sum())
    return trace


def _poison(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


def _naive(p: LadderProblem, seed: int | None, replaced: dict | None) -> LadderRun:
    T, B, H = p.sizes
    h, c, z = p.h0.copy(), p.c0.copy(), _poison(B, H, 4)
    run = LadderRun(_poison(T + 1, B, H), c)
    run.hs[0] = h
    for t in range(T):
        blocks = -(-B * H * 4 // THREADS)
        z = _count(run, run_threads(naive_product, blocks, THREADS, h, p.R, z, seed=seed)).arrays["z"]
        arguments = (z, p.gx, run.c, h, run.hs, t)
        done = _count(run, run_threads(naive_gates, -(-B * H // THREADS), THREADS, *arguments, seed=seed)).arrays
        run.c, h, run.hs = done["c"], done["h"], done["hs"]
    return run


def _fused(p: LadderProblem, seed: int | None, replaced: dict | None) -> LadderRun:
    T, B, H = p.sizes
    kernel = steps.forward("lstm", "float32")
    run = LadderRun(_poison(T + 1, B, H), p.c0.copy(), cs=_poison(T + 1, B, H), saved=_poison(T, B, H, 4))
    run.hs[0] = p.h0
    blocks = -(-H // steps.TILE) * -(-B // steps.TILE)
    lengths = np.full(B, T, np.int32)
    for t in range(T):
        arguments = (p.gx, p.R, lengths, run.c, run.hs, run.cs, run.saved, B, H, t, t, t + 1, 1)
        trace = _count(run, run_threads(kernel, blocks, kernel.threads, *arguments, seed=seed, replaced=replaced))
        run.c, run.hs = trace.arrays["carry"], trace.arrays["hs"]
        run.cs, run.saved = trace.arrays["cs"], trace.arrays["saved"]
    return run


def _persistent(make: Callable[[int], tuple[Kernel, int]]) -> Callable[..., LadderRun]:
    def run_all_steps(p: LadderProblem, seed: int | None, replaced: dict | None) -> LadderRun:
        T, B, H = p.sizes
        kernel, blocks = make(H)
        groups = -(-B // kernel.rows)
        arrays = (_poison(T + 1, B, H), _poison(T + 1, B, H), _poison(T, B, H, 4), _poison(B, H))
        arguments: list[Any] = [p.gx, p.R, p.h0, p.c0, np.full(B, T, np.int32), *arrays]
        if kernel.cooperative:
            arguments += [np.zeros(groups * grid.COUNTER_PITCH, np.uint32), T, B, 0, 0, 1]
        else:
            arguments += [T, B, 0, 1]
        run = LadderRun(*arrays[::3])
        trace = _count(
            run, run_threads(kernel, groups * blocks, kernel.threads, *arguments, seed=seed, replaced=replaced)
        )
        run.hs, run.cs, run.saved, run.c = (trace.arrays[name] for name in ("hs", "cs", "saved", "cn"))
        return run

    return run_all_steps


#: name -> function of (problem, seed, replaced); the precision of the last is the only difference to "block".
RUNGS: dict[str, Callable[..., LadderRun]] = {
    "naive": _naive,
    "fused": _fused,
    "block": _persistent(lambda H: (slices.forward("lstm", H, 1, 1, "float32"), 1)),
    "cluster": _persistent(lambda H: (slices.forward("lstm", H, 2, 1, "float32"), 2)),
    "grid": _persistent(lambda H: (grid.forward("lstm", H, 2, 1, 2, "float32"), 2)),
    "block, tf32": _persistent(lambda H: (slices.forward("lstm", H, 1, 1, "tf32"), 1)),
}


def climb(
    rung: str, problem: LadderProblem, seed: int | None = None, replaced: dict[str, Callable] | None = None
) -> LadderRun:
    """Run all steps of a problem on one rung of the ladder.

    Parameters
    ----------
    rung
        A name from ``RUNGS``.
    problem
        Its sizes must suit the rung: ``H`` a multiple of 32.
    seed, replaced
        As in :func:`lstm_numba.teaching.threads.run_threads`.

    Returns
    -------
    LadderRun
        Results and counts.

    Examples
    --------
    >>> from lstm_numba.teaching.gpu_ladder import climb, problem
    >>> p = problem(T=2, B=2, H=32)
    >>> run = climb("naive", p)
    >>> run.launches, run.error(p) < 1e-5
    (4, True)
    """
    if rung not in RUNGS:
        raise ValueError(f"rung: expected one of {', '.join(map(repr, RUNGS))}, got {rung!r}")
    return RUNGS[rung](problem, seed, replaced)


def climb_back(
    rung: str, problem: LadderProblem, forward: LadderRun, seed: int | None = None, replaced: dict | None = None
) -> tuple[dict[str, float], Trace]:
    """Take a forward run back through the package's kernel of the family ``"block"``, ``"cluster"`` or ``"grid"``.

    Returns
    -------
    errors, trace
        The largest difference to the reference for ``dz``, ``dh0`` and ``dc0``, and what the threads did.
    """
    T, B, H = problem.sizes
    kernels = {
        "block": (slices.backward("lstm", H, 1, 1, H // 16, 2, "float32"), 1),
        "cluster": (slices.backward("lstm", H, 2, 1, 1, 1, "float32"), 2),
        "grid": (grid.backward("lstm", H, 2, "float32"), 2),
    }
    kernel, blocks = kernels[rung]
    groups = -(-B // kernel.rows)
    nothing = np.zeros((B, H), np.float32)
    arguments: list[Any] = [forward.saved, forward.cs, problem.R, problem.dy, nothing, nothing, np.full(B, T, np.int32)]
    arguments += [_poison(T, B, H, 4), _poison(B, H), _poison(B, H)]
    if kernel.cooperative:
        arguments += [np.zeros(groups * grid.COUNTER_PITCH, np.uint32), T, B, 0, 0]
    else:
        arguments += [T, B, 0]
    trace = run_threads(kernel, groups * blocks, kernel.threads, *arguments, seed=seed, replaced=replaced)
    expected = {"dgx": problem.dz, "dh0": problem.dh0, "dc0": problem.dc0}
    return {name: float(np.abs(trace.arrays[name] - right).max()) for name, right in expected.items()}, trace


# ---------------------------------------------------------------- what a step would take


_MEANING = {
    "launch": ("start of a kernel from Python", "µs", "estimate"),
    "l2": ("reading from the L2 cache", "TB/s", "estimate"),
    "l2_latency": ("the first number from L2", "µs", "estimate"),
    "block_barrier": ("barrier of a block", "µs", "estimate"),
    "cluster_barrier": ("barrier of a cluster, with its message", "µs", "estimate"),
    "grid_barrier": ("counter in global memory", "µs", "estimate"),
    "multiprocessors": ("multiprocessors of an H100", "", "data sheet"),
    "clock": ("clock", "GHz", "estimate"),
    "multiply_adds": ("float32 multiply-adds of a multiprocessor", "per cycle", "data sheet"),
    "shared": ("shared memory of a multiprocessor", "bytes per cycle", "data sheet"),
    "product_latency": ("one tensor-core product after another", "cycles", "estimate"),
    "cell_latency": ("the gates of a cell, one after another", "cycles", "estimate"),
}


@dataclass(frozen=True)
class StepModel:
    """Microseconds per forward step, from a handful of constants.

    The constants are for an H100; :meth:`assumptions` says what they are. None was measured by this project.
    Change them and see what follows: ``StepModel(launch=2.0)``.

    Examples
    --------
    >>> from lstm_numba.teaching.gpu_ladder import StepModel
    >>> model = StepModel()
    >>> sum(model.parts("fused", 256, 8).values()) > sum(model.parts("cluster", 256, 8).values())
    True
    """

    launch: float = 5.0
    l2: float = 5.5
    l2_latency: float = 0.25
    block_barrier: float = 0.03
    cluster_barrier: float = 0.3
    grid_barrier: float = 0.9
    multiprocessors: int = 132
    clock: float = 1.75
    multiply_adds: float = 128
    shared: float = 128
    product_latency: float = 25
    cell_latency: float = 250

    def parts(self, rung: str, H: int, B: int, precision: str = "float32") -> dict[str, float]:
        """Return what a step consists of, in microseconds; the parts wait for each other, so they add up."""
        cycle = 1e-3 / self.clock
        gates = self.cell_latency * cycle
        if rung in ("naive", "fused"):
            launches, readers = (2, B) if rung == "naive" else (1, -(-B // steps.TILE))
            multiply_adds = 4 * H * H * B / (self.multiply_adds * self.multiprocessors)
            return {
                "launch": launches * self.launch,
                "weights": 16 * H * H * readers / (self.l2 * 1e6),
                "exchange": 0.0,
                "product": multiply_adds * cycle,
                "cells": gates,
            }
        blocks, split, barrier = {
            "block": (1, 1, self.block_barrier),
            "cluster": (4 if H <= 128 else 8, 1, self.cluster_barrier),
            "grid": ((H // 16, 2) if H <= 512 else (H // 8, 4)) + (self.grid_barrier,),
        }[rung]
        warps = H // blocks // 4 * split
        own_h = warps * 8 * (H // split) * 4 / self.shared * cycle  # every warp reads its part of h of eight sequences
        products = (3 if precision == "float32" else 1) * H // split // 8
        slices_of_eight, at_once = math.ceil(B / 8), max(1, self.multiprocessors // blocks)
        turns = math.ceil(slices_of_eight / at_once)  # the others have to queue
        message = self.l2_latency + 4 * 8 * H * blocks / (self.l2 * 1e6) if rung == "grid" else 0.0
        return {
            "launch": 0.0,
            "weights": 0.0,
            "exchange": turns * (barrier + message),
            "product": turns * (own_h + products * self.product_latency * cycle),
            "cells": turns * gates,
        }

    def total(self, rung: str, H: int, B: int, precision: str = "float32") -> float:
        """Return the microseconds of a step."""
        return sum(self.parts(rung, H, B, precision).values())

    def assumptions(self) -> list[tuple[str, str, str]]:
        """Return what each constant is, its value, and where it comes from."""
        return [
            (what, f"{getattr(self, name):g} {unit}".strip(), source) for name, (what, unit, source) in _MEANING.items()
        ]


# ---------------------------------------------------------------- what a step took


def stored_result(name: str, folder: Path | str) -> dict[str, Any] | None:
    """Return a stored result, or None: from a folder or, where the folder is missing (on Colab), from GitHub."""
    if Path(folder).is_dir():
        path = Path(folder) / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    try:
        with urlopen(f"{_RESULTS}/{name}", timeout=30) as answer:
            return json.load(answer)
    except HTTPError as error:
        if error.code == 404:
            return None
        raise


def device_times(folder: Path | str) -> dict[str, Any] | None:
    """Return the result of ``make bench-gpu``, or None where nobody has measured yet.

    Raises
    ------
    ValueError
        If there is a result without a device's name or without rows: it must not pass for a measurement.
    """
    result = stored_result("cuda.json", folder)
    if result is not None and not (result.get("rows") and result.get("provenance", {}).get("gpu")):
        raise ValueError("cuda.json: expected rows, and the name of the GPU in its provenance")
    return result


def device_rows(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table: microseconds per step, forward, whole calls."""
    names = list(dict.fromkeys(name for row in result["rows"] for name in row["us"]))
    rows = []
    for row in result["rows"]:
        taken = [row["us"].get(name, {}).get("forward") for name in names]
        shape = f"H={row['H']}, B={row['B']}, T={row['T']}" + (f", {row['kind']}" if row.get("kind") else "")
        rows.append([shape, row["family"], *("–" if t is None else f"{t / row['T']:.2f}" for t in taken)])
    return ["shape", "family", *names], rows


def show_device_times(result: dict[str, Any] | None) -> None:
    """Show the measured times as a sentence and a table, or say that there are none."""
    if result is None:
        text = (
            "**Not measured yet.** The kernels of this page compile for an H100 and give the right numbers on the "
            "emulator, but no time from a GPU is stored. `make bench-gpu` on a machine with an NVIDIA GPU takes about "
            "eight minutes and writes `benchmarks/results/cuda.json`; with that file, a table stands here instead."
        )
        show({"text/markdown": text, "text/plain": text})
        return
    source = result["provenance"]
    text = (
        f"Measured on **{source['gpu']}**, {source['date'][:10]}, commit {source['commit'][:12]}: microseconds per "
        "step of the forward pass, whole calls with everything around the recurrence, medians."
    )
    left_out = len(result.get("failed", [])), len(result.get("not_reached", []))
    if any(left_out):
        text += f" Shapes that failed: {left_out[0]}; not reached in the time given: {left_out[1]}."
    show({"text/markdown": text, "text/plain": text})
    header, rows = device_rows(result)
    table(rows, header=header, label="Measured microseconds per step")
    if result.get("targets"):
        lines = [[entry["target"], str(entry["compared"]), str(entry["met"])] for entry in result["targets"]]
        table(
            lines,
            header=["target", "comparisons", "met"],
            label="The project's targets, and how many comparisons meet them",
        )
