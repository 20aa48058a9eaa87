"""What an object must offer to be trained.

The optimisers and the loop never import a layer. They work on anything that carries two dictionaries of NumPy
arrays with the same keys and shapes, ``parameters`` and ``grads``; every layer of this package does, and so
can your own.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class HasParameters(Protocol):
    """An object whose parameters can be updated in place.

    Attributes
    ----------
    parameters : dict of str to ndarray
        The parameters. Optimisers write into these arrays.
    grads : dict of str to ndarray
        The gradients: the same keys, the same shapes.
    """

    @property
    def parameters(self) -> Mapping[str, np.ndarray]: ...

    @property
    def grads(self) -> Mapping[str, np.ndarray]: ...


@runtime_checkable
class Trainable(HasParameters, Protocol):
    """An object that :func:`lstm_numba.fit` can train: forward, backward and two modes."""

    def __call__(self, x: Any) -> np.ndarray: ...

    def backward(self, dy: np.ndarray) -> Any: ...

    def zero_grad(self) -> None: ...

    def train(self) -> Any: ...

    def eval(self) -> Any: ...


def require(model: Any, names: tuple[str, ...], purpose: str) -> None:
    """Raise a TypeError that lists what `model` lacks for `purpose`."""
    missing = [name for name in names if not hasattr(model, name)]
    if missing:
        raise TypeError(
            f"model: {purpose} needs an object with {', '.join(names)}; "
            f"{type(model).__name__} has no {', '.join(missing)}"
        )


def named_pairs(model: HasParameters) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (name, parameter, gradient), checking that the two dictionaries agree.

    The check runs at every step because a gradient of the wrong shape would broadcast without complaint.
    """
    parameters, grads = model.parameters, model.grads
    if parameters.keys() != grads.keys():
        only_parameters = sorted(parameters.keys() - grads.keys())
        only_grads = sorted(grads.keys() - parameters.keys())
        raise ValueError(
            "model.parameters and model.grads must have the same keys; "
            f"without a gradient: {only_parameters}; without a parameter: {only_grads}"
        )
    for name, parameter in parameters.items():
        grad = grads[name]
        if grad.shape != parameter.shape:
            raise ValueError(
                f"model.grads[{name!r}]: expected the parameter's shape {parameter.shape}, got {grad.shape}"
            )
        if grad.dtype != parameter.dtype:
            raise TypeError(
                f"model.grads[{name!r}]: expected the parameter's dtype {parameter.dtype}, got {grad.dtype}"
            )
        yield name, parameter, grad


def real_number(
    name: str,
    value: Any,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
) -> float:
    """Return `value` as a float, or raise an error that names the argument and the allowed range."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name}: expected a real number, got {type(value).__name__} {value!r}")
    number = float(value)
    bounds = []
    fine = bool(np.isfinite(number))
    if minimum is not None:
        bounds.append(f">= {minimum:g}")
        fine &= number >= minimum
    if above is not None:
        bounds.append(f"> {above:g}")
        fine &= number > above
    if maximum is not None:
        bounds.append(f"<= {maximum:g}")
        fine &= number <= maximum
    if below is not None:
        bounds.append(f"< {below:g}")
        fine &= number < below
    if not fine:
        raise ValueError(f"{name}: expected a finite number {' and '.join(bounds)}, got {value!r}")
    return number


def whole_number(name: str, value: Any, *, minimum: int) -> int:
    """Return `value` as an int, or raise an error that names the argument and the smallest allowed value."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__} {value!r}")
    if value < minimum:
        raise ValueError(f"{name}: expected an integer >= {minimum}, got {value}")
    return int(value)
