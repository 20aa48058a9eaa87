"""Recurrent modules for PyTorch that run on this package's kernels.

:class:`LSTM`, :class:`GRU` and :class:`RNN` are subclasses of ``torch.nn``'s with the same constructor, parameters,
``state_dict`` and results; only ``forward`` and its gradient are ours. :func:`accelerate` turns the modules of an
existing model into them, :func:`restore` turns them back. :func:`to_layer` and :func:`from_layer` copy weights
between these modules and the layers of ``lstm_numba``.

Tensors on the CPU are read and written in place by the CPU kernels, tensors on an NVIDIA GPU by those of
``backend="cuda"``; nothing is copied between libraries.
"""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"lstm_numba.torch needs PyTorch, which cannot be imported ({error}): pip install 'lstm_numba[torch]'"
    ) from error

from lstm_numba.torch.convert import from_layer, to_layer
from lstm_numba.torch.modules import GRU, LSTM, RNN
from lstm_numba.torch.swap import Recurrent, accelerate, restore, survey

__all__ = ["GRU", "LSTM", "RNN", "Recurrent", "accelerate", "from_layer", "restore", "survey", "to_layer"]
