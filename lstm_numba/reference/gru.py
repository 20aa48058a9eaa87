"""The GRU in NumPy, straight from the equations, in its two forms.

Cho et al. (2014) reset the old state before the recurrent product, ``W_hn (r * h)``. PyTorch and cuDNN (and Keras by
default) reset after it, ``r * (W_hn h + b_hn)``, which lets all recurrent products of a step be one. The two are
different functions of the same weights.
"""

from typing import NamedTuple

import numpy as np

from lstm_numba.reference.lstm import sigmoid


class GRUCache(NamedTuple):
    """Everything the backward pass needs from one forward pass of one layer in one direction."""

    x: np.ndarray  # (T, B, I)     the input
    h: np.ndarray  # (T + 1, B, H) hidden states; slot 0 is the initial state
    gates: np.ndarray  # (T, B, 3H)    activated r, z, n
    n_h: np.ndarray | None  # (T, B, H) the candidate's recurrent share W_hn h + b_hn; None: reset before the product


def gru_forward(
    x,  # (T, B, I)
    h0,  # (B, H)
    W_ih,  # (3H, I) blocks r, z, n stacked
    W_hh,  # (3H, H)
    b_ih,  # (3H,) or None
    b_hh,  # (3H,) or None
    training,
    reset_after=True,
):
    """Run one GRU layer over a batch of sequences, step by step. Returns ``y, h_n, cache``."""
    T, B, _ = x.shape
    H = h0.shape[1]
    arrays = (x, h0, W_ih, W_hh) if b_ih is None else (x, h0, W_ih, W_hh, b_ih, b_hh)
    dtype = np.result_type(*arrays)
    if b_ih is None:
        b_ih = b_hh = np.zeros(3 * H, dtype)
    h = np.empty((T + 1, B, H), dtype)
    gates = np.empty((T, B, 3 * H), dtype)
    n_h = np.empty((T, B, H), dtype) if reset_after else None
    W_hr, W_hz, W_hn = np.split(W_hh, 3)  # (H, H) each
    b_hr, b_hz, b_hn = np.split(b_hh, 3)
    h[0] = h0

    for t in range(T):
        r_x, z_x, n_x = np.split(x[t] @ W_ih.T + b_ih, 3, axis=1)  # (B, H) each
        r = sigmoid(r_x + h[t] @ W_hr.T + b_hr)
        z = sigmoid(z_x + h[t] @ W_hz.T + b_hz)
        if n_h is not None:
            n_h[t] = h[t] @ W_hn.T + b_hn
            n = np.tanh(n_x + r * n_h[t])
        else:
            n = np.tanh(n_x + (r * h[t]) @ W_hn.T + b_hn)
        h[t + 1] = (1 - z) * n + z * h[t]
        gates[t] = np.concatenate([r, z, n], axis=1)

    cache = GRUCache(x, h, gates, n_h) if training else None
    return h[1:].copy(), h[T].copy(), cache


def gru_backward(
    dy,  # (T, B, H) gradient of the loss with respect to y
    dh_n,  # (B, H)   ... with respect to the last hidden state, on top of dy
    cache,
    W_ih,  # (3H, I)
    W_hh,  # (3H, H)
):
    """Backpropagation through time for :func:`gru_forward`. Returns ``dx, dh0, dW_ih, dW_hh, db_ih, db_hh``."""
    x, h, gates, n_h = cache
    T = x.shape[0]
    dx = np.empty_like(x)
    dW_ih, dW_hh = np.zeros_like(W_ih), np.zeros_like(W_hh)
    db_ih, db_hh = np.zeros_like(W_hh[:, 0]), np.zeros_like(W_hh[:, 0])
    H = h.shape[2]
    W_hn = W_hh[2 * H :]
    dh = dh_n

    for t in reversed(range(T)):
        r, z, n = np.split(gates[t], 3, axis=1)

        dh = dh + dy[t]  # h_t is an output and feeds the next step: both paths count
        dz_z = dh * (h[t] - n) * z * (1 - z)
        dz_n = dh * (1 - z) * (1 - n**2)
        dh_prev = dh * z  # past the candidate, straight to h_{t-1}

        if n_h is not None:
            dz_r = dz_n * n_h[t] * r * (1 - r)
            dn_h = dz_n * r
            seen = [h[t], h[t], h[t]]  # what each block of W_hh multiplied
            dh_prev = dh_prev + np.concatenate([dz_r, dz_z, dn_h], axis=1) @ W_hh
        else:
            drh = dz_n @ W_hn  # to r * h_{t-1}
            dz_r = drh * h[t] * r * (1 - r)
            dn_h = dz_n
            seen = [h[t], h[t], r * h[t]]
            dh_prev = dh_prev + drh * r + np.concatenate([dz_r, dz_z], axis=1) @ W_hh[: 2 * H]

        dz_x = np.concatenate([dz_r, dz_z, dz_n], axis=1)  # (B, 3H) to the input's share
        dz_h = np.concatenate([dz_r, dz_z, dn_h], axis=1)  # (B, 3H) to the recurrent share
        dW_ih += dz_x.T @ x[t]
        dW_hh += np.concatenate([dz.T @ s for dz, s in zip(np.split(dz_h, 3, axis=1), seen, strict=True)])
        db_ih += dz_x.sum(axis=0)
        db_hh += dz_h.sum(axis=0)  # after a reset the two biases' gradients differ

        dx[t] = dz_x @ W_ih
        dh = dh_prev

    return dx, dh, dW_ih, dW_hh, db_ih, db_hh
