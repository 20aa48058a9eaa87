"""Checking gradients against definitions of the derivative that share nothing with a backward pass."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lstm_numba.layers.layer import Layer


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference between two arrays, relative to the largest magnitude in either.

    One number per array: an entry that happens to be near zero does not blow it up.

    Parameters
    ----------
    actual, expected
        Arrays of one shape.

    Returns
    -------
    float
        ``max|actual - expected| / max(max|actual|, max|expected|)``, or 0 if both are all zero or empty. NaN if
        either holds a NaN or an infinity.

    Examples
    --------
    >>> relative_error(np.array([1.0, 2.0]), np.array([1.0, 2.5]))
    0.2
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        raise ValueError(f"actual: expected shape {expected.shape}, got {actual.shape}")
    if actual.size == 0:
        return 0.0
    scale = np.maximum(np.abs(actual).max(), np.abs(expected).max())  # unlike max(), keeps NaN
    if scale == 0:
        return 0.0
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, which no tolerance accepts
        return float(np.abs(actual - expected).max() / scale)


def central_difference(f: Callable[[np.ndarray], float], x: np.ndarray, eps: float = 6e-6) -> np.ndarray:
    r"""Gradient of a scalar function by central differences, one coordinate at a time.

    .. math:: \frac{\partial f}{\partial x_k} \approx \frac{f(x + \epsilon e_k) - f(x - \epsilon e_k)}{2\epsilon}

    The truncation error falls with :math:`\epsilon^2` and the rounding error grows with :math:`1/\epsilon`; the
    default is the cube root of float64's rounding unit, where the two balance for values of order one.

    Parameters
    ----------
    f
        Function of one float64 array that returns a number.
    x
        Where to differentiate. Must be float64; it is not changed.
    eps
        Step.

    Returns
    -------
    ndarray
        Same shape as ``x``.

    Raises
    ------
    TypeError
        If ``x`` is not float64: in float32 the result would be mostly rounding error.

    Examples
    --------
    >>> central_difference(lambda x: float((x**3).sum()), np.array([1.0, 2.0])).round(6)
    array([ 3., 12.])
    """
    x = np.asarray(x)
    if x.dtype != np.float64:
        raise TypeError(f"x: expected dtype float64, got {x.dtype}; differences drown in rounding error below it")
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += eps
        down[index] -= eps
        gradient[index] = (f(up) - f(down)) / (2 * eps)
    return gradient


def complex_step(f: Callable[[np.ndarray], complex], x: np.ndarray, step: float = 1e-30) -> np.ndarray:
    r"""Gradient of a scalar function by the complex step, exact to rounding.

    .. math:: \frac{\partial f}{\partial x_k} \approx \frac{\operatorname{Im} f(x + i s e_k)}{s}

    Nothing is subtracted, so ``step`` can be so small that the truncation error vanishes. The function must be
    analytic and computed in complex arithmetic throughout: no ``abs``, ``max`` or comparison on the way.

    Parameters
    ----------
    f
        Function of one complex128 array that returns a complex number.
    x
        Where to differentiate, real.
    step
        Size of the imaginary step.

    Returns
    -------
    ndarray
        float64, same shape as ``x``.

    References
    ----------
    W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review
    40(1), 1998. J. Martins, P. Sturdza and J. Alonso, "The complex-step derivative approximation", ACM
    Transactions on Mathematical Software 29(3), 2003.

    Examples
    --------
    >>> complex_step(lambda x: (x**3).sum(), np.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    x = np.asarray(x)
    if np.iscomplexobj(x):
        raise TypeError(f"x: expected a real array, got {x.dtype}")
    gradient = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        shifted = x.astype(np.complex128)
        shifted[index] += 1j * step
        gradient[index] = np.imag(f(shifted)) / step
    return gradient


@dataclass(frozen=True)
class GradientReport:
    """Relative error of every gradient that :func:`check_layer` compared, by name."""

    errors: dict[str, float]
    tolerance: float

    @property
    def worst(self) -> float:
        """The largest of the errors."""
        return max(self.errors.values())

    @property
    def passed(self) -> bool:
        """Whether every error is within the tolerance; NaN is not."""
        return all(error <= self.tolerance for error in self.errors.values())

    def __str__(self) -> str:
        lines = [
            f"  {'ok ' if error <= self.tolerance else 'BAD'}  {name:<24} {error:.1e}"
            for name, error in self.errors.items()
        ]
        return "\n".join([f"gradient check, tolerance {self.tolerance:.0e}", *lines])


def _parts(state: tuple | np.ndarray) -> tuple:
    """The arrays of a state, (h, c) or one array."""
    return state if isinstance(state, tuple) else (state,)


def check_layer(
    layer: Layer, x: np.ndarray, state: tuple | np.ndarray | None = None, *, tolerance: float = 1e-7, seed: int = 0
) -> GradientReport:
    """Compare a layer's ``backward`` with central differences, for the input, every parameter and every state.

    The loss is a fixed random weighted sum of all the layer's outputs, so that every output's path is tested.

    Parameters
    ----------
    layer
        A layer in float64 and training mode, without dropout. Its gradients are cleared; its parameters are put
        back.
    x
        Input of the layer, small: the check calls the layer twice per number.
    state
        Initial state for a recurrent layer; given, its gradients are checked too.
    tolerance
        Largest relative error that passes.
    seed
        Seed of the random weights of the loss.

    Returns
    -------
    GradientReport
        Errors by name: ``"x"``, ``"h0"``, ``"c0"`` and the parameters' names.

    Raises
    ------
    TypeError
        If the layer is not float64.
    ValueError
        If the layer is in inference mode or drops out at random.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> lstm = ln.LSTM(2, 3, dtype="float64", seed=0)
    >>> check_layer(lstm, np.random.default_rng(0).normal(size=(4, 1, 2))).passed
    True
    """
    if layer.dtype != np.float64:
        raise TypeError(f"layer: expected dtype float64, got {layer.dtype}; differences need it")
    if not layer.training:
        raise ValueError("layer: expected training mode, got inference mode; call train() first")
    if (dropout := getattr(layer, "dropout", 0)) > 0:
        raise ValueError(f"layer: expected no dropout, got dropout={dropout}; the loss must not be random")
    rng = np.random.default_rng(seed)

    def outputs(x, state):
        result = layer(x) if state is None else layer(x, state)
        return [result[0], *_parts(result[1])] if isinstance(result, tuple) else [result]

    first = outputs(x, state)
    weights = [rng.normal(size=value.shape) for value in first]

    def loss(x, state):
        return float(sum((w * value).sum() for w, value in zip(weights, outputs(x, state), strict=True)))

    layer.zero_grad()
    if len(weights) == 1:
        analytic = {"x": layer.backward(weights[0])}
    else:
        dx, dstate = layer.backward(weights[0], tuple(weights[1:]) if len(weights) > 2 else weights[1])
        analytic = {"x": dx}
        if state is not None:
            analytic |= dict(zip(("h0", "c0"), _parts(dstate), strict=False))
    analytic |= {name: grad.copy() for name, grad in layer.grads.items()}

    numeric = {"x": central_difference(lambda value: loss(value, state), x)}
    if state is not None:
        if isinstance(state, tuple):
            h0, c0 = state
            numeric["h0"] = central_difference(lambda value: loss(x, (value, c0)), h0)
            numeric["c0"] = central_difference(lambda value: loss(x, (h0, value)), c0)
        else:
            numeric["h0"] = central_difference(lambda value: loss(x, value), state)
    for name, parameter in layer.parameters.items():
        original = parameter.copy()

        def with_parameter(value, parameter=parameter):
            parameter[...] = value
            return loss(x, state)

        numeric[name] = central_difference(with_parameter, original)
        parameter[...] = original
    layer.zero_grad()
    return GradientReport({name: relative_error(analytic[name], numeric[name]) for name in numeric}, tolerance)
