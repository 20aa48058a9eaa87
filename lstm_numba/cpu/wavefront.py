"""Stacked layers at the same time, in inference: while one works on some steps, the next works on the steps before.

A layer with a single sequence leaves cores idle: its steps follow each other, and splitting the units of a small one
costs more waiting than it saves work. But layer 2 needs only the first steps of layer 1 to begin. So the sequence is
cut into chunks, and in every phase each layer computes one chunk, layer l the one that layer l - 1 has just finished::

    phase     0   1   2   3   4
    layer 0   a   b   c   d
    layer 1       a   b   c   d

Layers run their own kernels (:mod:`lstm_numba.cpu.forward`), a chunk like a short sequence that starts from the state
in which the last one ended: the numbers are those of one layer after the other, bit by bit.
"""

from typing import NamedTuple

import numpy as np

from lstm_numba.contract import LayerWeights
from lstm_numba.cpu import plan as p
from lstm_numba.cpu.bind import bind
from lstm_numba.cpu.launch import (
    DTYPE_NAMES,
    Kernel,
    available_threads,
    launch,
    release_threads,
    reserve_threads,
    run_alone,
)
from lstm_numba.cpu.recurrent import ALONE, Job, put_job_back, take_job
from lstm_numba.cpu.simd import MAX_ROWS, get, pointer_at, put, step
from lstm_numba.cpu.teams import SYNC_STRIDE

# Entries of the plan beyond those that every kernel shares.
_LAYERS, _CHUNK, _TABLE = p.LENGTH, p.LENGTH + 1, p.LENGTH + 2
_LENGTH = p.LENGTH + 3
# A row of the table: addresses of a layer's kernel and plan, then of its input and of its hidden states in the first
# chunk, each followed by the bytes to the next chunk.
_KERNEL, _PLAN, _X, _X_STEP, _H, _H_STEP = range(6)

# Measured: shorter sequences do not earn back the meetings; smaller layers finish a chunk in less than a meeting takes;
# of larger ones, two at a time do not stay in the cores' caches, and sharing their units is worth more.
_SHORTEST = 96  # steps
_FEWEST_FLOPS, _MOST_FLOPS = 10_000, 230_000  # of one step of the largest layer


def _wave(plan, like, d, phase, part, member):
    """One member's layers, in one phase."""
    T, chunk, layers = get(plan, p.T), get(plan, _CHUNK), get(plan, _LAYERS)
    for layer in range(part, layers, get(plan, p.MEMBERS)):
        number = phase - layer
        if number < 0 or number * chunk >= T:
            continue
        row = step(pointer_at(get(plan, _TABLE), plan), layer * 6)
        own = pointer_at(get(row, _PLAN), plan)
        put(own, p.T, min(chunk, T - number * chunk))
        put(own, p.X, get(row, _X) + number * get(row, _X_STEP))
        put(own, p.H_SLOTS, get(row, _H) + number * get(row, _H_STEP))
        run_alone(get(row, _KERNEL), own)
        if get(own, p.REPACK):  # done, in a phase of its own
            put(own, p.REPACK, 0)
            put(own, p.PHASES, get(own, p.PHASES) - 1)


_WAVE = Kernel(_wave, set())


class Overlap(NamedTuple):
    """How layers overlap."""

    threads: int
    chunk: int  # steps

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.chunk} steps of each layer at the same time"


def overlap_of(weights: list[LayerWeights], T: int, B: int) -> Overlap | None:
    """How the layers of a stack should overlap in inference, or None if they should run one after the other."""
    threads = min(len(weights), available_threads())
    if B != 1 or threads < 2 or T < _SHORTEST:
        return None
    largest = max(2 * (layer[0].W_ih.size + layer[0].W_hh.size) for layer in weights)
    if not _FEWEST_FLOPS <= largest <= _MOST_FLOPS:
        return None
    return Overlap(threads, chunk_for(T))


def chunk_for(T: int) -> int:
    """Steps of a chunk: short ones fill the wave sooner, but each costs a meeting. Whole tiles of rows."""
    return MAX_ROWS * max(2, round(T / 16 / MAX_ROWS))


def stack_forward(
    cell: str, x: np.ndarray, states: list[tuple[np.ndarray, ...]], weights: list[LayerWeights]
) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]]] | None:
    """Run all layers of one direction in inference, or return None if they should run one after the other.

    Parameters
    ----------
    cell
        One of ``CELLS`` that :mod:`lstm_numba.cpu.forward` has.
    x
        Input of the first layer, (T, B, I).
    states
        Initial state of every layer, as in :mod:`lstm_numba.contract`.
    weights
        Of every layer.

    Returns
    -------
    y : ndarray
        Output of the last layer, (T, B, P).
    states : list of tuple
        Final states.
    """
    overlap = overlap_of(weights, *x.shape[:2])
    return None if overlap is None else run_overlapped(cell, x, states, weights, overlap)


def run_overlapped(
    cell: str,
    x: np.ndarray,
    states: list[tuple[np.ndarray, ...]],
    weights: list[LayerWeights],
    overlap: Overlap,
) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]]] | None:
    """Run all layers as ``overlap`` says; None if the threads are busy with another call. See :func:`stack_forward`."""
    T, layers, chunk = len(x), len(weights), overlap.chunk
    threads = reserve_threads(overlap.threads)
    if threads == 1:
        release_threads(threads)
        return None
    jobs: list[Job] = []
    try:
        jobs = [take_job(cell, layer, x.dtype) for layer in weights]
        finals = [tuple(part.copy() for part in state) for state in states]
        table = np.empty((layers, 6), np.int64)
        y, kept = _describe(table, jobs, weights, x, finals, chunk)
        plan, sync = np.zeros(_LENGTH, np.int64), np.zeros(SYNC_STRIDE * threads, np.int64)
        plan[p.D], plan[p.TEAMS], plan[p.MEMBERS] = 1, 1, threads
        plan[p.T], plan[_CHUNK], plan[_LAYERS] = T, chunk, layers
        plan[p.PHASES] = -(-T // chunk) + layers - 1
        plan[p.SYNC], plan[_TABLE] = sync.ctypes.data, table.ctypes.data
        launch(_WAVE.address(DTYPE_NAMES[x.dtype]), plan, threads)
        del kept
    finally:
        release_threads(threads)
        for job in jobs:
            job.forward_plan[p.T] = chunk  # as it was prepared: the last chunk may have been shorter
            put_job_back(job)
    return y, finals


def _describe(
    table: np.ndarray,
    jobs: list[Job],
    weights: list[LayerWeights],
    x: np.ndarray,
    finals: list[tuple[np.ndarray, ...]],
    chunk: int,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Prepare every layer's plan for one chunk and write the table; returns the output, and what must stay alive."""
    T, B = x.shape[:2]
    size = x.itemsize
    kept = [x]
    input_address, input_step = x.ctypes.data, chunk * B * x.shape[2] * size
    for k, (job, own, final) in enumerate(zip(jobs, weights, finals, strict=True)):
        is_last = k == len(jobs) - 1
        # The state before a chunk is written in front of it. Where the next layer is still reading the chunk before,
        # that is a slot of its own.
        slots = chunk if is_last else chunk + 1
        h = np.empty((T + 2 if is_last else -(-T // chunk) * slots, B, job.P), x.dtype)
        job.shape = (chunk, B)
        job.prepare_forward(own, chunk, B, False, ALONE)
        plan = job.forward_plan
        ends = (final[0], final[0], final[-1], final[-1])
        bind(plan, job.forward_memory.sync, p.H0, *ends, kept[-1], h, h, kept[-1])
        if plan[p.REPACK]:  # the kernel will strike that out
            job.forget_forward_plan()
        states = int(plan[p.H_SLOTS])
        table[k] = job.forward_address, plan.ctypes.data, input_address, input_step, states, slots * B * job.P * size
        input_address, input_step = states + B * job.P * size, int(table[k, _H_STEP])
        kept.append(h)
    return kept[-1][1:-1], kept
