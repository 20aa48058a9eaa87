"""Family ``steps``: one launch per time step, for any size, float32 and float64, on any supported chip.

The launch is the barrier; :mod:`lstm_numba.gpu.graphs` does all launches of a pass in one call. A block computes 16
units of 16 sequences: it walks along the product in pieces of 16 columns that all its threads load together into shared
memory, and each thread then finishes its own cell.
"""

from functools import cache

from numba import cuda, float32, float64, int32

from lstm_numba.gpu.binding import Kernel
from lstm_numba.gpu.cells import cell

TILE = 16
THREADS = TILE * TILE
_PITCH = TILE + 1  # a column of the tile then touches 16 different banks
_TILE_SIZE = TILE * _PITCH
_FOUR_TILES = 4 * _TILE_SIZE


@cache
def forward(name: str, dtype: str) -> Kernel:
    """Make the kernel of one forward step."""
    step = cell(name, dtype).step
    number = float32 if dtype == "float32" else float64

    # carry, hidden (B,H) are updated; grid = ceil(H/16) * ceil(B/16) blocks
    def step_forward(gx, R, lengths, carry, hs, cs, saved, B, H, t, before, after, training):
        rows = cuda.shared.array(_TILE_SIZE, number)
        weights = cuda.shared.array(_FOUR_TILES, number)
        thread = int32(cuda.threadIdx.x)
        across = (H + int32(TILE - 1)) // int32(TILE)
        block_row = int32(cuda.blockIdx.x) // across
        block_unit = int32(cuda.blockIdx.x) - block_row * across
        n = thread // int32(TILE)
        u = thread - n * int32(TILE)
        b = block_row * int32(TILE) + n
        unit = block_unit * int32(TILE) + u
        z0 = number(0)
        z1 = number(0)
        z2 = number(0)
        z3 = number(0)
        for first in range(0, H, TILE):
            k = first + u
            value = number(0)
            if b < B and k < H:
                value = hs[before, b, k]
            rows[n * _PITCH + u] = value
            row_unit = block_unit * int32(TILE) + n
            for slot in range(4):
                value = number(0)
                if row_unit < H and k < H:
                    value = R[row_unit, slot, k]
                weights[slot * _TILE_SIZE + n * _PITCH + u] = value
            cuda.syncthreads()
            for q in range(TILE):
                h = rows[n * _PITCH + q]
                z0 += h * weights[u * _PITCH + q]
                z1 += h * weights[_TILE_SIZE + u * _PITCH + q]
                z2 += h * weights[2 * _TILE_SIZE + u * _PITCH + q]
                z3 += h * weights[3 * _TILE_SIZE + u * _PITCH + q]
            cuda.syncthreads()
        if b < B and unit < H:
            h = hs[before, b, unit]
            c = carry[b, unit]
            if t < lengths[b]:
                s0, s1, s2, s3, c, h = step(
                    z0 + gx[t, b, unit, 0], z1 + gx[t, b, unit, 1], z2 + gx[t, b, unit, 2], z3 + gx[t, b, unit, 3], c
                )
                carry[b, unit] = c
                if training != 0:
                    saved[t, b, unit, 0] = s0
                    saved[t, b, unit, 1] = s1
                    saved[t, b, unit, 2] = s2
                    saved[t, b, unit, 3] = s3
            hs[after, b, unit] = h
            if training != 0:
                cs[after, b, unit] = c

    return Kernel(
        name=f"{name}_steps_forward_{dtype}",
        function=step_forward,
        threads=THREADS,
        signature=(4, 3, "i1", 2, 3, 3, 4, "i", "i", "i", "i", "i", "i"),
        dtype=dtype,
        rows=TILE,
    )


@cache
def backward(name: str, dtype: str) -> Kernel:
    """Make the kernel of one backward step: the product of the step after it, then the cells of this one."""
    step_grad = cell(name, dtype).step_grad
    number = float32 if dtype == "float32" else float64

    # dh, dcarry (B,H) hold what reaches the state from later steps. `later` is the step whose dz is multiplied first,
    # or -1; `t` is the step whose cells are done then, or -1.
    def step_backward(saved, cs, R, dy, lengths, dgx, dh, dcarry, B, H, later, t, before, after):
        grads = cuda.shared.array(_TILE_SIZE, number)
        weights = cuda.shared.array(_TILE_SIZE, number)
        thread = int32(cuda.threadIdx.x)
        across = (H + int32(TILE - 1)) // int32(TILE)
        block_row = int32(cuda.blockIdx.x) // across
        block_unit = int32(cuda.blockIdx.x) - block_row * across
        n = thread // int32(TILE)
        u = thread - n * int32(TILE)
        b = block_row * int32(TILE) + n
        unit = block_unit * int32(TILE) + u
        total = number(0)
        if later >= 0:
            for first in range(0, 4 * H, TILE):
                k = first + u
                value = number(0)
                if b < B and k < 4 * H:
                    value = dgx[later, b, k >> 2, k & 3]
                grads[n * _PITCH + u] = value
                row = first + n
                value = number(0)
                if row < 4 * H and unit < H:
                    value = R[row >> 2, row & 3, unit]
                weights[n * _PITCH + u] = value
                cuda.syncthreads()
                for q in range(TILE):
                    total += grads[n * _PITCH + q] * weights[q * _PITCH + u]
                cuda.syncthreads()
        if b < B and unit < H:
            # A sequence that had ended at `later` passed its dh on unchanged, and its dz were zero.
            if later < 0 or later >= lengths[b]:
                total += dh[b, unit]
            if t >= 0:
                z0 = number(0)
                z1 = number(0)
                z2 = number(0)
                z3 = number(0)
                if t < lengths[b]:
                    z0, z1, z2, z3, dc = step_grad(
                        total + dy[t, b, unit],
                        dcarry[b, unit],
                        saved[t, b, unit, 0],
                        saved[t, b, unit, 1],
                        saved[t, b, unit, 2],
                        saved[t, b, unit, 3],
                        cs[before, b, unit],
                        cs[after, b, unit],
                    )
                    dcarry[b, unit] = dc
                dgx[t, b, unit, 0] = z0
                dgx[t, b, unit, 1] = z1
                dgx[t, b, unit, 2] = z2
                dgx[t, b, unit, 3] = z3
            dh[b, unit] = total

    return Kernel(
        name=f"{name}_steps_backward_{dtype}",
        function=step_backward,
        threads=THREADS,
        signature=(4, 3, 3, 3, "i1", 4, 2, 2, "i", "i", "i", "i", "i", "i"),
        dtype=dtype,
        rows=TILE,
    )
