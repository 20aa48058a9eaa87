"""The LSTM on the CPU in plain compiled loops. See :mod:`lstm_numba.contract` for the shapes.

This is the version to read first; :mod:`lstm_numba.cpu.lstm_tiled` does the same work in vector registers and serves
all but the smallest layers.

Only the recurrence is sequential, so only the recurrence is in the compiled loop: the input's share of all
pre-activations is one matrix product before it, the weight gradients are one matrix product each after it.
Sequences of a batch are independent, so threads share them out, and the result does not depend on how many
threads there are.
"""

import numpy as np
from numba import prange

from lstm_numba.cells import lstm_step, lstm_step_grad
from lstm_numba.contract import LSTMCache
from lstm_numba.cpu.threads import threads_for
from lstm_numba.jit import kernel


@kernel(parallel=True)
def _lstm_scan(
    h,  # (T + 1, B, H) out; slot 0 holds the initial state
    c,  # (T + 1, B, H) out; slot 0 holds the initial state
    gates,  # (T, B, 4H) in: W_ih x + b, out: activated gates i, f, g, o
    W_hh_T,  # (H, 4H) transposed, so that the inner loop runs along memory
):
    T, B, H4 = gates.shape
    H = H4 // 4
    for b in prange(B):
        for t in range(T):
            z = gates[t, b]
            for k in range(H):
                h_k = h[t, b, k]
                for m in range(H4):
                    z[m] += h_k * W_hh_T[k, m]
            for j in range(H):
                i, f, g, o, c_j, h_j = lstm_step(z[j], z[H + j], z[2 * H + j], z[3 * H + j], c[t, b, j])
                z[j], z[H + j], z[2 * H + j], z[3 * H + j] = i, f, g, o
                c[t + 1, b, j] = c_j
                h[t + 1, b, j] = h_j


@kernel(parallel=True)
def _lstm_scan_grad(
    dz,  # (T, B, 4H) out
    dh,  # (B, H) in: gradient of the last h, out: gradient of the initial h
    dc,  # (B, H) in: gradient of the last c, out: gradient of the initial c
    dy,  # (T, B, H)
    c,  # (T + 1, B, H)
    gates,  # (T, B, 4H)
    W_hh,  # (4H, H)
):
    T, B, H = dy.shape
    for b in prange(B):
        for t in range(T - 1, -1, -1):
            z = gates[t, b]
            for j in range(H):
                i, f, g, o = z[j], z[H + j], z[2 * H + j], z[3 * H + j]
                dz_i, dz_f, dz_g, dz_o, dc_prev = lstm_step_grad(
                    dh[b, j] + dy[t, b, j], dc[b, j], i, f, g, o, c[t, b, j], c[t + 1, b, j]
                )
                dz[t, b, j], dz[t, b, H + j], dz[t, b, 2 * H + j], dz[t, b, 3 * H + j] = (
                    dz_i,
                    dz_f,
                    dz_g,
                    dz_o,
                )
                dc[b, j] = dc_prev
                dh[b, j] = 0
            for m in range(4 * H):
                dz_m = dz[t, b, m]
                for k in range(H):
                    dh[b, k] += dz_m * W_hh[m, k]


def lstm_forward(x, h0, c0, W_ih, W_hh, b_ih, b_hh, training):
    """Run one LSTM layer over a batch of sequences: one matrix product, then the compiled scan."""
    T, B, I = x.shape
    H = h0.shape[1]
    h = np.empty((T + 1, B, H), x.dtype)
    c = np.empty((T + 1, B, H), x.dtype)
    h[0], c[0] = h0, c0
    gates = (x.reshape(T * B, I) @ W_ih.T).reshape(T, B, 4 * H)
    if b_ih is not None:
        gates += b_ih + b_hh
    with threads_for(2 * T * B * W_hh.size):
        _lstm_scan(h, c, gates, np.ascontiguousarray(W_hh.T))
    cache = LSTMCache(x, h, c, gates) if training else None
    return h[1:].copy(), h[T].copy(), c[T].copy(), cache


def lstm_backward(dy, dh_n, dc_n, cache, W_ih, W_hh):
    """Backpropagate through time: the compiled scan from the last step to the first, then four matrix products."""
    x, h, c, gates = cache
    T, B, I = x.shape
    H = dh_n.shape[1]
    dz = np.empty((T, B, 4 * H), x.dtype)
    dh0, dc0 = dh_n.copy(), dc_n.copy()
    with threads_for(2 * T * B * W_hh.size):
        _lstm_scan_grad(dz, dh0, dc0, dy, c, gates, W_hh)
    # Summing the weights' gradients inside the parallel loop would be a race between threads. One product over
    # all steps and sequences is faster as well.
    dz_rows = dz.reshape(T * B, 4 * H)
    dW_ih = dz_rows.T @ x.reshape(T * B, I)
    dW_hh = dz_rows.T @ h[:T].reshape(T * B, H)
    dx = (dz_rows @ W_ih).reshape(T, B, I)
    return dx, dh0, dc0, dW_ih, dW_hh, dz_rows.sum(axis=0)
