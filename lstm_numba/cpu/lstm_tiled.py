"""The LSTM on the CPU, built on the register tile. See :mod:`lstm_numba.contract` for the shapes.

Threads share out the sequences of the batch and never wait for each other. Within a thread, a tile is a few
sequences times as many units as a vector register has lanes: its four pre-activations are summed in registers, land
in a buffer that stays in the L1 cache, and pass through the equations of :mod:`lstm_numba.cells` there. The loops
over the buffer have a fixed length, so LLVM turns those scalar equations into vector instructions.
"""

import numpy as np
from numba import njit, prange

from lstm_numba.cells import lstm_step, lstm_step_grad
from lstm_numba.contract import LSTMCache
from lstm_numba.cpu.gemm import add_product, multiply, multiply_transposed, pack
from lstm_numba.cpu.simd import MAX_ROWS, VECTORS, lanes_of, move, panel_width, tile
from lstm_numba.cpu.threads import threads_for
from lstm_numba.jit import kernel

_CHUNK_BYTES = 256 * 1024  # of pre-activations computed ahead of the scan, per thread


@njit(error_model="numpy")
def _pack_gates(W_hh):
    """Pack W_hh (4H, H) so that each tile finds the four gates of its units side by side."""
    H = W_hh.shape[1]
    U = lanes_of(W_hh)
    tiles = (H + U - 1) // U
    arranged = np.zeros((H, tiles * 4 * U), W_hh.dtype)
    for row in range(4 * H):
        gate, j = row // H, row % H
        column = (j // U * 4 + gate) * U + j % U
        for k in range(H):
            arranged[k, column] = W_hh[row, k]
    return pack(arranged, False)


@njit(error_model="numpy", fastmath={"contract"})
def _activate(buffer, rows):
    """Turn pre-activations into gates, and the old cell state into the new cell and hidden state, in place.

    ``buffer`` holds for each row ``z_i, z_f, z_g, z_o, c, h``, as many units each as a register has lanes.
    """
    U = lanes_of(buffer)
    for r in range(rows):
        at = r * 6 * U
        for j in range(at, at + U):
            i, f, g, o, c, h = lstm_step(
                buffer[j], buffer[j + U], buffer[j + 2 * U], buffer[j + 3 * U], buffer[j + 4 * U]
            )
            buffer[j], buffer[j + U], buffer[j + 2 * U], buffer[j + 3 * U] = i, f, g, o
            buffer[j + 4 * U], buffer[j + 5 * U] = c, h


@kernel(parallel=True)
def _forward(
    h,  # (T + 1, B, H) out; slot 0 holds the initial state
    c,  # (T + 1, B, H) out, or (1, B, H) in inference; slot 0 holds the initial state
    gates,  # (T, B, 4H) out: activated gates i, f, g, o; (0, B, 4H) in inference
    x,  # (T, B, I)
    W_ih,  # (4H, I)
    W_hh,  # (4H, H)
    bias,  # (4H,)
    threads,
):
    T, B, I = x.shape
    H = h.shape[2]
    H4 = 4 * H
    U, width = lanes_of(h), panel_width(h)
    packed_ih, packed_hh = pack(W_ih, True), _pack_gates(W_hh)
    training = gates.shape[0] > 0
    c_step = B * H if training else 0
    h_flat, c_flat, x_flat, gates_flat = h.reshape(-1), c.reshape(-1), x.reshape(-1), gates.reshape(-1)
    tasks = max(1, min(threads, B))
    for task in prange(tasks):
        first, last = task * B // tasks, (task + 1) * B // tasks
        size = last - first
        # The input's share of z is computed for a few steps at a time: few enough to be in the L2 cache still when
        # the scan needs it.
        chunk = max(1, min(T, _CHUNK_BYTES // (max(1, size) * H4 * h.itemsize)))
        z = gates_flat if training else np.empty(chunk * size * H4, h.dtype)
        z_row = H4
        z_step = (B if training else size) * H4
        buffer = np.zeros(MAX_ROWS * 6 * U, h.dtype)
        edge = np.zeros(MAX_ROWS * width, h.dtype)
        for t0 in range(0, T, chunk):
            steps = min(chunk, T - t0)
            z0 = (t0 * B + first) * H4 if training else 0
            for t in range(steps):
                for b in range(size):
                    at = z0 + t * z_step + b * z_row
                    for m in range(0, H4, U):
                        move(z, at + m, bias, m, min(U, H4 - m))
            for b in range(size):
                x0 = (t0 * B + first + b) * I
                add_product(z, z0 + b * z_row, z_step, steps, H4, x_flat, x0, B * I, 1, packed_ih, I, edge)
            for t in range(t0, t0 + steps):
                z_now = z0 + (t - t0) * z_step
                for j0 in range(0, H, U):
                    count = min(U, H - j0)
                    for b in range(0, size, MAX_ROWS):
                        rows = min(MAX_ROWS, size - b)
                        unit = (first + b) * H + j0
                        for r in range(rows):
                            at = r * 6 * U
                            z_at = z_now + (b + r) * z_row + j0
                            for q in range(4):
                                move(buffer, at + q * U, z, z_at + q * H, count)
                            move(buffer, at + 4 * U, c_flat, t * c_step + unit + r * H, count)
                        h_at = (t * B + first + b) * H
                        for part in range(4 // VECTORS):
                            w_at = (j0 * 4 + part * width) * H
                            tile(rows, buffer, part * width, 6 * U, h_flat, h_at, H, 1, packed_hh, w_at, H)
                        _activate(buffer, rows)
                        for r in range(rows):
                            at = r * 6 * U
                            if training:
                                z_at = z_now + (b + r) * z_row + j0
                                for q in range(4):
                                    move(z, z_at + q * H, buffer, at + q * U, count)
                            move(c_flat, t * c_step + c_step + unit + r * H, buffer, at + 4 * U, count)
                            move(h_flat, (t + 1) * B * H + unit + r * H, buffer, at + 5 * U, count)


@njit(error_model="numpy", fastmath={"contract"})
def _differentiate(buffer):
    """One register's worth of units, one step back, in place.

    ``buffer`` holds ``i, f, g, o, c_prev, c, dh, dc, dy``; the first four become ``dz``, ``dc`` becomes ``dc_prev``.
    """
    U = lanes_of(buffer)
    for j in range(U):
        dz_i, dz_f, dz_g, dz_o, dc_prev = lstm_step_grad(
            buffer[j + 6 * U] + buffer[j + 8 * U],
            buffer[j + 7 * U],
            buffer[j],
            buffer[j + U],
            buffer[j + 2 * U],
            buffer[j + 3 * U],
            buffer[j + 4 * U],
            buffer[j + 5 * U],
        )
        buffer[j], buffer[j + U], buffer[j + 2 * U], buffer[j + 3 * U] = dz_i, dz_f, dz_g, dz_o
        buffer[j + 7 * U] = dc_prev


@kernel(parallel=True)
def _backward_scan(
    dz,  # (T, B, 4H) out
    dh,  # (B, H) in: gradient of the last h, out: gradient of the initial h
    dc,  # (B, H) in: gradient of the last c, out: gradient of the initial c
    dy,  # (T, B, H)
    c,  # (T + 1, B, H)
    gates,  # (T, B, 4H)
    W_hh,  # (4H, H)
    threads,
):
    T, B, H = dy.shape
    U = lanes_of(dz)
    width = panel_width(dz)
    packed = pack(W_hh, False)
    panels = (H + width - 1) // width
    dz_flat, gates_flat, c_flat = dz.reshape(-1), gates.reshape(-1), c.reshape(-1)
    dh_flat, dc_flat, dy_flat = dh.reshape(-1), dc.reshape(-1), dy.reshape(-1)
    tasks = max(1, min(threads, B))
    for task in prange(tasks):
        first, last = task * B // tasks, (task + 1) * B // tasks
        buffer = np.zeros(9 * U, dz.dtype)
        block = np.zeros(MAX_ROWS * width, dz.dtype)
        for t in range(T - 1, -1, -1):
            for b in range(first, last):
                for j0 in range(0, H, U):
                    count = min(U, H - j0)
                    unit, gate = (t * B + b) * H + j0, (t * B + b) * 4 * H + j0
                    for q in range(4):
                        move(buffer, q * U, gates_flat, gate + q * H, count)
                    move(buffer, 4 * U, c_flat, unit, count)
                    move(buffer, 5 * U, c_flat, unit + B * H, count)
                    move(buffer, 6 * U, dh_flat, b * H + j0, count)
                    move(buffer, 7 * U, dc_flat, b * H + j0, count)
                    move(buffer, 8 * U, dy_flat, unit, count)
                    _differentiate(buffer)
                    for q in range(4):
                        move(dz_flat, gate + q * H, buffer, q * U, count)
                    move(dc_flat, b * H + j0, buffer, 7 * U, count)
            for panel in range(panels):
                j0 = panel * width
                count = min(width, H - j0)
                for b in range(first, last, MAX_ROWS):
                    rows = min(MAX_ROWS, last - b)
                    block[:] = 0
                    tile(
                        rows,
                        block,
                        0,
                        width,
                        dz_flat,
                        (t * B + b) * 4 * H,
                        4 * H,
                        1,
                        packed,
                        panel * 4 * H * width,
                        4 * H,
                    )
                    for r in range(rows):
                        at = (b + r) * H + j0
                        for v in range(0, count, U):
                            move(dh_flat, at + v, block, r * width + v, min(U, count - v))


def lstm_forward(x, h0, c0, W_ih, W_hh, b_ih, b_hh, training):
    """Run one LSTM layer over a batch of sequences, input product and scan together."""
    T, B, _ = x.shape
    H = h0.shape[1]
    h = np.empty((T + 1, B, H), x.dtype)
    c = np.empty((T + 1 if training else 1, B, H), x.dtype)
    gates = np.empty((T if training else 0, B, 4 * H), x.dtype)
    h[0], c[0] = h0, c0
    bias = np.zeros(4 * H, x.dtype) if b_ih is None else b_ih + b_hh
    with threads_for(2 * T * B * (W_ih.size + W_hh.size)) as threads:
        _forward(h, c, gates, x, W_ih, W_hh, bias, threads)
    cache = LSTMCache(x, h, c, gates) if training else None
    return h[1:].copy(), h[T].copy(), c[-1].copy(), cache


def lstm_backward(dy, dh_n, dc_n, cache, W_ih, W_hh):
    """Backpropagate through time: the scan from the last step to the first, then three matrix products."""
    x, h, c, gates = cache
    T, B, I = x.shape
    H = dh_n.shape[1]
    dz = np.empty((T, B, 4 * H), x.dtype)
    dh0, dc0 = dh_n.copy(), dc_n.copy()
    dx = np.empty_like(x)
    # The weights' gradients transposed, because the long rows of dz are the cheaper ones to pack.
    dW_ih_T, dW_hh_T = np.empty((I, 4 * H), x.dtype), np.empty((H, 4 * H), x.dtype)
    dz_rows = dz.reshape(T * B, 4 * H)
    with threads_for(4 * T * B * (W_ih.size + W_hh.size)) as threads:
        _backward_scan(dz, dh0, dc0, dy, c, gates, W_hh, threads)
        multiply(dx.reshape(T * B, I), dz_rows, W_ih, threads)
        multiply_transposed(dW_ih_T, x.reshape(T * B, I), dz_rows, threads)
        multiply_transposed(dW_hh_T, h[:T].reshape(T * B, H), dz_rows, threads)
    return dx, dh0, dc0, np.ascontiguousarray(dW_ih_T.T), np.ascontiguousarray(dW_hh_T.T), dz_rows.sum(axis=0)
