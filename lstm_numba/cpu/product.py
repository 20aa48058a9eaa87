"""Matrix products of layers on the CPU, by the register tile and in the threads of the other kernels.

NumPy's product comes with threads of its own. When a layer alternates between them and ours, each group waits on the
cores that the other one still spins on, for milliseconds at a time. Here the products, attention and the norms share
one group of threads.

The right factor is packed into panels first; then every thread computes some rows, or some panels, of the result. If
the right factor is by far the larger one, as the weights of a layer are for a few rows of x, the transpose of the
result is computed instead, so that the left factor is the one that is packed. Every number is summed in an order that
the length of the sum alone decides: results depend neither on the threads nor on the way.
"""

import numpy as np
from numba import njit

from lstm_numba.cpu import plan as p
from lstm_numba.cpu.launch import (
    DTYPE_NAMES,
    Kernel,
    available_threads,
    launch,
    release_threads,
    reserve_threads,
)
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
from lstm_numba.inner import INNER
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
_FLIPPED = p.LENGTH + 16  # 1: A and B are the factors of the transpose of C, which is (M, N), and C is (N, M)
_LENGTH = p.LENGTH + 17

_BLOCK_K = 256  # terms of a sum that one pass over the panels adds
_BLOCK_STRIPS = 16  # strips of MAX_ROWS rows that share a panel while it is in the cache
_UNIT = INNER | {"fastmath": {"contract"}}
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


@njit(**_UNIT)
def _multiply_flipped(plan, like, scratch, part):
    """One member's rows of ``start + A @ B``, computed in groups that are transposed into C; ``start`` is a column."""
    M, N, K, members = get(plan, _M), get(plan, _N), get(plan, _K), get(plan, p.MEMBERS)
    U = lanes_of(like)
    W = VECTORS * U
    C, c_row = pointer_at(get(plan, _C), like), get(plan, _C_ROW)
    A, a_row, a_step = pointer_at(get(plan, _A), like), get(plan, _A_ROW), get(plan, _A_STEP)
    packed, bias = pointer_at(get(plan, _PANELS), like), pointer_at(get(plan, _BIAS), like)
    blocks = (M + U - 1) // U
    last = min(M, blocks * (part + 1) // members * U)
    for first in range(blocks * part // members * U, last, MAX_ROWS * U):
        group = min(MAX_ROWS * U, last - first)
        for panel in range(0, N, W):
            columns = min(W, N - panel)
            vectors = (columns + U - 1) // U
            b = step(packed, panel * K)
            for m in range(group):
                row = step(scratch, m * W)
                if get(plan, _BIAS):
                    start = get(bias, first + m)
                    for n in range(vectors * U):
                        put(row, n, start)
                else:
                    for n in range(0, vectors * U, U):
                        clear_vector(step(row, n))
            for k in range(0, K, _BLOCK_K):
                for m in range(0, group, MAX_ROWS):
                    c = step(scratch, m * W)
                    call_tile(get(plan, p.TILES + vectors), min(MAX_ROWS, group - m), c, W, c, W,
                              step(A, (first + m) * a_row + k * a_step), a_row, a_step,
                              step(b, k * vectors * U), min(_BLOCK_K, K - k), 1, 0)  # fmt: skip
            for m in range(0, group, U):
                for n in range(0, columns, U):
                    source, target = step(scratch, m * W + n), step(C, (panel + n) * c_row + first + m)
                    if group - m >= U and columns - n >= U:
                        transpose(target, c_row, source, W)
                    else:
                        for r in range(min(U, group - m)):
                            for v in range(min(U, columns - n)):
                                put(target, v * c_row + r, get(source, r * W + v))


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

    if get(plan, _FLIPPED):
        _multiply_flipped(plan, like, scratch, part)
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


@njit(error_model="numpy")  # Python calls it as well
def _scratch_size(U):
    """Numbers of a member's own: for a transpose, for zeros and a tile at the right edge, or for a group of rows."""
    W = VECTORS * U
    return max(2 * U * U, W * (MAX_ROWS + 1), W * MAX_ROWS * U)


@kernel()
def _bind(plan, threads, scratch, sync, C, A, a_turned, B, b_turned, K, flipped, bias, add, sums):
    """Describe a call in a plan whose tiles are written; scratch holds the packed panels, then every member's share."""
    M, N = C.shape
    U = lanes_of(pointer(C))
    start = address_of(pointer(scratch))
    plan[p.TEAMS], plan[p.D], plan[p.MEMBERS], plan[p.PHASES] = 1, 1, threads, 2
    plan[p.SYNC] = address_of(pointer(sync))
    plan[p.SCRATCH_SIZE] = _scratch_size(U)
    plan[_C], plan[_C_ROW], plan[_ADD] = address_of(pointer(C)), N, add
    plan[_BIAS] = address_of(pointer(bias)) if bias.size else 0
    plan[_SUMS] = address_of(pointer(sums)) if sums.size else 0
    a, b = address_of(pointer(A)), address_of(pointer(B))
    if flipped:  # C^T = B^T A^T
        rows, columns = N, M
        plan[_A], plan[_A_ROW], plan[_A_STEP] = b, K if b_turned else 1, 1 if b_turned else N
        plan[_B], plan[_B_ROW], plan[_TURNED] = a, M if a_turned else K, 0 if a_turned else 1
    else:
        rows, columns = M, N
        plan[_A], plan[_A_ROW], plan[_A_STEP] = a, 1 if a_turned else K, M if a_turned else 1
        plan[_B], plan[_B_ROW], plan[_TURNED] = b, K if b_turned else N, b_turned
    plan[_M], plan[_N], plan[_K], plan[_FLIPPED] = rows, columns, K, flipped
    plan[_PANELS] = start
    plan[p.SCRATCH] = start + (columns + U - 1) // U * U * K * scratch.itemsize
    plan[_BY_PANELS] = 1 if 4 * MAX_ROWS * threads > M else 0


_plans: dict[np.dtype, np.ndarray] = {}  # nothing but the addresses of the tiles
_nothing = {dtype: np.empty(0, dtype) for dtype in DTYPE_NAMES}


def _new_plan(dtype):
    if dtype not in _plans:
        plan = np.zeros(_LENGTH, np.int64)
        _PRODUCT.write_tiles(plan, DTYPE_NAMES[dtype])
        _plans[dtype] = plan
    return _plans[dtype].copy()


def _pays_to_flip(M, N, K):
    """Whether packing the left factor and transposing the result moves fewer numbers than packing the right one."""
    return M * (N + K) < N * K


def _run(C, A, a_turned, B, b_turned, *, bias=None, add=0, sums=None):
    """``C (M, N) = start + A @ B``, each factor given as it is or as its transpose; all in C order."""
    (M, N), K, dtype = C.shape, B.shape[1 if b_turned else 0], C.dtype
    threads = reserve_threads(available_threads() if 2 * M * N * K >= SERIAL_FLOPS else 1)
    try:
        U = lanes_for(dtype.itemsize)
        flipped = int(not add and sums is None and _pays_to_flip(M, N, K))
        scratch = scratch_of(-(-(M if flipped else N) // U) * U * K + threads * _scratch_size(U), dtype)
        sync = np.zeros(SYNC_STRIDE * threads, np.int64)
        plan, nothing = _new_plan(dtype), _nothing[dtype]
        bias, sums = nothing if bias is None else bias, nothing if sums is None else sums
        _bind(plan, threads, scratch, sync, C, A, a_turned, B, b_turned, K, flipped, bias, add, sums)
        launch(_PRODUCT.address(DTYPE_NAMES[dtype]), plan, threads)
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
