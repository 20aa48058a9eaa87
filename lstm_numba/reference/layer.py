"""The contract of :mod:`lstm_numba.contract` in the slow and obvious way.

The second direction reverses its input and its output. With lengths, every sequence runs alone, cut at its own
length, so that padding cannot matter.
"""

from typing import NamedTuple

import numpy as np

from lstm_numba.contract import Weights
from lstm_numba.reference import gru, lstm, lstm_projected, rnn


class _Run(NamedTuple):
    """Some sequences of the batch in one direction, all of one length."""

    rows: slice  # which sequences
    steps: int
    direction: int
    cache: NamedTuple


class _LayerCache(NamedTuple):
    x_shape: tuple[int, int, int]
    runs: list[_Run]


def layer_forward(cell, x, state, weights, lengths, training):
    """Run one layer, all directions; see :mod:`lstm_numba.contract`."""
    T, B, _ = x.shape
    P = state[0].shape[2]
    dtype = np.result_type(x, *state, *(w for direction in weights for w in direction if w is not None))
    y = np.zeros((T, B, len(weights) * P), dtype)
    state_n = tuple(np.empty(part.shape, dtype) for part in state)
    runs = []
    groups = [(slice(None), T)] if lengths is None else [(slice(b, b + 1), int(n)) for b, n in enumerate(lengths)]
    for rows, steps in groups:
        for d, w in enumerate(weights):
            x_run = _in_order(x[:steps, rows], d)
            y_run, final, cache = _forward(cell, x_run, [part[d, rows] for part in state], w, training)
            y[:steps, rows, d * P : (d + 1) * P] = _in_order(y_run, d)
            for part, last in zip(state_n, final, strict=True):
                part[d, rows] = last
            runs.append(_Run(rows, steps, d, cache))
    return y, state_n, _LayerCache(x.shape, runs) if training else None


def layer_backward(cell, dy, dstate, cache, weights, grads):
    """See :mod:`lstm_numba.contract`."""
    dx, dstate0, gradients = layer_gradients(cell, dy, dstate, cache, weights)
    for totals, news in zip(grads, gradients, strict=True):
        for total, new in zip(totals, news, strict=True):
            if total is not None:
                total += new
    return dx, dstate0


def layer_gradients(cell, dy, dstate, cache, weights):
    """Like :func:`layer_backward`, with the gradients of the weights as a third result instead of added to others."""
    P = dstate[0].shape[2]
    dx = np.zeros(cache.x_shape, dy.dtype)
    dstate0 = tuple(np.empty_like(part) for part in dstate)
    grads = tuple(Weights._make(None if w is None else np.zeros_like(w) for w in direction) for direction in weights)
    for rows, steps, d, run_cache in cache.runs:
        dy_run = _in_order(dy[:steps, rows, d * P : (d + 1) * P], d)
        dx_run, initial, gradients = _backward(cell, dy_run, [part[d, rows] for part in dstate], run_cache, weights[d])
        dx[:steps, rows] += _in_order(dx_run, d)
        for part, first in zip(dstate0, initial, strict=True):
            part[d, rows] = first
        for total, gradient in zip(grads[d], gradients, strict=True):
            if total is not None:
                total += gradient
    return dx, dstate0, grads


def _in_order(sequence, direction):
    """The steps in the order in which a direction visits them, or back from that order."""
    return sequence[::-1] if direction == 1 else sequence


def _forward(cell, x, state, w, training):
    """One direction of one layer: ``y, final state, cache``."""
    h0 = state[0]
    if cell == "lstm":
        c0 = state[1]
        if w.W_hr is None:
            y, h_n, c_n, cache = lstm.lstm_forward(x, h0, c0, w.W_ih, w.W_hh, w.b_ih, w.b_hh, training)
        else:
            y, h_n, c_n, cache = lstm_projected.lstm_projected_forward(
                x, h0, c0, w.W_ih, w.W_hh, w.b_ih, w.b_hh, w.W_hr, training
            )
        return y, (h_n, c_n), cache
    if cell in ("gru", "gru_reset_before"):
        y, h_n, cache = gru.gru_forward(x, h0, w.W_ih, w.W_hh, w.b_ih, w.b_hh, training, reset_after=cell == "gru")
    else:
        y, h_n, cache = rnn.rnn_forward(
            x, h0, w.W_ih, w.W_hh, w.b_ih, w.b_hh, training, nonlinearity=cell.removeprefix("rnn_")
        )
    return y, (h_n,), cache


def _backward(cell, dy, dstate, cache, w):
    """One direction of one layer: ``dx, gradient of the initial state, gradients of the weights``."""
    dh_n = dstate[0]
    if cell == "lstm":
        dc_n, dW_hr = dstate[1], None
        if w.W_hr is None:
            dx, dh0, dc0, dW_ih, dW_hh, db = lstm.lstm_backward(dy, dh_n, dc_n, cache, w.W_ih, w.W_hh)
        else:
            dx, dh0, dc0, dW_ih, dW_hh, db, dW_hr = lstm_projected.lstm_projected_backward(
                dy, dh_n, dc_n, cache, w.W_ih, w.W_hh, w.W_hr
            )
        return dx, (dh0, dc0), Weights(dW_ih, dW_hh, db, db, dW_hr)
    if cell in ("gru", "gru_reset_before"):
        dx, dh0, dW_ih, dW_hh, db_ih, db_hh = gru.gru_backward(dy, dh_n, cache, w.W_ih, w.W_hh)
    else:
        dx, dh0, dW_ih, dW_hh, db_ih = rnn.rnn_backward(dy, dh_n, cache, w.W_ih, w.W_hh)
        db_hh = db_ih
    return dx, (dh0,), Weights(dW_ih, dW_hh, db_ih, db_hh)
