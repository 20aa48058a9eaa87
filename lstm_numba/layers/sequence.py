"""What the cells after Transformers share as layers: one layer, forward in time, with any arrays as its state."""

from abc import abstractmethod
from importlib import import_module
from typing import Any, NamedTuple, Self

import numpy as np

from lstm_numba.layers.layer import Layer
from lstm_numba.layers.validation import as_real_array, check_flag, check_shape, check_size

State = np.ndarray | tuple[np.ndarray, ...]

BACKENDS = ("cpu", "reference")


class _Saved(NamedTuple):
    """What one training-mode call leaves behind for ``backward``."""

    cache: Any
    T: int
    B: int


class SequenceLayer(Layer):
    """Base class: checks, axes, and the way to the kernels.

    A subclass names its cell and the module that has ``<cell>_forward`` and ``<cell>_backward``, the parts of its state
    with their axes, and adds its parameters in the order in which the kernels take them.
    """

    _cell: str
    _module: str  # in lstm_numba.cpu and lstm_numba.reference
    _parts: tuple[str, ...]  # of the state
    _without_gradient: tuple[str, ...] = ()  # parts that are bookkeeping

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        batch_first: bool,
        dtype: str | np.dtype,
        backend: str,
    ) -> None:
        super().__init__(dtype)
        self.input_size = check_size("input_size", input_size)
        self.hidden_size = check_size("hidden_size", hidden_size)
        self.bias = check_flag("bias", bias)
        self.batch_first = check_flag("batch_first", batch_first)
        if backend not in BACKENDS:
            raise ValueError(f"backend: expected one of {', '.join(map(repr, BACKENDS))}, got {backend!r}")
        self.backend = backend
        self._saved: _Saved | None = None

    @abstractmethod
    def _state_axes(self, part: str, B: int) -> dict[str, int]:
        """Names and sizes of the axes of one part of the state."""

    def _empty(self, part: str) -> float:
        """Value of one part of the state before anything was read."""
        return 0.0

    def __call__(self, x: np.ndarray, state: State | None = None) -> tuple[np.ndarray, State]:
        """Run the layer over whole sequences.

        Parameters
        ----------
        x
            Shape (T, B, I), or (B, T, I) with ``batch_first``.
        state
            As returned by an earlier call; an empty memory by default.

        Returns
        -------
        y : ndarray
            Hidden states, shaped like ``x`` with H features.
        state : ndarray or tuple of ndarray
            After the last step.

        Raises
        ------
        TypeError, ValueError
            If a dtype or shape does not fit, or T = 0.
        """
        given = x
        x = as_real_array("x", x, self.dtype)
        check_shape("x", x, self._axes(None, None, {"I": self.input_size}))
        x = self._swapped(x)
        T, B, _ = x.shape
        if T == 0:
            raise ValueError(f"x: expected at least one time step, got shape {np.shape(given)} with T=0")
        if self.training and np.may_share_memory(x, given):
            x = x.copy()  # backward must see the input as it was, even if the caller reuses the buffer
        y, final, cache = self._forward(x, self._read("state", state, B, self._parts), self.training)
        self._saved = _Saved(cache, T, B) if self.training else None
        return self._swapped(y), self._public(final)

    def backward(self, dy: np.ndarray, dstate: State | None = None) -> tuple[np.ndarray, State]:
        """Backpropagate through all time steps of the last training-mode call, which is used up.

        Parameters
        ----------
        dy
            Gradient of the loss with respect to ``y``, same shape.
        dstate
            Gradient with respect to the final state, on top of ``dy``. Zeros by default.

        Returns
        -------
        dx : ndarray
            Gradient with respect to ``x``, same shape.
        dstate : ndarray or tuple of ndarray
            Gradient with respect to the initial state.

        Raises
        ------
        RuntimeError
            Without a training-mode call before it.
        TypeError, ValueError
            If a gradient's dtype or shape does not fit.
        """
        if self._saved is None:
            raise RuntimeError(
                "backward: expected a call of the layer in training mode before it (each call serves one backward)"
            )
        cache, T, B = self._saved
        dy = as_real_array("dy", dy, self.dtype)
        check_shape("dy", dy, self._axes(T, B, {"H": self.hidden_size}))
        parts = tuple(part for part in self._parts if part not in self._without_gradient)
        dparts = self._read("dstate", dstate, B, parts, gradient=True)
        kernel = getattr(self._kernels(), f"{self._cell}_backward")
        dx, initial, grads = kernel(self._swapped(dy), dparts, cache, tuple(self._parameters.values()))
        for total, grad in zip(self._grads.values(), grads, strict=True):
            total += grad
        self._saved = None
        return self._swapped(dx), self._public(initial)

    def eval(self) -> Self:
        """Switch to inference mode: nothing is kept for ``backward``. Returns the layer."""
        self._saved = None
        super().eval()
        return self

    def step(self, x: np.ndarray, state: State | None = None) -> tuple[np.ndarray, State]:
        """Advance by one time step, in inference mode whatever the layer's mode; nothing is kept.

        Parameters
        ----------
        x
            Shape (B, I).
        state
            As returned by the step before; an empty memory by default.

        Returns
        -------
        y : ndarray
            Shape (B, H).
        state : ndarray or tuple of ndarray
            After the step.
        """
        x = as_real_array("x", x, self.dtype)
        check_shape("x", x, {"B": None, "I": self.input_size})
        y, final, _ = self._forward(x[None], self._read("state", state, len(x), self._parts), False)
        return y[0], self._public(final)

    def _forward(self, x: np.ndarray, state: tuple[np.ndarray, ...], training: bool) -> Any:
        kernel = getattr(self._kernels(), f"{self._cell}_forward")
        return kernel(x, state, tuple(self._parameters.values()), training)

    def _kernels(self) -> Any:
        return import_module(f"lstm_numba.{self.backend}.{self._module}")

    def _axes(self, T: int | None, B: int | None, features: dict[str, int]) -> dict[str, int | None]:
        return ({"B": B, "T": T} if self.batch_first else {"T": T, "B": B}) | features

    def _swapped(self, sequence: np.ndarray) -> np.ndarray:
        """From (T, B, ...) to the layer's axes, or back."""
        return np.ascontiguousarray(sequence.transpose(1, 0, 2)) if self.batch_first else sequence

    @staticmethod
    def _public(parts: tuple[np.ndarray, ...]) -> State:
        """A state of one part is an array, like that of a GRU."""
        return parts[0] if len(parts) == 1 else parts

    def _read(
        self, name: str, state: State | None, B: int, parts: tuple[str, ...], gradient: bool = False
    ) -> tuple[np.ndarray, ...]:
        axes = {part: self._state_axes(part, B) for part in parts}
        if state is None:
            return tuple(
                np.full(tuple(sizes.values()), 0.0 if gradient else self._empty(part), self.dtype)
                for part, sizes in axes.items()
            )
        if len(parts) == 1:
            return (check_shape(name, as_real_array(name, state, self.dtype), axes[parts[0]]),)
        if not isinstance(state, (tuple, list)) or len(state) != len(parts):
            got = f"{len(state)} items" if isinstance(state, (tuple, list)) else type(state).__name__
            raise TypeError(f"{name}: expected {len(parts)} arrays ({', '.join(parts)}), got {got}")
        return tuple(
            check_shape(f"{name}[{part}]", as_real_array(f"{name}[{part}]", value, self.dtype), axes[part])
            for part, value in zip(parts, state, strict=True)
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.input_size}, {self.hidden_size}, dtype='{self.dtype}', "
            f"backend='{self.backend}')"
        )
