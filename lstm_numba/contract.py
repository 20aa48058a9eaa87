"""What every backend provides: the same functions, with the same arguments, shapes and results.

Layers call these two functions and nothing else, so a new backend is a module that defines them and a row in
:data:`lstm_numba.backend.ROUTES`. Layers validate, kernels trust: a backend may assume C-contiguous arrays of
one dtype with the shapes below.

``lstm_forward(x, h0, c0, W_ih, W_hh, b_ih, b_hh, training) -> y, h_n, c_n, cache``

========  ===========  =====================================================
argument  shape        meaning
========  ===========  =====================================================
x         (T, B, I)    one layer's input, time first
h0, c0    (B, H)       initial hidden and cell state
W_ih      (4H, I)      input weights, gates i, f, g, o stacked
W_hh      (4H, H)      recurrent weights, gates i, f, g, o stacked
b_ih      (4H,)        or None for a layer without bias
b_hh      (4H,)        or None for a layer without bias
training  bool         keep what the backward pass needs
y         (T, B, H)    hidden state at every step
h_n, c_n  (B, H)       state after the last step
cache     LSTMCache    or None when ``training`` is false
========  ===========  =====================================================

``lstm_backward(dy, dh_n, dc_n, cache, W_ih, W_hh) -> dx, dh0, dc0, dW_ih, dW_hh, db``

Each gradient has the shape of what it is the gradient of. ``db`` has shape (4H,) and serves both biases, since
only their sum enters the equations. The cache is not changed.
"""

from typing import NamedTuple

import numpy as np


class LSTMCache(NamedTuple):
    """Everything the backward pass needs from one forward pass of one layer in one direction."""

    x: np.ndarray  # (T, B, I)     the input
    h: np.ndarray  # (T + 1, B, H) hidden states; slot 0 is the initial state
    c: np.ndarray  # (T + 1, B, H) cell states; slot 0 is the initial state
    gates: np.ndarray  # (T, B, 4H)    activated gates i, f, g, o
