"""What every layer has: named parameters, gradients that accumulate, a training switch and a state dict."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from lstm_numba.layers.validation import check_dtype, check_shape


class Layer(ABC):
    """Base class of the layers.

    A layer's arrays are made once and then only written in place, so an optimiser, a checkpoint and the layer
    always see the same numbers. The dictionaries themselves are read-only for that reason.
    """

    def __init__(self, dtype: str | np.dtype = "float32") -> None:
        self.dtype = check_dtype(dtype)
        self.training = True
        self._owns_input = False  # set by a layer that feeds this one arrays that nobody else writes to: no copies
        self._parameters: dict[str, np.ndarray] = {}
        self._grads: dict[str, np.ndarray] = {}

    def _add_parameter(self, name: str, value: np.ndarray) -> None:
        self._parameters[name] = np.ascontiguousarray(value, dtype=self.dtype)
        self._grads[name] = np.zeros_like(self._parameters[name])

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the layer forward."""

    @abstractmethod
    def backward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the layer backward: add to :attr:`grads`, return the gradient of the input."""

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """Parameters by name. Write into the arrays (``p[...] = value``) to change them."""
        return MappingProxyType(self._parameters)

    def _named_parameters(self) -> Mapping[str, np.ndarray]:
        """:attr:`parameters`, for the layer's own use."""
        return self.parameters

    @property
    def grads(self) -> Mapping[str, np.ndarray]:
        """Gradients by the same names. ``backward`` adds to them until :meth:`zero_grad`."""
        return MappingProxyType(self._grads)

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        for grad in self._grads.values():
            grad[...] = 0

    def train(self) -> Self:
        """Switch to training mode: the next call keeps what ``backward`` needs. Returns the layer."""
        self.training = True
        return self

    def eval(self) -> Self:
        """Switch to inference mode: nothing is kept and dropout is off. Returns the layer."""
        self.training = False
        return self

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of all parameters under PyTorch's names.

        Returns
        -------
        dict of str to ndarray
            Independent of the layer: later training does not change it.
        """
        return {name: value.copy() for name, value in self._named_parameters().items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Copy parameters in, all or nothing.

        Parameters
        ----------
        state
            Arrays under exactly this layer's names, with its shapes and dtype. PyTorch tensors on the CPU work
            too: ``{k: v.numpy() for k, v in module.state_dict().items()}``.

        Raises
        ------
        KeyError
            If names are missing or unknown.
        ValueError
            If a shape differs.
        TypeError
            If a dtype differs.
        """
        own = self._named_parameters()
        missing = [name for name in own if name not in state]
        unknown = [name for name in state if name not in own]
        if missing or unknown:
            raise KeyError(f"state: expected the keys {list(own)}, missing {missing}, unknown {unknown}")
        checked = {}
        for name, target in own.items():
            value = np.asarray(state[name])
            axes = {f"axis {axis}": size for axis, size in enumerate(target.shape)}
            check_shape(f"state[{name!r}]", value, axes)
            if value.dtype != target.dtype:
                raise TypeError(f"state[{name!r}]: expected dtype {target.dtype}, got {value.dtype}")
            checked[name] = value
        for name, value in checked.items():
            own[name][...] = value
        self._note_loading()

    def _note_loading(self) -> None:  # noqa: B027 - a layer may have nothing to note
        """Called when :meth:`load_state_dict` has written into the parameters."""

    def __repr__(self) -> str:
        count = sum(value.size for value in self._named_parameters().values())
        return f"{type(self).__name__}({count} parameters, {self.dtype})"
