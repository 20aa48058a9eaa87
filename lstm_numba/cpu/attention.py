"""Scaled dot-product attention on the CPU: the softmax is computed block by block, the matrix of weights never exists.

A block of queries walks over the keys. It keeps the largest score so far, the sum of exponentials relative to it and
the weighted sum of values; when a block of keys brings a larger score, both sums are rescaled (the online softmax of
Milakov and Gimelshein, 2018, and Rabe and Staats, 2021). Only the logarithm of each query's denominator is kept, so
that the backward pass can compute any block of weights again (Dao et al., 2022). Memory grows with T, not with T^2.

A dropped weight is decided by a hash of a seed and of its place, so that the backward pass drops the same ones.
Products are the register tile of :mod:`lstm_numba.cpu.simd`. Threads share pairs of a sequence and a head, and never
add to the same number: results do not depend on them. Shapes as in :mod:`lstm_numba.reference.attention`.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from lstm_numba import elementary
from lstm_numba.cpu import plan as p
from lstm_numba.cpu.launch import (
    DTYPE_NAMES,
    Kernel,
    available_threads,
    launch,
    release_threads,
    reserve_threads,
)
from lstm_numba.cpu.product import pack_rows, pack_turned
from lstm_numba.cpu.simd import (
    MAX_ROWS,
    VECTORS,
    address_of,
    call_tile,
    copy_row,
    get,
    hide_lanes,
    lanes_of,
    largest_of,
    pointer,
    pointer_at,
    put,
    scale_vector,
    slope_vector,
    step,
    sum_of,
)
from lstm_numba.cpu.simd import lanes as lanes_for
from lstm_numba.cpu.teams import SYNC_STRIDE
from lstm_numba.cpu.threads import SERIAL_FLOPS
from lstm_numba.cpu.workspace import scratch as scratch_of
from lstm_numba.inner import INNER
from lstm_numba.jit import kernel

# Entries of the plan beyond those that every kernel shares.
_S, _N = p.LENGTH, p.LENGTH + 1  # keys, heads
_CAUSAL = p.LENGTH + 2
_CHUNKS = p.LENGTH + 3  # pieces of the queries that threads share if there are few sequences and heads
_SCALE = p.LENGTH + 4  # address of the scale and of 1 / (1 - dropout)
_BLOCKED, _PADDING = p.LENGTH + 5, p.LENGTH + 9  # address, then strides of b, n and t; address (B, S)
_LSE = p.LENGTH + 10  # (B, N, T); forward 0 if nobody will need it
_PANEL = p.LENGTH + 11  # vectors of a panel of keys
_ADDED = p.LENGTH + 12  # address, then strides of b, n and t: numbers added to the scores
_DROPPED = p.LENGTH + 16  # weights whose random number is below this are dropped; 0: none
_SEED = p.LENGTH + 17  # of the random numbers
_DADDED = p.LENGTH + 18  # (B, N, T, S) gradient of what is added to the scores, 0 if nobody will need it
_ARRAYS = p.LENGTH + 19  # an address, then the strides of t, b and n, for each of the eight arrays
_Q, _K, _V, _O, _DO, _DQ, _DK, _DV = range(_ARRAYS, _ARRAYS + 32, 4)
_LENGTH = _ARRAYS + 32

_SCORE_COST = 150  # operations per score beside the products: only decides when a second thread is woken
_BLOCK_Q = 8 * MAX_ROWS  # queries of a block
_BLOCK_S = 128  # keys of a block, or one panel of keys if that is more

_UNIT = INNER | {"fastmath": {"contract"}}
_SUMS = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}}  # sums may run in several lanes


# -- compiled: pieces --------------------------------------------------------------------------------------------


@intrinsic
def _bytes_at(typing_context, address):
    """Pointer to the bytes at a numeric address."""

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.uint8)(types.int64), codegen


@njit(**_UNIT)
def _clear(target, count):
    numbers = carray(target, count)
    for n in range(count):
        numbers[n] = 0


@njit(**_UNIT)
def _pack_values(target, source, source_row, rows, padded_rows, D):
    """Rows as the right factor of a product over the rows: columns in panels, the last one as narrow as it may be."""
    lanes = lanes_of(target)
    done = 0
    while done < D:
        width = min(VECTORS, (D - done + lanes - 1) // lanes) * lanes
        pack_rows(target, width, step(source, done), source_row, rows, D - done)
        target = step(target, padded_rows * width)
        done += width


@njit(**_UNIT)
def _pack_keys(target, source, source_row, S, D, W, spare):
    """The transposed rows as the right factor of a product over D: panels of W rows, the last as narrow as may be."""
    lanes = lanes_of(target)
    for first in range(0, S, W):
        count = min(W, S - first)
        width = (count + lanes - 1) // lanes * lanes
        pack_turned(step(target, first * D), width, step(source, first * source_row), source_row, count, D, spare)


@njit(**_UNIT)
def _multiply(plan, C, c_row, S, s_row, A, a_row, a_step, B, first, K, rows, columns, panel_step):
    """``C = S + A @ B`` for any number of rows and ``columns`` vectors.

    B is a row of panels, each ``panel_step`` rows long, of which K rows from ``first`` on take part.
    """
    lanes = lanes_of(C)
    for r in range(0, rows, MAX_ROWS):
        panel, done = B, 0
        while done < columns:
            vectors = min(VECTORS, columns - done)
            call_tile(
                get(plan, p.TILES + vectors),
                min(MAX_ROWS, rows - r),
                step(C, r * c_row + done * lanes),
                c_row,
                step(S, r * s_row + done * lanes),
                s_row,
                step(A, r * a_row),
                a_row,
                a_step,
                step(panel, first * vectors * lanes),
                K,
                1,
                0,
            )
            panel = step(panel, panel_step * vectors * lanes)
            done += vectors


@njit(**_UNIT)
def _exponentials(row, width, shift):
    """Replace a row of whole vectors by exp(row - shift)."""
    lanes = lanes_of(row)
    for s in range(0, width, lanes):
        # Never fewer than the lanes; but a loop that LLVM knows to be short is unrolled, not made into vectors.
        for n in range(s, min(s + lanes, width)):
            put(row, n, elementary.exp(get(row, n) - shift))


@njit(**_SUMS)
def _dot(a, b, count):
    total = type(a[0])(0)
    for n in range(count):
        total += a[n] * b[n]
    return total


@njit(**_UNIT)
def _place(plan, like, which, b, n):
    """Where one sequence and head starts in one of the eight arrays, and how far it is to the next step."""
    at = get(plan, which + 2) * b + get(plan, which + 3) * n
    return step(pointer_at(get(plan, which), like), at), get(plan, which + 1)


@njit(**_UNIT)
def _mask_row(plan, row, t, first, count, width, b, n):
    """Change the scores of query t of (b, n) and the keys ``first ...`` as the masks say; -inf behind ``count``."""
    lanes = lanes_of(row)
    address = get(plan, _ADDED)
    if address:
        at = get(plan, _ADDED + 1) * b + get(plan, _ADDED + 2) * n + get(plan, _ADDED + 3) * t + first
        added, scores = carray(step(pointer_at(address, row), at), count), carray(row, count)
        for s in range(count):
            scores[s] += added[s]
    seen = max(0, min(count, t + 1 - first)) if get(plan, _CAUSAL) else count
    for s in range(seen // lanes * lanes, width, lanes):
        hide_lanes(step(row, s), seen - s)
    address = get(plan, _PADDING)
    if address:
        _hide(row, address + get(plan, _S) * b + first, count)
    address = get(plan, _BLOCKED)
    if address:
        at = get(plan, _BLOCKED + 1) * b + get(plan, _BLOCKED + 2) * n + get(plan, _BLOCKED + 3) * t + first
        _hide(row, address + at, count)


@njit(**_UNIT)
def _hide(row, address, count):
    """Put -inf where the bytes at an address are not zero."""
    scores, mask = carray(row, count), carray(_bytes_at(address), count)
    hidden = type(scores[0])(-math.inf)
    for s in range(count):
        scores[s] = hidden if mask[s] else scores[s]


@njit(**_UNIT)
def _mix(x):
    """Scatter 32 bits: a change of one bit changes every other one with a probability near one half."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@njit(**_UNIT)
def _draw_factors(plan, like, factors, query, first, count):
    """What dropout multiplies the weights of one query and the keys ``first ...`` by: 0 or 1 / (1 - dropout).

    Whether a weight is dropped depends on the seed, on ``query``, a number of its own for every query of every head
    and sequence, and on the key: see :func:`lstm_numba.reference.attention.dropout_factors`.
    """
    seed = get(plan, _SEED)
    low, high = np.uint32(seed & 0xFFFFFFFF), np.uint32((seed >> 32) & 0xFFFFFFFF)
    inner = _mix(np.uint32(np.uint32(query) * np.uint32(0x9E3779B9) + low))
    outer = _mix(np.uint32(inner ^ high))
    limit = np.uint32(get(plan, _DROPPED))
    factor = get(pointer_at(get(plan, _SCALE), like), 1)
    for s in range(count):
        x = _mix(np.uint32(np.uint32(np.uint32(first + s) * np.uint32(0x9E3779B9)) + inner))
        factors[s] = factor if _mix(np.uint32(x ^ outer)) >= limit else type(factor)(0)


@njit(**_UNIT)
def _block_width(W):
    """Keys of a block: a whole number of panels."""
    return max(W, _BLOCK_S // W * W)


@njit(**_UNIT)
def _score_block(plan, scores, queries, panels, zeros, first, count, rows, D):
    """``queries @ keys^T`` for the keys ``first ... first + count`` of packed columns."""
    lanes = lanes_of(scores)
    S, W = get(plan, _S), get(plan, _PANEL) * lanes
    stride = _block_width(W)
    for at in range(0, count, W):
        vectors = (min(W, S - first - at) + lanes - 1) // lanes
        panel = step(panels, (first + at) * D)
        _multiply(plan, step(scores, at), stride, zeros, 0, queries, D, 1, panel, 0, D, rows, vectors, 0)


@njit(**_UNIT)
def _copy_scaled(target, target_row, source, source_row, rows, D, scale):
    lanes = lanes_of(target)
    for r in range(rows):
        a, b = step(target, r * target_row), step(source, r * source_row)
        for k in range(0, D - lanes + 1, lanes):
            scale_vector(step(a, k), step(b, k), scale)
        for k in range(D // lanes * lanes, D):
            put(a, k, get(b, k) * scale)


# -- compiled: the two passes ------------------------------------------------------------------------------------


def _forward(plan, like, d, phase, part, member):
    """One member's share of the outputs ``o`` and the logarithms ``lse``."""
    T, S, B, N, D = get(plan, p.T), get(plan, _S), get(plan, p.B), get(plan, _N), get(plan, p.I)
    members, chunks = get(plan, p.MEMBERS), get(plan, _CHUNKS)
    lanes = lanes_of(like)
    W = get(plan, _PANEL) * lanes
    columns = (D + lanes - 1) // lanes
    padded, stride = columns * lanes, _block_width(W)
    scale = get(pointer_at(get(plan, _SCALE), like), 0)
    nothing = type(scale)(-math.inf)
    zero, one = type(scale)(0), type(scale)(1)

    scratch = step(pointer_at(get(plan, p.SCRATCH), like), member * get(plan, p.SCRATCH_SIZE))
    spare = scratch
    zeros = step(spare, 2 * lanes * lanes)
    k_columns = step(zeros, max(VECTORS * lanes, padded))
    v_rows = step(k_columns, (S + lanes - 1) // lanes * lanes * D)
    scores = step(v_rows, S * padded)
    total = step(scores, MAX_ROWS * stride)
    queries = step(total, _BLOCK_Q * padded)
    states = step(queries, _BLOCK_Q * D)
    largest, before = carray(states, _BLOCK_Q), carray(step(states, _BLOCK_Q), _BLOCK_Q)
    denominator = carray(step(states, 2 * _BLOCK_Q), _BLOCK_Q)
    factors = carray(step(states, 3 * _BLOCK_Q), stride)
    _clear(zeros, max(VECTORS * lanes, padded))

    for unit in range(part, B * N * chunks, members):
        pair = unit // chunks
        b, n = pair // N, pair % N
        q, q_row = _place(plan, like, _Q, b, n)
        k, k_row = _place(plan, like, _K, b, n)
        v, v_row = _place(plan, like, _V, b, n)
        o, o_row = _place(plan, like, _O, b, n)
        lse = step(pointer_at(get(plan, _LSE), like), pair * T)
        _pack_keys(k_columns, k, k_row, S, D, W, spare)
        _pack_values(v_rows, v, v_row, S, S, D)
        for first_query in range(unit % chunks * _BLOCK_Q, T, chunks * _BLOCK_Q):
            block = min(_BLOCK_Q, T - first_query)
            _copy_scaled(queries, D, step(q, first_query * q_row), q_row, block, D, scale)
            for r in range(block):
                largest[r], denominator[r] = nothing, zero
            block_end = min(S, first_query + block) if get(plan, _CAUSAL) else S
            for first in range(0, block_end, stride):
                for strip in range(0, block, MAX_ROWS):
                    rows = min(MAX_ROWS, block - strip)
                    end = min(S, first_query + strip + rows) if get(plan, _CAUSAL) else S
                    if end <= first:
                        continue
                    count = min(stride, end - first)
                    width = (count + lanes - 1) // lanes * lanes
                    _score_block(plan, scores, step(queries, strip * D), k_columns, zeros, first, count, rows, D)
                    # Row after row in each loop, not all of a row's steps in a row: the steps of one row have to wait
                    # for each other, those of different rows do not.
                    for r in range(rows):
                        at, scores_r = strip + r, step(scores, r * stride)
                        _mask_row(plan, scores_r, first_query + at, first, count, width, b, n)
                        here, before[at] = largest_of(scores_r, width // lanes), largest[at]
                        largest[at] = here if here > before[at] else before[at]
                    for r in range(rows):
                        shift = largest[strip + r]
                        _exponentials(step(scores, r * stride), width, zero if shift == nothing else shift)
                    for r in range(rows):
                        at, scores_r = strip + r, step(scores, r * stride)
                        added = sum_of(scores_r, width // lanes)
                        if first == 0 or before[at] == nothing:
                            denominator[at] = added
                        else:
                            shrink = elementary.exp(before[at] - largest[at])
                            denominator[at] = denominator[at] * shrink + added
                            if shrink != 1:
                                o_r = carray(step(total, at * padded), padded)
                                for j in range(padded):
                                    o_r[j] *= shrink
                        if get(plan, _DROPPED):
                            # The denominator is that of all weights; what is multiplied with the values is dropped.
                            _draw_factors(plan, like, factors, pair * T + first_query + at, first, width)
                            row = carray(scores_r, width)
                            for s in range(width):
                                row[s] *= factors[s]
                    o_rows = step(total, strip * padded)
                    start, start_row = (zeros, 0) if first == 0 else (o_rows, padded)
                    _multiply(plan, o_rows, padded, start, start_row, scores, stride, 1, v_rows, first, count, rows,
                              columns, S)  # fmt: skip
            for r in range(block):
                empty = denominator[r] == 0
                if get(plan, _LSE):
                    put(lse, first_query + r, nothing if empty else largest[r] + math.log(denominator[r]))
                factor = zero if empty else one / denominator[r]
                _copy_scaled(step(o, (first_query + r) * o_row), 0, step(total, r * padded), 0, 1, D, factor)


def _backward(plan, like, d, phase, part, member):
    """One member's share of ``dq, dk, dv``: some pairs of a sequence and a head."""
    T, S, B, N, D = get(plan, p.T), get(plan, _S), get(plan, p.B), get(plan, _N), get(plan, p.I)
    lanes = lanes_of(like)
    W = get(plan, _PANEL) * lanes
    columns = (D + lanes - 1) // lanes
    padded, stride = columns * lanes, _block_width(W)
    scale = get(pointer_at(get(plan, _SCALE), like), 0)
    one = type(scale)(1)
    nothing = type(scale)(-math.inf)

    scratch = step(pointer_at(get(plan, p.SCRATCH), like), member * get(plan, p.SCRATCH_SIZE))
    spare = scratch
    zeros = step(spare, 2 * lanes * lanes)
    k_columns = step(zeros, VECTORS * lanes)
    packed = (S + lanes - 1) // lanes * lanes * D
    v_columns = step(k_columns, packed)
    k_rows = step(v_columns, packed)
    dk_total, dv_total = step(k_rows, S * padded), step(k_rows, 2 * S * padded)
    weights = step(k_rows, 3 * S * padded)
    slopes = step(weights, _BLOCK_Q * stride)
    queries = step(slopes, _BLOCK_Q * stride)
    do_block = step(queries, _BLOCK_Q * D)
    q_rows, do_rows = step(do_block, _BLOCK_Q * D), step(do_block, _BLOCK_Q * (D + padded))
    dq_total = step(do_rows, _BLOCK_Q * padded)
    delta = carray(step(dq_total, _BLOCK_Q * padded), _BLOCK_Q)
    factors = carray(step(dq_total, _BLOCK_Q * (padded + 1)), stride)
    _clear(zeros, VECTORS * lanes)

    for pair in range(part, B * N, get(plan, p.MEMBERS)):
        b, n = pair // N, pair % N
        q, q_row = _place(plan, like, _Q, b, n)
        k, k_row = _place(plan, like, _K, b, n)
        v, v_row = _place(plan, like, _V, b, n)
        o, o_row = _place(plan, like, _O, b, n)
        do, do_row = _place(plan, like, _DO, b, n)
        dq, dq_row = _place(plan, like, _DQ, b, n)
        dk, dk_row = _place(plan, like, _DK, b, n)
        dv, dv_row = _place(plan, like, _DV, b, n)
        lse = carray(step(pointer_at(get(plan, _LSE), like), pair * T), T)
        _pack_keys(k_columns, k, k_row, S, D, W, spare)
        _pack_keys(v_columns, v, v_row, S, D, W, spare)
        _pack_values(k_rows, k, k_row, S, S, D)
        _clear(dk_total, S * padded)
        _clear(dv_total, S * padded)
        for first_query in range(0, T, _BLOCK_Q):
            rows = min(_BLOCK_Q, T - first_query)
            _copy_scaled(queries, D, step(q, first_query * q_row), q_row, rows, D, scale)
            _copy_scaled(do_block, D, step(do, first_query * do_row), do_row, rows, D, one)
            _pack_values(q_rows, queries, D, rows, _BLOCK_Q, D)
            _pack_values(do_rows, do_block, D, rows, _BLOCK_Q, D)
            _clear(dq_total, rows * padded)
            for r in range(rows):
                o_r = carray(step(o, (first_query + r) * o_row), D)
                delta[r] = _dot(carray(step(do_block, r * D), D), o_r, D)
            end = min(S, first_query + rows) if get(plan, _CAUSAL) else S
            for first in range(0, end, stride):
                count = min(stride, end - first)
                width = (count + lanes - 1) // lanes * lanes
                _score_block(plan, weights, queries, k_columns, zeros, first, count, rows, D)
                _score_block(plan, slopes, do_block, v_columns, zeros, first, count, rows, D)
                for r in range(rows):
                    t = first_query + r
                    row_at, slope_at = step(weights, r * stride), step(slopes, r * stride)
                    row, slope = carray(row_at, width), carray(slope_at, width)
                    _mask_row(plan, row_at, t, first, count, width, b, n)
                    # A query that saw nothing has -inf everywhere: any finite number serves, exp gives 0.
                    shift = lse[t] if lse[t] != nothing else one
                    _exponentials(row_at, width, shift)
                    if get(plan, _DROPPED):
                        _draw_factors(plan, like, factors, pair * T + t, first, width)
                        for s in range(width):
                            slope[s] = row[s] * (factors[s] * slope[s] - delta[r])
                            row[s] *= factors[s]
                    else:
                        for s in range(0, width, lanes):
                            slope_vector(step(slope_at, s), step(row_at, s), delta[r])
                    if get(plan, _DADDED):
                        dadded = pointer_at(get(plan, _DADDED), like)
                        copy_row(step(dadded, (pair * T + t) * S + first), slope_at, count)
                at = first * padded
                C = step(dv_total, at)
                _multiply(plan, C, padded, C, padded, weights, 1, stride, do_rows, 0, rows, count, columns, _BLOCK_Q)
                C = step(dk_total, at)
                _multiply(plan, C, padded, C, padded, slopes, 1, stride, q_rows, 0, rows, count, columns, _BLOCK_Q)
                C = dq_total
                _multiply(plan, C, padded, C, padded, slopes, stride, 1, k_rows, first, count, rows, columns, S)
            _copy_scaled(step(dq, first_query * dq_row), dq_row, dq_total, padded, rows, D, scale)
        _copy_scaled(dk, dk_row, dk_total, padded, S, D, one)
        _copy_scaled(dv, dv_row, dv_total, padded, S, D, one)


_TILES = set(range(1, VECTORS + 1))
_FORWARD, _BACKWARD = Kernel(_forward, _TILES), Kernel(_backward, _TILES)


@kernel(fastmath={"contract", "reassoc"})
def _step(o, q, keys, values, length, scale, weights):
    B, N, D = q.shape
    zero = scale - scale
    for b in range(B):
        for n in range(N):
            largest = type(scale)(-math.inf)
            for s in range(length):
                score = zero
                for j in range(D):
                    score += q[b, n, j] * keys[b, n, s, j]
                weights[s] = score * scale
                largest = max(largest, weights[s])
            total = zero
            for s in range(length):
                weights[s] = elementary.exp(weights[s] - largest)
                total += weights[s]
            for j in range(D):
                o[b, n, j] = zero
            for s in range(length):
                weight = weights[s] / total
                for j in range(D):
                    o[b, n, j] += weight * values[b, n, s, j]


@kernel()
def _bind_sizes(plan, T, B, N, S, D, causal, threads, chunks, panel, scale, keep, lse, dadded, scratch, sync):
    """Scratch holds what every member needs, and then the scale and the factor of the weights that dropout leaves."""
    last = scratch.size - 2
    scratch[last], scratch[last + 1] = scale, 1 / keep
    plan[p.T], plan[p.B], plan[_N] = T, B, N
    plan[_S], plan[p.I], plan[_CAUSAL] = S, D, causal
    plan[p.D], plan[p.TEAMS], plan[p.MEMBERS], plan[p.PHASES] = 1, 1, threads, 1
    plan[_CHUNKS], plan[_PANEL] = chunks, panel
    start = address_of(pointer(scratch))
    plan[p.SCRATCH], plan[p.SCRATCH_SIZE] = start, last // threads
    plan[_SCALE], plan[p.SYNC] = start + last * scratch.itemsize, address_of(pointer(sync))
    plan[_LSE] = address_of(pointer(lse)) if lse.size else 0
    plan[_DADDED] = address_of(pointer(dadded)) if dadded.size else 0


@kernel()
def _bind_array(plan, entry, array):
    """Where an array (T or S, B, N, D) lies; its last axis is contiguous."""
    size = array.itemsize
    plan[entry] = address_of(pointer(array))
    for axis in range(3):
        plan[entry + 1 + axis] = array.strides[axis] // size


# -- called by the layers ----------------------------------------------------------------------------------------

_plans: dict[tuple[Kernel, np.dtype], np.ndarray] = {}  # nothing but the addresses of the tiles
_nothing = {dtype: np.empty(0, dtype) for dtype in DTYPE_NAMES}


def _new_plan(run, dtype):
    key = run, dtype
    if key not in _plans:
        plan = np.zeros(_LENGTH, np.int64)
        run.write_tiles(plan, DTYPE_NAMES[dtype])
        _plans[key] = plan
    return _plans[key].copy()


def _launch(run, arrays, sizes, lse, scale, masks, pieces, scratch_size, dadded=None):
    """Describe one call in a plan and run it. ``arrays`` are by their entries, each (T or S, B, N, D)."""
    blocked, padding, causal, added, dropout, seed = masks
    T, B, N, D = arrays[_Q].shape
    S, dtype = len(arrays[_K]), arrays[_Q].dtype
    cost = T * S * B * N * (4 * D + _SCORE_COST)
    threads = reserve_threads(min(available_threads(), B * N * pieces) if cost >= SERIAL_FLOPS else 1)
    try:
        plan, nothing = _new_plan(run, dtype), _nothing[dtype]
        scratch_size = -(-scratch_size // 16) * 16  # every thread's begins at a cache line
        scratch = scratch_of(threads * scratch_size + 2, dtype)
        sync = np.zeros(SYNC_STRIDE * threads, np.int64)
        chunks = min(pieces, -(-threads // (B * N)))
        outputs = nothing if lse is None else lse, nothing if dadded is None else dadded
        _bind_sizes(
            plan,
            T,
            B,
            N,
            S,
            D,
            int(causal),
            threads,
            chunks,
            sizes.panel,
            scale,
            1.0 - dropout,
            *outputs,
            scratch,
            sync,
        )
        for entry, array in arrays.items():
            _bind_array(plan, entry, array)
        if padding is not None:
            padding = np.ascontiguousarray(padding)
            plan[_PADDING] = padding.ctypes.data
        for entry, mask in ((_BLOCKED, blocked), (_ADDED, added)):
            if mask is not None:
                kept = np.ascontiguousarray(mask)
                strides = [
                    0 if size == 1 else stride // kept.itemsize
                    for size, stride in zip(kept.shape, kept.strides, strict=True)
                ]
                plan[entry : entry + 4] = kept.ctypes.data, *strides[:3]
                masks = (*masks, kept)  # lives as long as the call
        if dropout:
            plan[_DROPPED], plan[_SEED] = dropout_limit(dropout), seed
        launch(run.address(DTYPE_NAMES[dtype]), plan, threads)
    finally:
        release_threads(threads)


def dropout_limit(dropout):
    """Random numbers of 32 bits below this one drop a weight."""
    return max(1, min(2**32 - 1, round(dropout * 2**32)))


class _Sizes(NamedTuple):
    """Numbers of scratch, and the panel of keys, that follow from S keys of D columns."""

    panel: int  # vectors: as many as the tile takes, or fewer if there are not so many keys to be seen
    block: int  # keys
    packed: int  # the keys in whole vectors
    padded: int  # D in whole vectors
    own: int  # zeros and spare room


@lru_cache(maxsize=1024)
def _sizes(S, D, causal, itemsize):
    lanes = lanes_for(itemsize)
    most = min(2, VECTORS) if causal and S <= _BLOCK_S else VECTORS
    panel = min(most, -(-S // lanes))
    W, padded = panel * lanes, -(-D // lanes) * lanes
    own = 2 * lanes**2 + max(VECTORS * lanes, padded)
    return _Sizes(panel, max(W, _BLOCK_S // W * W), -(-S // lanes) * lanes * D, padded, own)


def attention_forward(
    q, k, v, scale, blocked=None, padding=None, causal=False, added=None, dropout=0.0, seed=0, out=None, keep=True
):
    """See :func:`lstm_numba.reference.attention.attention_forward`; arrays may be strided but for their last axis."""
    T, B, N, D = q.shape
    S = len(k)
    sizes = _sizes(S, D, bool(causal), q.itemsize)
    o = np.empty((T, B, N, D), q.dtype) if out is None else out
    lse = np.empty((B, N, T), q.dtype) if keep else None
    scratch = sizes.own + sizes.packed + S * sizes.padded + (MAX_ROWS + 1) * sizes.block
    scratch += _BLOCK_Q * (sizes.padded + D + 3)
    arrays = {_Q: q, _K: k, _V: v, _O: o}
    masks = (blocked, padding, causal, added, dropout, seed)
    _launch(_FORWARD, arrays, sizes, lse, scale, masks, -(-T // _BLOCK_Q), scratch)
    return o, lse


def attention_backward(
    do,
    q,
    k,
    v,
    o,
    lse,
    scale,
    blocked=None,
    padding=None,
    causal=False,
    added=None,
    dropout=0.0,
    seed=0,
    out=None,
    need_added=False,
):
    """See :func:`lstm_numba.reference.attention.attention_backward`; writes into ``out = dq, dk, dv`` if given."""
    T, B, N, D = q.shape
    S = len(k)
    sizes = _sizes(S, D, bool(causal), q.itemsize)
    dq, dk, dv = out if out is not None else (np.empty(array.shape, q.dtype) for array in (q, k, v))
    scratch = sizes.own + 2 * sizes.packed + 3 * S * sizes.padded + sizes.block
    scratch += _BLOCK_Q * (2 * sizes.block + 2 * D + 3 * sizes.padded + 1)
    arrays = {_Q: q, _K: k, _V: v, _O: o, _DO: do, _DQ: dq, _DK: dk, _DV: dv}
    # What a causal mask hides is never visited: its gradient is the zero that it starts from.
    dadded = np.zeros((B, N, T, S), q.dtype) if need_added else None
    masks = (blocked, padding, causal, added, dropout, seed)
    _launch(_BACKWARD, arrays, sizes, lse, scale, masks, 1, scratch, dadded)
    return (dq, dk, dv, dadded) if need_added else (dq, dk, dv)


def attention_step(q, keys, values, length, scale):
    """See :func:`lstm_numba.reference.attention.attention_step`."""
    o = np.empty(q.shape, q.dtype)
    _step(o, q, keys, values, length, q.dtype.type(scale), np.empty(length, q.dtype))
    return o
