"""Families ``block`` and ``cluster``: one block, or one cluster of blocks, per slice of the batch, for all steps.

The recurrent weights are read once and stay in registers. Sequences do not depend on each other, so every slice of 8
or 16 sequences gets its own blocks, and nothing but ``h`` of the slice is exchanged at a step: through shared memory in
a block, through distributed shared memory in a cluster.

**Forward.** A block owns ``units = H / blocks`` hidden units, a warp four of them. The four slots of four units are
the 16 rows of a tensor core tile, in the order slot-major, so that lanes ``l`` and ``l ^ 16`` hold all slots of two
cells between them: two shuffles later each lane has one complete cell per tile, and its carry never leaves a register.

**Backward.** A block computes ``dz`` of its own units and multiplies it by its own rows of the recurrent weights.
That gives a part of ``dh`` for every unit; the parts are sent to the owners, who add them (a reduce-scatter).

The columns of a product may be permuted if both factors are. They are permuted such that a lane reads 16 neighbouring
bytes for two steps of the product.
"""

from functools import cache

from numba import cuda, float32, int32, int64, uint32

from lstm_numba.gpu.binding import Kernel
from lstm_numba.gpu.cells import cell
from lstm_numba.gpu.kernels.fragments import weight_tiles, whole_cell
from lstm_numba.gpu.ptx import (
    cluster_arrive,
    cluster_rank,
    cluster_size,
    cluster_wait,
    element_address,
    load4_constant,
    load4_shared,
    remote_address,
    shared_address,
    store4_global,
    store4_shared,
    store_remote,
)


@cache
def forward(name: str, H: int, blocks: int, tiles: int, precision: str) -> Kernel:
    """Make the forward kernel of a cell for ``H`` units, ``blocks`` per cluster and ``8 * tiles`` sequences."""
    step = cell(name, "float32").step
    weights = weight_tiles(precision)
    REGISTERS, load, multiply = weights.registers, weights.load, weights.multiply
    UNITS = H // blocks
    WARPS = UNITS // 4
    THREADS = 32 * WARPS
    PAIRS = H // 16  # two steps of eight columns each
    ROWS = 8 * tiles
    PITCH = H + 4  # rows of h are padded so that 128-bit reads of eight rows touch different banks
    HALF = ROWS * PITCH
    BUFFER = 2 * HALF
    WEIGHTS = REGISTERS * PAIRS
    SUMS = 4 * tiles
    CLUSTERED = blocks > 1

    # gx (T,B,H,4) input part of the pre-activations; R (H,4,H) weights by unit, slot, source; h0, c0, cn (B,H);
    # hs, cs (T+1,B,H) and saved (T,B,H,4) are written; `reverse` runs from the last step to the first
    def slice_forward(gx, R, h0, c0, lengths, hs, cs, saved, cn, T, B, reverse, training):
        if CLUSTERED:
            cluster_size(blocks)
        buffer = cuda.shared.array(BUFFER, float32)
        thread = int32(cuda.threadIdx.x)
        warp = thread >> int32(5)
        lane = thread & int32(31)
        group = lane >> int32(2)  # row of a fragment
        quad = lane & int32(3)  # column of a fragment
        rank = int32(0)
        if CLUSTERED:
            rank = int32(cluster_rank())
        first_row = int32(cuda.blockIdx.x) // int32(blocks) * int32(ROWS)
        first_unit = rank * int32(UNITS) + warp * int32(4)

        # Weights into registers. Rows 0-3 of the tile are slot 0 of the warp's four units, 4-7 slot 1, and so on.
        w = cuda.local.array(WEIGHTS, float32)
        unit = first_unit + (group & int32(3))
        slot = group >> int32(2)
        for p in range(PAIRS):
            load(R, unit, slot, p * 16 + 4 * quad, w, REGISTERS * p)

        for e in range(thread, ROWS * H, THREADS):
            n = e // int32(H)
            k2 = e - n * int32(H)
            value = float32(0)
            if first_row + n < B:
                value = h0[first_row + n, k2]
            buffer[n * int32(PITCH) + k2] = value

        # This lane owns one cell per tile: unit `unit`, sequence `first_row + 8 j + column`.
        column = 2 * quad + (group >> int32(2))
        carry = cuda.local.array(tiles, float32)
        hidden = cuda.local.array(tiles, float32)
        length = cuda.local.array(tiles, int32)
        x = cuda.local.array(SUMS, float32)
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
                t = int32(0)
                if reverse != 0:
                    start = T
                    t = T - int32(1)
                hs[start, b, unit] = hidden[j]
                if training != 0:
                    cs[start, b, unit] = carry[j]
                v = load4_constant(element_address(gx, ((int64(t) * B + b) * H + unit) * 4))
                x[4 * j] = v[0]
                x[4 * j + 1] = v[1]
                x[4 * j + 2] = v[2]
                x[4 * j + 3] = v[3]
        total = cuda.local.array(SUMS, float32)
        base = shared_address(buffer)
        if CLUSTERED:
            cluster_arrive()
            cluster_wait()
        else:
            cuda.syncthreads()

        for s in range(T):
            t = s
            after = s + int32(1)
            following = s + int32(1)
            if reverse != 0:
                t = T - int32(1) - s
                after = t
                following = t - int32(1)
            read = (s & int32(1)) * int32(HALF)
            write = int32(HALF) - read
            for j in range(SUMS):
                total[j] = float32(0)
            for p in range(PAIRS):
                for j in range(tiles):
                    row = (int32(8 * j) + group) * int32(PITCH)
                    h = load4_shared(base + uint32(4) * uint32(read + row + int32(16 * p) + 4 * quad))
                    d = multiply(
                        w, REGISTERS * p, h, total[4 * j], total[4 * j + 1], total[4 * j + 2], total[4 * j + 3]
                    )
                    total[4 * j] = d[0]
                    total[4 * j + 1] = d[1]
                    total[4 * j + 2] = d[2]
                    total[4 * j + 3] = d[3]
            for j in range(tiles):
                z0, z1, z2, z3 = whole_cell(total[4 * j], total[4 * j + 1], total[4 * j + 2], total[4 * j + 3])
                b = first_row + int32(8 * j) + column
                if b < B:
                    if t < length[j]:
                        done = step(z0 + x[4 * j], z1 + x[4 * j + 1], z2 + x[4 * j + 2], z3 + x[4 * j + 3], carry[j])
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
                    if s + int32(1) < T:  # on its way during the barrier
                        v = load4_constant(element_address(gx, ((int64(following) * B + b) * H + unit) * 4))
                        x[4 * j] = v[0]
                        x[4 * j + 1] = v[1]
                        x[4 * j + 2] = v[2]
                        x[4 * j + 3] = v[3]
                place = write + (int32(8 * j) + column) * int32(PITCH) + unit
                if CLUSTERED:
                    for r in range(blocks):
                        store_remote(remote_address(base + uint32(4) * uint32(place), uint32(r)), hidden[j])
                else:
                    buffer[place] = hidden[j]
            if CLUSTERED:
                cluster_arrive()
                cluster_wait()
            else:
                cuda.syncthreads()
        for j in range(tiles):
            b = first_row + int32(8 * j) + column
            if b < B:
                cn[b, unit] = carry[j]

    family = "cluster" if CLUSTERED else "block"
    return Kernel(
        name=f"{name}_{family}_forward_h{H}_{blocks}x{ROWS}_{precision}",
        function=slice_forward,
        threads=THREADS,
        signature=(4, 3, 2, 2, "i1", 3, 3, 4, 2, "i", "i", "i", "i"),
        cluster=blocks,
        rows=ROWS,
    )


@cache
def backward(name: str, H: int, blocks: int, tiles: int, warps: int, split: int, precision: str) -> Kernel:
    """Make the backward kernel: ``warps * split`` warps per destination block, the product split ``split`` ways."""
    step_grad = cell(name, "float32").step_grad
    weights = weight_tiles(precision)
    REGISTERS, keep, multiply = weights.registers, weights.keep, weights.multiply
    UNITS = H // blocks
    INNER = 4 * UNITS  # own gate rows, unit-major
    WARPS = blocks * warps * split
    THREADS = 32 * WARPS
    MINE = UNITS // 16 // warps  # tiles of 16 units per warp
    PAIRS = INNER // 16 // split
    WEIGHTS = MINE * PAIRS * REGISTERS
    ROWS = 8 * tiles
    PITCH = INNER + 4
    GRADS = ROWS * PITCH
    SOURCES = blocks * split
    PART = ROWS * UNITS
    HALF = SOURCES * PART
    PARTS = 2 * HALF
    SUMS = 4 * tiles * MINE
    CELLS = (PART + THREADS - 1) // THREADS  # cells per thread
    CLUSTERED = blocks > 1

    # saved (T,B,H,4), cs (T+1,B,H), R (H,4,H), dy (T,B,H), dhn, dcn (B,H) are read; dgx (T,B,H,4), dh0, dc0 written
    def slice_backward(saved, cs, R, dy, dhn, dcn, lengths, dgx, dh0, dc0, T, B, reverse):
        if CLUSTERED:
            cluster_size(blocks)
        grads = cuda.shared.array(GRADS, float32)
        parts = cuda.shared.array(PARTS, float32)
        thread = int32(cuda.threadIdx.x)
        warp = thread >> int32(5)
        lane = thread & int32(31)
        group = lane >> int32(2)
        quad = lane & int32(3)
        rank = int32(0)
        if CLUSTERED:
            rank = int32(cluster_rank())
        first_row = int32(cuda.blockIdx.x) // int32(blocks) * int32(ROWS)
        destination = warp // int32(warps * split)
        inside = warp - destination * int32(warps * split)
        section = inside // int32(split)
        share = inside - section * int32(split)

        # Weights transposed: rows of the tile are units of the step before, columns are own gate rows.
        w = cuda.local.array(WEIGHTS, float32)
        for m in range(MINE):
            target = destination * int32(UNITS) + (section * int32(MINE) + m) * int32(16) + group
            for p in range(PAIRS):
                for q in range(2):
                    k = (share * int32(PAIRS) + p) * 16 + 4 * quad + 2 * q
                    source = rank * int32(UNITS) + (k >> 2)
                    slot = k & 3
                    other = (k + 1) & 3  # k is even: k + 1 is a slot of the same unit
                    keep(
                        w, (m * PAIRS + p) * REGISTERS, q,
                        R[source, slot, target], R[source, slot, target + 8],
                        R[source, other, target], R[source, other, target + 8],
                    )  # fmt: skip

        dcarry = cuda.local.array(CELLS, float32)
        kept = cuda.local.array(CELLS, float32)  # dh of a finished sequence passes through unchanged
        for e in range(thread, PARTS, THREADS):
            parts[e] = float32(0)
        cuda.syncthreads()
        for e in range(CELLS):
            place = thread + e * int32(THREADS)
            n = place // int32(UNITS)
            u = place - n * int32(UNITS)
            b = first_row + n
            dcarry[e] = float32(0)
            kept[e] = float32(0)
            if n < int32(ROWS) and b < B:
                dcarry[e] = dcn[b, rank * int32(UNITS) + u]
                kept[e] = dhn[b, rank * int32(UNITS) + u]
        total = cuda.local.array(SUMS, float32)
        grads_base = shared_address(grads)
        parts_base = shared_address(parts)
        if CLUSTERED:
            cluster_arrive()
            cluster_wait()
        else:
            cuda.syncthreads()

        for s in range(T):
            t = T - int32(1) - s
            before = t
            after = t + int32(1)
            if reverse != 0:
                t = s
                before = t + int32(1)
                after = t
            read = (s & int32(1)) * int32(HALF)
            write = int32(HALF) - read
            for e in range(CELLS):
                place = thread + e * int32(THREADS)
                n = place // int32(UNITS)
                u = place - n * int32(UNITS)
                b = first_row + n
                if n < int32(ROWS):
                    z0 = float32(0)
                    z1 = float32(0)
                    z2 = float32(0)
                    z3 = float32(0)
                    if b < B:
                        unit = rank * int32(UNITS) + u
                        dh = kept[e]
                        kept[e] = float32(0)
                        for r in range(SOURCES):
                            dh += parts[read + r * int32(PART) + n * int32(UNITS) + u]
                        cell_index = (int64(t) * B + b) * H + unit
                        if t < lengths[b]:
                            v = load4_constant(element_address(saved, cell_index * 4))
                            dh += dy[t, b, unit]
                            d = step_grad(
                                dh, dcarry[e], v[0], v[1], v[2], v[3], cs[before, b, unit], cs[after, b, unit]
                            )
                            z0 = d[0]
                            z1 = d[1]
                            z2 = d[2]
                            z3 = d[3]
                            dcarry[e] = d[4]
                        else:
                            kept[e] = dh
                        store4_global(element_address(dgx, cell_index * 4), z0, z1, z2, z3)
                    store4_shared(grads_base + uint32(4) * uint32(n * int32(PITCH) + int32(4) * u), z0, z1, z2, z3)
            cuda.syncthreads()
            for j in range(SUMS):
                total[j] = float32(0)
            for p in range(PAIRS):
                for j in range(tiles):
                    row = (int32(8 * j) + group) * int32(PITCH)
                    column = (share * int32(PAIRS) + int32(p)) * int32(16) + 4 * quad
                    g = load4_shared(grads_base + uint32(4) * uint32(row + column))
                    for m in range(MINE):
                        a = 4 * (m * tiles + j)
                        d4 = multiply(
                            w, (m * PAIRS + p) * REGISTERS, g, total[a], total[a + 1], total[a + 2], total[a + 3]
                        )
                        total[a] = d4[0]
                        total[a + 1] = d4[1]
                        total[a + 2] = d4[2]
                        total[a + 3] = d4[3]
            for m in range(MINE):
                for j in range(tiles):
                    a = 4 * (m * tiles + j)
                    u = (section * int32(MINE) + m) * int32(16) + group
                    for q in range(4):
                        n = int32(8 * j) + 2 * quad + (q & 1)
                        place = write + (rank * int32(split) + share) * int32(PART) + n * int32(UNITS) + u
                        place += int32(8) * (q >> 1)
                        if CLUSTERED:
                            address = remote_address(parts_base + uint32(4) * uint32(place), uint32(destination))
                            store_remote(address, total[a + q])
                        else:
                            parts[place] = total[a + q]
            if CLUSTERED:
                cluster_arrive()
                cluster_wait()
            else:
                cuda.syncthreads()

        read = (T & int32(1)) * int32(HALF)
        for e in range(CELLS):
            place = thread + e * int32(THREADS)
            n = place // int32(UNITS)
            u = place - n * int32(UNITS)
            b = first_row + n
            if n < int32(ROWS) and b < B:
                dh = kept[e]
                for r in range(SOURCES):
                    dh += parts[read + r * int32(PART) + n * int32(UNITS) + u]
                dh0[b, rank * int32(UNITS) + u] = dh
                dc0[b, rank * int32(UNITS) + u] = dcarry[e]

    family = "cluster" if CLUSTERED else "block"
    return Kernel(
        name=f"{name}_{family}_backward_h{H}_{blocks}x{ROWS}_{precision}",
        function=slice_backward,
        threads=THREADS,
        signature=(4, 3, 3, 3, 2, 2, "i1", 4, 2, 2, "i", "i", "i"),
        cluster=blocks,
        rows=ROWS,
    )
