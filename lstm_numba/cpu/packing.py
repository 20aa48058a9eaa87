"""Weights rearranged so that the tile reads them in order.

Forward, each block of units has its weights together: for every ``k`` one number per slot and unit. Backward, the
columns of a matrix are cut into panels, and its rows are put in the order in which a block stores its slots. Rows
and columns beyond the matrix are zeros.

``first`` and ``turn`` describe which gate sits in which slot: the product fills the slots ``first, first + 1, ...``,
and the slot number ``n`` of those holds gate ``(n + turn) mod G`` of the weight matrix.
"""

from numba import njit

from lstm_numba.cpu.simd import VECTORS, clear_vector, get, lanes_of, load_part, put, step, transpose
from lstm_numba.inner import INNER

_UNIT = INNER


@njit(**_UNIT)
def panel_vectors(left, U):
    """Width, in vectors, of the next panel when ``left`` columns remain."""
    if VECTORS >= 4 and left > 3 * U:
        return 4
    return 2 if left > U else 1


@njit(**_UNIT)
def panel_count(N, U):
    """Number of panels of a matrix with N columns."""
    count, n0 = 0, 0
    while n0 < N:
        n0 += panel_vectors(N - n0, U) * U
        count += 1
    return count


@njit(**_UNIT)
def panel_start(N, U, panel):
    """First column of a panel."""
    n0 = 0
    for _ in range(panel):
        n0 += panel_vectors(N - n0, U) * U
    return n0


@njit(**_UNIT)
def pack_block(target, W, K, H, G, turn, block, width, panel):
    """Pack the rows of W (G*H, K) that belong to one block of units.

    ``width`` is the number of units in a block, ``panel`` the width of the tile in vectors.
    """
    U = lanes_of(target)
    row = panel * U
    whole = K // U * U
    for n in range(G):
        gate = (n + turn) % G
        for s in range(0, width, U):
            j0 = block * width + s
            count = min(U, H - j0)
            vector = (n * width + s) // U
            column = step(target, vector // panel * K * row + vector % panel * U)
            source = step(W, (gate * H + j0) * K)
            if count == U:
                for k in range(0, whole, U):
                    transpose(step(column, k * row), row, step(source, k), K)
                for k in range(whole, K):
                    for j in range(U):
                        put(column, k * row + j, get(source, j * K + k))
            else:
                for k in range(K):
                    clear_vector(step(column, k * row))
                for j in range(count):
                    for k in range(K):
                        put(column, k * row + j, get(source, j * K + k))


@njit(**_UNIT)
def pack_bias(target, b_ih, b_hh, has_bias, H, form, block, width):
    """Sum of the two biases in the slots of one block; a slot that only one product fills gets only its bias."""
    U = lanes_of(target)
    G = form.gates
    for v in range(0, form.slots * width, U):
        clear_vector(step(target, v))
    if not has_bias:
        return
    count = min(width, H - block * width)
    for n in range(G):
        for j in range(count):
            at = (form.first_ih + n) * width + j
            put(target, at, get(target, at) + get(b_ih, (n + form.turn_ih) % G * H + block * width + j))
    for n in range(G):
        for j in range(count):
            at = (form.first_hh + n) * width + j
            put(target, at, get(target, at) + get(b_hh, (n + form.turn_hh) % G * H + block * width + j))


@njit(**_UNIT)
def pack_panels(target, W, N, H, G, turn, first_block, last_block, blocks, width):
    """Pack the rows of W (G*H, N) of some blocks into column panels, rows in the order [block][slot][unit]."""
    U = lanes_of(target)
    K = blocks * G * width
    n0 = 0
    while n0 < N:
        vectors = panel_vectors(N - n0, U)
        row = vectors * U
        panel = step(target, n0 * K)
        for block in range(first_block, last_block):
            count = min(width, H - block * width)
            for n in range(G):
                gate = (n + turn) % G
                for j in range(width):
                    to = step(panel, ((block * G + n) * width + j) * row)
                    for v in range(vectors):
                        left = N - n0 - v * U if j < count else 0
                        if left > 0:
                            load_part(step(to, v * U), step(W, (gate * H + block * width + j) * N + n0 + v * U), left)
                        else:
                            clear_vector(step(to, v * U))
        n0 += row
