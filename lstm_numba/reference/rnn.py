"""The simple recurrent network (Elman, 1990) in NumPy, straight from the equation."""

from typing import NamedTuple

import numpy as np


class RNNCache(NamedTuple):
    """Everything the backward pass needs from one forward pass of one layer in one direction."""

    x: np.ndarray  # (T, B, I)     the input
    h: np.ndarray  # (T + 1, B, H) hidden states; slot 0 is the initial state
    nonlinearity: str


def relu(z):
    """``max(z, 0)``, decided on the real part, so that complex arguments work too. NaN stays NaN."""
    return np.where(z.real < 0, z.dtype.type(0), z)


def rnn_forward(
    x,  # (T, B, I)
    h0,  # (B, H)
    W_ih,  # (H, I)
    W_hh,  # (H, H)
    b_ih,  # (H,) or None
    b_hh,  # (H,) or None
    training,
    nonlinearity="tanh",  # or "relu"
):
    """Run one layer over a batch of sequences, step by step. Returns ``y, h_n, cache``."""
    T, B, _ = x.shape
    arrays = (x, h0, W_ih, W_hh) if b_ih is None else (x, h0, W_ih, W_hh, b_ih, b_hh)
    h = np.empty((T + 1, B, h0.shape[1]), np.result_type(*arrays))
    h[0] = h0

    for t in range(T):
        z = x[t] @ W_ih.T + h[t] @ W_hh.T  # (B, H)
        if b_ih is not None:
            z = z + b_ih + b_hh
        h[t + 1] = np.tanh(z) if nonlinearity == "tanh" else relu(z)

    cache = RNNCache(x, h, nonlinearity) if training else None
    return h[1:].copy(), h[T].copy(), cache


def rnn_backward(
    dy,  # (T, B, H) gradient of the loss with respect to y
    dh_n,  # (B, H)   ... with respect to the last hidden state, on top of dy
    cache,
    W_ih,  # (H, I)
    W_hh,  # (H, H)
):
    """Backpropagation through time for :func:`rnn_forward`. Returns ``dx, dh0, dW_ih, dW_hh, db``."""
    x, h, nonlinearity = cache
    dx = np.empty_like(x)
    dW_ih, dW_hh, db = np.zeros_like(W_ih), np.zeros_like(W_hh), np.zeros_like(W_hh[:, 0])
    dh = dh_n

    for t in reversed(range(x.shape[0])):
        dh = dh + dy[t]
        # the slope in terms of the value; relu has slope 0 at the kink
        dz = dh * (1 - h[t + 1] ** 2) if nonlinearity == "tanh" else np.where(h[t + 1] <= 0, dh.dtype.type(0), dh)
        dW_ih += dz.T @ x[t]
        dW_hh += dz.T @ h[t]
        db += dz.sum(axis=0)
        dx[t] = dz @ W_ih
        dh = dz @ W_hh

    return dx, dh, dW_ih, dW_hh, db
