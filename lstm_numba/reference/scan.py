"""Linear recurrences in NumPy, and the two cells that are one: minGRU and minLSTM (Feng et al., 2024).

A linear recurrence ``h_t = a_t * h_{t-1} + b_t`` has coefficients that do not depend on ``h``. The cells compute them
from the input alone. Here everything runs step by step; :mod:`lstm_numba.cpu.scan` may cut time into pieces.

Functions of cells take and return tuples: ``weights = (W, b)`` or ``(W,)`` without bias, ``state = (h0,)``.
"""

import numpy as np

from lstm_numba.reference.lstm import sigmoid


def linear_scan(
    a,  # (T, ...) what is kept at each step
    b,  # (T, ...) what is written
    h0,  # (...)
):
    """Run ``h_t = a_t * h_{t-1} + b_t``. Returns ``h`` (T + 1, ...), slot 0 the initial state."""
    h = np.empty((len(b) + 1, *h0.shape), np.result_type(a, b, h0))
    h[0] = h0
    for t in range(len(b)):
        h[t + 1] = a[t] * h[t] + b[t]
    return h


def linear_scan_grad(
    dy,  # (T, ...) gradient of the loss with respect to h_1 ... h_T
    dh_n,  # (...)    ... with respect to h_T once more
    a,  # (T, ...)
    h,  # (T + 1, ...)
):
    """Backward of :func:`linear_scan`: the same recurrence from the last step to the first.

    Returns ``da, db, dh0``. ``db_t`` is the total derivative with respect to ``h_t``, because ``b_t`` enters ``h_t``
    with the factor 1.
    """
    da, db = np.empty_like(dy), np.empty_like(dy)
    dh = dh_n
    for t in reversed(range(len(dy))):
        db[t] = dh + dy[t]
        da[t] = db[t] * h[t]
        dh = a[t] * db[t]
    return da, db, dh


def mingru_forward(
    x,  # (T, B, I)
    state,  # (h0,) with h0 (B, H)
    weights,  # W (2H, I) blocks z, n stacked, and b (2H,) if there is a bias
    training,
):
    """Run one minGRU layer. Returns ``y, (h_n,), cache``."""
    z, n = np.split(_project(x, weights), 2, axis=2)
    z = sigmoid(z)
    h = linear_scan(1 - z, z * n, state[0])
    return h[1:].copy(), (h[-1].copy(),), (x, h, z, n) if training else None


def mingru_backward(
    dy,  # (T, B, H)
    dstate,  # (dh_n,)
    cache,
    weights,
):
    """Backward of :func:`mingru_forward`. Returns ``dx, (dh0,), grads``, the last like ``weights``."""
    x, h, z, n = cache
    da, db, dh0 = linear_scan_grad(dy, dstate[0], 1 - z, h)
    dz = db * n - da  # a = 1 - z and b = z * n
    dx, grads = _project_grad(np.concatenate([dz * z * (1 - z), db * z], axis=2), x, weights)
    return dx, (dh0,), grads


def minlstm_forward(
    x,  # (T, B, I)
    state,  # (h0,) with h0 (B, H)
    weights,  # W (3H, I) blocks i, f, g stacked, and b (3H,) if there is a bias
    training,
):
    """Run one minLSTM layer; its two gates share the sum 1. Returns ``y, (h_n,), cache``."""
    i, f, g = np.split(_project(x, weights), 3, axis=2)
    i, f = sigmoid(i), sigmoid(f)
    h = linear_scan(f / (f + i), i / (f + i) * g, state[0])
    return h[1:].copy(), (h[-1].copy(),), (x, h, i, f, g) if training else None


def minlstm_backward(
    dy,  # (T, B, H)
    dstate,  # (dh_n,)
    cache,
    weights,
):
    """Backward of :func:`minlstm_forward`. Returns ``dx, (dh0,), grads``, the last like ``weights``."""
    x, h, i, f, g = cache
    da, db, dh0 = linear_scan_grad(dy, dstate[0], f / (f + i), h)
    d_share = da - db * g  # of the forget gate's share a; the input gate's is 1 - a
    di, df = -d_share * f / (f + i) ** 2, d_share * i / (f + i) ** 2
    dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), db * i / (f + i)], axis=2)
    dx, grads = _project_grad(dz, x, weights)
    return dx, (dh0,), grads


def _project(x, weights):
    """Pre-activations of all steps: ``x W^T + b``."""
    return x @ weights[0].T + (weights[1] if len(weights) == 2 else 0)


def _project_grad(dz, x, weights):
    """Backward of :func:`_project`: ``dx`` and the gradients of the weights."""
    grads = (np.einsum("tbg,tbi->gi", dz, x), dz.sum(axis=(0, 1)))
    return dz @ weights[0], grads[: len(weights)]
