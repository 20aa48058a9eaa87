"""The checks of chapter 5.4 accept the right answers and name the mistake of a wrong one."""

import math

import pytest
from numba import cuda, float64, uint32

from lstm_numba.cells import lstm_step
from lstm_numba.gpu.ptx import add_release, element_address, load_acquire
from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_5_4 as checks


def blocks_needed(H, share):
    return math.ceil(4 * H * H / (65536 * share))


def weights_per_thread(H, split):
    return 16 * (H // split) // 32


def lane(row, column):
    return 4 * (row % 8) + column % 4, row // 8 + 2 * (column // 4)


def one_barrier(gx, R, h0, c0, y):
    h = cuda.shared.array(16, float64)
    j = cuda.threadIdx.x
    h[j] = h0[j]
    c = c0[j]
    cuda.syncthreads()
    for t in range(gx.shape[0]):
        read, write = t % 2 * 8, 8 - t % 2 * 8
        z_i, z_f, z_g, z_o = gx[t, j], gx[t, 8 + j], gx[t, 16 + j], gx[t, 24 + j]
        for q in range(8):
            z_i += R[j, q] * h[read + q]
            z_f += R[8 + j, q] * h[read + q]
            z_g += R[16 + j, q] * h[read + q]
            z_o += R[24 + j, q] * h[read + q]
        c, h_new = lstm_step(z_i, z_f, z_g, z_o, c)[4:]
        h[write + j] = h_new
        y[t, j] = h_new
        cuda.syncthreads()


def two_rounds(x, partial, counter, out):
    b = cuda.blockIdx.x
    value = x[b]
    for r in range(2):
        partial[r, b] = value
        add_release(element_address(counter, 0), uint32(1))
        while load_acquire(element_address(counter, 0)) < 3 * (r + 1):
            pass
        total = partial[r, 0] + partial[r, 1] + partial[r, 2]
        out[r, b] = total
        value = total * x[b]


def messages(H, B, blocks):
    scatter = blocks * (blocks - 1) * (H // blocks) * B
    return scatter, 4 * scatter


RIGHT = {
    checks.check_blocks_needed: blocks_needed,
    checks.check_weights_per_thread: weights_per_thread,
    checks.check_lane: lane,
    checks.check_one_barrier: one_barrier,
    checks.check_two_rounds: two_rounds,
    checks.check_messages: messages,
}


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_right_answers_pass(check):
    check(RIGHT[check]).expect_pass()


# ---- planted mistakes


def one_buffer(gx, R, h0, c0, y):
    h = cuda.shared.array(8, float64)
    j = cuda.threadIdx.x
    h[j] = h0[j]
    c = c0[j]
    cuda.syncthreads()
    for t in range(gx.shape[0]):
        z_i, z_f, z_g, z_o = gx[t, j], gx[t, 8 + j], gx[t, 16 + j], gx[t, 24 + j]
        for q in range(8):
            z_i += R[j, q] * h[q]
            z_f += R[8 + j, q] * h[q]
            z_g += R[16 + j, q] * h[q]
            z_o += R[24 + j, q] * h[q]
        c, h_new = lstm_step(z_i, z_f, z_g, z_o, c)[4:]
        h[j] = h_new
        y[t, j] = h_new
        cuda.syncthreads()


def two_barriers(gx, R, h0, c0, y):
    h = cuda.shared.array(8, float64)
    j = cuda.threadIdx.x
    h[j] = h0[j]
    c = c0[j]
    cuda.syncthreads()
    for t in range(gx.shape[0]):
        z_i, z_f, z_g, z_o = gx[t, j], gx[t, 8 + j], gx[t, 16 + j], gx[t, 24 + j]
        for q in range(8):
            z_i += R[j, q] * h[q]
            z_f += R[8 + j, q] * h[q]
            z_g += R[16 + j, q] * h[q]
            z_o += R[24 + j, q] * h[q]
        c, h_new = lstm_step(z_i, z_f, z_g, z_o, c)[4:]
        cuda.syncthreads()
        h[j] = h_new
        y[t, j] = h_new
        cuda.syncthreads()


def buffers_that_do_not_turn(gx, R, h0, c0, y):
    h = cuda.shared.array(16, float64)
    j = cuda.threadIdx.x
    h[j] = h0[j]
    c = c0[j]
    cuda.syncthreads()
    for t in range(gx.shape[0]):
        z_i, z_f, z_g, z_o = gx[t, j], gx[t, 8 + j], gx[t, 16 + j], gx[t, 24 + j]
        for q in range(8):
            z_i += R[j, q] * h[q]
            z_f += R[8 + j, q] * h[q]
            z_g += R[16 + j, q] * h[q]
            z_o += R[24 + j, q] * h[q]
        c, h_new = lstm_step(z_i, z_f, z_g, z_o, c)[4:]
        h[8 + j] = h_new
        y[t, j] = h_new
        cuda.syncthreads()


def waits_for_the_first_round_only(x, partial, counter, out):
    b = cuda.blockIdx.x
    value = x[b]
    for r in range(2):
        partial[r, b] = value
        add_release(element_address(counter, 0), uint32(1))
        while load_acquire(element_address(counter, 0)) < 3:
            pass
        total = partial[r, 0] + partial[r, 1] + partial[r, 2]
        out[r, b] = total
        value = total * x[b]


def waits_for_ever(x, partial, counter, out):
    add_release(element_address(counter, 0), uint32(1))
    while load_acquire(element_address(counter, 0)) < 4:
        pass


def same_number_again(x, partial, counter, out):
    b = cuda.blockIdx.x
    for r in range(2):
        partial[r, b] = x[b]
        add_release(element_address(counter, 0), uint32(1))
        while load_acquire(element_address(counter, 0)) < 3 * (r + 1):
            pass
        out[r, b] = partial[r, 0] + partial[r, 1] + partial[r, 2]


WRONG = [
    (checks.check_blocks_needed, lambda H, share: math.ceil(H * H / (65536 * share)), "four gates"),
    (checks.check_blocks_needed, lambda H, share: 4 * H * H // int(65536 * share), "have no place"),
    (checks.check_blocks_needed, lambda H, share: 4 * H * H / (65536 * share), "round up"),
    (checks.check_blocks_needed, lambda H, share: math.ceil(16 * H * H / (65536 * share)), "count bytes twice"),
    (checks.check_blocks_needed, lambda H, share: math.ceil(4 * H * H / 65536), "Only a share"),
    (checks.check_weights_per_thread, lambda H, split: 16 * H // split, "whole warp"),
    (checks.check_weights_per_thread, lambda H, split: H / 8 / split, "16 rows"),
    (checks.check_weights_per_thread, lambda H, split: H // 2, "share the columns"),
    (checks.check_weights_per_thread, lambda H, split: H // 2 * split, "divide by split"),
    (checks.check_lane, lambda row, column: (4 * row + column % 4, row // 8 + 2 * (column // 4)), "row % 8"),
    (checks.check_lane, lambda row, column: (8 * (row % 8) + column, 0), "Only four lanes"),
    (checks.check_lane, lambda row, column: (row % 8 + 8 * (column % 4), 0), "not rows"),
    (checks.check_lane, lambda row, column: (lane(row, column)[0], 2 * (row // 8) + column // 4), "eight rows down"),
    (checks.check_lane, lambda row, column: 4 * (row % 8) + column % 4, "pair"),
    (checks.check_one_barrier, one_buffer, "two buffers that take turns"),
    (checks.check_one_barrier, two_barriers, "one before the loop"),
    (checks.check_one_barrier, buffers_that_do_not_turn, "exchange the roles"),
    (checks.check_two_rounds, waits_for_the_first_round_only, "6 after the second"),
    (checks.check_two_rounds, waits_for_ever, "A deadlock"),
    (checks.check_two_rounds, same_number_again, "not x[b] again"),
    (checks.check_messages, lambda H, B, blocks: (H * B * blocks, 4 * H * B * blocks), "nothing to itself"),
    (checks.check_messages, lambda H, B, blocks: (H * B, 4 * H * B), "one receiver"),
    (checks.check_messages, lambda H, B, blocks: ((blocks - 1) * H * B,) * 2, "four numbers per unit"),
    (checks.check_messages, lambda H, B, blocks: blocks, "pair"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "wrong", "hint"), WRONG, ids=lambda value: getattr(value, "__name__", None))
def test_wrong_answers_get_their_hint(check, wrong, hint):
    assert_rejects(check, wrong, hint_contains=hint)
