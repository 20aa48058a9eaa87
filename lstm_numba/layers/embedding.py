"""From symbols to vectors, and what tells a model where in the sequence a vector stands."""

from typing import Any

import numpy as np

from lstm_numba.layers.layer import Layer
from lstm_numba.layers.validation import as_real_array, check_flag, check_shape, check_size


class Embedding(Layer):
    """A table of vectors: symbol k becomes row k. Parameters and defaults as in ``torch.nn.Embedding``.

    Parameters
    ----------
    num_embeddings
        Number of symbols K.
    embedding_dim
        Features E of a vector.
    dtype
        ``"float32"`` or ``"float64"``.
    seed
        Seed of the initial table, drawn from the standard normal distribution.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> table = ln.Embedding(10, 4, seed=0)
    >>> table(np.array([[3, 1], [3, 9]])).shape
    (2, 2, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: str | np.dtype = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        self.num_embeddings = check_size("num_embeddings", num_embeddings)
        self.embedding_dim = check_size("embedding_dim", embedding_dim)
        rng = np.random.default_rng(seed)
        self._add_parameter("weight", rng.normal(size=(self.num_embeddings, self.embedding_dim)))
        self._symbols: np.ndarray | None = None

    def __call__(self, symbols: Any) -> np.ndarray:
        """Look up ``symbols``, integers from 0 to K - 1 of any shape. Returns shape (..., E)."""
        given = symbols
        symbols = np.asarray(symbols)
        if symbols.dtype.kind not in "iu":
            raise TypeError(f"symbols: expected integers, got dtype {symbols.dtype}")
        wrong = (symbols < 0) | (symbols >= self.num_embeddings)
        if wrong.any():
            raise ValueError(f"symbols: expected integers from 0 to {self.num_embeddings - 1}, got {symbols[wrong][0]}")
        if self.training:
            self._symbols = symbols.copy() if np.may_share_memory(symbols, given) else symbols
        return self.parameters["weight"][symbols]

    def backward(self, dy: np.ndarray) -> None:
        """Add to :attr:`grads`; integers have no gradient, so nothing is returned."""
        if self._symbols is None:
            raise RuntimeError("backward: expected a call of the layer in training mode before it")
        dy = as_real_array("dy", dy, self.dtype)
        leading = {f"axis {axis}": size for axis, size in enumerate(self._symbols.shape)}
        check_shape("dy", dy, leading | {"E": self.embedding_dim})
        # add.at, since a symbol that comes twice must get both gradients: grads[symbols] += dy would keep one.
        np.add.at(self.grads["weight"], self._symbols.reshape(-1), dy.reshape(-1, self.embedding_dim))
        self._symbols = None


class SinusoidalPositions(Layer):
    r"""Add to every step a vector that says where it stands: sines and cosines of falling frequencies.

    .. math:: p_{t, 2k} = \sin(t / 10000^{2k / E}), \qquad p_{t, 2k + 1} = \cos(t / 10000^{2k / E})

    Parameters
    ----------
    embed_dim
        Features E.
    batch_first
        Sequences as (B, T, E) instead of (T, B, E).
    dtype
        ``"float32"`` or ``"float64"``.

    References
    ----------
    A. Vaswani et al., "Attention Is All You Need", 2017, section 3.5.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> positions = ln.SinusoidalPositions(4, dtype="float64")
    >>> positions(np.zeros((2, 1, 4)))[:, 0].round(2)
    array([[0.  , 1.  , 0.  , 1.  ],
           [0.84, 0.54, 0.01, 1.  ]])
    """

    def __init__(self, embed_dim: int, *, batch_first: bool = False, dtype: str | np.dtype = "float32") -> None:
        super().__init__(dtype)
        self.embed_dim = check_size("embed_dim", embed_dim)
        self.batch_first = check_flag("batch_first", batch_first)
        self._shape: tuple[int, ...] | None = None

    def table(self, T: int, first: int = 0) -> np.ndarray:
        """Return the vectors (T, E) of positions ``first ... first + T - 1``."""
        columns = np.arange(self.embed_dim)
        angle = np.arange(first, first + T)[:, None] / 10000 ** (2 * (columns // 2) / self.embed_dim)
        return np.where(columns % 2 == 0, np.sin(angle), np.cos(angle)).astype(self.dtype)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Add the positions to ``x``, shape (T, B, E), or (B, T, E) with ``batch_first``."""
        x = as_real_array("x", x, self.dtype)
        check_shape("x", x, dict.fromkeys("BT" if self.batch_first else "TB") | {"E": self.embed_dim})
        self._shape = x.shape if self.training else None
        return x + (self.table(x.shape[1]) if self.batch_first else self.table(len(x))[:, None])

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Return the gradient of ``x``, which is ``dy``: the positions are no parameters."""
        if self._shape is None:
            raise RuntimeError("backward: expected a call of the layer in training mode before it")
        dy = as_real_array("dy", dy, self.dtype)
        check_shape("dy", dy, {f"axis {axis}": size for axis, size in enumerate(self._shape)})
        self._shape = None
        return dy.copy()
