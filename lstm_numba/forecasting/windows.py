"""Cutting one series into training examples, without ever looking past the forecast origin.

The origin ``o`` is the position of the first value that is not known yet: a forecast made at ``o`` may read
positions ``< o`` and answers for the positions ``o, o + 1, ...``.
"""

import math

import numpy as np


def window_origins(n: int, window_length: int, horizon: int, stride: int = 1, *, first: int = 0) -> np.ndarray:
    """All origins whose window and targets lie inside the series.

    Parameters
    ----------
    n : int
        Length of the series.
    window_length : int
        Values read before the origin, >= 1.
    horizon : int
        Values answered for from the origin on, >= 1.
    stride : int
        Distance between two origins, >= 1.
    first : int
        First position a window may read, >= 0.

    Returns
    -------
    ndarray (M,) of int
        Ascending; the last one is always the latest possible. Empty if the series is too short.

    Raises
    ------
    ValueError
        If an argument is too small.

    Examples
    --------
    >>> from lstm_numba.forecasting import window_origins
    >>> window_origins(10, window_length=3, horizon=2, stride=2)
    array([4, 6, 8])
    """
    smallest = {"window_length": 1, "horizon": 1, "stride": 1, "first": 0}
    given = {"window_length": window_length, "horizon": horizon, "stride": stride, "first": first}
    for name, value in given.items():
        if value < smallest[name]:
            raise ValueError(f"{name}: expected an integer >= {smallest[name]}, got {value}")
    earliest, latest = first + window_length, n - horizon
    # Counted from the end: the most recent examples resemble the forecasts to come.
    return np.arange(latest, earliest - 1, -stride)[::-1].copy()


def take_windows(values: np.ndarray, origins: np.ndarray, before: int, after: int) -> np.ndarray:
    """Cut ``values[o - before : o + after]`` at each origin.

    Parameters
    ----------
    values : ndarray (n, ...)
        Time along axis 0.
    origins : ndarray (M,) of int
        Origins.
    before, after : int
        Steps before the origin, and steps from the origin on.

    Returns
    -------
    ndarray (M, before + after, ...)
        A copy.

    Raises
    ------
    IndexError
        If a window would leave the series: nothing is padded and nothing wraps around.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.forecasting import take_windows
    >>> take_windows(np.arange(10), np.array([3, 8]), before=2, after=1)
    array([[1, 2, 3],
           [6, 7, 8]])
    """
    origins = np.asarray(origins)
    outside = (origins - before < 0) | (origins + after > len(values))
    if outside.any():
        raise IndexError(
            f"origins: a window [{-before}, {after}) around {origins[outside][0]} leaves the {len(values)} values"
        )
    return values[origins[:, None] + np.arange(-before, after)]


def seasonal_reference(
    y: np.ndarray, origins: np.ndarray, period: int, before: int, after: int, *, seasons_back: int = 1
) -> np.ndarray:
    """Seasonal naive value of each step of each window: the value one season earlier.

    From the origin on, the last season that is known at the origin is repeated, so no step reads ``y[o:]``,
    however long the horizon is.

    Parameters
    ----------
    y : ndarray (n,)
        The series.
    origins : ndarray (M,) of int
        Origins, each at least ``period * seasons_back + before``.
    period : int
        Length of a season in steps; 1 means the previous value.
    before, after : int
        Steps before the origin, and steps from the origin on.
    seasons_back : int
        1 for the latest known season, 2 for the one before it, and so on.

    Returns
    -------
    ndarray (M, before + after)

    Raises
    ------
    IndexError
        If there is no full season before the first step of a window.

    Examples
    --------
    Period 3, origin 6, five steps ahead: the last known season 3, 4, 5 is repeated.

    >>> import numpy as np
    >>> from lstm_numba.forecasting import seasonal_reference
    >>> seasonal_reference(np.arange(9.0), np.array([6]), period=3, before=2, after=5)
    array([[1., 2., 3., 4., 5., 3., 4.]])
    """
    if period < 1:
        raise ValueError(f"period: expected an integer >= 1, got {period}")
    if seasons_back < 1:
        raise ValueError(f"seasons_back: expected an integer >= 1, got {seasons_back}")
    origins = np.asarray(origins)
    steps = np.arange(-before, after)
    lag = np.where(steps < 0, period, period * (steps // period + 1))
    lag = lag + period * (seasons_back - 1)
    positions = origins[:, None] + steps - lag
    if positions.min(initial=0) < 0 or (origins > len(y)).any():
        raise IndexError(
            f"origins: expected between period * seasons_back + before = {period * seasons_back + before} and "
            f"{len(y)}, "
            f"got {origins.min()} to {origins.max()}"
        )
    return y[positions]


def chronological_split(origins: np.ndarray, validation_fraction: float, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the last origins to validation and drop those whose targets would overlap.

    Parameters
    ----------
    origins : ndarray (M,) of int
        Ascending origins.
    validation_fraction : float
        Share of the origins, 0 <= fraction < 1; rounded up, so a positive fraction gives at least one.
    horizon : int
        Steps answered for at each origin.

    Returns
    -------
    train, validation : ndarray of int
        Every target of `train` lies before every target of `validation`.

    Raises
    ------
    ValueError
        If the fraction is outside [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.forecasting import chronological_split
    >>> chronological_split(np.arange(10, 20), 0.3, horizon=2)
    (array([10, 11, 12, 13, 14, 15]), array([17, 18, 19]))
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction: expected 0 <= fraction < 1, got {validation_fraction}")
    origins = np.asarray(origins)
    size = math.ceil(validation_fraction * len(origins))
    if size == 0:
        return origins, origins[:0]
    validation = origins[-size:]
    return origins[origins + horizon <= validation[0]], validation


class Standardiser:
    """Subtract the mean and divide by the standard deviation of the data it was fitted on, column by column.

    Fit it on training data only: statistics of the whole series would tell the model about the future.

    Attributes
    ----------
    mean, scale : ndarray (F,) or ()
        Set by :meth:`fit`. A constant column has scale 1, so it becomes 0 instead of NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.forecasting import Standardiser
    >>> scaler = Standardiser().fit(np.array([1.0, 3.0]))
    >>> scaler.transform(np.array([5.0]))
    array([3.])
    >>> scaler.inverse_transform(np.array([3.0]))
    array([5.])
    """

    mean: np.ndarray
    scale: np.ndarray

    def fit(self, values: np.ndarray) -> "Standardiser":
        """Learn mean and scale along axis 0.

        Parameters
        ----------
        values : ndarray (n,) or (n, F)
            Finite numbers, n >= 1.

        Returns
        -------
        Standardiser
            Itself.
        """
        values = np.asarray(values, dtype=np.float64)
        if values.ndim == 0 or len(values) == 0:
            raise ValueError(f"values: expected at least one row, got shape {values.shape}")
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise ValueError(f"values: expected finite numbers, got {bad} others")
        self.mean = values.mean(axis=0)
        spread = values.std(axis=0)
        # A column of equal numbers has a spread of rounding errors, not of exactly 0.
        constant = spread <= 1e-12 * np.maximum(1.0, np.abs(self.mean))
        self.scale = np.where(constant, 1.0, spread)
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        """(values - mean) / scale."""
        return (np.asarray(values, dtype=np.float64) - self.mean) / self.scale

    def inverse_transform(self, values: np.ndarray) -> np.ndarray:
        """Values * scale + mean."""
        return np.asarray(values, dtype=np.float64) * self.scale + self.mean
