"""The layer contract on the CPU: what happens between a layer's call and its kernel. See :mod:`lstm_numba.contract`.

A call takes a :class:`Job` of its layer (packed weights and work buffers, reused from call to call), fills in its plan
and launches the kernel. A job in training is taken until ``layer_backward`` has used what it kept; calls of the same
layer from several threads get jobs of their own.
"""

import math
from importlib import import_module
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lstm_numba.contract import LayerWeights
from lstm_numba.cpu import backward, forward
from lstm_numba.cpu import plan as p
from lstm_numba.cpu.bind import CACHE_LINES, bind, fingerprint, to_next_lines
from lstm_numba.cpu.cell_blocks import FORMS
from lstm_numba.cpu.launch import available_threads, launch, release_threads, take_threads
from lstm_numba.cpu.simd import MAX_ROWS, VECTORS, lanes
from lstm_numba.cpu.teams import SYNC_STRIDE
from lstm_numba.cpu.threads import SERIAL_FLOPS
from lstm_numba.cpu.workspace import Workspace

COPIES_INPUT = True  # see lstm_numba.contract

_CHUNK_NUMBERS = 128 * 1024  # of z computed ahead of the scan, per member
_APART = 4096  # bytes between what two members write all the time: processors fetch ahead, but not into another page


# Of weights that a slice of the batch may have sums of its own for. With more, a step is so much work that what one
# core reads of another's does not count, and that more threads than slices are worth while.
_MOST_WEIGHTS = 16 * 1024
_MOST_SLICES = 8
_SHARED_UNITS = 256  # from here on members share units: all weights no longer fit into one core's cache
_SLICE_ROWS = 256  # rows of a slice that earn back adding up its sums


class Sharing(NamedTuple):
    """How the work is shared between threads."""

    teams: int  # directions at the same time
    members: int  # threads per direction
    by_units: bool  # members share hidden units, with a meeting after every step; else sequences


def choose_slices(T: int, B: int, H: int, P: int) -> int:
    """In how many slices the batch is cut in training; 1: none.

    Sums over rows run through one slice after the other. So members can keep the rows of whole slices in memory of
    their own. The shape alone decides: the order in which a gradient is summed must not depend on the number of
    threads.
    """
    if P != H or H >= _SHARED_UNITS:
        return 1
    slices = min(_MOST_SLICES, max(2, B // 16), B // 2, T * B // _SLICE_ROWS)
    return 2 ** (max(1, slices).bit_length() - 1)  # so that 2, 4 and 8 threads get equal shares


def have_own_sums(slices: int, I: int, H: int, gates: int) -> bool:
    """Whether every slice has sums of its own, which are added up at the end."""
    return slices > 1 and gates * H * (I + H) <= _MOST_WEIGHTS


def choose_sharing(
    T: int, B: int, I: int, H: int, P: int, D: int, gates: int, blocks: int, threads: int, slices: int = 1
) -> Sharing:
    """Decide how many threads work on a layer, and on what."""
    flops = 2 * T * B * D * gates * H * (I + P)
    if threads == 1 or flops < SERIAL_FLOPS or B == 0:
        return Sharing(1, 1, False)
    teams = min(D, threads)
    members = threads // teams
    if members == 1:
        return Sharing(teams, 1, False)
    if have_own_sums(slices, I, H, gates):
        return Sharing(teams, min(members, slices), False)
    # A member with one or two sequences loads as many weights as it multiplies; half of the units are half of the
    # weights.
    few = 2 * members > B if H < 128 else 2 * members >= B
    # Up to 32 units, a step takes as long as the meeting after it.
    by_units = blocks >= members and P == H and ((members > B and H > 32) or H >= _SHARED_UNITS or (H >= 64 and few))
    if not by_units:
        members = min(members, B)
    return Sharing(teams, members, by_units and members > 1)


ALONE = Sharing(1, 1, False)


class _Lengths(NamedTuple):
    """Sequences of different lengths, sorted: the longest first."""

    order: np.ndarray  # (B,) the sequences in sorted order
    sorted: np.ndarray  # (B,) their lengths
    offsets: np.ndarray  # (T + 1,) first row of every step
    rows: np.ndarray  # (N,) of (T*B, ...) in the caller's order: the rows that exist, step by step
    slots: np.ndarray  # (N,) of (T*B, ...) in sorted order


def _sort(lengths: np.ndarray, T: int) -> _Lengths:
    B = len(lengths)
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order]
    t, b = np.nonzero(ordered > np.arange(T)[:, None])
    offsets = np.zeros(T + 1, np.int64)
    np.cumsum(np.bincount(t, minlength=T), out=offsets[1:])
    return _Lengths(order, ordered, offsets, t * B + order[b], t * B + b)


class Job:
    """Everything one call needs: a plan per pass and the memory behind it."""

    def __init__(self, cell: str, weights: LayerWeights, dtype: np.dtype) -> None:
        self.cell, self.dtype = cell, dtype
        # Where the job goes when it is free; known only while it is in use, since a job that knew the list it lies
        # in would keep itself, and its memory, alive until the garbage collector finds it.
        self.pool: list[Job] | None = None
        self.form = FORMS[cell]
        self.kernel = cell if weights[0].W_hr is None else f"{cell}, projected"
        W_ih, W_hh = weights[0].W_ih, weights[0].W_hh
        self.D = len(weights)
        self.I, self.P = W_ih.shape[1], W_hh.shape[1]
        self.H = W_ih.shape[0] // self.form.gates
        self.projected = weights[0].W_hr is not None
        self.lanes = lanes(dtype.itemsize)
        self.width = self.form.vectors * self.lanes
        self.slots = self.form.slots * self.width
        self.blocks = -(-self.H // self.width)
        self.flops_per_row = 2 * self.D * self.form.gates * self.H * (self.I + self.P)
        self.forward_address = self.backward_address = 0
        self._h: np.ndarray | None = None
        self.forward_memory, self.backward_memory = Workspace(dtype), Workspace(dtype)
        self.forward_plan = np.zeros(p.LENGTH, np.int64)
        self.backward_plan = np.zeros(p.LENGTH, np.int64)
        self._sharing, self._sharing_key = ALONE, (0, 0, 0, 0)
        self._forward_key: tuple | None = None
        self._backward_key: tuple | None = None
        self.packed: int | None = None  # the state of the weights that are packed
        self._grads: LayerWeights | None = None
        self.x: np.ndarray | None = None
        self.h: np.ndarray | None = None
        self.lengths: _Lengths | None = None
        self.shape = (0, 0)
        self.slices = 1  # of the batch in training
        for plan in (self.forward_plan, self.backward_plan):
            for d, w in enumerate(weights):
                for name, array in zip((p.W_IH, p.W_HH, p.B_IH, p.B_HH, p.W_HR), w, strict=True):
                    plan[name + d] = 0 if array is None else array.ctypes.data
            plan[p.I], plan[p.H], plan[p.P], plan[p.D] = self.I, self.H, self.P, self.D
            plan[p.BLOCKS] = self.blocks
            plan[p.HAS_CARRY] = cell == "lstm"

    def bind_grads(self, grads: LayerWeights) -> None:
        """Tell the backward plan where to add the gradients of the weights."""
        if grads is self._grads:
            return
        self._grads = grads
        names = (p.DW_IH, p.DW_HH, p.DB_IH, p.DB_HH, p.DW_HR)
        for d, g in enumerate(grads):
            for name, array in zip(names, g, strict=True):
                self.backward_plan[name + d] = 0 if array is None else array.ctypes.data

    def slots_of_h(self, T: int, B: int) -> np.ndarray:
        """Memory for the hidden states, slots before the first and behind the last step included."""
        shape = (T + 2, B, self.D * self.P)
        if self._h is None or self._h.shape != shape:
            self.forward_memory.address("h", math.prod(shape))
            self._h = self.forward_memory.view("h", shape)
        return self._h

    def sharing(self, T: int, B: int, threads: int) -> Sharing:
        """How that many threads share a call; the last answer is kept."""
        key = (T, B, threads, self.slices)
        if key != self._sharing_key:
            self._sharing = choose_sharing(
                T, B, self.I, self.H, self.P, self.D, self.form.gates, self.blocks, threads, self.slices
            )
            self._sharing_key = key
        return self._sharing

    @property
    def own_sums(self) -> bool:
        """Whether every slice of the batch has sums of its own."""
        return have_own_sums(self.slices, self.I, self.H, self.form.gates)

    # -- plans ---------------------------------------------------------------------------------------------

    def forget_forward_plan(self) -> None:
        """Fill in the whole forward plan at the next call: somebody has changed it."""
        self._forward_key = None

    def _share(self, plan: np.ndarray, workspace: Workspace, T: int, B: int, sharing: Sharing) -> None:
        members = sharing.members
        plan[p.T], plan[p.B] = T, B
        plan[p.MEMBERS], plan[p.TEAMS], plan[p.SPLIT_UNITS] = members, sharing.teams, sharing.by_units
        plan[p.SYNC] = workspace.address("sync", self.D * SYNC_STRIDE * members, np.dtype(np.int64))
        workspace.sync = workspace.view("sync", (self.D * SYNC_STRIDE * members,))
        # Members that are more than the slices have parts of them, in memory that all share.
        whole = self.own_sums or (self.slices >= members and not sharing.by_units)
        plan[p.SLICES] = slices = self.slices if whole and self.slices > 1 else members
        plan[p.EDGES] = workspace.address("edges", slices + 1, np.dtype(np.int64))
        edges = workspace.view("edges", (slices + 1,))
        if self.lengths is None:
            edges[:] = [B * n // slices for n in range(slices + 1)]
        else:  # equal numbers of steps rather than of sequences
            done = np.concatenate([[0], np.cumsum(self.lengths.sorted)])
            edges[:] = np.searchsorted(done, done[-1] * np.arange(slices + 1) / slices)
            edges[0], edges[-1] = 0, B

    def _lengths_into(self, plan: np.ndarray) -> int:
        """Tell a plan about lengths; returns the number of rows."""
        T, B = self.shape
        if self.lengths is None:
            plan[p.OFFSETS] = plan[p.LENGTHS] = 0
            return T * B
        plan[p.OFFSETS], plan[p.LENGTHS] = self.lengths.offsets.ctypes.data, self.lengths.sorted.ctypes.data
        return int(self.lengths.offsets[-1])

    def _state_of(self, weights: LayerWeights) -> int:
        """A number that is another one when the weights have changed."""
        if weights.lent:
            return fingerprint(self.forward_plan, self.form.gates, self.dtype.itemsize)
        return weights.version

    def prepare_forward(self, weights: LayerWeights, T: int, B: int, training: bool, sharing: Sharing) -> None:
        """Fill in the forward plan, all but what changes with every call."""
        plan, work = self.forward_plan, self.forward_memory
        now = 0 if training else self._state_of(weights)
        repack = training or now != self.packed
        self.packed = None if training else now
        key = (T, B, training, sharing, repack, self.slices)
        if key == self._forward_key and self.lengths is None:
            return
        self._forward_key = key if self.lengths is None else None
        plan[p.REPACK] = repack
        D, I, H, P, U = self.D, self.I, self.H, self.P, self.lanes
        self._share(plan, work, T, B, sharing)
        rows = self._lengths_into(plan)
        own_blocks = -(-self.blocks // sharing.members) if sharing.by_units else self.blocks
        own_rows = max(1, B if sharing.by_units else -(-B // sharing.members))
        chunk_rows = max(6, min(64 * 1024 // I, _CHUNK_NUMBERS // (own_blocks * self.slots)))
        chunk = max(1, min(T, chunk_rows // own_rows))
        if own_rows < MAX_ROWS:
            chunk = min(T, max(chunk, MAX_ROWS))
        plan[p.CHUNK], plan[p.TRAINING] = chunk, training
        plan[p.PHASES] = forward.count_phases(T, chunk, sharing.by_units, repack)
        whole = training or self.lengths is not None
        plan[p.WHOLE] = whole
        plan[p.ROWS] = rows if whole else chunk * B
        in_bands = not sharing.by_units and plan[p.SLICES] == self.slices > 1 < sharing.members
        plan[p.BANDS] = self._bands(B, sharing.members) if in_bands else 0
        plan[p.Z] = work.address("z", D * self.blocks * int(plan[p.ROWS]) * self.slots)
        if self.cell == "lstm":
            plan[p.CARRY] = work.address("carry", D * self.blocks * (T + 1 if training else 1) * B * U)
        packed = self.form.gates * self.width
        plan[p.PACKED_IH] = work.address("packed_ih", D * self.blocks * I * packed)
        plan[p.PACKED_HH] = work.address("packed_hh", D * self.blocks * P * packed)
        plan[p.BIAS] = work.address("bias", D * self.blocks * self.slots)
        if self.projected:
            wide = VECTORS * U
            plan[p.PACKED_HR] = work.address("packed_hr", D * -(-P // wide) * H * wide)
            plan[p.M_SLOTS] = work.address("m", D * (T if training else 1) * B * H)
        forward.FORWARD[self.kernel].write_tiles(plan, self.dtype.name)
        self.forward_address = forward.FORWARD[self.kernel].address(self.dtype.name)
        plan[p.SCRATCH_SIZE] = MAX_ROWS * forward.BUFFER_VECTORS * U + _APART // self.dtype.itemsize
        members = sharing.teams * sharing.members
        plan[p.SCRATCH] = work.address("scratch", members * int(plan[p.SCRATCH_SIZE]))

    def _bands(self, B: int, members: int) -> int:
        """Write down for every sequence which member of the forward pass has it; returns the address."""
        address = self.forward_memory.address("bands", 2 * B, np.dtype(np.int64))
        bands = self.forward_memory.view("bands", (B, 2))
        edges = [B * (self.slices * member // members) // self.slices for member in range(members + 1)]
        for b0, b1 in pairwise(edges):
            bands[b0:b1] = b0, b1 - b0
        return address

    def prepare_backward(self, sharing: Sharing) -> None:
        """Fill in the backward plan, all but what changes with every call."""
        T, B = self.shape
        plan, work = self.backward_plan, self.backward_memory
        plan[p.TAKEN_OVER] = self.forward_plan[p.TAKEN_OVER]
        if plan[p.BANDS]:  # a member takes whole slices, and no units, even if there are other threads now
            sharing = Sharing(sharing.teams, min(sharing.members, self.slices), False)
        key = (T, B, sharing, self.slices)
        if key == self._backward_key and self.lengths is None:
            return
        self._backward_key = key if self.lengths is None else None
        plan[p.TRAINING] = plan[p.WHOLE] = 1
        D, I, H, P, U = self.D, self.I, self.H, self.P, self.lanes
        self._share(plan, work, T, B, sharing)
        rows = self._lengths_into(plan)
        apart = self.own_sums
        plan[p.ORDER] = self.slices
        goal = 256 if H >= 128 else 512 if H >= 64 else 1024
        own_rows = -(-B // min(2, self.slices)) if apart else B  # of a step
        plan[p.CHUNK] = chunk = max(1, goal // max(1, own_rows))
        plan[p.PHASES] = backward.count_phases(T, chunk, sharing.by_units, apart)
        plan[p.SUMS] = 0
        if apart:
            numbers = self.form.gates * H * (I + P + 2)
            plan[p.SUMS_SIZE] = size = -(-numbers // (2 * U)) * 2 * U
            plan[p.SUMS] = work.address("sums", D * (self.slices - 1) * size)
        padded = [-(-n // U) * U for n in (I, H, P)]
        depth = self.blocks * self.form.gates * self.width
        plan[p.PACKED_IH] = work.address("packed_ih", D * depth * padded[0])
        plan[p.PACKED_HH] = work.address("packed_hh", D * depth * padded[2])
        if self.projected:
            plan[p.PACKED_HR] = work.address("packed_hr", D * padded[2] * padded[1])
            plan[p.DH_TOTAL] = work.address("dh_total", D * rows * padded[2])
        plan[p.DCARRY] = work.address("dcarry", D * self.blocks * self.form.vectors * B * U)
        plan[p.DH_START] = work.address("dh_start", D * B * padded[2])
        widths = backward.tile_widths(self.form, U, I, H, P)
        backward.BACKWARD[self.kernel].write_tiles(plan, self.dtype.name, widths)
        self.backward_address = backward.BACKWARD[self.kernel].address(self.dtype.name)
        plan[p.SCRATCH_SIZE] = backward.scratch_vectors(min(T, chunk) * own_rows) * U + _APART // self.dtype.itemsize
        members = sharing.teams * sharing.members
        plan[p.SCRATCH] = work.address("scratch", members * int(plan[p.SCRATCH_SIZE]))


class _Kept:
    """A job that waits for its backward pass. One that is never asked for gives its memory back when it is dropped."""

    __slots__ = ("job",)

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job

    def take(self) -> Job:
        """Use the job up."""
        job, self.job = self.job, None
        assert job is not None, "a cache serves one backward pass"
        return job

    def __del__(self) -> None:
        if self.job is not None:
            put_job_back(self.job)


def take_job(cell: str, weights: LayerWeights, dtype: np.dtype) -> Job:
    """A job of these weights that nobody else uses."""
    pool = weights.scratch.get("cpu")
    if pool is None:
        pool = weights.scratch.setdefault("cpu", [])
    try:
        job = pool.pop()
    except IndexError:
        job = Job(cell, weights, dtype)
    job.pool, job.slices = pool, 1
    return job


def put_job_back(job: Job) -> None:
    """Let others use a job."""
    job.x = job.h = job.lengths = None
    pool, job.pool = job.pool, None
    assert pool is not None, "a job in use has a pool"
    pool.append(job)


def _reserve(job: Job, T: int, B: int) -> tuple[int, Sharing]:
    """Threads for a call, to be released after it, and how they share the work."""
    if T * B * job.flops_per_row < SERIAL_FLOPS:
        return 1, ALONE
    wanted = job.sharing(T, B, available_threads())
    threads = take_threads(wanted.teams * wanted.members)
    return threads, wanted if threads == wanted.teams * wanted.members else ALONE


def _room_for_h(shape: tuple[int, int, int], dtype: np.dtype, threads: int) -> np.ndarray:
    """Memory for hidden states that the caller gets."""
    if threads == 1:
        return np.empty(shape, dtype)
    # Two threads that write into one cache line, each its own part of it, take it from each other at every step.
    numbers = math.prod(shape)
    room = np.empty(numbers + CACHE_LINES // dtype.itemsize, dtype)
    first = to_next_lines(room) // dtype.itemsize
    return room[first : first + numbers].reshape(shape)


def layer_forward(cell, x, state, weights, lengths, training, x_copy=None):
    """See :mod:`lstm_numba.contract`."""
    T, B = x.shape[:2]
    job = take_job(cell, weights, x.dtype)
    if lengths is not None:
        job.lengths = _sort(lengths, T)
        x = x.reshape(1, T * B, -1)[:, job.lengths.rows]
        state = tuple(part.take(job.lengths.order, axis=1) for part in state)
    job.shape = (T, B)
    may_share = training and lengths is None and T * B * job.flops_per_row >= SERIAL_FLOPS
    job.slices = choose_slices(T, B, job.H, job.P) if may_share else 1
    kept = training or lengths is not None  # slots that stay with the job; what the caller gets is a copy
    final = [np.empty(part.shape, x.dtype) for part in state]
    threads, sharing = _reserve(job, T, B)
    try:
        width = job.D * job.P
        h = job.slots_of_h(T, B) if kept else _room_for_h((T + 2, B, width), x.dtype, threads)
        y = _room_for_h((T, B, width), x.dtype, threads) if training and lengths is None else h
        job.prepare_forward(weights, T, B, training, sharing)
        ends = (state[0], final[0], state[-1], final[-1])
        bind(job.forward_plan, job.forward_memory.sync, p.H0, *ends, x, y, h, x if x_copy is None else x_copy)
        launch(job.forward_address, job.forward_plan, threads)
    finally:
        release_threads(threads)
    if job.lengths is not None:
        rows = np.zeros((T * B, h.shape[2]), x.dtype)
        rows[job.lengths.rows] = h[1:-1].reshape(T * B, -1)[job.lengths.slots]
        y = rows.reshape(T, B, -1)
        final = [_unsort(part, job.lengths) for part in final]
    elif not training:
        y = h[1:-1]
    if not training:
        put_job_back(job)
        return y, tuple(final), None
    job.x, job.h = x if x_copy is None else x_copy, h
    return y, tuple(final), _Kept(job)


def overlap_of(weights, T, B):
    """See :func:`lstm_numba.cpu.wavefront.overlap_of`, which is loaded when there is a stack of layers."""
    return None if B != 1 else import_module("lstm_numba.cpu.wavefront").overlap_of(weights, T, B)


def stack_forward(cell, x, states, weights):
    """See :mod:`lstm_numba.contract` and :mod:`lstm_numba.cpu.wavefront`."""
    if x.shape[1] != 1:
        return None
    return import_module("lstm_numba.cpu.wavefront").stack_forward(cell, x, states, weights)


def _unsort(part: np.ndarray, lengths: _Lengths) -> np.ndarray:
    result = np.empty_like(part)
    result[:, lengths.order] = part
    return result


def layer_backward(cell, dy, dstate, cache, weights, grads):
    """See :mod:`lstm_numba.contract`."""
    job = cache.take()
    T, B = job.shape
    lengths = job.lengths
    if lengths is not None:
        dy = dy.reshape(1, T * B, -1)[:, lengths.rows]
        dstate = tuple(part.take(lengths.order, axis=1) for part in dstate)
    dx = np.empty((job.D * job.x.shape[0], *job.x.shape[1:]), dy.dtype)
    initial = [np.empty(part.shape, dy.dtype) for part in dstate]
    threads, sharing = _reserve(job, T, B)
    try:
        job.prepare_backward(sharing)
        plan = job.backward_plan
        ends = (dstate[0], initial[0], dstate[-1], initial[-1])
        bind(plan, job.backward_memory.sync, p.DH_N, *ends, dy, dx, dx, dx)
        job.bind_grads(grads)
        launch(job.backward_address, plan, threads)
    finally:
        release_threads(threads)
    if job.D == 2:
        half = len(dx) // 2
        dx = dx[:half] + dx[half:]
    if lengths is not None:
        result = np.zeros((T * B, job.I), dy.dtype)
        result[lengths.rows] = dx[0]
        dx = result.reshape(T, B, job.I)
        initial = [_unsort(part, lengths) for part in initial]
    put_job_back(job)
    return dx, tuple(initial)


def open_stream(cell, weights, batch_size):
    """Return a stream over all layers: ``advance(x) -> y``, ``state``, ``bind()``, ``handle``."""
    from lstm_numba.cpu.stream import CpuStream

    return CpuStream(cell, weights, batch_size)
