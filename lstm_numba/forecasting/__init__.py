"""Forecasting: windows without look-ahead, and the LSTM as an sktime forecaster.

Baselines, metrics and backtests are sktime's. Needs ``pip install "lstm_numba[forecast]"``.
"""

try:
    import sktime  # noqa: F401
except ImportError as error:
    raise ImportError('lstm_numba.forecasting needs sktime: pip install "lstm_numba[forecast]"') from error

from .calendar import calendar_features
from .forecaster import LSTMForecaster
from .network import LastSteps
from .windows import Standardiser, chronological_split, seasonal_reference, take_windows, window_origins

__all__ = [
    "LSTMForecaster",
    "LastSteps",
    "Standardiser",
    "calendar_features",
    "chronological_split",
    "seasonal_reference",
    "take_windows",
    "window_origins",
]
