"""Everything around the recurrence: matrix products over all steps at once, and moving weights and states in place.

Arrays are flat here and come with an offset and strides, so that one kernel serves every transposition, padding and
slice.
"""

from functools import cache

import numpy as np
from numba import cuda, float32, float64, int32, int64

from lstm_numba.gpu.binding import Kernel

TILE = 64  # rows and columns of the result per block
DEPTH = 16  # columns of the product at a time
THREADS = 256
_PITCH = TILE + 1
_SHARED = DEPTH * _PITCH
COPY_THREADS = 256


@cache
def matmul(dtype: str) -> Kernel:
    """Make ``C[part] = A[:, part] @ B[part, :] (+ bias)``, the product cut into ``parts`` that are summed later.

    A block computes 64 x 64 numbers of one part, a thread 4 x 4 of them in registers.
    """
    number = float32 if dtype == "float32" else float64

    def tiled_matmul(A, a_row, a_column, B, b_row, b_column, bias, has_bias, C, M, N, K, part_length):
        left = cuda.shared.array(_SHARED, number)
        right = cuda.shared.array(_SHARED, number)
        sums = cuda.local.array(16, number)
        thread = int32(cuda.threadIdx.x)
        across = (N + int64(TILE - 1)) // int64(TILE)
        down = (M + int64(TILE - 1)) // int64(TILE)
        index = int64(cuda.blockIdx.x)
        part = index // (across * down)
        index -= part * across * down
        first_row = index // across * int64(TILE)
        first_column = (index - index // across * across) * int64(TILE)
        row = thread // int32(16)
        column = thread - row * int32(16)
        for q in range(16):
            sums[q] = number(0)
        begin = part * part_length
        end = min(K, begin + part_length)
        for first in range(begin, end, DEPTH):
            for q in range(4):
                e = thread + int32(q * THREADS)
                # neighbouring threads follow the direction in which neighbours are neighbours in memory
                if a_column == 1:
                    k = e & int32(DEPTH - 1)
                    r = e // int32(DEPTH)
                else:
                    r = e & int32(TILE - 1)
                    k = e // int32(TILE)
                value = number(0)
                if first_row + r < M and first + k < end:
                    value = A[(first_row + r) * a_row + (first + k) * a_column]
                left[k * _PITCH + r] = value
                if b_column == 1:
                    c = e & int32(TILE - 1)
                    k = e // int32(TILE)
                else:
                    k = e & int32(DEPTH - 1)
                    c = e // int32(DEPTH)
                value = number(0)
                if first_column + c < N and first + k < end:
                    value = B[(first + k) * b_row + (first_column + c) * b_column]
                right[k * _PITCH + c] = value
            cuda.syncthreads()
            for k in range(DEPTH):
                x0 = left[k * _PITCH + row]
                x1 = left[k * _PITCH + row + 16]
                x2 = left[k * _PITCH + row + 32]
                x3 = left[k * _PITCH + row + 48]
                for q in range(4):
                    y = right[k * _PITCH + column + 16 * q]
                    sums[q] += x0 * y
                    sums[4 + q] += x1 * y
                    sums[8 + q] += x2 * y
                    sums[12 + q] += x3 * y
            cuda.syncthreads()
        for p in range(4):
            r = first_row + row + 16 * p
            for q in range(4):
                c = first_column + column + 16 * q
                if r < M and c < N:
                    value = sums[4 * p + q]
                    if has_bias != 0:
                        value += bias[c]
                    C[(part * M + r) * N + c] = value

    return Kernel(
        name=f"matmul_{dtype}",
        function=tiled_matmul,
        threads=THREADS,
        signature=(1, "l", "l", 1, "l", "l", 1, "i", 1, "l", "l", "l", "l"),
        dtype=dtype,
        stand_in=_matmul,
    )


def _matmul(A, a_row, a_column, B, b_row, b_column, bias, has_bias, C, M, N, K, part_length):
    strided, item = np.lib.stride_tricks.as_strided, A.itemsize
    left = strided(A, (M, K), (a_row * item, a_column * item))
    right = strided(B, (K, N), (b_row * item, b_column * item))
    for part, first in enumerate(range(0, K, part_length)):
        product = left[:, first : first + part_length] @ right[first : first + part_length]
        C[part * M * N : (part + 1) * M * N] = (product + bias if has_bias else product).reshape(-1)


@cache
def sum_parts(dtype: str) -> Kernel:
    """Make ``C = sum of parts``, in the order of the parts: the same result at every run."""
    number = float32 if dtype == "float32" else float64

    def add_parts(parts, C, count, size):
        e = int64(cuda.blockIdx.x) * int64(COPY_THREADS) + int64(cuda.threadIdx.x)
        if e < size:
            total = number(0)
            for p in range(count):
                total += parts[p * size + e]
            C[e] = total

    return Kernel(f"sum_parts_{dtype}", add_parts, COPY_THREADS, (1, 1, "l", "l"), dtype, stand_in=_sum_parts)


def _sum_parts(parts, C, count, size):
    C[:] = parts.reshape(count, size).sum(axis=0)


@cache
def pack(dtype: str) -> Kernel:
    """Make ``packed[unit, slot, k] = W[gate * H + unit, k]``, zero where no gate sits or beyond the sizes."""
    number = float32 if dtype == "float32" else float64

    # gate0..3: the gate that sits in each slot, or -1
    def pack_weights(W, packed, H, K, padded_k, size, gate0, gate1, gate2, gate3):
        e = int64(cuda.blockIdx.x) * int64(COPY_THREADS) + int64(cuda.threadIdx.x)
        if e < size:
            line = e // padded_k
            k = e - line * padded_k
            unit = line >> 2
            slot = line & 3
            gate = gate0
            if slot == 1:
                gate = gate1
            elif slot == 2:
                gate = gate2
            elif slot == 3:
                gate = gate3
            value = number(0)
            if gate >= 0 and unit < H and k < K:
                value = W[(gate * H + unit) * K + k]
            packed[e] = value

    signature = (1, 1, "l", "l", "l", "l", "l", "l", "l", "l")
    return Kernel(f"pack_{dtype}", pack_weights, COPY_THREADS, signature, dtype, stand_in=_pack)


def _pack(W, packed, H, K, padded_k, size, *gates):
    target = packed.reshape(-1, 4, padded_k)
    target[:] = 0
    for slot, gate in enumerate(gates):
        if gate >= 0:
            target[:H, slot, :K] = W.reshape(-1, H, K)[gate]


@cache
def unpack(dtype: str) -> Kernel:
    """Make ``W[gate * H + unit, k] = packed[unit, slot of gate, k]``."""

    def unpack_weights(packed, W, H, K, padded_k, size, slot0, slot1, slot2, slot3):
        e = int64(cuda.blockIdx.x) * int64(COPY_THREADS) + int64(cuda.threadIdx.x)
        if e < size:
            line = e // K
            k = e - line * K
            gate = line // H
            unit = line - gate * H
            slot = slot0
            if gate == 1:
                slot = slot1
            elif gate == 2:
                slot = slot2
            elif gate == 3:
                slot = slot3
            W[e] = packed[(unit * 4 + slot) * padded_k + k]

    signature = (1, 1, "l", "l", "l", "l", "l", "l", "l", "l")
    return Kernel(f"unpack_{dtype}", unpack_weights, COPY_THREADS, signature, dtype, stand_in=_unpack)


def _unpack(packed, W, H, K, padded_k, size, *slots):
    target, source = W.reshape(-1, H, K), packed.reshape(-1, 4, padded_k)
    for gate in range(len(target)):
        target[gate] = source[:H, slots[gate], :K]


@cache
def copy_rows(dtype: str) -> Kernel:
    """Make ``target[row, column] = source[row, column]``, zero beyond the source's columns or a sequence's length."""
    number = float32 if dtype == "float32" else float64

    # row = t * B + b; a row with t >= lengths[b] becomes zero where `masked`
    def copy(source, source_first, source_pitch, columns, target, target_first, target_pitch, width, size,
             lengths, B, masked):  # fmt: skip
        e = int64(cuda.blockIdx.x) * int64(COPY_THREADS) + int64(cuda.threadIdx.x)
        if e < size:
            row = e // width
            column = e - row * width
            value = number(0)
            alive = True
            if masked != 0:
                t = row // B
                alive = t < lengths[row - t * B]
            if alive and column < columns:
                value = source[source_first + row * source_pitch + column]
            target[target_first + row * target_pitch + column] = value

    return Kernel(
        f"copy_rows_{dtype}",
        copy,
        COPY_THREADS,
        (1, "l", "l", "l", 1, "l", "l", "l", "l", "i1", "l", "i"),
        dtype,
        stand_in=_copy_rows,
    )


def _copy_rows(source, source_first, source_pitch, columns, target, target_first, target_pitch, width, size,
               lengths, B, masked):  # fmt: skip
    rows, item = size // width, source.itemsize
    strided = np.lib.stride_tricks.as_strided
    wide = strided(target[target_first:], (rows, width), (target_pitch * item, item))
    wide[:] = 0
    used = min(columns, width)
    wide[:, :used] = strided(source[source_first:], (rows, used), (source_pitch * item, item))
    if masked:
        row = np.arange(rows)
        wide[row // B >= lengths[row % B]] = 0


# The first step of a sequence in its own direction: 0, or backwards the last one within its length.
@cache
def add_to_first(dtype: str) -> Kernel:
    """Make ``target[first step of b, b, :] += source[b, :]``."""

    def add_to_first_step(source, target, lengths, B, width, reverse, size):
        e = int64(cuda.blockIdx.x) * int64(COPY_THREADS) + int64(cuda.threadIdx.x)
        if e < size:
            b = e // width
            t = int64(0)
            if reverse != 0:
                t = int64(lengths[b]) - int64(1)
            target[t * size + e] += source[e]

    signature = (1, 1, "i1", "l", "l", "i", "l")
    return Kernel(f"add_to_first_{dtype}", add_to_first_step, COPY_THREADS, signature, dtype, stand_in=_add_to_first)


def _add_to_first(source, target, lengths, B, width, reverse, size):
    b = np.arange(B)
    target.reshape(-1, B, width)[lengths - 1 if reverse else 0, b] += source.reshape(B, width)


@cache
def take_first(dtype: str) -> Kernel:
    """Make ``target[b, :] = source[first step of b, b, :]``."""

    def take_first_step(source, target, lengths, B, width, reverse, size):
        e = int64(cuda.blockIdx.x) * int64(COPY_THREADS) + int64(cuda.threadIdx.x)
        if e < size:
            b = e // width
            t = int64(0)
            if reverse != 0:
                t = int64(lengths[b]) - int64(1)
            target[e] = source[t * size + e]

    signature = (1, 1, "i1", "l", "l", "i", "l")
    return Kernel(f"take_first_{dtype}", take_first_step, COPY_THREADS, signature, dtype, stand_in=_take_first)


def _take_first(source, target, lengths, B, width, reverse, size):
    b = np.arange(B)
    target.reshape(B, width)[:] = source.reshape(-1, B, width)[lengths - 1 if reverse else 0, b]


@cache
def swap(dtype: str) -> Kernel:
    """Make ``target[b, t, :] = source[t, b, :]``."""

    def swap_axes(source, target, T, B, width, size):
        e = int64(cuda.blockIdx.x) * int64(COPY_THREADS) + int64(cuda.threadIdx.x)
        if e < size:
            row = e // width
            b = row // T
            t = row - b * T
            target[e] = source[(t * B + b) * width + e - row * width]

    return Kernel(f"swap_{dtype}", swap_axes, COPY_THREADS, (1, 1, "l", "l", "l", "l"), dtype, stand_in=_swap)


def _swap(source, target, T, B, width, size):
    target.reshape(B, T, width)[:] = source.reshape(T, B, width).swapaxes(0, 1)


@cache
def add(dtype: str) -> Kernel:
    """Make ``target += source``."""

    def add_arrays(source, target, size):
        e = int64(cuda.blockIdx.x) * int64(COPY_THREADS) + int64(cuda.threadIdx.x)
        if e < size:
            target[e] += source[e]

    return Kernel(f"add_{dtype}", add_arrays, COPY_THREADS, (1, 1, "l"), dtype, stand_in=_add)


def _add(source, target, size):
    target += source
