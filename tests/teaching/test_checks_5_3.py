"""The checks of chapter 5.3 accept the right kernels and name the mistake of a wrong one."""

import pytest
from numba import cuda, float32, float64

from lstm_numba.cells import lstm_step
from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_5_3 as checks


def add_bias(z, bias):
    n = cuda.grid(1)
    if n < z.size:
        z[n // bias.shape[0], n % bias.shape[0]] += bias[n % bias.shape[0]]


def fused_gates(z, c, h):
    n = cuda.grid(1)
    H = c.shape[1]
    if n < c.size:
        b, j = n // H, n % H
        step = lstm_step(z[b, j], z[b, H + j], z[b, 2 * H + j], z[b, 3 * H + j], c[b, j])
        c[b, j] = step[4]
        h[b, j] = step[5]


def dot(w, h, out):
    shared = cuda.shared.array(32, float32)
    i = cuda.threadIdx.x
    shared[i] = w[i] * h[i]
    cuda.syncthreads()
    half = 16
    while half > 0:
        if i < half:
            shared[i] += shared[i + half]
        cuda.syncthreads()
        half //= 2
    if i == 0:
        out[0] = shared[0]


def warp_sum(x, out):
    i = cuda.threadIdx.x
    value = x[i]
    for distance in (16, 8, 4, 2, 1):
        value += cuda.shfl_down_sync(0xFFFFFFFF, value, distance)
    if i % 32 == 0:
        out[i // 32] = value


def tiled_product(h, W, z):
    rows = cuda.shared.array((4, 4), float64)
    weights = cuda.shared.array((4, 4), float64)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    k, b = cuda.grid(2)
    line = cuda.blockIdx.x * 4 + y
    total = 0.0
    for first in range(0, h.shape[1], 4):
        inside = first + x < h.shape[1]
        rows[y, x] = h[b, first + x] if b < h.shape[0] and inside else 0.0
        weights[y, x] = W[line, first + x] if line < W.shape[0] and inside else 0.0
        cuda.syncthreads()
        for q in range(4):
            total += rows[y, q] * weights[x, q]
        cuda.syncthreads()
    if b < h.shape[0] and k < W.shape[0]:
        z[b, k] = total


def whole_sequence(gx, R, h0, c0, y):
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


RIGHT = {
    checks.check_add_bias: add_bias,
    checks.check_fused_gates: fused_gates,
    checks.check_dot: dot,
    checks.check_warp_sum: warp_sum,
    checks.check_tiled_product: tiled_product,
    checks.check_whole_sequence: whole_sequence,
}


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_right_answers_pass(check):
    check(RIGHT[check]).expect_pass()


# ---- planted mistakes


def bias_without_guard(z, bias):
    n = cuda.grid(1)
    z[n // bias.shape[0], n % bias.shape[0]] += bias[n % bias.shape[0]]


def bias_of_the_thread_in_its_block(z, bias):
    n = cuda.threadIdx.x
    if n < z.size:
        z[n // bias.shape[0], n % bias.shape[0]] += bias[n % bias.shape[0]]


def bias_first_only(z, bias):
    n = cuda.grid(1)
    if n < z.size:
        z[n // bias.shape[0], n % bias.shape[0]] += bias[0]


def bias_by_one_thread(z, bias):
    if cuda.grid(1) == 0:
        for b in range(z.shape[0]):
            for k in range(z.shape[1]):
                z[b, k] += bias[k]
                z[b, k] += 0


def gates_swapped(z, c, h):
    n = cuda.grid(1)
    H = c.shape[1]
    if n < c.size:
        b, j = n // H, n % H
        step = lstm_step(z[b, j], z[b, 2 * H + j], z[b, H + j], z[b, 3 * H + j], c[b, j])
        c[b, j] = step[4]
        h[b, j] = step[5]


def gates_interleaved(z, c, h):
    n = cuda.grid(1)
    H = c.shape[1]
    if n < c.size:
        b, j = n // H, n % H
        step = lstm_step(z[b, 4 * j], z[b, 4 * j + 1], z[b, 4 * j + 2], z[b, 4 * j + 3], c[b, j])
        c[b, j] = step[4]
        h[b, j] = step[5]


def gates_forget_c(z, c, h):
    n = cuda.grid(1)
    H = c.shape[1]
    if n < c.size:
        b, j = n // H, n % H
        h[b, j] = lstm_step(z[b, j], z[b, H + j], z[b, 2 * H + j], z[b, 3 * H + j], c[b, j])[5]


def dot_without_barrier(w, h, out):
    shared = cuda.shared.array(32, float32)
    i = cuda.threadIdx.x
    shared[i] = w[i] * h[i]
    half = 16
    while half > 0:
        if i < half:
            shared[i] += shared[i + half]
        cuda.syncthreads()
        half //= 2
    if i == 0:
        out[0] = shared[0]


def dot_with_barrier_inside(w, h, out):
    shared = cuda.shared.array(32, float32)
    i = cuda.threadIdx.x
    shared[i] = w[i] * h[i]
    cuda.syncthreads()
    half = 16
    while half > 0:
        if i < half:
            shared[i] += shared[i + half]
            cuda.syncthreads()
        half //= 2
    if i == 0:
        out[0] = shared[0]


def dot_starting_at_eight(w, h, out):
    shared = cuda.shared.array(32, float32)
    i = cuda.threadIdx.x
    shared[i] = w[i] * h[i]
    cuda.syncthreads()
    half = 8
    while half > 0:
        if i < half:
            shared[i] += shared[i + half]
        cuda.syncthreads()
        half //= 2
    if i == 0:
        out[0] = shared[0]


def warp_without_shuffle(x, out):
    i = cuda.threadIdx.x
    if i % 32 == 0:
        out[i // 32] = x[i]


def warp_all_write(x, out):
    i = cuda.threadIdx.x
    value = x[i]
    for distance in (16, 8, 4, 2, 1):
        value += cuda.shfl_xor_sync(0xFFFFFFFF, value, distance)
    out[i // 32] = value


def warp_first_only(x, out):
    i = cuda.threadIdx.x
    value = x[i]
    for distance in (16, 8, 4, 2, 1):
        value += cuda.shfl_down_sync(0xFFFFFFFF, value, distance)
    if i == 0:
        out[0] = value


def product_without_tiles(h, W, z):
    k, b = cuda.grid(2)
    if b < h.shape[0] and k < W.shape[0]:
        total = 0.0
        for q in range(h.shape[1]):
            total += h[b, q] * W[k, q]
        z[b, k] = total


def product_one_barrier(h, W, z):
    rows = cuda.shared.array((4, 4), float64)
    weights = cuda.shared.array((4, 4), float64)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    k, b = cuda.grid(2)
    line = cuda.blockIdx.x * 4 + y
    total = 0.0
    for first in range(0, h.shape[1], 4):
        inside = first + x < h.shape[1]
        rows[y, x] = h[b, first + x] if b < h.shape[0] and inside else 0.0
        weights[y, x] = W[line, first + x] if line < W.shape[0] and inside else 0.0
        cuda.syncthreads()
        for q in range(4):
            total += rows[y, q] * weights[x, q]
    if b < h.shape[0] and k < W.shape[0]:
        z[b, k] = total


def product_whole_pieces_only(h, W, z):
    rows = cuda.shared.array((4, 4), float64)
    weights = cuda.shared.array((4, 4), float64)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    k, b = cuda.grid(2)
    line = cuda.blockIdx.x * 4 + y
    total = 0.0
    for piece in range(h.shape[1] // 4):
        first = 4 * piece
        rows[y, x] = h[b, first + x] if b < h.shape[0] else 0.0
        weights[y, x] = W[line, first + x] if line < W.shape[0] else 0.0
        cuda.syncthreads()
        for q in range(4):
            total += rows[y, q] * weights[x, q]
        cuda.syncthreads()
    if b < h.shape[0] and k < W.shape[0]:
        z[b, k] = total


def sequence_one_barrier(gx, R, h0, c0, y):
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


def sequence_without_recurrence(gx, R, h0, c0, y):
    j = cuda.threadIdx.x
    c = c0[j]
    for t in range(gx.shape[0]):
        c, y[t, j] = lstm_step(gx[t, j], gx[t, 8 + j], gx[t, 16 + j], gx[t, 24 + j], c)[4:]


def sequence_that_forgets(gx, R, h0, c0, y):
    h = cuda.shared.array(8, float64)
    j = cuda.threadIdx.x
    h[j] = h0[j]
    cuda.syncthreads()
    for t in range(gx.shape[0]):
        z_i, z_f, z_g, z_o = gx[t, j], gx[t, 8 + j], gx[t, 16 + j], gx[t, 24 + j]
        for q in range(8):
            z_i += R[j, q] * h[q]
            z_f += R[8 + j, q] * h[q]
            z_g += R[16 + j, q] * h[q]
            z_o += R[24 + j, q] * h[q]
        h_new = lstm_step(z_i, z_f, z_g, z_o, c0[j])[5]
        cuda.syncthreads()
        h[j] = h_new
        y[t, j] = h_new
        cuda.syncthreads()


def raises(z, bias):
    raise ValueError("nothing works")


WRONG = [
    (checks.check_add_bias, bias_without_guard, "Guard it with an if"),
    (checks.check_add_bias, bias_of_the_thread_in_its_block, "number the threads over all blocks"),
    (checks.check_add_bias, bias_first_only, "which column"),
    (checks.check_add_bias, bias_by_one_thread, "one thread, one element"),
    (checks.check_add_bias, 3, "Pass the kernel itself"),
    (checks.check_add_bias, raises, "raised ValueError: nothing works"),
    (checks.check_fused_gates, gates_swapped, "g is the third"),
    (checks.check_fused_gates, gates_interleaved, "blocks of H columns"),
    (checks.check_fused_gates, gates_forget_c, "write the new one back"),
    (checks.check_dot, dot_without_barrier, "A race"),
    (checks.check_dot, dot_with_barrier_inside, "must reach every barrier"),
    (checks.check_dot, dot_starting_at_eight, "first round adds the thread 16 further"),
    (checks.check_warp_sum, warp_without_shuffle, "shuffles are missing"),
    (checks.check_warp_sum, warp_all_write, "Only lane 0"),
    (checks.check_warp_sum, warp_first_only, "every* warp"),
    (checks.check_tiled_product, product_without_tiles, "what the tiles are for"),
    (checks.check_tiled_product, product_one_barrier, "A race"),
    (checks.check_tiled_product, product_whole_pieces_only, "last piece"),
    (checks.check_whole_sequence, sequence_one_barrier, "A race"),
    (checks.check_whole_sequence, sequence_without_recurrence, "recurrent part is missing"),
    (checks.check_whole_sequence, sequence_that_forgets, "keep the new cell state"),
]


@pytest.mark.parametrize(("check", "wrong", "hint"), WRONG, ids=lambda value: getattr(value, "__name__", None))
def test_wrong_answers_get_their_hint(check, wrong, hint):
    assert_rejects(check, wrong, hint_contains=hint)
