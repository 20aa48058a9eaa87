"""Putting layers in a row."""

from collections.abc import Mapping
from typing import Self

import numpy as np

from lstm_numba.layers.layer import Layer
from lstm_numba.layers.lstm_variants import LSTMVariant
from lstm_numba.layers.sequence import SequenceLayer
from lstm_numba.layers.stack import RecurrentStack
from lstm_numba.layers.validation import as_real_array, check_flag, check_shape


class LastStep(Layer):
    """Keep only the last time step of a sequence: from many-to-many to many-to-one.

    Parameters
    ----------
    batch_first
        Whether sequences come as (B, T, H) instead of (T, B, H).
    dtype
        ``"float32"`` or ``"float64"``.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> ln.LastStep(batch_first=True)(np.zeros((5, 3, 20), np.float32)).shape
    (5, 20)
    """

    def __init__(self, batch_first: bool = False, *, dtype: str | np.dtype = "float32") -> None:
        super().__init__(dtype)
        self.batch_first = check_flag("batch_first", batch_first)
        self._shape: tuple[int, ...] | None = None

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """Return the last step, shape (B, H), of ``y``, shape (T, B, H) or (B, T, H)."""
        y = as_real_array("y", y, self.dtype, contiguous=False)
        check_shape("y", y, dict.fromkeys("BTH" if self.batch_first else "TBH"))
        self._shape = y.shape if self.training else None
        return (y[:, -1] if self.batch_first else y[-1]).copy()

    def backward(self, dlast: np.ndarray) -> np.ndarray:
        """Return the gradient of the whole sequence: ``dlast``, shape (B, H), at the last step and zero before."""
        if self._shape is None:
            raise RuntimeError("backward: expected a call of the layer in training mode before it")
        dlast = as_real_array("dlast", dlast, self.dtype)
        B = self._shape[0] if self.batch_first else self._shape[1]
        check_shape("dlast", dlast, {"B": B, "H": self._shape[2]})
        dy = np.zeros(self._shape, self.dtype)
        dy[(slice(None), -1) if self.batch_first else -1] = dlast
        self._shape = None
        return dy


class Sequential(Layer):
    """Layers in a row; a recurrent layer passes its outputs on and starts from the zero state.

    Parameters
    ----------
    *layers
        At least one layer; all of one dtype. Parameters are named ``"0.weight_ih_l0"``, ``"2.weight"``, ... as in
        ``torch.nn.Sequential``.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> lstm = ln.LSTM(2, 8, batch_first=True, seed=0)
    >>> model = ln.Sequential(lstm, ln.LastStep(batch_first=True), ln.Dense(8, 1, seed=1))
    >>> model(np.zeros((4, 6, 2), np.float32)).shape
    (4, 1)
    """

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ValueError("layers: expected at least one layer, got none")
        for position, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{position}]: expected a layer, got {type(layer).__name__}")
            if layer.dtype != layers[0].dtype:
                raise TypeError(f"layers[{position}]: expected dtype {layers[0].dtype} as the first, got {layer.dtype}")
        super().__init__(layers[0].dtype)
        self.layers = layers

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """Parameters of all layers, each under its layer's position."""
        return {f"{n}.{name}": value for n, layer in enumerate(self.layers) for name, value in layer.parameters.items()}

    @property
    def grads(self) -> Mapping[str, np.ndarray]:
        """Gradients by the same names."""
        return {f"{n}.{name}": value for n, layer in enumerate(self.layers) for name, value in layer.grads.items()}

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        for layer in self.layers:
            layer.zero_grad()

    def train(self) -> Self:
        """Switch all layers to training mode."""
        for layer in self.layers:
            layer.train()
        super().train()
        return self

    def eval(self) -> Self:
        """Switch all layers to inference mode."""
        for layer in self.layers:
            layer.eval()
        super().eval()
        return self

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Run the layers in order; ``x`` has the shape the first layer expects."""
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, (RecurrentStack, LSTMVariant, SequenceLayer)):
                x, _ = x
        return x

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Run the layers' backward passes in reverse order and return the gradient of the input."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
            if isinstance(layer, (RecurrentStack, LSTMVariant, SequenceLayer)):
                dy, _ = dy
        return dy

    def __repr__(self) -> str:
        return "Sequential(\n" + "".join(f"  ({n}) {layer!r}\n" for n, layer in enumerate(self.layers)) + ")"
