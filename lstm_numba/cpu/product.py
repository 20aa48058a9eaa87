"""Matrix products of layers on the CPU, by the register tile and in the threads of the other kernels.

NumPy's product comes with threads of its own. When a layer alternates between them and ours, each group waits on the
cores that the other one still spins on, for milliseconds at a time. Here the products, attention and the norms share
one group of threads.

The right factor is packed into panels first; then every thread computes some rows, or some panels, of the result.
Every number is summed in an order that the length of the sum alone decides: results do not depend on the threads.
"""

import numpy as np
from numba import njit

from lstm_numba.cpu import plan as p
from lstm_numba.cpu.launch import Kernel, available_threads, launch, release_threads, reserve_threads
from lstm_numba.cpu.simd import (
    MAX_ROWS,
    VECTORS,
    address_of,
    call_tile,
    clear_vector,
    copy_row,
    copy_vector,
    get,
    lanes_of,
    load_part,
    pointer,
    pointer_at,
    put,
    step,
    transpose,
)
from lstm_numba.cpu.simd import lanes as lanes_for
from lstm_numba.cpu.teams import SYNC_STRIDE
from lstm_numba.cpu.threads import SERIAL_FLOPS
from lstm_numba.cpu.workspace import scratch as scratch_of
from lstm_numba.jit import kernel

# Entries of the plan beyond those that every kernel shares. The result is (M, N), the sum runs over K.
_M, _N, _K = p.LENGTH, p.LENGTH + 1, p.LENGTH + 2
_C, _C_ROW = p.LENGTH + 3, p.LENGTH + 4
_A, _A_ROW, _A_STEP = p.LENGTH + 5, p.LENGTH + 6, p.LENGTH + 7
_B, _B_ROW = p.LENGTH + 8, p.LENGTH + 9
_TURNED = p.LENGTH + 10  # 1: B is given as its transpose, (N, K)
_BIAS = p.LENGTH + 11  # (N,) what the sums start from, 0 without
_ADD = p.LENGTH + 12  # 1: they start from what C holds
_PANELS = p.LENGTH + 13  # packed B
_BY_PANELS = p.LENGTH + 14  # 1: threads share the panels, 0: the rows
_SUMS = p.LENGTH + 15  # (M,) to which the sums of the rows of A are added, 0 without
_LENGTH = p.LENGTH + 16

_BLOCK_K = 256  # terms of a sum that one pass over the panels adds
_BLOCK_STRIPS = 16  # strips of MAX_ROWS rows that share a panel while it is in the cache
_UNIT = {"error_model": "numpy", "fastmath": {"contract"}}
_REORDERED = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}}

# Below this many multiplications NumPy's product uses one thread anyway, and starts sooner.
_SMALL = 262_144


# -- packing -----------------------------------------------------------------------------------------------------


@njit(**_UNIT)
def pack_rows(target, width, source, source_row, rows, count):
    """Rows of ``count`` numbers into a panel ``width`` wide, filled up with zeros."""
    U = lanes_of(target)
    for r in range(rows):
        to, row = step(target, r * width), step(source, r * source_row)
        for v in range(0, width, U):
            if count - v > 0:
                load_part(step(to, v), step(row, v), count - v)
            else:
                clear_vector(step(to, v))


@njit(**_UNIT)
def pack_turned(target, width, source, source_row, rows, count, spare):
    """The transpose of ``rows`` rows of ``count`` numbers into a panel ``width`` wide, filled up with zeros.

    ``spare`` is room for twice the square of the lanes.
    """
    U = lanes_of(target)
    turned = step(spare, U * U)
    for v in range(0, width, U):
        here = min(U, rows - v)
        block = step(source, v * source_row)
        for k in range(0, count, U):
            to = step(target, k * width + v)
            if here == U and count - k >= U:
                transpose(to, width, step(block, k), source_row)
            else:
                for r in range(U):
                    if r < here:
                        load_part(step(spare, r * U), step(block, r * source_row + k), count - k)
                    else:
                        clear_vector(step(spare, r * U))
                transpose(turned, U, spare, U)
                for r in range(min(U, count - k)):
                    copy_vector(step(to, r * width), step(turned, r * U))


# -- the product -------------------------------------------------------------------------------------------------


@njit(**_REORDERED)
def _add_sums(plan, like, first, last):
    """Add the sums of some rows of A, which lie side by side."""
    sums, A = pointer_at(get(plan, _SUMS), like), pointer_at(get(plan, _A), like)
    for k in range(get(plan, _K)):
        row = step(A, k * get(plan, _A_STEP))
        for m in range(first, last):
            put(sums, m, get(sums, m) + get(row, m))


def _product(plan, like, d, phase, part, member):
    """``C = start + A @ B``: one member's panels of B (phase 0), then its part of C (phase 1)."""
    M, N, K, members = get(plan, _M), get(plan, _N), get(plan, _K), get(plan, p.MEMBERS)
    U = lanes_of(like)
    W = VECTORS * U
    panels = (N + W - 1) // W
    packed = pointer_at(get(plan, _PANELS), like)
    scratch = step(pointer_at(get(plan, p.SCRATCH), like), member * get(plan, p.SCRATCH_SIZE))
    if phase == 0:
        B, b_row = pointer_at(get(plan, _B), like), get(plan, _B_ROW)
        for panel in range(panels * part // members, panels * (part + 1) // members):
            count = min(W, N - panel * W)
            width = (count + U - 1) // U * U
            to = step(packed, panel * W * K)
            if get(plan, _TURNED):
                pack_turned(to, width, step(B, panel * W * b_row), b_row, count, K, scratch)
            else:
                pack_rows(to, width, step(B, panel * W), b_row, K, count)
        if get(plan, _SUMS):
            _add_sums(plan, like, M * part // members, M * (part + 1) // members)
        return

    C, c_row = pointer_at(get(plan, _C), like), get(plan, _C_ROW)
    A, a_row, a_step = pointer_at(get(plan, _A), like), get(plan, _A_ROW), get(plan, _A_STEP)
    bias = pointer_at(get(plan, _BIAS), like)
    strips = (M + MAX_ROWS - 1) // MAX_ROWS
    first_strip, last_strip, first_panel, last_panel = 0, strips, 0, panels
    if get(plan, _BY_PANELS):
        first_panel, last_panel = panels * part // members, panels * (part + 1) // members
    else:
        first_strip, last_strip = strips * part // members, strips * (part + 1) // members
    zeros, edge = scratch, step(scratch, W)
    for v in range(0, W, U):
        clear_vector(step(zeros, v))
    for block in range(first_strip, last_strip, _BLOCK_STRIPS):
        for k in range(0, K, _BLOCK_K):
            count = min(_BLOCK_K, K - k)
            for panel in range(first_panel, last_panel):
                columns = min(W, N - panel * W)
                vectors = (columns + U - 1) // U
                whole = columns == vectors * U
                tile = get(plan, p.TILES + vectors)
                b = step(packed, panel * W * K + k * vectors * U)
                for strip in range(block, min(block + _BLOCK_STRIPS, last_strip)):
                    at = strip * MAX_ROWS
                    rows = min(MAX_ROWS, M - at)
                    c, c_step = step(C, at * c_row + panel * W), c_row
                    s, s_step = zeros, 0
                    if k > 0 or get(plan, _ADD):
                        s, s_step = c, c_row
                    elif get(plan, _BIAS):
                        s = step(bias, panel * W)
                    if not whole:  # the tile reads and writes whole vectors
                        for r in range(rows):
                            for v in range(0, vectors * U, U):
                                load_part(step(edge, r * W + v), step(s, r * s_step + v), columns - v)
                        c, c_step, s, s_step = edge, W, edge, W
                    call_tile(tile, rows, c, c_step, s, s_step, step(A, at * a_row + k * a_step), a_row, a_step,
                              b, count, 1, 0)  # fmt: skip
                    if not whole:
                        for r in range(rows):
                            copy_row(step(C, (at + r) * c_row + panel * W), step(edge, r * W), columns)


_PRODUCT = Kernel(_product, set(range(1, VECTORS + 1)))


@njit(**_UNIT)
def _scratch_size(U):
    """Numbers of a member's own: for a transpose, or for zeros and a tile at the right edge."""
    return max(2 * U * U, VECTORS * U * (MAX_ROWS + 1))


@kernel()
def _bind(plan, threads, scratch, C, A, a_turned, B, b_turned, K, add):
    """Describe a call in a plan whose tiles are written; scratch holds the packed panels, then every member's share."""
    M, N = C.shape
    U = lanes_of(pointer(C))
    start = address_of(pointer(scratch))
    size = scratch.itemsize
    plan[p.TEAMS], plan[p.D], plan[p.MEMBERS], plan[p.PHASES] = 1, 1, threads, 2
    plan[_PANELS] = start
    plan[p.SCRATCH] = start + (N + U - 1) // U * U * K * size
    plan[p.SCRATCH_SIZE] = _scratch_size(U)
    plan[_M], plan[_N], plan[_K] = M, N, K
    plan[_C], plan[_C_ROW], plan[_ADD] = address_of(pointer(C)), N, add
    plan[_A], plan[_A_ROW], plan[_A_STEP] = address_of(pointer(A)), 1 if a_turned else K, M if a_turned else 1
    plan[_B], plan[_B_ROW], plan[_TURNED] = address_of(pointer(B)), B.shape[1], b_turned
    plan[_BY_PANELS] = 1 if 4 * MAX_ROWS * threads > M else 0


@kernel()
def _bind_vector(plan, entry, vector):
    plan[entry] = address_of(pointer(vector))


_plans: dict[str, np.ndarray] = {}  # by dtype: nothing but the addresses of the tiles


def _new_plan(dtype):
    if dtype not in _plans:
        plan = np.zeros(_LENGTH, np.int64)
        _PRODUCT.write_tiles(plan, dtype)
        _plans[dtype] = plan
    return _plans[dtype].copy()


def _run(C, A, a_turned, B, b_turned, *, bias=None, add=0, sums=None):
    """``C (M, N) = start + A @ B``, each factor given as it is or as its transpose; all in C order."""
    (M, N), K, dtype = C.shape, B.shape[1 if b_turned else 0], C.dtype
    threads = reserve_threads(available_threads() if 2 * M * N * K >= SERIAL_FLOPS else 1)
    try:
        U = lanes_for(dtype.itemsize)
        plan = _new_plan(dtype.name)
        scratch = scratch_of(-(-N // U) * U * K + threads * _scratch_size(U), dtype)
        _bind(plan, threads, scratch, C, A, a_turned, B, b_turned, K, add)
        if bias is not None:
            _bind_vector(plan, _BIAS, bias)
        if sums is not None:
            _bind_vector(plan, _SUMS, sums)
        sync = np.zeros(SYNC_STRIDE * (threads + 1), np.int64)
        _bind_vector(plan, p.SYNC, sync)
        launch(_PRODUCT.address(dtype.name), plan, threads)
    finally:
        release_threads(threads)


# -- called by the layers ----------------------------------------------------------------------------------------


def linear_forward(x, weight, bias=None):
    """Return ``x @ weight^T + bias`` for x (M, K) and weight (N, K)."""
    M, K = x.shape
    N = len(weight)
    if M * N * K < _SMALL:
        y = x @ weight.T
        if bias is not None:
            y += bias
        return y
    y = np.empty((M, N), x.dtype)
    _run(y, np.ascontiguousarray(x), 0, np.ascontiguousarray(weight), 1, bias=bias)
    return y


def linear_backward(dy, x, weight, dweight, dbias=None):
    """Return ``dy @ weight`` and add to the gradients of weight and, if there is one, bias."""
    M, N = dy.shape
    K = x.shape[1]
    if M * N * K < _SMALL:
        dweight += dy.T @ x
        if dbias is not None:
            dbias += dy.sum(axis=0)
        return dy @ weight
    dy, x = np.ascontiguousarray(dy), np.ascontiguousarray(x)
    _run(dweight, dy, 1, x, 0, add=1, sums=dbias)
    dx = np.empty((M, K), x.dtype)
    _run(dx, dy, 0, np.ascontiguousarray(weight), 0)
    return dx
