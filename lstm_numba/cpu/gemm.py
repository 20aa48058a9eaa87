"""Matrix products for recurrent layers, built from the register tile of :mod:`lstm_numba.cpu.simd`.

B is copied once into panels as wide as a tile, padded with zeros, so that the inner loop reads memory in order and
needs no special case at the edge. Every element of a result is summed in one fixed order, so results do not depend
on the number of threads.
"""

import numpy as np
from numba import njit, prange

from lstm_numba.cpu.simd import MAX_ROWS, lanes_of, move, panel_width, tile
from lstm_numba.jit import kernel

_K_CHUNK = 256  # how much of a long sum is worked on at a time: its share of A and B stays in the L2 cache
_ROW_CHUNK = 8 * MAX_ROWS  # rows of C that are finished together


@njit(error_model="numpy")
def pack(B, transpose):
    """Copy B (K, N), or its transpose, into panels: flat, laid out as [panel][k][column], zero-padded."""
    width, U = panel_width(B), lanes_of(B)
    K, N = (B.shape[1], B.shape[0]) if transpose else B.shape
    panels = (N + width - 1) // width
    packed = np.zeros(panels * K * width, B.dtype)
    flat = B.reshape(-1)
    for panel in range(panels):
        n0 = panel * width
        count = min(width, N - n0)
        if transpose:
            for n in range(count):
                for k in range(K):
                    packed[(panel * K + k) * width + n] = B[n0 + n, k]
        else:
            for k in range(K):
                for n in range(0, count, U):
                    move(packed, (panel * K + k) * width + n, flat, k * N + n0 + n, min(U, count - n))
    return packed


@njit(error_model="numpy")
def add_product(
    C,  # flat; M rows of N columns, the first at c0, ldc apart
    c0,
    ldc,
    M,
    N,
    A,  # flat; row m starts at a0 + m * lda, steps of k are sa apart
    a0,
    lda,
    sa,
    packed,  # B (K, N), packed
    K,
    edge,  # scratch of MAX_ROWS * panel_width for the last panel, which may be wider than what is left of C
):
    """C += A @ B."""
    width, U = panel_width(C), lanes_of(C)
    for panel in range((N + width - 1) // width):
        n0 = panel * width
        count = min(width, N - n0)
        b0 = panel * K * width
        for m in range(0, M, MAX_ROWS):
            rows = min(MAX_ROWS, M - m)
            at = c0 + m * ldc + n0
            if count == width:
                tile(rows, C, at, ldc, A, a0 + m * lda, lda, sa, packed, b0, K)
                continue
            for r in range(rows):
                for n in range(0, count, U):
                    move(edge, r * width + n, C, at + r * ldc + n, min(U, count - n))
            tile(rows, edge, 0, width, A, a0 + m * lda, lda, sa, packed, b0, K)
            for r in range(rows):
                for n in range(0, count, U):
                    move(C, at + r * ldc + n, edge, r * width + n, min(U, count - n))


@njit(error_model="numpy")
def share(task, tasks, rows):
    """Rows ``first:last`` of one of ``tasks`` equal shares, cut at multiples of the tile."""
    blocks = (rows + MAX_ROWS - 1) // MAX_ROWS
    return task * blocks // tasks * MAX_ROWS, min(rows, (task + 1) * blocks // tasks * MAX_ROWS)


@njit(error_model="numpy")
def count_tasks(threads, rows):
    """How many shares to make: no more than there are tiles of rows."""
    return max(1, min(threads, (rows + MAX_ROWS - 1) // MAX_ROWS))


@kernel(parallel=True)
def multiply(
    C,  # (M, N) out
    A,  # (M, K)
    B,  # (K, N)
    threads,
):
    """C = A @ B."""
    M, N = C.shape
    K = A.shape[1]
    C_flat, A_flat = C.reshape(-1), A.reshape(-1)
    packed = pack(B, False)
    tasks = count_tasks(threads, M)
    for task in prange(tasks):
        edge = np.zeros(MAX_ROWS * panel_width(C), C.dtype)
        first, last = share(task, tasks, M)
        for row in range(first, last, _ROW_CHUNK):
            end = min(last, row + _ROW_CHUNK)
            C[row:end] = 0
            add_product(C_flat, row * N, N, end - row, N, A_flat, row * K, K, 1, packed, K, edge)


@kernel(parallel=True)
def multiply_transposed(
    C,  # (M, N) out
    A,  # (K, M)
    B,  # (K, N)
    threads,
):
    """C = A^T @ B: a sum over the long first axis, as the gradients of weights are."""
    M, N = C.shape
    K = A.shape[0]
    C_flat, A_flat = C.reshape(-1), A.reshape(-1)
    tasks = count_tasks(threads, M)
    C[:] = 0
    for k0 in range(0, K, _K_CHUNK):
        chunk = min(K, k0 + _K_CHUNK) - k0
        packed = pack(B[k0 : k0 + chunk], False)
        for task in prange(tasks):
            edge = np.zeros(MAX_ROWS * panel_width(C), C.dtype)
            first, last = share(task, tasks, M)
            add_product(C_flat, first * N, N, last - first, N, A_flat, k0 * M + first, 1, M, packed, chunk, edge)
