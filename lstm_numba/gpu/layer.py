"""The contract of :mod:`lstm_numba.contract` on a GPU: everything around the recurrent kernels.

One pass is: weights to their slots, one matrix product for the input part of all steps, the recurrent kernel of each
direction, results to their places. The way back mirrors it, with two matrix products for the weight gradients.

A projected LSTM runs on the kernels of the plain one. With ``m = o * tanh(c)``, what is projected, every step but the
first of a sequence multiplies ``W_hh (W_hr m)``, which is ``(W_hh W_hr) m``: a recurrence of ``m`` with other weights.
The first step gets ``W_hh h0`` with its input part instead, and all ``y = W_hr m`` are one product.

Arrays may be NumPy arrays, which are copied to the device and back, or lie on the device already
(``__cuda_array_interface__`` or ``__dlpack__``) and are used as they are, on the stream that their library works on;
results are then Numba device arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_numba.contract import Weights
from lstm_numba.gpu.cells import Cell
from lstm_numba.gpu.cells import cell as cell_named
from lstm_numba.gpu.device import Device, current, is_on_device, stream_of
from lstm_numba.gpu.graphs import SHORTEST, Lease
from lstm_numba.gpu.kernels import dense, steps
from lstm_numba.gpu.kernels.grid import COUNTER_PITCH
from lstm_numba.gpu.plan import Plan, plan


@dataclass
class _Projection:
    """What the projection of one direction keeps: the state the sequences started from, and weights."""

    h0: Any  # (B, P)
    W_hh: Any  # (4H, P)
    R: Any  # (Hp, 4, P), the same by unit and slot
    W_hr: Any  # (P, H)


@dataclass
class _Direction:
    """What one direction keeps for the way back."""

    W: Any  # (Hp, 4, I) input weights by unit and slot
    R: Any  # (Hp, 4, Hp) recurrent weights
    hs: Any  # (T + 1, B, Hp)
    cs: Any  # (T + 1, B, Hp)
    saved: Any  # (T, B, Hp, 4)
    lease: Lease | None = None  # of the workspace that these arrays are in, except W
    projection: _Projection | None = None


@dataclass
class _Cache:
    x: Any
    lengths: Any
    plan: Plan
    host: bool
    directions: list[_Direction]


class _Run:
    """Launches with the bookkeeping that every one of them needs."""

    def __init__(self, device: Device, cell: Cell, dtype: str, tf32: bool) -> None:
        self.device, self.cell, self.dtype, self.tf32 = device, cell, dtype, tf32
        self.none = device.zeros((1,), dtype)

    def empty(self, *shape: int) -> Any:
        return self.device.empty(shape, self.dtype)

    def spread(self, kernel: Any, size: int, *arguments: Any) -> None:
        """Launch a kernel with one thread per element."""
        self.device.launch(kernel, -(-size // dense.COPY_THREADS), *arguments)

    def matmul(self, A: Any, a: tuple[int, int], B: Any, b: tuple[int, int], M: int, N: int, K: int,
               bias: Any = None, result: Any = None) -> Any:  # fmt: skip
        """``A @ B`` for flat arrays with (row, column) strides; returns a flat (M * N) array."""
        whole = self.empty(M * N) if result is None else result
        if self.device.product(A, a, B, b, bias, whole, M, N, K, self.tf32):
            return whole
        tiles = -(-M // dense.TILE) * -(-N // dense.TILE)
        # Few tiles and a long product leave most of the chip idle: cut the product into parts.
        parts = 1 if bias is not None else max(1, min(2 * self.device.chip.multiprocessors // tiles, K // 512))
        length = -(-K // (parts * dense.DEPTH)) * dense.DEPTH
        parts = -(-K // length)
        C = whole if parts == 1 else self.empty(parts * M * N)
        self.device.launch(
            dense.matmul(self.dtype), tiles * parts, A, *a, B, *b, self.none if bias is None else bias,
            bias is not None, C, M, N, K, length,
        )  # fmt: skip
        if parts > 1:
            self.spread(dense.sum_parts(self.dtype), M * N, C, whole, parts, M * N)
        return whole

    def pack(
        self, W: Any, slots: tuple[int, ...], H: int, K: int, padded: int, padded_k: int, packed: Any = None
    ) -> Any:
        gates = [slots.index(slot) if slot in slots else -1 for slot in range(4)]
        packed = self.empty(padded, 4, padded_k) if packed is None else packed
        size = padded * 4 * padded_k
        self.spread(dense.pack(self.dtype), size, _flat(W), _flat(packed), H, K, padded_k, size, *gates)
        return packed

    def unpack(self, packed: Any, slots: tuple[int, ...], H: int, K: int, padded_k: int, shape: tuple[int, ...]) -> Any:
        W = self.empty(*shape)
        size = len(slots) * H * K
        places = [*slots, *(0,) * (4 - len(slots))]
        self.spread(dense.unpack(self.dtype), size, packed, _flat(W), H, K, padded_k, size, *places)
        return W

    def copy(self, source: Any, first: int, pitch: int, columns: int, target: Any, target_first: int, target_pitch: int,
             width: int, rows: int, lengths: Any, B: int, masked: bool = False) -> None:  # fmt: skip
        size = rows * width
        self.spread(
            dense.copy_rows(self.dtype), size, _flat(source), first, pitch, columns, _flat(target), target_first,
            target_pitch, width, size, lengths, B, masked,
        )  # fmt: skip

    def array(self, lease: Lease | None, name: str, *shape: int) -> Any:
        """Return an array of a workspace, or without one a new array."""
        return self.empty(*shape) if lease is None else lease.workspace.array(name, shape, self.dtype)


def _flat(array: Any) -> Any:
    return array.reshape(array.size)


def layer_forward(
    cell: str, x: Any, state: tuple, weights: tuple[Weights, ...], lengths: Any, training: bool
) -> tuple[Any, tuple, Any]:
    """Run one layer; see :mod:`lstm_numba.contract`."""
    device = current()
    T, B, _ = x.shape
    D, _, H = state[0].shape
    if B == 0:
        nothing = tuple(np.zeros(part.shape, part.dtype) for part in state)
        return np.zeros((T, 0, D * H), state[0].dtype), nothing, (x.shape, D) if training else None
    if is_on_device(x):
        with device.on_stream(stream_of(x)):
            return forward_on_device(cell, device.upload(x), state, weights, lengths, training)
    y, finals, cache = forward_on_device(cell, device.upload(x), state, weights, lengths, training)
    if training:
        cache.host = True
    return device.download(y), tuple(device.download(final) for final in finals), cache


def forward_on_device(
    cell: str, x: Any, state: tuple, weights: tuple[Weights, ...], lengths: Any, training: bool
) -> tuple[Any, tuple, Any]:
    """Run one layer on an array of the device; results are such arrays."""
    device = current()
    T, B, _ = x.shape
    D, _, P = state[0].shape  # P = H without a projection
    H = state[-1].shape[2]
    dtype = str(np.dtype(x.dtype))
    chosen = plan(cell, H, B, dtype, device.chip)
    run = _Run(device, cell_named(cell, dtype), dtype, chosen.precision in ("tf32", "bfloat16"))
    steps_of = device.upload(np.full(B, T, np.int32) if lengths is None else np.asarray(lengths, np.int32))
    states = [device.upload(part) for part in state]
    y = run.empty(T, B, D * P)
    finals = [run.empty(*part.shape) for part in state]
    directions = []
    for d, part in enumerate(weights):
        kept, carry = _forward(run, chosen, d, D, x, states, part, steps_of, training)
        last, first_written = (T, 1) if d == 0 else (0, 0)
        Hp = chosen.H
        hs, pitch = kept.hs, Hp
        if kept.projection is not None:
            hs, pitch = run.matmul(_flat(hs), (Hp, 1), _flat(kept.projection.W_hr), (1, H), (T + 1) * B, P, H), P
        run.copy(hs, first_written * B * pitch, pitch, P, y, d * P, D * P, P, T * B, steps_of, B, masked=True)
        run.copy(hs, last * B * pitch, pitch, P, finals[0], d * B * P, P, P, B, steps_of, B)
        if len(state) == 2:
            run.copy(carry, 0, Hp, H, finals[1], d * B * H, H, H, B, steps_of, B)
        directions.append(kept)
    return y, tuple(finals), _Cache(x, steps_of, chosen, False, directions) if training else None


def _forward(
    run: _Run, chosen: Plan, d: int, D: int, x: Any, states: list, weights: Weights, lengths: Any, training: bool
) -> tuple[_Direction, Any]:
    device, spec = run.device, run.cell
    T, B, I = x.shape
    P, H, Hp = states[0].shape[2], states[-1].shape[2], chosen.H
    lease = None
    if chosen.family == "steps" and T >= SHORTEST:
        lease = device.workspaces.take(device, (chosen.forward.name, T, B, Hp, d, training))
    W = run.pack(device.upload(weights.W_ih), spec.input_slots, H, I, Hp, I)
    R = run.array(lease, "R", Hp, 4, Hp)
    W_hh, projection = device.upload(weights.W_hh), None
    recurrent = W_hh
    if weights.W_hr is not None:
        W_hr = device.upload(weights.W_hr)
        projection = _Projection(states[0][d : d + 1], W_hh, run.pack(W_hh, spec.hidden_slots, H, P, Hp, P), W_hr)
        recurrent = run.matmul(_flat(W_hh), (P, 1), _flat(W_hr), (H, 1), spec.gates * H, H, P)
    run.pack(recurrent, spec.hidden_slots, H, H, Hp, Hp, R)
    bias = None
    if weights.b_ih is not None:
        bias = _flat(run.pack(device.upload(weights.b_ih), spec.input_slots, H, 1, Hp, 1))
        hidden_bias = _flat(run.pack(device.upload(weights.b_hh), spec.hidden_slots, H, 1, Hp, 1))
        run.spread(dense.add(run.dtype), 4 * Hp, hidden_bias, bias, 4 * Hp)
    gx = run.array(lease, "gx", T, B, Hp, 4)
    run.matmul(_flat(x), (I, 1), _flat(W), (1, I), T * B, 4 * Hp, I, bias, _flat(gx))
    h0, carry = run.empty(B, Hp), run.array(lease, "carry", B, Hp)
    # nothing is taken of a state that is no m, and what is not taken becomes zero
    run.copy(states[0], d * B * P, P, 0 if projection else P, h0, 0, Hp, Hp, B, lengths, B)
    run.copy(states[-1], d * B * H, H, H, carry, 0, Hp, Hp, B, lengths, B)
    if projection is not None:
        first = run.matmul(_flat(projection.h0), (P, 1), _flat(projection.R), (1, P), B, 4 * Hp, P)
        size = B * 4 * Hp
        run.spread(dense.add_to_first(run.dtype), size, first, _flat(gx), lengths, B, 4 * Hp, d, size)
    hs = run.array(lease, "hs", T + 1, B, Hp)
    cs = run.array(lease, "cs", *((T + 1, B, Hp) if training else (1, 1, 1)))
    saved = run.array(lease, "saved", *((T, B, Hp, 4) if training else (1, 1, 1, 1)))
    if chosen.family == "steps":
        start = T if d else 0
        run.copy(h0, 0, Hp, Hp, hs, start * B * Hp, Hp, Hp, B, lengths, B)
        if training:
            run.copy(carry, 0, Hp, Hp, cs, start * B * Hp, Hp, Hp, B, lengths, B)
        blocks = -(-Hp // steps.TILE) * -(-B // steps.TILE)
        own_lengths = _lengths_of(lease, lengths, device)

        def all_steps() -> None:
            for t in reversed(range(T)) if d else range(T):
                before, after = (t + 1, t) if d else (t, t + 1)
                device.launch(
                    chosen.forward, blocks, gx, R, own_lengths, carry, hs, cs, saved, B, Hp, t, before, after, training
                )

        _do(lease, chosen.forward.name, all_steps)
    elif chosen.family == "grid":
        final = run.empty(B, Hp)
        for first, teams in _chunks(B, chosen.forward.rows, chosen.teams):
            counters = device.zeros((teams * COUNTER_PITCH,), np.uint32)
            device.launch(
                chosen.forward, teams * chosen.forward_blocks, gx, R, h0, carry, lengths, hs, cs, saved, final,
                counters, T, B, first, d, training,
            )  # fmt: skip
        carry = final
    else:
        final = run.empty(B, Hp)
        blocks = -(-B // chosen.forward.rows) * chosen.forward_blocks
        device.launch(
            chosen.forward, blocks, gx, R, h0, carry, lengths, hs, cs, saved, final, T, B, d, training
        )  # fmt: skip
        carry = final
    return _Direction(W, R, hs, cs, saved, lease, projection), carry


def _lengths_of(lease: Lease | None, lengths: Any, device: Device) -> Any:
    """The lengths where a graph finds them."""
    if lease is None:
        return lengths
    own = lease.workspace.array("lengths", tuple(lengths.shape), np.int32)
    device.fill(own, lengths)
    return own


def _do(lease: Lease | None, name: str, launches: Callable[[], None]) -> None:
    """Launch, or replay a graph of the same launches."""
    if lease is None:
        launches()
    else:
        lease.workspace.run(name, launches)


def _chunks(B: int, rows: int, teams: int) -> list[tuple[int, int]]:
    """First sequence and number of teams of each launch, so that all its blocks are resident at once."""
    return [(first, min(teams, -(-(B - first) // rows))) for first in range(0, B, teams * rows)]


def layer_backward(
    cell: str, dy: Any, dstate: tuple, cache: Any, weights: tuple[Weights, ...], grads: tuple[Weights, ...]
) -> tuple[Any, tuple]:
    """Take one layer back; see :mod:`lstm_numba.contract`."""
    dx, dstate0, gradients = layer_gradients(cell, dy, dstate, cache, weights)
    for totals, news in zip(grads, gradients, strict=True):
        for total, new in zip(totals, news, strict=True):
            if total is None or new is None:
                continue
            if is_on_device(total):
                there, dtype = current().upload(total), str(np.dtype(new.dtype))
                blocks = -(-new.size // dense.COPY_THREADS)
                current().launch(dense.add(dtype), blocks, _flat(new), _flat(there), new.size)
            else:
                total += new
    return dx, dstate0


def layer_gradients(
    cell: str, dy: Any, dstate: tuple, cache: Any, weights: tuple[Weights, ...]
) -> tuple[Any, tuple, tuple[Weights, ...]]:
    """Like :func:`layer_backward`, with the gradients of the weights as a third result, on the device too."""
    if isinstance(cache, tuple):  # an empty batch
        shape, _ = cache
        zeros = tuple(Weights._make(None if part is None else np.zeros_like(part) for part in w) for w in weights)
        return np.zeros(shape, dy.dtype), tuple(np.zeros_like(part) for part in dstate), zeros
    device = current()
    if is_on_device(dy):
        with device.on_stream(stream_of(dy)):
            return gradients_on_device(cell, device.upload(dy), dstate, cache, weights)
    dx, initial, grads = gradients_on_device(cell, device.upload(dy), dstate, cache, weights)
    if not cache.host:
        return dx, initial, grads
    on_host = tuple(Weights._make(None if g is None else device.download(g) for g in grad) for grad in grads)
    return device.download(dx), tuple(device.download(part) for part in initial), on_host


def gradients_on_device(
    cell: str, dy: Any, dstate: tuple, cache: Any, weights: tuple[Weights, ...]
) -> tuple[Any, tuple, tuple[Weights, ...]]:
    """Take one layer back from an array of the device; results are such arrays."""
    device = current()
    T, B, I = cache.x.shape
    D = dstate[0].shape[0]
    dtype = str(np.dtype(cache.x.dtype))
    run = _Run(device, cell_named(cell, dtype), dtype, cache.plan.precision in ("tf32", "bfloat16"))
    dstates = [device.upload(part) for part in dstate]
    initial = [run.empty(*part.shape) for part in dstate]
    dx = None
    grads = []
    for d, (kept, part) in enumerate(zip(cache.directions, weights, strict=True)):
        share, grad = _backward(run, cache, d, D, kept, dy, dstates, initial, part)
        if dx is None:
            dx = share
        else:
            run.spread(dense.add(dtype), T * B * I, share, dx, T * B * I)
        grads.append(grad)
    return dx.reshape(T, B, I), tuple(initial), tuple(grads)  # type: ignore[union-attr]


def _backward(
    run: _Run, cache: _Cache, d: int, D: int, kept: _Direction, dy: Any, dstates: list, initial: list, weights: Weights
) -> tuple[Any, Weights]:
    device, spec, chosen, lengths = run.device, run.cell, cache.plan, cache.lengths
    T, B, I = cache.x.shape
    P, H, Hp = dstates[0].shape[2], dstates[-1].shape[2], chosen.H
    lease, projection = kept.lease, kept.projection
    dy_d = run.array(lease, "dy", T, B, Hp)
    dh, dcarry = run.array(lease, "dh", B, Hp), run.array(lease, "dcarry", B, Hp)
    if projection is None:
        run.copy(dy, d * H, D * H, H, dy_d, 0, Hp, Hp, T * B, lengths, B, masked=True)
        run.copy(dstates[0], d * B * H, H, H, dh, 0, Hp, Hp, B, lengths, B)
    else:
        dy_projected, dh_projected = run.empty(T, B, P), dstates[0][d : d + 1]
        run.copy(dy, d * P, D * P, P, dy_projected, 0, P, P, T * B, lengths, B, masked=True)
        for part, rows, target in ((dy_projected, T * B, dy_d), (dh_projected, B, dh)):
            dm = run.matmul(_flat(part), (P, 1), _flat(projection.W_hr), (H, 1), rows, H, P)
            run.copy(dm, 0, H, H, target, 0, Hp, Hp, rows, lengths, B)
    # without a cell state no columns are taken, and what is not taken becomes zero
    run.copy(dstates[-1], d * B * H, H, H if spec.carries_cell_state else 0, dcarry, 0, Hp, Hp, B, lengths, B)
    dgx = run.array(lease, "dgx", T, B, Hp, 4)
    if chosen.family == "steps":
        blocks = -(-Hp // steps.TILE) * -(-B // steps.TILE)
        order = list(range(T)) if d else list(reversed(range(T)))
        own_lengths = _lengths_of(lease, lengths, device)

        def all_steps() -> None:
            for later, t in zip([-1, *order], [*order, -1], strict=True):
                before, after = (t + 1, t) if d else (t, t + 1)
                device.launch(
                    chosen.backward, blocks, kept.saved, kept.cs, kept.R, dy_d, own_lengths, dgx, dh, dcarry, B, Hp,
                    later, t, before, after,
                )  # fmt: skip

        _do(lease, chosen.backward.name, all_steps)
    else:
        dh_n, dcarry_n, dh, dcarry = dh, dcarry, run.empty(B, Hp), run.empty(B, Hp)
        arrays = (kept.saved, kept.cs, kept.R, dy_d, dh_n, dcarry_n, lengths, dgx, dh, dcarry)
        if chosen.family == "grid":
            for first, teams in _chunks(B, chosen.backward.rows, chosen.teams):
                counters = device.zeros((teams * COUNTER_PITCH,), np.uint32)
                device.launch(chosen.backward, teams * chosen.backward_blocks, *arrays, counters, T, B, first, d)
        else:
            blocks = -(-B // chosen.backward.rows) * chosen.backward_blocks
            device.launch(chosen.backward, blocks, *arrays, T, B, d)
    if spec.carries_cell_state:
        run.copy(dcarry, 0, Hp, H, initial[1], d * B * H, H, H, B, lengths, B)
    else:  # the direct path of h and the one through the weights end at the same state
        run.spread(dense.add(run.dtype), B * Hp, _flat(dcarry), _flat(dh), B * Hp)
    if projection is None:
        run.copy(dh, 0, Hp, H, initial[0], d * B * H, H, H, B, lengths, B)

    rows, lines = T * B, 4 * Hp
    flat = _flat(dgx)
    dx = run.matmul(flat, (lines, 1), _flat(kept.W), (I, 1), rows, I, lines)
    dW = run.matmul(flat, (1, lines), _flat(cache.x), (I, 1), lines, I, rows)
    before = kept.hs[1:] if d else kept.hs[:T]  # the state each step started from
    dR = run.matmul(flat, (1, lines), _flat(before), (Hp, 1), lines, Hp, rows)
    gates = spec.gates * H
    db_ih = db_hh = None
    if weights.b_ih is not None:
        one = device.upload(np.ones(1, run.dtype))
        db = run.matmul(flat, (1, lines), one, (0, 0), lines, 1, rows)
        db_ih = run.unpack(db, spec.input_slots, H, 1, 1, (gates,))
        db_hh = run.unpack(db, spec.hidden_slots, H, 1, 1, (gates,))
    dW_hh, dW_hr = run.unpack(dR, spec.hidden_slots, H, H, Hp, (gates, H)), None
    if projection is not None:
        product = dW_hh  # of W_hh and W_hr, which both have a part in it
        W_hh, W_hr = _flat(projection.W_hh), _flat(projection.W_hr)
        dW_hh = run.matmul(_flat(product), (H, 1), W_hr, (1, H), gates, P, H)
        dW_hr = run.matmul(W_hh, (1, P), _flat(product), (H, 1), P, H, gates)
        ms, last = (kept.hs[:T], kept.hs[:1]) if d else (kept.hs[1:], kept.hs[T:])
        for part, m, count in ((dy_projected, ms, rows), (dh_projected, last, B)):
            more = run.matmul(_flat(part), (1, P), _flat(m), (Hp, 1), P, H, count)
            run.spread(dense.add(run.dtype), P * H, more, dW_hr, P * H)
        dz, h0 = run.empty(B, lines), _flat(projection.h0)  # of the first steps, which multiplied h0
        run.spread(dense.take_first(run.dtype), B * lines, flat, _flat(dz), lengths, B, lines, d, B * lines)
        dh0 = run.matmul(_flat(dz), (lines, 1), _flat(projection.R), (P, 1), B, P, lines)
        run.copy(dh0, 0, P, P, initial[0], d * B * P, P, P, B, lengths, B)
        more = run.unpack(
            run.matmul(_flat(dz), (1, lines), h0, (P, 1), lines, P, B), spec.hidden_slots, H, P, P, (gates, P)
        )
        run.spread(dense.add(run.dtype), gates * P, _flat(more), dW_hh, gates * P)
        dW_hh, dW_hr = dW_hh.reshape(gates, P), dW_hr.reshape(P, H)
    return dx, Weights(run.unpack(dW, spec.input_slots, H, I, I, (gates, I)), dW_hh, db_ih, db_hh, dW_hr)
