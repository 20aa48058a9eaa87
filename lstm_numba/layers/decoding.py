"""A whole model, one step at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lstm_numba.layers.attention import MultiheadAttention
from lstm_numba.layers.container import Sequential
from lstm_numba.layers.dense import Dense
from lstm_numba.layers.embedding import Embedding, SinusoidalPositions
from lstm_numba.layers.norm import GELU, LayerNorm, ReLU, RMSNorm
from lstm_numba.layers.recurrent import GRU, LSTM, RNN
from lstm_numba.layers.transformer import TransformerEncoderLayer
from lstm_numba.layers.validation import check_size

_SAME_AT_EVERY_STEP = (Dense, Embedding, LayerNorm, RMSNorm, GELU, ReLU)


class ModelStream:
    """A :class:`Sequential` that is fed one time step at a time and keeps what its layers need of the past.

    Parameters
    ----------
    model
        In inference mode; layers of this package that do not see the future.
    batch_size
        Sequences B that run side by side.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> block = ln.TransformerEncoderLayer(8, 2, 16, causal=True, dtype="float64", seed=1)
    >>> embedding = ln.Embedding(5, 8, dtype="float64", seed=0)
    >>> model = ln.Sequential(embedding, ln.SinusoidalPositions(8, dtype="float64"), block).eval()
    >>> symbols = np.array([[0, 3], [1, 1], [4, 2]])
    >>> stream = ln.ModelStream(model, batch_size=2)
    >>> np.allclose(np.stack([stream.step(s) for s in symbols]), model(symbols))
    True
    """

    def __init__(self, model: Sequential, batch_size: int = 1) -> None:
        if not isinstance(model, Sequential):
            raise TypeError(f"model: expected a Sequential, got {type(model).__name__}")
        if model.training:
            raise RuntimeError("model: expected a model in inference mode, got training mode; call eval() first")
        self._B = check_size("batch_size", batch_size)
        self._model = model
        self.reset()

    def reset(self) -> None:
        """Forget all steps and take the weights as they are now."""
        self._streams: list[Any] = []
        self._steps: list[Callable] = []
        self.length = 0
        for position, layer in enumerate(self._model.layers):
            if isinstance(layer, (TransformerEncoderLayer, MultiheadAttention, LSTM, GRU, RNN)):
                self._streams.append(layer.stream(self._B))
                self._steps.append(self._streams[-1].step)
            elif isinstance(layer, SinusoidalPositions):
                self._steps.append(lambda x, layer=layer: x + layer.table(1, self.length))
            elif isinstance(layer, _SAME_AT_EVERY_STEP):
                self._steps.append(layer)
            else:
                raise TypeError(
                    f"model: expected layers that can run step by step, got {type(layer).__name__} at {position}"
                )

    @property
    def nbytes(self) -> int:
        """Bytes that the steps so far have left: keys and values, or the states of recurrent layers."""
        total = 0
        for stream in self._streams:
            if hasattr(stream, "nbytes"):
                total += stream.nbytes
            else:
                state = stream.state
                total += sum(part.nbytes for part in (state if isinstance(state, tuple) else (state,)))
        return total

    def step(self, x: np.ndarray) -> np.ndarray:
        """Advance by one step; ``x`` is one time step of the model's input, (B, ...) or symbols (B,)."""
        for step in self._steps:
            x = step(x)
        self.length += 1
        return x
