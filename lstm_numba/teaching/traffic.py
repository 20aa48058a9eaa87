"""The protocol of the traffic forecasts: what the chapter shows and what ``benchmarks.forecast_traffic`` runs.

Every day at midnight the next 24 hours are forecast. Models are fitted once, before the first origin.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from lstm_numba.datasets import traffic_hourly
from lstm_numba.forecasting import calendar_features

__all__ = [
    "DAY",
    "LAGS",
    "LSTM_SETTINGS",
    "WEEK",
    "backtest",
    "bootstrap_means",
    "daily_errors",
    "fill_from_last_week",
    "load_traffic",
    "ridge_backtest",
    "ridge_inputs",
    "seasonal_mean",
    "smoothing_backtest",
    "smoothing_for_a_day",
]

DAY, WEEK = 24, 168
#: Hours back that the ridge regression reads. None is below 24, so all are known at midnight.
LAGS = (24, 48, 72, 96, 120, 144, 168, 336, 504, 672)
#: The LSTM of the study; found by trying about fifteen on the last block; the other blocks played no part.
LSTM_SETTINGS = {
    "window_length": 48,
    "hidden_size": 32,
    "seasonal_period": WEEK,
    "seasons": 4,
    "stride": 4,
    "epochs": 20,
    "learning_rate": 1e-2,
}


def load_traffic(*, holidays: bool = True) -> tuple[pd.Series, pd.Series, pd.DataFrame]:
    """Load the hourly traffic series with what is known in advance about each hour.

    Parameters
    ----------
    holidays : bool
        Whether the calendar says which days are federal holidays.

    Returns
    -------
    observed : Series (n,)
        As counted; a missing hour is NaN.
    filled : Series (n,)
        Without gaps, see :func:`fill_from_last_week`.
    calendar : DataFrame (n, K)
        Hour of day, day of week, holiday.

    Examples
    --------
    >>> from lstm_numba.teaching.traffic import load_traffic
    >>> observed, filled, calendar = load_traffic()
    >>> int(observed.isna().sum()), int(filled.isna().sum())
    (104, 0)
    """
    from pandas.tseries.holiday import USFederalHolidayCalendar

    dataset = traffic_hourly()
    observed = dataset.data[dataset.target]
    days_off = USFederalHolidayCalendar().holidays(observed.index[0], observed.index[-1]) if holidays else ()
    return observed, fill_from_last_week(observed), calendar_features(observed.index, holidays=days_off)


def fill_from_last_week(y: pd.Series) -> pd.Series:
    """Give each missing hour the value of the same hour one week before, so that nothing comes from the future.

    Parameters
    ----------
    y : Series (n,)
        Hourly values with NaN in the gaps. The first week has no week before it: it is interpolated within itself,
        and belongs to the training data.

    Returns
    -------
    Series (n,)
        A new series without NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from lstm_numba.teaching.traffic import fill_from_last_week
    >>> y = pd.Series(np.arange(200.0))
    >>> y[180] = np.nan
    >>> float(fill_from_last_week(y)[180])
    12.0
    """
    values = y.to_numpy(dtype=np.float64).copy()
    values[:WEEK] = pd.Series(values[:WEEK]).interpolate(limit_direction="both")
    for t in np.flatnonzero(np.isnan(values)):  # in order of time: a gap may be filled from a filled gap
        values[t] = values[t - WEEK]
    return pd.Series(values, index=y.index, name=y.name)


def ridge_inputs(y: np.ndarray, calendar: pd.DataFrame) -> np.ndarray:
    """What the ridge regression knows about each hour.

    Parameters
    ----------
    y : ndarray (n,)
        The series without gaps.
    calendar : DataFrame (n, K)
        From :func:`load_traffic`. Holiday columns get one weight for each hour of the day.

    Returns
    -------
    ndarray (n, F)
        The values at the lags (NaN before the start), hour of the week as 168 columns of 0 and 1, and holidays.

    Examples
    --------
    >>> from lstm_numba.teaching.traffic import load_traffic, ridge_inputs
    >>> _, y, calendar = load_traffic()
    >>> ridge_inputs(y.to_numpy(), calendar).shape
    (17520, 226)
    """
    lagged = np.stack([np.concatenate([np.full(lag, np.nan), y[:-lag]]) for lag in LAGS], axis=1)
    stamps = pd.DatetimeIndex(calendar.index)
    hour_of_week = np.eye(WEEK)[stamps.dayofweek * DAY + stamps.hour]
    hour_of_day = np.eye(DAY)[stamps.hour]
    names = [name for name in ("holiday", "holiday_last_week") if name in calendar]
    days_off = [calendar[[name]].to_numpy() * hour_of_day for name in names]
    return np.hstack([lagged, hour_of_week, *days_off])


def ridge_backtest(y: np.ndarray, inputs: np.ndarray, first: int, days: int, *, penalty: float = 10.0) -> np.ndarray:
    """Fit a ridge regression before ``first`` and forecast the days that follow.

    Parameters
    ----------
    y : ndarray (n,)
        The series without gaps.
    inputs : ndarray (n, F)
        From :func:`ridge_inputs`. No row may hold anything from the last 24 hours before its own.
    first : int
        Position of the first forecast hour, a midnight; nothing from here on is used to fit.
    days : int
        Days to forecast.
    penalty : float
        Weight of the squared coefficients, on standardised columns.

    Returns
    -------
    ndarray (days, 24)

    Examples
    --------
    >>> from lstm_numba.teaching.traffic import load_traffic, ridge_backtest, ridge_inputs
    >>> _, y, calendar = load_traffic()
    >>> ridge_backtest(y.to_numpy(), ridge_inputs(y.to_numpy(), calendar), first=len(y) - 48, days=2).shape
    (2, 24)
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), Ridge(alpha=penalty))
    past = slice(max(LAGS), first)
    model.fit(inputs[past], y[past])
    return model.predict(inputs[first : first + days * DAY]).reshape(days, DAY)


def backtest(
    forecaster: Any,
    y: pd.Series,
    calendar: pd.DataFrame | None,
    first: int,
    days: int,
    *,
    refit_on: int | None = None,
) -> np.ndarray:
    """Let sktime move the origin from midnight to midnight and forecast a day from each.

    Parameters
    ----------
    forecaster : sktime forecaster
        Not fitted.
    y : Series (n,)
        The series without gaps.
    calendar : DataFrame (n, K) or None
        Covariates known in advance.
    first : int
        Position of the first origin.
    days : int
        Number of origins.
    refit_on : int, optional
        Fit again at every origin, on that many hours before it. By default the forecaster is fitted once, before
        the first origin, and after that only told the new values.

    Returns
    -------
    ndarray (days, 24)

    Examples
    --------
    >>> from lstm_numba.teaching.traffic import backtest, load_traffic, seasonal_mean
    >>> _, y, _ = load_traffic()
    >>> backtest(seasonal_mean(168, 1), y, None, first=len(y) - 48, days=2, refit_on=168).shape
    (2, 24)
    """
    from sktime.forecasting.model_evaluation import evaluate
    from sktime.performance_metrics.forecasting import MeanAbsoluteError
    from sktime.split import ExpandingWindowSplitter, SlidingWindowSplitter

    stop, horizon = first + days * DAY, np.arange(1, DAY + 1)
    if refit_on is None:
        start, strategy = 0, "no-update_params"
        splitter = ExpandingWindowSplitter(fh=horizon, initial_window=first, step_length=DAY)
    else:
        start, strategy = first - refit_on, "refit"
        splitter = SlidingWindowSplitter(fh=horizon, window_length=refit_on, step_length=DAY)
    with _without_announcements():
        table = evaluate(
            forecaster,
            cv=splitter,
            y=y.iloc[start:stop],
            X=None if calendar is None else calendar.iloc[start:stop],
            strategy=strategy,
            scoring=MeanAbsoluteError(),
            return_data=True,
            error_score="raise",
        )
    forecasts = np.stack([np.asarray(part).reshape(-1) for part in table["y_pred"]])
    if forecasts.shape != (days, DAY):
        raise RuntimeError(f"expected forecasts of shape {(days, DAY)}, got {forecasts.shape}")
    return forecasts


def seasonal_mean(period: int, seasons: int) -> Any:
    """Forecast each hour by its mean over the last seasons; one season is the seasonal naive forecast.

    Parameters
    ----------
    period : int
        Hours in a season.
    seasons : int
        Seasons to average.

    Returns
    -------
    sktime forecaster

    Examples
    --------
    >>> from lstm_numba.teaching.traffic import seasonal_mean
    >>> seasonal_mean(168, 4).get_params()["window_length"]
    672
    """
    from sktime.forecasting.naive import NaiveForecaster

    # strategy="last" gives the same for one season, but takes ten times as long in sktime 1.2
    with _without_announcements():
        return NaiveForecaster(strategy="mean", sp=period, window_length=period * seasons)


@contextmanager
def _without_announcements() -> Iterator[None]:
    """Hide what sktime 1.2 says at every fit about its next release; it does not concern what is done here.

    A filter would not be enough: sktime puts a filter of its own in front of it.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")  # whatever is not about that is passed on below, to the caller's filters
        yield
    for message in said:
        if "remember_data" not in str(message.message):
            warnings.warn_explicit(message.message, message.category, message.filename, message.lineno)


def smoothing_backtest(
    y: pd.Series, first: int, days: int, *, level: float | None, seasonal: float | None, history: int = 8 * WEEK
) -> np.ndarray:
    """Forecast days by exponential smoothing (ETS) with an additive weekly season.

    Parameters
    ----------
    y : Series (n,)
        The series without gaps.
    first : int
        Position of the first origin.
    days : int
        Number of origins.
    level, seasonal : float or None
        Smoothing weights, between 0 and 1. None lets statsmodels choose them once, on the hours before ``first``, by
        the errors one hour ahead.
    history : int
        Hours before each origin that the smoothing runs over.

    Returns
    -------
    ndarray (days, 24)

    Examples
    --------
    >>> from lstm_numba.teaching.traffic import load_traffic, smoothing_backtest
    >>> _, y, _ = load_traffic()
    >>> smoothing_backtest(y, len(y) - 48, 2, level=0.01, seasonal=0.2).shape
    (2, 24)
    """
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    def model(origin: int) -> ExponentialSmoothing:
        past = y.to_numpy()[origin - history : origin]
        return ExponentialSmoothing(past, seasonal="add", seasonal_periods=WEEK, initialization_method="heuristic")

    if level is None or seasonal is None:
        weights = model(first).fit().params
        level, seasonal = weights["smoothing_level"], weights["smoothing_seasonal"]
    fixed = {"smoothing_level": level, "smoothing_seasonal": seasonal, "optimized": False}
    origins = range(first, first + days * DAY, DAY)
    return np.stack([model(origin).fit(**fixed).forecast(DAY) for origin in origins])


def smoothing_for_a_day(y: pd.Series, first: int, *, days: int = 14) -> dict[tuple[float, float], float]:
    """Compare smoothing weights by their error a whole day ahead, on the days before the test.

    Parameters
    ----------
    y : Series (n,)
        The series without gaps.
    first : int
        Position of the first test origin; only earlier values are used.
    days : int
        Days just before ``first`` on which the weights are compared.

    Returns
    -------
    dict
        ``(level, seasonal)`` to mean absolute error.

    Examples
    --------
    >>> from lstm_numba.teaching.traffic import load_traffic, smoothing_for_a_day
    >>> _, y, _ = load_traffic()
    >>> len(smoothing_for_a_day(y, len(y) - 48, days=1))
    6
    """
    truth = y.iloc[first - days * DAY : first].to_numpy().reshape(days, DAY)
    errors = {}
    for level in (0.002, 0.01):
        for seasonal in (0.1, 0.2, 0.4):
            forecasts = smoothing_backtest(y, first - days * DAY, days, level=level, seasonal=seasonal)
            errors[level, seasonal] = float(np.abs(forecasts - truth).mean())
    return errors


def daily_errors(forecasts: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Mean absolute error of each day over the hours that were observed.

    Parameters
    ----------
    forecasts, observed : ndarray (days, 24)
        A missing observation is NaN and does not count.

    Returns
    -------
    ndarray (days,)

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.traffic import daily_errors
    >>> daily_errors(np.array([[3.0, 5.0]]), np.array([[1.0, np.nan]]))
    array([2.])
    """
    return np.nanmean(np.abs(forecasts - observed), axis=1)


def bootstrap_means(
    values: np.ndarray, rng: np.random.Generator, *, block: int = 7, resamples: int = 4000
) -> np.ndarray:
    """Means of resampled series, drawn in blocks of consecutive days.

    Neighbouring days resemble each other. Blocks keep neighbours together; drawing single days would pretend that
    there is more evidence than there is.

    Parameters
    ----------
    values : ndarray (days,)
        One number for each day, in order of time.
    rng : Generator
        Source of random numbers.
    block : int
        Days in a block, 1 <= block <= days. A block that reaches the end goes on at the start.
    resamples : int
        Number of means.

    Returns
    -------
    ndarray (resamples,)

    Raises
    ------
    ValueError
        If ``block`` is too small or too large.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.traffic import bootstrap_means
    >>> means = bootstrap_means(np.full(14, 3.0), np.random.default_rng(0))
    >>> float(means.min()), float(means.max())
    (3.0, 3.0)
    """
    days = len(values)
    if not 1 <= block <= days:
        raise ValueError(f"block: expected between 1 and {days} days, got {block}")
    starts = rng.integers(days, size=(resamples, -(-days // block)))
    positions = (starts[:, :, None] + np.arange(block)) % days
    return values[positions.reshape(resamples, -1)[:, :days]].mean(axis=1)
