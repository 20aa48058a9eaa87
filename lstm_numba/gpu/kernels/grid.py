"""Family ``grid``: a group of blocks without a cluster shares a slice of the batch; messages go through global memory.

For more units than a cluster's registers can hold. All blocks of a launch must be resident at once, because they wait
for each other; the kernels are therefore marked for a cooperative launch, which the driver refuses if they do not fit.

**Waiting.** Each block adds 1 to its group's counter after a step and spins until the counter shows that all have done
so. The counter only ever rises, so it needs no reset between steps. Adding has *release*, reading *acquire* semantics:
what a block wrote before it counted is visible to everyone who has seen the count.

**Forward** is the cluster kernel with ``h`` read back from its own output. **Backward** gathers instead of scatters:
``dz`` is an output anyway, every block reads the ``dz`` of its slice for all units and multiplies it by the columns
of the recurrent weights of its own units. Sixteen sequences are the rows of a tile, eight units its columns.
"""

from functools import cache

from numba import cuda, float32, int32, int64, uint32

from lstm_numba.gpu.binding import Kernel, device
from lstm_numba.gpu.cells import cell
from lstm_numba.gpu.kernels.fragments import right_tiles, weight_tiles, whole_cell
from lstm_numba.gpu.ptx import (
    add_release,
    cooperative,
    element_address,
    load4_constant,
    load4_l2,
    load4_shared,
    load_acquire,
    shared_address,
    store4_global,
    store4_shared,
)

COUNTER_PITCH = 32  # counters are this many words apart: one per 128-byte line


@device
def wait_for_team(counters, team, wanted):
    """Count this block, and wait until the team's counter shows ``wanted``."""
    cuda.syncthreads()  # what the other threads of the block wrote is counted too
    if int32(cuda.threadIdx.x) == int32(0):
        add_release(element_address(counters, int64(team) * COUNTER_PITCH), uint32(1))
        while load_acquire(element_address(counters, int64(team) * COUNTER_PITCH)) < wanted:
            pass
    cuda.syncthreads()


@cache
def forward(name: str, H: int, blocks: int, tiles: int, split: int, precision: str) -> Kernel:
    """Make the forward kernel: ``blocks`` per group, ``8 * tiles`` sequences, the product split ``split`` ways."""
    step = cell(name, "float32").step
    weights = weight_tiles(precision)
    REGISTERS, load, multiply = weights.registers, weights.load, weights.multiply
    UNITS = H // blocks
    QUADS = UNITS // 4  # tiles of four units
    WARPS = QUADS * split
    THREADS = 32 * WARPS
    DEPTH = H // split  # columns of the product per warp
    PAIRS = DEPTH // 16
    WEIGHTS = REGISTERS * PAIRS
    ROWS = 8 * tiles
    PITCH = H + 4
    BUFFER = ROWS * PITCH
    SUMS = 4 * tiles
    FOURS = H // 4
    LOADS = ROWS * FOURS
    SHARED_SUMS = WARPS * SUMS * 32

    def grid_forward(gx, R, h0, c0, lengths, hs, cs, saved, cn, counters, T, B, first, reverse, training):
        cooperative()
        buffer = cuda.shared.array(BUFFER, float32)
        sums = cuda.shared.array(SHARED_SUMS, float32)
        thread = int32(cuda.threadIdx.x)
        warp = thread >> int32(5)
        lane = thread & int32(31)
        group = lane >> int32(2)
        quad = lane & int32(3)
        tile = warp // int32(split)
        share = warp - tile * int32(split)
        team = int32(cuda.blockIdx.x) // int32(blocks)
        rank = int32(cuda.blockIdx.x) - team * int32(blocks)
        first_row = first + team * int32(ROWS)
        first_unit = rank * int32(UNITS) + tile * int32(4)

        w = cuda.local.array(WEIGHTS, float32)
        unit = first_unit + (group & int32(3))
        slot = group >> int32(2)
        for p in range(PAIRS):
            load(R, unit, slot, share * int32(DEPTH) + p * 16 + 4 * quad, w, REGISTERS * p)

        column = 2 * quad + (group >> int32(2))
        carry = cuda.local.array(tiles, float32)
        hidden = cuda.local.array(tiles, float32)
        length = cuda.local.array(tiles, int32)
        for j in range(tiles):
            b = first_row + int32(8 * j) + column
            carry[j] = float32(0)
            hidden[j] = float32(0)
            length[j] = int32(0)
            if b < B:
                carry[j] = c0[b, unit]
                hidden[j] = h0[b, unit]
                length[j] = lengths[b]
                start = int32(0)
                if reverse != 0:
                    start = T
                if share == int32(j % split):  # the warp that also computes this tile's cells
                    hs[start, b, unit] = hidden[j]
                    if training != 0:
                        cs[start, b, unit] = carry[j]
        total = cuda.local.array(SUMS, float32)
        base = shared_address(buffer)
        for s in range(T):
            t = s
            before = s
            after = s + int32(1)
            if reverse != 0:
                t = T - int32(1) - s
                before = t + int32(1)
                after = t
            # h of the slice, all units, into shared memory
            for e in range(thread, LOADS, THREADS):
                n = e // int32(FOURS)
                k4 = (e - n * int32(FOURS)) * int32(4)
                b = first_row + n
                place = base + uint32(4) * uint32(n * int32(PITCH) + k4)
                if b < B:
                    if s == 0:
                        v = load4_l2(element_address(h0, int64(b) * H + k4))
                    else:
                        v = load4_l2(element_address(hs, (int64(before) * B + b) * H + k4))
                    store4_shared(place, v[0], v[1], v[2], v[3])
                else:
                    zero = float32(0)
                    store4_shared(place, zero, zero, zero, zero)
            cuda.syncthreads()
            for j in range(SUMS):
                total[j] = float32(0)
            for p in range(PAIRS):
                for j in range(tiles):
                    place = (int32(8 * j) + group) * int32(PITCH) + share * int32(DEPTH) + int32(16 * p) + 4 * quad
                    h = load4_shared(base + uint32(4) * uint32(place))
                    d = multiply(
                        w, REGISTERS * p, h, total[4 * j], total[4 * j + 1], total[4 * j + 2], total[4 * j + 3]
                    )
                    total[4 * j] = d[0]
                    total[4 * j + 1] = d[1]
                    total[4 * j + 2] = d[2]
                    total[4 * j + 3] = d[3]
            # the warps of a tile add their shares
            for j in range(SUMS):
                sums[((tile * int32(split) + share) * int32(SUMS) + j) * int32(32) + lane] = total[j]
            cuda.syncthreads()
            for j in range(SUMS):
                value = float32(0)
                for r in range(split):
                    value += sums[((tile * int32(split) + r) * int32(SUMS) + j) * int32(32) + lane]
                total[j] = value
            for j in range(tiles):
                if share == int32(j % split):
                    z0, z1, z2, z3 = whole_cell(total[4 * j], total[4 * j + 1], total[4 * j + 2], total[4 * j + 3])
                    b = first_row + int32(8 * j) + column
                    if b < B:
                        if t < length[j]:
                            x = load4_constant(element_address(gx, ((int64(t) * B + b) * H + unit) * 4))
                            done = step(z0 + x[0], z1 + x[1], z2 + x[2], z3 + x[3], carry[j])
                            carry[j] = done[4]
                            hidden[j] = done[5]
                            if training != 0:
                                store4_global(
                                    element_address(saved, ((int64(t) * B + b) * H + unit) * 4),
                                    done[0], done[1], done[2], done[3],
                                )  # fmt: skip
                        hs[after, b, unit] = hidden[j]
                        if training != 0:
                            cs[after, b, unit] = carry[j]
            wait_for_team(counters, team, uint32(s + int32(1)) * uint32(blocks))
        for j in range(tiles):
            b = first_row + int32(8 * j) + column
            if b < B and share == int32(j % split):
                cn[b, unit] = carry[j]

    return Kernel(
        name=f"{name}_grid_forward_h{H}_{blocks}x{ROWS}_{precision}",
        function=grid_forward,
        threads=THREADS,
        signature=(4, 3, 2, 2, "i1", 3, 3, 4, 2, "u1", "i", "i", "i", "i", "i"),
        cooperative=True,
        rows=ROWS,
    )


@cache
def backward(name: str, H: int, blocks: int, precision: str, warps: int = 8) -> Kernel:
    """Make the backward kernel: ``blocks`` per group, 16 sequences, the product split over all ``warps``."""
    step_grad = cell(name, "float32").step_grad
    weights = right_tiles(precision)
    REGISTERS, keep, multiply = weights.registers, weights.keep, weights.multiply
    UNITS = H // blocks
    TILES = UNITS // 8
    THREADS = 32 * warps
    DEPTH = 4 * H // warps
    PAIRS = DEPTH // 16
    WEIGHTS = TILES * PAIRS * REGISTERS
    ROWS = 16
    CELLS = ROWS * UNITS
    SUMS = 4 * TILES
    SHARED_SUMS = warps * SUMS * 32
    if CELLS > THREADS:
        raise ValueError(f"blocks: {UNITS} units per block are more than {THREADS} threads can own")

    def grid_backward(saved, cs, R, dy, dhn, dcn, lengths, dgx, dh0, dc0, counters, T, B, first, reverse):
        cooperative()
        sums = cuda.shared.array(SHARED_SUMS, float32)
        thread = int32(cuda.threadIdx.x)
        warp = thread >> int32(5)
        lane = thread & int32(31)
        group = lane >> int32(2)
        quad = lane & int32(3)
        team = int32(cuda.blockIdx.x) // int32(blocks)
        rank = int32(cuda.blockIdx.x) - team * int32(blocks)
        first_row = first + team * int32(ROWS)

        # Weights on the right: rows are all gate rows (unit-major), columns the units of this block.
        w = cuda.local.array(WEIGHTS, float32)
        for m in range(TILES):
            target = rank * int32(UNITS) + int32(8 * m) + group
            for p in range(PAIRS):
                for q in range(2):
                    k = warp * int32(DEPTH) + p * 16 + 4 * quad + 2 * q
                    keep(w, (m * PAIRS + p) * REGISTERS, q, R[k >> 2, k & 3, target], R[k >> 2, (k + 1) & 3, target])

        # A thread owns at most one cell, and knows where its eight partial sums will be.
        n = thread // int32(UNITS)
        u = thread - n * int32(UNITS)
        b = first_row + n
        mine = n < int32(ROWS) and b < B
        unit = rank * int32(UNITS) + u
        owner = (n & int32(7)) * int32(4) + ((u & int32(7)) >> int32(1))
        register = (u >> int32(3)) * int32(4) + (u & int32(1)) + int32(2) * (n >> int32(3))
        dh = float32(0)
        dcarry = float32(0)
        if mine:
            dh = dhn[b, unit]
            dcarry = dcn[b, unit]
        total = cuda.local.array(SUMS, float32)
        for s in range(T):
            t = T - int32(1) - s
            before = t
            after = t + int32(1)
            if reverse != 0:
                t = s
                before = t + int32(1)
                after = t
            kept = float32(0)
            if mine:
                z0 = float32(0)
                z1 = float32(0)
                z2 = float32(0)
                z3 = float32(0)
                place = (int64(t) * B + b) * H + unit
                if t < lengths[b]:
                    v = load4_constant(element_address(saved, place * 4))
                    d = step_grad(
                        dh + dy[t, b, unit], dcarry, v[0], v[1], v[2], v[3], cs[before, b, unit], cs[after, b, unit]
                    )
                    z0 = d[0]
                    z1 = d[1]
                    z2 = d[2]
                    z3 = d[3]
                    dcarry = d[4]
                else:
                    kept = dh
                store4_global(element_address(dgx, place * 4), z0, z1, z2, z3)
            wait_for_team(counters, team, uint32(s + int32(1)) * uint32(blocks))
            for j in range(SUMS):
                total[j] = float32(0)
            # Rows beyond the batch read the last row instead: a row of a product depends on no other row.
            row_x = int64(t) * B + min(first_row + group, B - int32(1))
            row_y = int64(t) * B + min(first_row + group + int32(8), B - int32(1))
            for p in range(PAIRS):
                k = warp * int32(DEPTH) + int32(16 * p) + 4 * quad
                x = load4_l2(element_address(dgx, row_x * (4 * H) + k))
                y = load4_l2(element_address(dgx, row_y * (4 * H) + k))
                for m in range(TILES):
                    a = 4 * m
                    d4 = multiply(
                        w, (m * PAIRS + p) * REGISTERS, x, y, total[a], total[a + 1], total[a + 2], total[a + 3]
                    )
                    total[a] = d4[0]
                    total[a + 1] = d4[1]
                    total[a + 2] = d4[2]
                    total[a + 3] = d4[3]
            for j in range(SUMS):
                sums[(warp * int32(SUMS) + j) * int32(32) + lane] = total[j]
            cuda.syncthreads()
            if mine:
                dh = kept
                for r in range(warps):
                    dh += sums[(int32(r) * int32(SUMS) + register) * int32(32) + owner]
        if mine:
            dh0[b, unit] = dh
            dc0[b, unit] = dcarry

    return Kernel(
        name=f"{name}_grid_backward_h{H}_{blocks}x{ROWS}_{precision}",
        function=grid_backward,
        threads=THREADS,
        signature=(4, 3, 3, 3, 2, 2, "i1", 4, 2, 2, "u1", "i", "i", "i", "i"),
        cooperative=True,
        rows=ROWS,
    )
