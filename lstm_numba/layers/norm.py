"""Normalisation over the features, and the two activations of feed-forward networks."""

from importlib import import_module
from typing import Any

import numpy as np

from lstm_numba.layers.layer import Layer
from lstm_numba.layers.validation import as_real_array, check_flag, check_shape, check_size

# Every backend of these layers is a module with the same functions, imported when it is first needed.
_MODULES = {"cpu": "lstm_numba.cpu.norm", "reference": "lstm_numba.reference.norm"}


class _Pointwise(Layer):
    """What the layers of this module share: one step does not see another, so any leading axes do."""

    _size: int | None = None  # features of the last axis; None for any

    def __init__(self, dtype: str | np.dtype, backend: str) -> None:
        super().__init__(dtype)
        if backend not in _MODULES:
            raise ValueError(f"backend: expected one of {', '.join(map(repr, _MODULES))}, got {backend!r}")
        self.backend = backend
        self._cache: Any = None
        self._shape: tuple[int, ...] = ()

    def _kernels(self):
        return import_module(_MODULES[self.backend])

    def _read(self, x: np.ndarray) -> np.ndarray:
        x = as_real_array("x", x, self.dtype)
        if x.ndim == 0 or (self._size is not None and x.shape[-1] != self._size):
            raise ValueError(f"x: expected shape (..., {self._size or 'features'}), got {x.shape}")
        return x

    def _keep(self, y: np.ndarray, cache: Any) -> np.ndarray:
        self._cache, self._shape = (cache if self.training else None), y.shape
        return y

    def _take(self, dy: np.ndarray) -> tuple[np.ndarray, Any]:
        if self._cache is None:
            raise RuntimeError("backward: expected a call of the layer in training mode before it")
        dy = as_real_array("dy", dy, self.dtype)
        check_shape("dy", dy, {f"axis {axis}": size for axis, size in enumerate(self._shape)})
        cache, self._cache = self._cache, None
        return dy, cache


def _check_eps(eps: float) -> float:
    if not isinstance(eps, (int, float)) or isinstance(eps, bool) or not 0 <= eps < 1:
        raise ValueError(f"eps: expected a number from 0 up to, not including, 1, got {eps!r}")
    return float(eps)


class LayerNorm(_Pointwise):
    r"""Normalise the features of every step, ``y = weight * (x - mean) / sqrt(variance + eps) + bias``.

    Parameters
    ----------
    normalized_shape
        Features E of the last axis.
    eps
        Added to the variance.
    bias
        Whether to add a bias.
    dtype
        ``"float32"`` or ``"float64"``.
    backend
        ``"cpu"`` or ``"reference"``.

    References
    ----------
    J. Ba, J. Kiros and G. Hinton, "Layer Normalization", 2016.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> norm = ln.LayerNorm(4, dtype="float64")
    >>> norm(np.array([[1.0, 2.0, 3.0, 6.0]])).round(2)
    array([[-1.07, -0.53,  0.  ,  1.6 ]])
    """

    def __init__(
        self,
        normalized_shape: int,
        eps: float = 1e-5,
        *,
        bias: bool = True,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
    ) -> None:
        super().__init__(dtype, backend)
        self._size = check_size("normalized_shape", normalized_shape)
        self.eps = _check_eps(eps)
        self.bias = check_flag("bias", bias)
        self._add_parameter("weight", np.ones(self._size))
        if self.bias:
            self._add_parameter("bias", np.zeros(self._size))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Normalise ``x``, shape (..., E)."""
        x = self._read(x)
        weight, bias = self._parameters["weight"], self._parameters.get("bias")
        return self._keep(*self._kernels().layer_norm_forward(x, weight, bias, self.eps, self.training))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Add to :attr:`grads` and return the gradient of ``x``."""
        dy, cache = self._take(dy)
        dx, dweight, dbias = self._kernels().layer_norm_backward(dy, cache, self._parameters["weight"])
        self._grads["weight"] += dweight
        if self.bias:
            self._grads["bias"] += dbias
        return dx


class RMSNorm(_Pointwise):
    r"""Scale the features of every step to a root mean square of one, ``y = weight * x / sqrt(mean(x^2) + eps)``.

    Parameters
    ----------
    normalized_shape
        Features E of the last axis.
    eps
        Added to the mean square; by default the rounding unit of the dtype, as in PyTorch.
    dtype
        ``"float32"`` or ``"float64"``.
    backend
        ``"cpu"`` or ``"reference"``.

    References
    ----------
    B. Zhang and R. Sennrich, "Root Mean Square Layer Normalization", 2019.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> ln.RMSNorm(2, dtype="float64")(np.array([3.0, 4.0])).round(3)
    array([0.849, 1.131])
    """

    def __init__(
        self,
        normalized_shape: int,
        eps: float | None = None,
        *,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
    ) -> None:
        super().__init__(dtype, backend)
        self._size = check_size("normalized_shape", normalized_shape)
        self.eps = float(np.finfo(self.dtype).eps) if eps is None else _check_eps(eps)
        self._add_parameter("weight", np.ones(self._size))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Normalise ``x``, shape (..., E)."""
        x, weight = self._read(x), self._parameters["weight"]
        return self._keep(*self._kernels().rms_norm_forward(x, weight, self.eps, self.training))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Add to :attr:`grads` and return the gradient of ``x``."""
        dy, cache = self._take(dy)
        dx, dweight = self._kernels().rms_norm_backward(dy, cache, self._parameters["weight"])
        self._grads["weight"] += dweight
        return dx


class GELU(_Pointwise):
    """Gaussian error linear unit: ``x`` times the standard normal distribution function at ``x``.

    Parameters
    ----------
    dtype
        ``"float32"`` or ``"float64"``.
    backend
        ``"cpu"`` or ``"reference"``.

    References
    ----------
    D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units (GELUs)", 2016.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> ln.GELU(dtype="float64")(np.array([-1.0, 0.0, 1.0])).round(3)
    array([-0.159,  0.   ,  0.841])
    """

    def __init__(self, *, dtype: str | np.dtype = "float32", backend: str = "cpu") -> None:
        super().__init__(dtype, backend)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Apply the function to every number of ``x``."""
        given = x
        x = self._read(x)
        x = x.copy() if self.training and not self._owns_input and np.may_share_memory(x, given) else x
        return self._keep(*self._kernels().gelu_forward(x))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Return the gradient of ``x``."""
        return self._kernels().gelu_backward(*self._take(dy))


class ReLU(_Pointwise):
    """Rectified linear unit, ``max(x, 0)``.

    Parameters
    ----------
    dtype
        ``"float32"`` or ``"float64"``.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> ln.ReLU(dtype="float64")(np.array([-1.0, 0.0, 1.0]))
    array([0., 0., 1.])
    """

    def __init__(self, *, dtype: str | np.dtype = "float32") -> None:
        super().__init__(dtype, "cpu")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Apply the function to every number of ``x``."""
        x = self._read(x)
        y = np.maximum(x, 0)
        return self._keep(y, y > 0)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Return the gradient of ``x``."""
        dy, positive = self._take(dy)
        return dy * positive
