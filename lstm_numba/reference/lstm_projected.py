"""The LSTM with a projected hidden state (H. Sak, A. Senior and F. Beaufays, 2014) in NumPy.

``h_t = W_hr (o * tanh(c_t))`` has P < H numbers; everything else is :mod:`lstm_numba.reference.lstm`. It is a module of
its own so that the plain LSTM stays as short as it is.
"""

import numpy as np

from lstm_numba.contract import LSTMCache
from lstm_numba.reference.lstm import sigmoid


def lstm_projected_forward(
    x,  # (T, B, I)
    h0,  # (B, P)
    c0,  # (B, H)
    W_ih,  # (4H, I) gates i, f, g, o stacked
    W_hh,  # (4H, P)
    b_ih,  # (4H,) or None
    b_hh,  # (4H,) or None
    W_hr,  # (P, H)
    training,
):
    """Run one layer over a batch of sequences, step by step. Returns ``y, h_n, c_n, cache``."""
    T, B, _ = x.shape
    P, H = W_hr.shape
    arrays = (x, h0, c0, W_ih, W_hh, W_hr) if b_ih is None else (x, h0, c0, W_ih, W_hh, W_hr, b_ih, b_hh)
    dtype = np.result_type(*arrays)
    h = np.empty((T + 1, B, P), dtype)
    c = np.empty((T + 1, B, H), dtype)
    gates = np.empty((T, B, 4 * H), dtype)
    h[0], c[0] = h0, c0

    for t in range(T):
        z = x[t] @ W_ih.T + h[t] @ W_hh.T  # (B, 4H)
        if b_ih is not None:
            z = z + b_ih + b_hh
        z_i, z_f, z_g, z_o = np.split(z, 4, axis=1)  # (B, H) each
        i, f, g, o = sigmoid(z_i), sigmoid(z_f), np.tanh(z_g), sigmoid(z_o)
        c[t + 1] = f * c[t] + i * g
        h[t + 1] = (o * np.tanh(c[t + 1])) @ W_hr.T
        gates[t] = np.concatenate([i, f, g, o], axis=1)

    cache = LSTMCache(x, h, c, gates) if training else None
    return h[1:].copy(), h[T].copy(), c[T].copy(), cache


def lstm_projected_backward(
    dy,  # (T, B, P) gradient of the loss with respect to y
    dh_n,  # (B, P)   ... with respect to the last hidden state, on top of dy
    dc_n,  # (B, H)   ... with respect to the last cell state
    cache,
    W_ih,  # (4H, I)
    W_hh,  # (4H, P)
    W_hr,  # (P, H)
):
    """Backpropagation through time. Returns ``dx, dh0, dc0, dW_ih, dW_hh, db, dW_hr``."""
    x, h, c, gates = cache
    dx = np.empty_like(x)
    dW_ih, dW_hh, dW_hr = np.zeros_like(W_ih), np.zeros_like(W_hh), np.zeros_like(W_hr)
    db = np.zeros_like(W_hh[:, 0])
    dh, dc = dh_n, dc_n

    for t in reversed(range(x.shape[0])):
        i, f, g, o = np.split(gates[t], 4, axis=1)
        a = np.tanh(c[t + 1])

        dh = dh + dy[t]
        dW_hr += dh.T @ (o * a)
        dm = dh @ W_hr  # to m_t = o * tanh(c_t), what is projected
        dc = dc + dm * o * (1 - a**2)
        dz_i = dc * g * i * (1 - i)
        dz_f = dc * c[t] * f * (1 - f)
        dz_g = dc * i * (1 - g**2)
        dz_o = dm * a * o * (1 - o)
        dz = np.concatenate([dz_i, dz_f, dz_g, dz_o], axis=1)  # (B, 4H)

        dW_ih += dz.T @ x[t]
        dW_hh += dz.T @ h[t]
        db += dz.sum(axis=0)
        dx[t] = dz @ W_ih
        dh = dz @ W_hh
        dc = dc * f

    return dx, dh, dc, dW_ih, dW_hh, db, dW_hr
