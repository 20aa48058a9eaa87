"""Calendar covariates: known for any future time, so they leak nothing."""

from collections.abc import Iterable

import numpy as np
import pandas as pd


def calendar_features(
    index: pd.DatetimeIndex | pd.PeriodIndex, *, holidays: Iterable = (), harmonics: int = 2
) -> pd.DataFrame:
    """Describe each time stamp by hour of day, day of week and holidays.

    Parameters
    ----------
    index : DatetimeIndex or PeriodIndex
        Time stamps, past or future. Each row of the result depends on its own stamp only.
    holidays : iterable of dates, optional
        Days off. If any are given, two columns are added: ``holiday``, and ``holiday_last_week`` for days
        exactly one week after a holiday, when "same hour last week" is a bad guide.
    harmonics : int
        Pairs of sine and cosine that describe the hour of day, >= 0.

    Returns
    -------
    DataFrame of float64
        On the given index.

    Raises
    ------
    TypeError
        If the index holds no time stamps.

    Examples
    --------
    >>> import pandas as pd
    >>> from lstm_numba.forecasting import calendar_features
    >>> index = pd.date_range("2018-07-04 12:00", periods=2, freq="7D")
    >>> features = calendar_features(index, holidays=["2018-07-04"])
    >>> features[["day_2", "holiday", "holiday_last_week"]]
                         day_2  holiday  holiday_last_week
    2018-07-04 12:00:00    1.0      1.0                0.0
    2018-07-11 12:00:00    1.0      0.0                1.0
    """
    if isinstance(index, pd.PeriodIndex):
        stamps = index.to_timestamp()
    elif isinstance(index, pd.DatetimeIndex):
        stamps = index
    else:
        raise TypeError(f"index: expected a DatetimeIndex or PeriodIndex, got {type(index).__name__}")
    if harmonics < 0:
        raise ValueError(f"harmonics: expected an integer >= 0, got {harmonics}")
    columns = {}
    day_fraction = (stamps.hour + stamps.minute / 60).to_numpy() / 24
    for k in range(1, harmonics + 1):
        columns[f"hour_sin_{k}"] = np.sin(2 * np.pi * k * day_fraction)
        columns[f"hour_cos_{k}"] = np.cos(2 * np.pi * k * day_fraction)
    for day in range(7):  # 0 is Monday
        columns[f"day_{day}"] = (stamps.dayofweek == day).astype(np.float64)
    days_off = pd.DatetimeIndex(list(holidays)).normalize()
    if len(days_off):
        today = stamps.tz_localize(None).normalize()
        columns["holiday"] = today.isin(days_off).astype(np.float64)
        columns["holiday_last_week"] = (today - pd.Timedelta(days=7)).isin(days_off).astype(np.float64)
    return pd.DataFrame(columns, index=index)
