"""Losses: each returns its value and its gradient with respect to the prediction.

Every loss is a mean, so its gradient carries the factor one over the number of averaged terms and a learning
rate keeps its meaning when the batch grows. The value is summed in float64 whatever the dtype of the
prediction; the gradient has the prediction's dtype.
"""

from collections.abc import Sequence

import numpy as np

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def _checked_prediction(prediction: np.ndarray, name: str = "prediction") -> np.ndarray:
    if isinstance(prediction, tuple):
        raise TypeError(
            f"{name}: expected an array, got a tuple of {len(prediction)}; a bare LSTM returns "
            "(y, (h_n, c_n)): pass y, or build the model with Sequential"
        )
    prediction = np.asarray(prediction)
    if prediction.dtype not in FLOATS:
        raise TypeError(f"{name}: expected dtype float32 or float64, got {prediction.dtype}")
    if prediction.size == 0:
        raise ValueError(f"{name}: expected at least one element, got shape {prediction.shape}")
    return prediction


def _checked_pair(prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Same shape and same dtype, so that neither broadcasting nor casting happens unseen."""
    prediction, target = _checked_prediction(prediction), np.asarray(target)
    if target.shape != prediction.shape:
        raise ValueError(f"target: expected the prediction's shape {prediction.shape}, got {target.shape}")
    if target.dtype != prediction.dtype:
        raise TypeError(f"target: expected the prediction's dtype {prediction.dtype}, got {target.dtype}")
    return prediction, target


def mse_loss(prediction: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean squared error.

    Parameters
    ----------
    prediction : ndarray (...)
        float32 or float64.
    target : ndarray (...)
        The prediction's shape and dtype.

    Returns
    -------
    value : float
        mean((prediction - target)²).
    gradient : ndarray (...)
        2 (prediction - target) / n, with n the number of elements.

    Raises
    ------
    TypeError
        If a dtype is wrong.
    ValueError
        If the shapes differ or the arrays are empty.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.training import mse_loss
    >>> value, gradient = mse_loss(np.array([1.0, 4.0]), np.array([1.0, 2.0]))
    >>> value
    2.0
    >>> gradient
    array([0., 2.])
    """
    prediction, target = _checked_pair(prediction, target)
    error = prediction - target
    value = float(np.mean(np.square(error, dtype=np.float64)))
    return value, error * (2.0 / error.size)


def mae_loss(prediction: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean absolute error. Its minimum is the median, so outliers pull less than under the squared error.

    Parameters
    ----------
    prediction : ndarray (...)
        float32 or float64.
    target : ndarray (...)
        The prediction's shape and dtype.

    Returns
    -------
    value : float
        ``mean(|prediction - target|)``.
    gradient : ndarray (...)
        sign(prediction - target) / n; 0 where the error is exactly 0.

    Raises
    ------
    TypeError
        If a dtype is wrong.
    ValueError
        If the shapes differ or the arrays are empty.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.training import mae_loss
    >>> value, gradient = mae_loss(np.array([1.0, 4.0]), np.array([1.0, 2.0]))
    >>> value
    1.0
    >>> gradient
    array([0. , 0.5])
    """
    prediction, target = _checked_pair(prediction, target)
    error = prediction - target
    value = float(np.mean(np.abs(error), dtype=np.float64))
    return value, np.sign(error) * (1.0 / error.size)


def pinball_loss(prediction: np.ndarray, target: np.ndarray, quantiles: Sequence[float]) -> tuple[float, np.ndarray]:
    """Pinball (quantile) loss, averaged over all elements and all quantiles.

    With d = target - prediction, one term is q·d where d > 0 and (q - 1)·d elsewhere. Its minimum over
    constants is the q-th quantile. To use it in :func:`lstm_numba.fit`, fix the quantiles first:
    ``functools.partial(pinball_loss, quantiles=(0.1, 0.5, 0.9))``.

    Parameters
    ----------
    prediction : ndarray (..., Q)
        One column for each quantile; float32 or float64.
    target : ndarray (...)
        The prediction's shape without the last axis; the prediction's dtype.
    quantiles : sequence of Q floats
        Each strictly between 0 and 1, in the order of the prediction's last axis.

    Returns
    -------
    value : float
        The mean over all elements and quantiles.
    gradient : ndarray (..., Q)
        -q / n where d > 0, (1 - q) / n where d < 0, 0 where d = 0; n counts elements times quantiles.

    Raises
    ------
    TypeError
        If a dtype is wrong.
    ValueError
        If the shapes do not fit or a quantile lies outside (0, 1).

    References
    ----------
    Koenker, R. and Bassett, G. (1978), Regression quantiles, Econometrica 46, 33-50.

    Examples
    --------
    Being 2 too low costs nine times as much at q = 0.9 as at q = 0.1:

    >>> import numpy as np
    >>> from lstm_numba.training import pinball_loss
    >>> value, gradient = pinball_loss(np.array([[0.0, 0.0]]), np.array([2.0]), quantiles=(0.1, 0.9))
    >>> value
    1.0
    >>> gradient
    array([[-0.05, -0.45]])
    """
    prediction, target = _checked_prediction(prediction), np.asarray(target)
    q = np.asarray(quantiles, dtype=np.float64)
    if q.ndim != 1 or q.size == 0 or not np.all((q > 0) & (q < 1)):
        raise ValueError(f"quantiles: expected numbers strictly between 0 and 1, got {quantiles!r}")
    if prediction.ndim == 0 or prediction.shape[-1] != q.size:
        raise ValueError(
            f"prediction: expected {q.size} columns on the last axis, one for each quantile, "
            f"got shape {prediction.shape}"
        )
    if target.shape != prediction.shape[:-1]:
        raise ValueError(
            f"target: expected the prediction's shape without its last axis, {prediction.shape[:-1]}, "
            f"got {target.shape}"
        )
    if target.dtype != prediction.dtype:
        raise TypeError(f"target: expected the prediction's dtype {prediction.dtype}, got {target.dtype}")
    q = q.astype(prediction.dtype)
    d = target[..., None] - prediction  # (..., Q)
    value = float(np.mean(np.maximum(q * d, (q - 1) * d), dtype=np.float64))
    gradient = np.where(d > 0, -q, 1 - q)
    gradient[d == 0] = 0
    gradient[np.isnan(d)] = np.nan  # a comparison with NaN is False, and would hide it
    return value, gradient / prediction.dtype.type(d.size)


def cross_entropy_loss(
    prediction: np.ndarray, target: np.ndarray, *, ignore_index: int | None = None
) -> tuple[float, np.ndarray]:
    """Cross-entropy of integer classes under softmax(prediction), in nats.

    Parameters
    ----------
    prediction : ndarray (..., K)
        Logits: one score for each of K classes, before the softmax; float32 or float64.
    target : ndarray (...) of integers
        The class of each position, 0 to K - 1.
    ignore_index : int, optional
        Positions whose target equals this value count neither in the mean nor in the gradient (padding).

    Returns
    -------
    value : float
        The mean of -log softmax(prediction)[target] over the positions that count.
    gradient : ndarray (..., K)
        (softmax(prediction) - one_hot(target)) / n, and 0 at ignored positions.

    Raises
    ------
    TypeError
        If the logits are not floats or the target is not integer.
    ValueError
        If the shapes do not fit, a class is outside 0 to K - 1, or every position is ignored.

    Examples
    --------
    Equal scores for four classes cost log 4, whatever the class:

    >>> import numpy as np
    >>> from lstm_numba.training import cross_entropy_loss
    >>> value, gradient = cross_entropy_loss(np.zeros((2, 4)), np.array([0, 3]))
    >>> bool(np.isclose(value, np.log(4)))
    True
    >>> gradient[0]
    array([-0.375,  0.125,  0.125,  0.125])
    """
    prediction, target = _checked_prediction(prediction), np.asarray(target)
    if target.dtype.kind not in "iu":
        raise TypeError(f"target: expected integer classes, got dtype {target.dtype}")
    if prediction.ndim == 0 or target.shape != prediction.shape[:-1]:
        raise ValueError(
            f"target: expected the prediction's shape without its last axis, {prediction.shape[:-1]}, "
            f"got {target.shape}"
        )
    K = prediction.shape[-1]
    counted = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    outside = counted & ((target < 0) | (target >= K))
    if outside.any():
        raise ValueError(
            f"target: expected classes from 0 to {K - 1}, got {target[outside].flat[0]} ({int(outside.sum())} outside)"
        )
    n = int(counted.sum())
    if n == 0:
        raise ValueError(f"target: every position equals ignore_index={ignore_index}; the mean is undefined")
    # Subtracting the largest logit leaves the softmax unchanged and keeps exp from overflowing.
    shifted = prediction - prediction.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=-1, keepdims=True)  # (..., 1)
    classes = np.where(counted, target, 0)[..., None]  # (..., 1)
    log_likelihood = np.take_along_axis(shifted, classes, -1) - np.log(sums)
    value = -float(np.sum(log_likelihood[..., 0], where=counted, dtype=np.float64)) / n
    gradient = exponentials / sums
    np.put_along_axis(gradient, classes, np.take_along_axis(gradient, classes, -1) - 1, -1)
    gradient[~counted] = 0
    gradient /= n
    return value, gradient
