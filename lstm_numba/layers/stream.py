"""One time step at a time."""

from typing import Any

import numpy as np

from lstm_numba.contract import LayerWeights
from lstm_numba.layers.validation import as_real_array, check_shape


class _StepwiseStream:
    """A stream for a backend that has none of its own: a sequence of one step per call."""

    handle = None

    def __init__(self, kernels: Any, cell: str, weights: list[LayerWeights], batch_size: int) -> None:
        self._kernels, self._cell, self._weights = kernels, cell, weights
        self.state = []
        for layer in weights:
            P = layer[0].W_hh.shape[1]
            widths = (P, layer[0].W_ih.shape[0] // 4) if cell == "lstm" else (P,)
            self.state.append(tuple(np.zeros((1, batch_size, width), layer[0].W_ih.dtype) for width in widths))
        self.y = self.state[-1][0][0]

    def bind(self) -> None:
        """Nothing is prepared: every step reads the weights."""

    def advance(self, x: np.ndarray) -> np.ndarray:
        x = x[None]
        for weights, parts in zip(self._weights, self.state, strict=True):
            x, final, _ = self._kernels.layer_forward(self._cell, x, parts, weights, None, False)
            for part, new in zip(parts, final, strict=True):
                part[...] = new
        return self.y


class Stream:
    """A recurrent layer that is fed one time step at a time; made by ``layer.stream()``.

    The state stays inside. The weights are those of the moment the stream was made or last :meth:`reset`.

    Attributes
    ----------
    handle
        For use in compiled code with :func:`lstm_numba.cpu.stream.stream_step`; None on other backends.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> lstm = ln.LSTM(2, 3, seed=0).eval()
    >>> x = np.ones((5, 1, 2), np.float32)
    >>> stream = lstm.stream()
    >>> steps = [stream.step(x_t).copy() for x_t in x]
    >>> np.array_equal(np.stack(steps), lstm(x)[0])
    True
    """

    def __init__(
        self, kernels: Any, cell: str, weights: list[LayerWeights], batch_size: int, dtype: np.dtype, input_size: int
    ) -> None:
        make = getattr(kernels, "open_stream", None)
        self._stream = make(cell, weights, batch_size) if make else _StepwiseStream(kernels, cell, weights, batch_size)
        self._advance = self._stream.advance
        self._cell, self._dtype, self._shape = cell, dtype, (batch_size, input_size)
        self.handle = self._stream.handle

    def step(self, x: np.ndarray) -> np.ndarray:
        """Advance by one time step.

        Parameters
        ----------
        x
            Shape (B, I), the layer's dtype.

        Returns
        -------
        ndarray
            Shape (B, features): the output of the last layer. The next step writes into the same memory; copy it to
            keep it.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape do not fit.
        """
        if not (type(x) is np.ndarray and x.dtype is self._dtype and x.shape == self._shape and x.flags.c_contiguous):
            x = np.ascontiguousarray(as_real_array("x", x, self._dtype))
            check_shape("x", x, {"B": self._shape[0], "I": self._shape[1]})
        return self._advance(x)

    @property
    def state(self) -> Any:
        """A copy of the state, shaped like a layer's: ``h`` or ``(h, c)``, each (num_layers, B, features)."""
        parts = tuple(np.concatenate(arrays) for arrays in zip(*self._stream.state, strict=True))
        return parts if self._cell == "lstm" else parts[0]

    def reset(self, state: Any = None) -> None:
        """Take the layer's weights as they are now, and start from ``state``, zeros by default.

        Parameters
        ----------
        state
            Shaped like :attr:`state`.

        Raises
        ------
        TypeError, ValueError
            If the state does not fit.
        """
        values: list[Any]
        if state is None:
            values = [0] * len(self._stream.state[0])
        else:
            values = list(state) if self._cell == "lstm" else [state]
            for number, value in enumerate(values):
                current = self._stream.state
                axes = {
                    "num_layers": len(current),
                    "B": self._shape[0],
                    "features": current[0][number].shape[2],
                }
                values[number] = check_shape(
                    f"state[{number}]", as_real_array(f"state[{number}]", value, self._dtype), axes
                )
        for k, parts in enumerate(self._stream.state):
            for part, value in zip(parts, values, strict=True):
                part[0] = value[k] if isinstance(value, np.ndarray) else value
        self._stream.bind()
