"""The fully connected layer."""

from importlib import import_module

import numpy as np

from lstm_numba.layers.initialisers import uniform_fan
from lstm_numba.layers.layer import Layer
from lstm_numba.layers.validation import as_real_array, check_flag, check_shape, check_size

# Every backend of the product is a module with the same functions, imported when it is first needed.
_MODULES = {"cpu": "lstm_numba.cpu.product", "reference": "lstm_numba.reference.product"}


def product_kernels(backend: str):
    """The module of a backend: ``linear_forward`` and ``linear_backward``."""
    return import_module(_MODULES[backend])


class Dense(Layer):
    """Affine map of the last axis, ``y = x W^T + b``, with ``torch.nn.Linear``'s names and defaults.

    Parameters
    ----------
    in_features, out_features
        Sizes of the last axis before and after.
    bias
        Whether to add ``b``.
    dtype
        ``"float32"`` or ``"float64"``.
    seed
        Seed of the initial weights, drawn from U(-1/sqrt(in_features), 1/sqrt(in_features)).
    backend
        ``"reference"`` (NumPy's product, with NumPy's threads) or ``"cpu"`` (compiled, in the threads of the other
        compiled layers, which serves them better between two of them).

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> dense = ln.Dense(3, 2, seed=0)
    >>> dense(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: str | np.dtype = "float32",
        seed: int | np.random.Generator | None = None,
        backend: str = "reference",
    ) -> None:
        super().__init__(dtype)
        if backend not in _MODULES:
            raise ValueError(f"backend: expected one of {', '.join(map(repr, _MODULES))}, got {backend!r}")
        self.backend = backend
        self.in_features = check_size("in_features", in_features)
        self.out_features = check_size("out_features", out_features)
        self.bias = check_flag("bias", bias)
        rng = np.random.default_rng(seed)
        self._add_parameter("weight", uniform_fan((self.out_features, self.in_features), self.in_features, rng))
        if self.bias:
            self._add_parameter("bias", uniform_fan((self.out_features,), self.in_features, rng))
        self._x: np.ndarray | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Apply the map.

        Parameters
        ----------
        x
            Array of shape (..., in_features).

        Returns
        -------
        ndarray
            Shape (..., out_features).

        Raises
        ------
        TypeError, ValueError
            If the dtype or the last axis does not fit the layer.
        """
        x = as_real_array("x", x, self.dtype)
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(f"x: expected shape (..., in_features={self.in_features}), got {x.shape}")
        rows = x.reshape(-1, self.in_features)
        y = product_kernels(self.backend).linear_forward(rows, self._parameters["weight"], self._parameters.get("bias"))
        if self.training:
            self._x = rows if self._owns_input else rows.copy()
        else:
            self._x = None
        self._leading = x.shape[:-1]
        return y.reshape(*self._leading, self.out_features)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Add this layer's gradients to :attr:`grads` and return the gradient of its input.

        Parameters
        ----------
        dy
            Gradient of the loss with respect to the output, same shape as the output.

        Returns
        -------
        ndarray
            Gradient with respect to ``x``, same shape as ``x``.

        Raises
        ------
        RuntimeError
            Without a training-mode call before it.
        """
        if self._x is None:
            raise RuntimeError(
                "backward: expected a call of the layer in training mode before it; call train(), then the layer"
            )
        dy = as_real_array("dy", dy, self.dtype)
        leading = {f"axis {axis}": size for axis, size in enumerate(self._leading)}
        check_shape("dy", dy, leading | {"out_features": self.out_features})
        dy_rows = dy.reshape(-1, self.out_features)
        dx = product_kernels(self.backend).linear_backward(
            dy_rows, self._x, self._parameters["weight"], self._grads["weight"], self._grads.get("bias")
        )
        self._x = None
        return dx.reshape(*self._leading, self.in_features)
