"""The layer contract on top of the kernels that run one LSTM direction at a time."""

import numpy as np

from lstm_numba.contract import Weights
from lstm_numba.cpu import lstm, lstm_tiled


def _kernels(weights):
    """The row of the dispatch table, once more: vector registers pay from 4 units on."""
    return lstm_tiled if weights[0].W_hh.shape[1] >= 4 else lstm


def _in_order(sequence, direction):
    return np.ascontiguousarray(sequence[::-1] if direction == 1 else sequence)


def layer_forward(cell, x, state, weights, lengths, training):
    """See :mod:`lstm_numba.contract`."""
    h0, c0 = state
    h_n, c_n = np.empty_like(h0), np.empty_like(c0)
    outputs, caches = [], []
    for d, w in enumerate(weights):
        y_d, h_n[d], c_n[d], cache = _kernels(weights).lstm_forward(_in_order(x, d), h0[d], c0[d], *w[:4], training)
        outputs.append(y_d[::-1] if d == 1 else y_d)
        caches.append(cache)
    y = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=2)
    return y, (h_n, c_n), caches if training else None


def layer_backward(cell, dy, dstate, cache, weights):
    """See :mod:`lstm_numba.contract`."""
    dh_n, dc_n = dstate
    dh0, dc0 = np.empty_like(dh_n), np.empty_like(dc_n)
    H = dh_n.shape[2]
    dx, grads = None, []
    for d, w in enumerate(weights):
        dy_d = _in_order(dy[:, :, d * H : (d + 1) * H], d)
        dx_d, dh0[d], dc0[d], dW_ih, dW_hh, db = _kernels(weights).lstm_backward(
            dy_d, dh_n[d], dc_n[d], cache[d], w.W_ih, w.W_hh
        )
        dx = dx_d if dx is None else dx + dx_d[::-1]
        grads.append(Weights(dW_ih, dW_hh, *((None, None) if w.b_ih is None else (db, db))))
    return dx, (dh0, dc0), tuple(grads)
