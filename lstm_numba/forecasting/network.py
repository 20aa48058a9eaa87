"""The network behind the forecaster: one LSTM that reads the past and goes on, blindfolded, into the future."""

import numpy as np

from lstm_numba.layers import LSTM, Dense, Layer, Sequential


class LastSteps(Layer):
    """Keep the last `steps` time steps of a batch-first sequence, (B, T, H) to (B, steps, H).

    Parameters
    ----------
    steps : int
        Steps to keep, >= 1.
    dtype : str
        ``"float32"`` or ``"float64"``.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.forecasting import LastSteps
    >>> LastSteps(2)(np.zeros((5, 7, 3), np.float32)).shape
    (5, 2, 3)
    """

    def __init__(self, steps: int, *, dtype: str = "float32") -> None:
        super().__init__(dtype)
        if steps < 1:
            raise ValueError(f"steps: expected an integer >= 1, got {steps}")
        self.steps = steps
        self._shape: tuple[int, ...] | None = None

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """Return the last steps of ``y``, shape (B, T, H) with T >= steps."""
        if y.ndim != 3 or y.shape[1] < self.steps:
            raise ValueError(f"y: expected shape (B, T, H) with T >= {self.steps}, got {y.shape}")
        self._shape = y.shape if self.training else None
        return y[:, -self.steps :].copy()

    def backward(self, dlast: np.ndarray) -> np.ndarray:
        """Return the gradient of the whole sequence: zero before the kept steps."""
        if self._shape is None:
            raise RuntimeError("backward: expected a call of the layer in training mode before it")
        expected = (self._shape[0], self.steps, self._shape[2])
        if dlast.shape != expected:
            raise ValueError(f"dlast: expected shape {expected}, got {dlast.shape}")
        dy = np.zeros(self._shape, self.dtype)
        dy[:, -self.steps :] = dlast
        self._shape = None
        return dy


def make_network(
    features: int, hidden_size: int, num_layers: int, horizon: int, *, dtype: str, seed: int
) -> Sequential:
    """LSTM over window and future steps, then one Dense shared by all future steps: (B, T, F) to (B, horizon, 1)."""
    lstm_seed, dense_seed = np.random.SeedSequence(seed).spawn(2)
    return Sequential(
        LSTM(
            features,
            hidden_size,
            num_layers,
            batch_first=True,
            dtype=dtype,
            seed=np.random.default_rng(lstm_seed),
        ),
        LastSteps(horizon, dtype=dtype),
        Dense(hidden_size, 1, dtype=dtype, seed=np.random.default_rng(dense_seed)),
    )
