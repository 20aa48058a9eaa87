"""Dropout as a layer."""

import numpy as np

from lstm_numba.layers.layer import Layer
from lstm_numba.layers.validation import as_real_array, check_probability, check_shape


class Dropout(Layer):
    """Set numbers to zero at random while training, ``torch.nn.Dropout``; in inference, pass everything on.

    Parameters
    ----------
    p
        Probability that a number is dropped. Those that stay are divided by ``1 - p``, so that the mean is kept.
    dtype
        ``"float32"`` or ``"float64"``.
    seed
        Seed of the choice; every call in training mode draws anew.

    References
    ----------
    N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> dropout = ln.Dropout(0.5, seed=0)
    >>> x = np.ones(8, np.float32)
    >>> y = dropout(x)
    >>> sorted(set(y.tolist()))
    [0.0, 2.0]
    >>> np.array_equal(dropout.backward(x), y), np.array_equal(dropout.eval()(x), x)
    (True, True)
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        dtype: str | np.dtype = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        self.p = check_probability("p", p)
        self._rng = np.random.default_rng(seed)
        self._factors: np.ndarray | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Drop numbers of ``x``, of any shape; in inference, return it."""
        x = as_real_array("x", x, self.dtype)
        if not self.training:
            self._factors = None
            return x
        keep = self._rng.random(x.shape, np.float32) >= self.p
        self._factors = keep / self.dtype.type(1 - self.p)
        return x * self._factors

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Return the gradient of ``x``: zero where a number was dropped."""
        if self._factors is None:
            raise RuntimeError("backward: expected a call of the layer in training mode before it")
        dy = as_real_array("dy", dy, self.dtype)
        check_shape("dy", dy, {f"axis {axis}": size for axis, size in enumerate(self._factors.shape)})
        factors, self._factors = self._factors, None
        return dy * factors

    def __repr__(self) -> str:
        return f"Dropout({self.p}, dtype='{self.dtype}')"
