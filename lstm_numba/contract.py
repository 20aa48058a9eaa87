"""What every backend provides: the same two functions, with the same arguments, shapes and results.

Layers call ``layer_forward`` and ``layer_backward`` and nothing else, so a new backend is a module that defines
them and rows in :data:`lstm_numba.backend.ROUTES`. Layers validate, kernels trust: a backend may assume C-contiguous
arrays of one dtype with the shapes below. It may not write into its arguments, some of which are read-only.

``layer_forward(cell, x, state, weights, lengths, training) -> y, state_n, cache``

========  ====================  ===========================================================================
argument  shape                 meaning
========  ====================  ===========================================================================
cell      str                   one of ``CELLS``
x         (T, B, I)             one layer's input, time first
state     tuple                 initial state, first axis the direction: ``(h0,)`` or, for the LSTM, ``(h0, c0)``
..        (D, B, P), (D, B, H)  hidden state (after the projection, if any) and cell state
weights   LayerWeights          a Weights for each of the D = 1 or 2 directions; the second runs from the last
                                step to the first
lengths   (B,) or None          int64 from 1 to T in any order; None: every sequence has T steps
training  bool                  keep what the backward pass needs
y         (T, B, D*P)           hidden states, first direction first; zero beyond a sequence's length
state_n   like ``state``        after each sequence's own last step (second direction: after its step 0)
cache     anything              what ``layer_backward`` needs, or None when ``training`` is false
========  ====================  ===========================================================================

A module that defines ``COPIES_INPUT`` takes one more argument, ``x_copy``: None, or in training without lengths an
array like ``x``, into which it copies ``x`` for its backward pass. Otherwise ``x`` may not change before that.

``layer_backward(cell, dy, dstate, cache, weights, grads) -> dx, dstate0``

``dy`` and ``dstate`` have the shapes of ``y`` and ``state_n``; ``dx`` and ``dstate0`` those of ``x`` and ``state``.
The gradients of the weights are added to ``grads``, arrays of the same shapes as ``weights``. ``dy`` beyond a
sequence's length is ignored, ``dx`` is zero there. The cache may be used up: a cache serves one backward pass. Results
belong to the caller, they share no memory with the cache or the arguments.

``stack_forward(cell, x, states, weights) -> (y, states_n) or None``, which a module may have, runs the layers of one
direction in inference, all at once: ``states`` and ``weights`` are lists, a layer an entry. It returns None where
one layer after the other is better; ``overlap_of(weights, T, B)`` says the same beforehand.

**One direction.** The modules that a reader should start with, :mod:`lstm_numba.reference.lstm` and
``lstm_numba.cpu.lstm``, work on one direction of one layer without lengths (the direction's axis is left out):

``lstm_forward(x, h0, c0, W_ih, W_hh, b_ih, b_hh, training) -> y, h_n, c_n, cache``

``lstm_backward(dy, dh_n, dc_n, cache, W_ih, W_hh) -> dx, dh0, dc0, dW_ih, dW_hh, db``

``db`` has shape (4H,) and serves both biases, since only their sum enters the equations. The cache is an
:class:`LSTMCache` and is not changed.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np

# "gru" resets after the recurrent product, as PyTorch does; "gru_reset_before" before it, as in Cho et al. (2014).
CELLS = ("lstm", "gru", "gru_reset_before", "rnn_tanh", "rnn_relu")


class Weights(NamedTuple):
    """Weights of one layer in one direction, or their gradients.

    G blocks of H rows are stacked: i, f, g, o for the LSTM, r, z, n for the GRU, one for the simple network. P is the
    size of the hidden state, H unless the LSTM projects it.
    """

    W_ih: np.ndarray  # (G*H, I)
    W_hh: np.ndarray  # (G*H, P)
    b_ih: np.ndarray | None = None  # (G*H,)
    b_hh: np.ndarray | None = None  # (G*H,)
    W_hr: np.ndarray | None = None  # (P, H)


class LayerWeights(tuple[Weights, ...]):
    """Weights of one layer, a :class:`Weights` per direction, and what a backend keeps about them between calls.

    The arrays are written in place and never exchanged, so a backend may keep their addresses.

    ``lent`` says whether anybody but the owner may hold the arrays. Then they may change at any time; as long as
    nobody does, they change only when the owner counts ``version`` up.
    """

    scratch: dict[str, Any]
    lent: bool
    version: int

    def __new__(cls, weights: Iterable[Weights]) -> Self:
        """Collect the directions' weights."""
        made = super().__new__(cls, weights)
        made.scratch, made.lent, made.version = {}, True, 0
        return made

    def __reduce__(self) -> tuple:
        """Copies and pickles start without what a backend keeps."""
        return LayerWeights, (tuple(self),)


class LSTMCache(NamedTuple):
    """Everything the backward pass needs from one forward pass of one layer in one direction."""

    x: np.ndarray  # (T, B, I)     the input
    h: np.ndarray  # (T + 1, B, H) hidden states; slot 0 is the initial state
    c: np.ndarray  # (T + 1, B, H) cell states; slot 0 is the initial state
    gates: np.ndarray  # (T, B, 4H)    activated gates i, f, g, o
