"""Products of small matrix tiles on tensor cores, in TF32, bfloat16 or, from three TF32 products, in float32.

TF32 keeps 11 bits of each factor. Splitting a factor into ``high + low``, both TF32, keeps 22, and
``high high + high low + low high`` is then as good as a float32 product (the ``low low`` part is below its rounding).
The recurrent weights stay in registers as float32 values; their two parts are recomputed at every use (``to_tf32_here``
keeps the compiler from doing it once before the loop), because that is cheap and twice the registers are not there.

bfloat16 keeps 8 bits of each factor, of both signs and with the range of float32. A register holds two of them, and one
product covers sixteen columns instead of eight. Sums, gates, states and the gradients of all of them stay float32: only
the two factors of a recurrent product are rounded, on the way there and on the way back.
"""

from dataclasses import dataclass
from functools import cache

from numba import cuda, int32

from lstm_numba.gpu.binding import DeviceFunction, device
from lstm_numba.gpu.ptx import bits_float, float_bits, mma_bf16, mma_tf32, pack_bf16, to_tf32, to_tf32_here

PRECISIONS = ("float32", "tf32", "bfloat16")


@device
def rounded(x):
    """``x`` rounded to TF32."""
    return bits_float(to_tf32(x))


@device
def unchanged(x):
    """A weight as it is: it will be split at each use."""
    return x


@device
def weights_left_tf32(w0, w1, w2, w3, x0, x1, d0, d1, d2, d3):
    """(16, 8) tile of weights, already rounded, times (8, 8) tile of numbers, added to ``d``."""
    return mma_tf32(
        float_bits(w0), float_bits(w1), float_bits(w2), float_bits(w3), to_tf32(x0), to_tf32(x1), d0, d1, d2, d3
    )


@device
def weights_left_float32(w0, w1, w2, w3, x0, x1, d0, d1, d2, d3):
    """The same in float32 precision: the small products first."""
    a0, a1, a2, a3 = to_tf32_here(w0), to_tf32_here(w1), to_tf32_here(w2), to_tf32_here(w3)
    b0, b1 = to_tf32(x0), to_tf32(x1)
    l0, l1 = to_tf32(x0 - bits_float(b0)), to_tf32(x1 - bits_float(b1))
    d = mma_tf32(a0, a1, a2, a3, l0, l1, d0, d1, d2, d3)
    m0, m1 = to_tf32(w0 - bits_float(a0)), to_tf32(w1 - bits_float(a1))
    m2, m3 = to_tf32(w2 - bits_float(a2)), to_tf32(w3 - bits_float(a3))
    d = mma_tf32(m0, m1, m2, m3, b0, b1, d[0], d[1], d[2], d[3])
    return mma_tf32(a0, a1, a2, a3, b0, b1, d[0], d[1], d[2], d[3])


@device
def weights_right_tf32(x0, x1, x2, x3, w0, w1, d0, d1, d2, d3):
    """(16, 8) tile of numbers times (8, 8) tile of weights, already rounded, added to ``d``."""
    return mma_tf32(to_tf32(x0), to_tf32(x1), to_tf32(x2), to_tf32(x3), float_bits(w0), float_bits(w1), d0, d1, d2, d3)


@device
def weights_right_float32(x0, x1, x2, x3, w0, w1, d0, d1, d2, d3):
    """The same in float32 precision."""
    a0, a1, a2, a3 = to_tf32(x0), to_tf32(x1), to_tf32(x2), to_tf32(x3)
    b0, b1 = to_tf32_here(w0), to_tf32_here(w1)
    l0, l1 = to_tf32(w0 - bits_float(b0)), to_tf32(w1 - bits_float(b1))
    d = mma_tf32(a0, a1, a2, a3, l0, l1, d0, d1, d2, d3)
    m0, m1 = to_tf32(x0 - bits_float(a0)), to_tf32(x1 - bits_float(a1))
    m2, m3 = to_tf32(x2 - bits_float(a2)), to_tf32(x3 - bits_float(a3))
    d = mma_tf32(m0, m1, m2, m3, b0, b1, d[0], d[1], d[2], d[3])
    return mma_tf32(a0, a1, a2, a3, b0, b1, d[0], d[1], d[2], d[3])


@device
def whole_cell(d0, d1, d2, d3):
    """From a lane's part of a tile of sums to the four slots of one cell.

    The low half of the lanes holds slots 0 and 2 of two sequences, the high half slots 1 and 3. The low half keeps the
    first sequence, the high half the second; each sends what the other one needs.
    """
    low = (int32(cuda.threadIdx.x) & int32(16)) == int32(0)
    send0 = d0
    send1 = d2
    if low:
        send0 = d1
        send1 = d3
    got0 = cuda.shfl_xor_sync(0xFFFFFFFF, send0, 16)
    got1 = cuda.shfl_xor_sync(0xFFFFFFFF, send1, 16)
    z0 = got0
    z1 = d1
    z2 = got1
    z3 = d3
    if low:
        z0 = d0
        z1 = got0
        z2 = d2
        z3 = got1
    return z0, z1, z2, z3


def tools(precision: str) -> tuple[DeviceFunction, DeviceFunction, DeviceFunction]:
    """Return ``keep`` (what a weight register holds), the product with weights on the left, and on the right."""
    if precision == "float32":
        return unchanged, weights_left_float32, weights_right_float32
    return rounded, weights_left_tf32, weights_right_tf32


@dataclass(frozen=True)
class WeightTiles:
    """Weights as the left factor in the registers of a warp: 16 rows, sixteen columns at a time.

    Of each sixteen columns, a lane holds those from ``4 * quad`` to ``4 * quad + 3``, for two rows. They come in two
    pairs; pair ``q`` has the columns ``4 * quad + 2 * q`` and the next one.
    """

    registers: int  # per lane and sixteen columns
    keep: DeviceFunction  # (w, s, q, a0, b0, a1, b1): pair q of the rows a and b into w, from register s on
    load: DeviceFunction  # (R, unit, slot, column, w, s): both pairs of a forward kernel, whose rows are slots of units
    multiply: DeviceFunction  # (w, s, h, d0, d1, d2, d3): times four numbers of h, added to d


@cache
def weight_tiles(precision: str) -> WeightTiles:
    """Return how a kernel keeps weights on the left and multiplies them."""
    rounding, product, _ = tools(precision)

    @device
    def keep_single(w, s, q, a0, b0, a1, b1):
        w[s + 4 * q] = rounding(a0)
        w[s + 4 * q + 1] = rounding(b0)
        w[s + 4 * q + 2] = rounding(a1)
        w[s + 4 * q + 3] = rounding(b1)

    @device
    def multiply_single(w, s, h, d0, d1, d2, d3):
        d = product(w[s], w[s + 1], w[s + 2], w[s + 3], h[0], h[1], d0, d1, d2, d3)
        return product(w[s + 4], w[s + 5], w[s + 6], w[s + 7], h[2], h[3], d[0], d[1], d[2], d[3])

    registers, keep, multiply = 8, keep_single, multiply_single
    if precision == "bfloat16":
        registers, keep, multiply = 4, keep_bfloat16, multiply_bfloat16

    @device
    def load(R, unit, slot, column, w, s):
        for q in range(2):
            k = column + 2 * q
            keep(w, s, q, R[unit, slot, k], R[unit, slot + 2, k], R[unit, slot, k + 1], R[unit, slot + 2, k + 1])

    return WeightTiles(registers, keep, load, multiply)


@device
def keep_bfloat16(w, s, q, a0, b0, a1, b1):
    """Two neighbouring columns per register; the two rows take turns."""
    w[s + 2 * q] = bits_float(pack_bf16(a0, a1))
    w[s + 2 * q + 1] = bits_float(pack_bf16(b0, b1))


@device
def multiply_bfloat16(w, s, h, d0, d1, d2, d3):
    """One product of sixteen columns."""
    return mma_bf16(
        float_bits(w[s]), float_bits(w[s + 1]), float_bits(w[s + 2]), float_bits(w[s + 3]),
        pack_bf16(h[0], h[1]), pack_bf16(h[2], h[3]), d0, d1, d2, d3,
    )  # fmt: skip


@dataclass(frozen=True)
class RightTiles:
    """Weights as the right factor: sixteen rows at a time, eight columns; a lane holds four rows of one column."""

    registers: int  # per lane and sixteen rows
    keep: DeviceFunction  # (w, s, q, w0, w1): pair q of the lane's rows into w, from register s on
    multiply: DeviceFunction  # (w, s, x, y, d0, d1, d2, d3): four numbers each of two rows, times weights, added to d


@cache
def right_tiles(precision: str) -> RightTiles:
    """Return how a kernel keeps weights on the right and multiplies by them."""
    if precision == "bfloat16":
        return RightTiles(2, keep_right_bfloat16, multiply_right_bfloat16)
    rounding, _, product = tools(precision)

    @device
    def keep(w, s, q, w0, w1):
        w[s + 2 * q] = rounding(w0)
        w[s + 2 * q + 1] = rounding(w1)

    @device
    def multiply(w, s, x, y, d0, d1, d2, d3):
        d = product(x[0], y[0], x[1], y[1], w[s], w[s + 1], d0, d1, d2, d3)
        return product(x[2], y[2], x[3], y[3], w[s + 2], w[s + 3], d[0], d[1], d[2], d[3])

    return RightTiles(4, keep, multiply)


@device
def keep_right_bfloat16(w, s, q, w0, w1):
    """Two neighbouring rows per register."""
    w[s + q] = bits_float(pack_bf16(w0, w1))


@device
def multiply_right_bfloat16(w, s, x, y, d0, d1, d2, d3):
    """One product of sixteen rows of weights."""
    return mma_bf16(
        pack_bf16(x[0], x[1]), pack_bf16(y[0], y[1]), pack_bf16(x[2], x[3]), pack_bf16(y[2], y[3]),
        float_bits(w[s]), float_bits(w[s + 1]), d0, d1, d2, d3,
    )  # fmt: skip
