"""Scaled dot-product attention on the CPU: the softmax is computed block by block, the matrix of weights never exists.

A block of queries walks over the keys. It keeps the largest score so far, the sum of exponentials relative to it and
the weighted sum of values; when a block of keys brings a larger score, both sums are rescaled (the online softmax of
Milakov and Gimelshein, 2018, and Rabe and Staats, 2021). Only the logarithm of each query's denominator is kept, so
that the backward pass can compute any block of weights again (Dao et al., 2022). Memory grows with T, not with T^2.

Products are the register tile of :mod:`lstm_numba.cpu.simd`. Threads share pairs of a sequence and a head, and never
add to the same number: results do not depend on them. Shapes as in :mod:`lstm_numba.reference.attention`.
"""

import math

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from lstm_numba import elementary
from lstm_numba.cpu import plan as p
from lstm_numba.cpu.launch import Kernel, available_threads, launch, release_threads, reserve_threads
from lstm_numba.cpu.simd import MAX_ROWS, VECTORS, call_tile, get, lanes_of, pointer_at, step
from lstm_numba.cpu.simd import lanes as lanes_for
from lstm_numba.cpu.teams import SYNC_STRIDE
from lstm_numba.cpu.threads import SERIAL_FLOPS
from lstm_numba.jit import kernel

# Entries of the plan beyond those that every kernel shares.
_S, _N = p.LENGTH, p.LENGTH + 1  # keys, heads
_CAUSAL = p.LENGTH + 2
_CHUNKS = p.LENGTH + 3  # pieces of the queries that threads share if there are few sequences and heads
_SCALE = p.LENGTH + 4  # address of one number
_BLOCKED, _PADDING = p.LENGTH + 5, p.LENGTH + 9  # address, then strides of b, n and t; address (B, S)
_LSE = p.LENGTH + 10  # (B, N, T)
_PANEL = p.LENGTH + 11  # vectors of a panel of keys
_ARRAYS = p.LENGTH + 12  # an address, then the strides of t, b and n, for each of the eight arrays
_Q, _K, _V, _O, _DO, _DQ, _DK, _DV = range(_ARRAYS, _ARRAYS + 32, 4)
_LENGTH = _ARRAYS + 32

_BLOCK_Q = 8 * MAX_ROWS  # queries of a block
_BLOCK_S = 128  # keys of a block, or one panel of keys if that is more

_UNIT = {"error_model": "numpy", "fastmath": {"contract"}}
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
def _pack_rows(target, source, source_row, rows, padded_rows, D):
    """Rows as the right factor of a product over the rows: columns in panels, the last one as narrow as it may be."""
    lanes = lanes_of(target)
    done = 0
    while done < D:
        width = min(VECTORS, (D - done + lanes - 1) // lanes) * lanes
        count = min(width, D - done)
        for r in range(rows):
            a, b = carray(step(target, r * width), width), carray(step(source, r * source_row + done), count)
            for n in range(count):
                a[n] = b[n]
            for n in range(count, width):
                a[n] = 0
        _clear(step(target, rows * width), (padded_rows - rows) * width)
        target = step(target, padded_rows * width)
        done += width


@njit(**_UNIT)
def _pack_columns(target, source, source_row, rows, D, width):
    """The transposed rows as the right factor of a product over D: panels of ``width`` rows, filled up with zeros."""
    for start in range(0, rows, width):
        panel = carray(target, (D, width))
        count = min(width, rows - start)
        for n in range(count):
            row = carray(step(source, (start + n) * source_row), D)
            for k in range(D):
                panel[k, n] = row[k]
        for k in range(D):
            for n in range(count, width):
                panel[k, n] = 0
        target = step(target, D * width)


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
def _largest(row, count, lanes, most):
    """The largest of ``count`` numbers, a multiple of ``lanes``; ``most`` is scratch, one number per lane."""
    for n in range(lanes):
        most[n] = row[n]
    for at in range(lanes, count, lanes):
        for n in range(lanes):
            most[n] = row[at + n] if row[at + n] > most[n] else most[n]
    result = most[0]
    for n in range(1, lanes):
        result = most[n] if most[n] > result else result
    return result


@njit(**_SUMS)
def _exponentials(row, count, shift):
    """Replace the row by exp(row - shift) and return its sum."""
    total = type(row[0])(0)
    for n in range(count):
        row[n] = elementary.exp(row[n] - shift)
        total += row[n]
    return total


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
    """Put -inf where query t of (b, n) must not see keys ``first ...``, and behind the last of ``count``."""
    hidden = type(row[0])(-math.inf)
    for s in range(count, width):
        row[s] = hidden
    if get(plan, _CAUSAL):
        for s in range(max(0, t + 1 - first), count):
            row[s] = hidden
    address = get(plan, _PADDING)
    if address:
        padding = carray(_bytes_at(address + get(plan, _S) * b + first), count)
        for s in range(count):
            row[s] = hidden if padding[s] else row[s]
    address = get(plan, _BLOCKED)
    if address:
        at = get(plan, _BLOCKED + 1) * b + get(plan, _BLOCKED + 2) * n + get(plan, _BLOCKED + 3) * t + first
        blocked = carray(_bytes_at(address + at), count)
        for s in range(count):
            row[s] = hidden if blocked[s] else row[s]


@njit(**_UNIT)
def _block_width(W):
    """Keys of a block: a whole number of panels."""
    return max(W, _BLOCK_S // W * W)


@njit(**_UNIT)
def _score_block(plan, scores, queries, panels, zeros, first, width, rows, D):
    """``queries @ keys^T`` for the keys ``first ... first + width`` of packed columns."""
    vectors = get(plan, _PANEL)
    W = vectors * lanes_of(scores)
    stride = _block_width(W)
    for at in range(0, width, W):
        panel = step(panels, (first + at) * D)
        _multiply(plan, step(scores, at), stride, zeros, 0, queries, D, 1, panel, 0, D, rows, vectors, 0)


@njit(**_UNIT)
def _copy_scaled(target, source, source_row, rows, D, scale):
    for r in range(rows):
        a, b = carray(step(target, r * D), D), carray(step(source, r * source_row), D)
        for k in range(D):
            a[k] = b[k] * scale


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
    zero = type(scale)(0)

    scratch = step(pointer_at(get(plan, p.SCRATCH), like), member * get(plan, p.SCRATCH_SIZE))
    k_columns = scratch
    v_rows = step(k_columns, (S + W - 1) // W * W * D)
    scores = step(v_rows, S * padded)
    total = step(scores, _BLOCK_Q * stride)
    queries = step(total, _BLOCK_Q * padded)
    zeros = step(queries, _BLOCK_Q * D)
    most = carray(step(zeros, W), lanes)
    largest, denominator = carray(step(zeros, 2 * W), _BLOCK_Q), carray(step(zeros, 2 * W + _BLOCK_Q), _BLOCK_Q)
    _clear(zeros, W)

    for unit in range(part, B * N * chunks, members):
        pair = unit // chunks
        b, n = pair // N, pair % N
        q, q_row = _place(plan, like, _Q, b, n)
        k, k_row = _place(plan, like, _K, b, n)
        v, v_row = _place(plan, like, _V, b, n)
        o, o_row = _place(plan, like, _O, b, n)
        lse = carray(step(pointer_at(get(plan, _LSE), like), pair * T), T)
        _pack_columns(k_columns, k, k_row, S, D, W)
        _pack_rows(v_rows, v, v_row, S, S, D)
        for first_query in range(unit % chunks * _BLOCK_Q, T, chunks * _BLOCK_Q):
            rows = min(_BLOCK_Q, T - first_query)
            _copy_scaled(queries, step(q, first_query * q_row), q_row, rows, D, scale)
            _clear(total, rows * padded)
            for r in range(rows):
                largest[r], denominator[r] = nothing, zero
            end = min(S, first_query + rows) if get(plan, _CAUSAL) else S
            for first in range(0, end, stride):
                count = min(stride, end - first)
                width = (count + W - 1) // W * W
                _score_block(plan, scores, queries, k_columns, zeros, first, width, rows, D)
                for r in range(rows):
                    row = carray(step(scores, r * stride), width)
                    _mask_row(plan, row, first_query + r, first, count, width, b, n)
                    here = _largest(row, width, lanes, most)
                    here = here if here > largest[r] else largest[r]
                    shift = zero if here == nothing else here
                    shrink = elementary.exp(largest[r] - shift)
                    denominator[r] = denominator[r] * shrink + _exponentials(row, width, shift)
                    if shrink != 1:
                        o_r = carray(step(total, r * padded), padded)
                        for j in range(padded):
                            o_r[j] *= shrink
                    largest[r] = here
                _multiply(plan, total, padded, total, padded, scores, stride, 1, v_rows, first, count, rows, columns, S)
            for r in range(rows):
                empty = denominator[r] == 0
                lse[first_query + r] = nothing if empty else largest[r] + math.log(denominator[r])
                factor = zero if empty else 1 / denominator[r]
                a, b_ = carray(step(o, (first_query + r) * o_row), D), carray(step(total, r * padded), D)
                for j in range(D):
                    a[j] = b_[j] * factor


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
    packed = (S + W - 1) // W * W * D
    k_columns, v_columns = scratch, step(scratch, packed)
    k_rows = step(v_columns, packed)
    dk_total, dv_total = step(k_rows, S * padded), step(k_rows, 2 * S * padded)
    weights = step(k_rows, 3 * S * padded)
    slopes = step(weights, _BLOCK_Q * stride)
    queries = step(slopes, _BLOCK_Q * stride)
    do_block = step(queries, _BLOCK_Q * D)
    q_rows, do_rows = step(do_block, _BLOCK_Q * D), step(do_block, _BLOCK_Q * (D + padded))
    dq_total = step(do_rows, _BLOCK_Q * padded)
    zeros = step(dq_total, _BLOCK_Q * padded)
    delta = carray(step(zeros, W), _BLOCK_Q)
    _clear(zeros, W)

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
        _pack_columns(k_columns, k, k_row, S, D, W)
        _pack_columns(v_columns, v, v_row, S, D, W)
        _pack_rows(k_rows, k, k_row, S, S, D)
        _clear(dk_total, S * padded)
        _clear(dv_total, S * padded)
        for first_query in range(0, T, _BLOCK_Q):
            rows = min(_BLOCK_Q, T - first_query)
            _copy_scaled(queries, step(q, first_query * q_row), q_row, rows, D, scale)
            _copy_scaled(do_block, step(do, first_query * do_row), do_row, rows, D, one)
            _pack_rows(q_rows, queries, D, rows, _BLOCK_Q, D)
            _pack_rows(do_rows, do_block, D, rows, _BLOCK_Q, D)
            _clear(dq_total, rows * padded)
            for r in range(rows):
                o_r = carray(step(o, (first_query + r) * o_row), D)
                delta[r] = _dot(carray(step(do_block, r * D), D), o_r, D)
            end = min(S, first_query + rows) if get(plan, _CAUSAL) else S
            for first in range(0, end, stride):
                count = min(stride, end - first)
                width = (count + W - 1) // W * W
                _score_block(plan, weights, queries, k_columns, zeros, first, width, rows, D)
                _score_block(plan, slopes, do_block, v_columns, zeros, first, width, rows, D)
                for r in range(rows):
                    t = first_query + r
                    row, slope = carray(step(weights, r * stride), width), carray(step(slopes, r * stride), width)
                    _mask_row(plan, row, t, first, count, width, b, n)
                    # A query that saw nothing has -inf everywhere: any finite number serves, exp gives 0.
                    shift = lse[t] if lse[t] != nothing else one
                    for s in range(width):
                        row[s] = elementary.exp(row[s] - shift)
                        slope[s] = row[s] * (slope[s] - delta[r])
                at = first * padded
                C = step(dv_total, at)
                _multiply(plan, C, padded, C, padded, weights, 1, stride, do_rows, 0, rows, count, columns, _BLOCK_Q)
                C = step(dk_total, at)
                _multiply(plan, C, padded, C, padded, slopes, 1, stride, q_rows, 0, rows, count, columns, _BLOCK_Q)
                C = dq_total
                _multiply(plan, C, padded, C, padded, slopes, stride, 1, k_rows, first, count, rows, columns, S)
            for r in range(rows):
                _copy_scaled(step(dq, (first_query + r) * dq_row), step(dq_total, r * padded), 0, 1, D, scale)
        for s in range(S):
            _copy_scaled(step(dk, s * dk_row), step(dk_total, s * padded), 0, 1, D, one)
            _copy_scaled(step(dv, s * dv_row), step(dv_total, s * padded), 0, 1, D, one)


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


# -- called by the layers ----------------------------------------------------------------------------------------


def _launch(run, arrays, lse, scale, blocked, padding, causal, pieces, scratch_size):
    """Describe one call in a plan and run it. ``arrays`` are by their entries, each (T or S, B, N, D)."""
    q, k = arrays[_Q], arrays[_K]
    T, B, N, D = q.shape
    S, dtype = len(k), q.dtype
    wanted = available_threads() if 4 * T * S * B * N * D >= SERIAL_FLOPS else 1
    threads = reserve_threads(min(wanted, B * N * pieces))
    try:
        plan = np.zeros(_LENGTH, np.int64)
        plan[p.T], plan[_S], plan[p.B], plan[_N], plan[p.I], plan[p.D] = T, S, B, N, D, 1
        plan[p.TEAMS], plan[p.MEMBERS], plan[p.PHASES] = 1, threads, 1
        plan[_CHUNKS] = min(pieces, -(-threads // (B * N)))
        plan[_CAUSAL], plan[_PANEL] = causal, _panel(S, dtype)
        sync = np.zeros(SYNC_STRIDE * (threads + 1), np.int64)
        scratch = np.empty((threads, scratch_size), dtype)
        factor = np.array([scale], dtype)
        plan[p.SYNC], plan[p.SCRATCH], plan[p.SCRATCH_SIZE] = sync.ctypes.data, scratch.ctypes.data, scratch_size
        plan[_SCALE], plan[_LSE] = factor.ctypes.data, lse.ctypes.data
        for entry, array in arrays.items():
            t, b, n, _ = array.strides
            size = array.itemsize
            plan[entry : entry + 4] = array.ctypes.data, t // size, b // size, n // size
        if padding is not None:
            padding = np.ascontiguousarray(padding)
            plan[_PADDING] = padding.ctypes.data
        if blocked is not None:
            blocked = np.ascontiguousarray(blocked)
            strides = [0 if size == 1 else stride for size, stride in zip(blocked.shape, blocked.strides, strict=True)]
            plan[_BLOCKED : _BLOCKED + 4] = blocked.ctypes.data, *strides[:3]
        run.write_tiles(plan, dtype.name)
        launch(run.address(dtype.name), plan, threads)
    finally:
        release_threads(threads)


def _panel(S, dtype):
    """Vectors of a panel of keys: as many as the tile takes, or fewer if there are not so many keys."""
    return min(VECTORS, -(-S // lanes_for(dtype.itemsize)))


def _sizes(S, D, dtype):
    """Keys of a panel, the multiple of it that holds S keys, keys of a block, D in whole vectors."""
    lanes = lanes_for(dtype.itemsize)
    W = _panel(S, dtype) * lanes
    return W, -(-S // W) * W, max(W, _BLOCK_S // W * W), -(-D // lanes) * lanes


def attention_forward(q, k, v, scale, blocked=None, padding=None, causal=False):
    """See :func:`lstm_numba.reference.attention.attention_forward`; arrays may be strided but for their last axis."""
    T, B, N, D = q.shape
    W, packed, block, padded = _sizes(len(k), D, q.dtype)
    o, lse = np.empty((T, B, N, D), q.dtype), np.empty((B, N, T), q.dtype)
    scratch = packed * D + len(k) * padded + _BLOCK_Q * (block + padded + D + 2) + 2 * W
    arrays = {_Q: q, _K: k, _V: v, _O: o}
    _launch(_FORWARD, arrays, lse, scale, blocked, padding, causal, -(-T // _BLOCK_Q), scratch)
    return o, lse


def attention_backward(do, q, k, v, o, lse, scale, blocked=None, padding=None, causal=False, out=None):
    """See :func:`lstm_numba.reference.attention.attention_backward`; writes into ``out = dq, dk, dv`` if given."""
    D = q.shape[3]
    W, packed, block, padded = _sizes(len(k), D, q.dtype)
    dq, dk, dv = out if out is not None else (np.empty(array.shape, q.dtype) for array in (q, k, v))
    scratch = 2 * packed * D + 3 * len(k) * padded + _BLOCK_Q * (2 * block + 2 * D + 3 * padded + 1) + W
    arrays = {_Q: q, _K: k, _V: v, _O: o, _DO: do, _DQ: dq, _DK: dk, _DV: dv}
    _launch(_BACKWARD, arrays, lse, scale, blocked, padding, causal, 1, scratch)
    return dq, dk, dv


def attention_step(q, keys, values, length, scale):
    """See :func:`lstm_numba.reference.attention.attention_step`."""
    o = np.empty(q.shape, q.dtype)
    _step(o, q, keys, values, length, q.dtype.type(scale), np.empty(length, q.dtype))
    return o
