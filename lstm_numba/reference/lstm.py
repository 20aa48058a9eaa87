"""The LSTM in NumPy, straight from the equations. See :mod:`lstm_numba.contract` for the shapes."""

import numpy as np

from lstm_numba.contract import LSTMCache


def sigmoid(z):
    """Logistic function, elementwise. No branch on the sign of ``z``, so that complex arguments work too."""
    with np.errstate(over="ignore"):  # exp(-z) may overflow to inf; 1 / (1 + inf) is the right answer, 0
        return 1 / (1 + np.exp(-z))


def lstm_forward(
    x,  # (T, B, I)
    h0,  # (B, H)
    c0,  # (B, H)
    W_ih,  # (4H, I) gates i, f, g, o stacked
    W_hh,  # (4H, H)
    b_ih,  # (4H,) or None
    b_hh,  # (4H,) or None
    training,
):
    """Run one LSTM layer over a batch of sequences, step by step."""
    T, B, _ = x.shape
    H = h0.shape[1]
    arrays = (x, h0, c0, W_ih, W_hh) if b_ih is None else (x, h0, c0, W_ih, W_hh, b_ih, b_hh)
    dtype = np.result_type(*arrays)
    h = np.empty((T + 1, B, H), dtype)
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
        h[t + 1] = o * np.tanh(c[t + 1])
        gates[t] = np.concatenate([i, f, g, o], axis=1)

    cache = LSTMCache(x, h, c, gates) if training else None
    return h[1:].copy(), h[T].copy(), c[T].copy(), cache


def lstm_backward(
    dy,  # (T, B, H) gradient of the loss with respect to y
    dh_n,  # (B, H)   ... with respect to the last hidden state, on top of dy
    dc_n,  # (B, H)   ... with respect to the last cell state
    cache,
    W_ih,  # (4H, I)
    W_hh,  # (4H, H)
):
    """Backpropagation through time for :func:`lstm_forward`, step by step from the last to the first."""
    x, h, c, gates = cache
    T = x.shape[0]
    dx = np.empty_like(x)
    dW_ih = np.zeros_like(W_ih)
    dW_hh = np.zeros_like(W_hh)
    db = np.zeros_like(W_hh[:, 0])
    dh, dc = dh_n, dc_n

    for t in reversed(range(T)):
        i, f, g, o = np.split(gates[t], 4, axis=1)
        a = np.tanh(c[t + 1])

        dh = dh + dy[t]  # h_t is an output and feeds the next step: both paths count
        do = dh * a
        dc = dc + dh * o * (1 - a**2)  # so does c_t: through h_t and along the conveyor belt
        di = dc * g
        df = dc * c[t]
        dg = dc * i

        dz_i = di * i * (1 - i)
        dz_f = df * f * (1 - f)
        dz_g = dg * (1 - g**2)
        dz_o = do * o * (1 - o)
        dz = np.concatenate([dz_i, dz_f, dz_g, dz_o], axis=1)  # (B, 4H)

        dW_ih += dz.T @ x[t]  # the same weights act at every step: their gradients add up
        dW_hh += dz.T @ h[t]
        db += dz.sum(axis=0)

        dx[t] = dz @ W_ih
        dh = dz @ W_hh  # to h_{t-1}
        dc = dc * f  # to c_{t-1}

    return dx, dh, dc, dW_ih, dW_hh, db
