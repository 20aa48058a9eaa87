"""The LSTM as an sktime forecaster."""

import numpy as np
import pandas as pd
from sktime.forecasting.base import BaseForecaster

from lstm_numba.training import Adam, CosineSchedule, History, fit, mae_loss, mse_loss

from .network import make_network
from .windows import Standardiser, chronological_split, seasonal_reference, take_windows, window_origins

LOSSES = {"mae": mae_loss, "mse": mse_loss}
DTYPE = "float32"


class LSTMForecaster(BaseForecaster):
    """Forecast a univariate series with an LSTM that is trained for all steps of the horizon at once.

    The network reads `window_length` past steps and then, without a break, the steps to be forecast. A past step
    holds the value, the values of the same step in the last seasons and the covariates. At a future step the value
    is hidden (0, with a flag that says so), while the last seasons and the covariates are known. The hidden state
    of each future step gives the forecast of that step. With `seasonal_period`, the network does not forecast the
    value but the error of the seasonal naive forecast, so an untrained network is about as good as that baseline.

    Parameters
    ----------
    window_length : int
        Past steps the network reads, >= 1.
    hidden_size : int
        Hidden units, >= 1.
    num_layers : int
        LSTM layers, >= 1.
    seasonal_period : int or None
        Steps in a season whose naive forecast is corrected: 168 for the week of an hourly series, 1 for the last
        value (differencing). None forecasts the value itself.
    seasons : int
        How many past seasons the network sees, >= 1. What it corrects is their mean, step by step; several seasons
        average out the noise of a single one. More than 1 needs `seasonal_period`.
    epochs : int
        Largest number of passes over the training windows, >= 1.
    batch_size : int
        Windows in a mini-batch, >= 1.
    learning_rate : float
        Peak learning rate of Adam; it rises during the first epoch and then falls along a cosine.
    loss : {"mae", "mse"}
        What training minimises, on standardised values.
    stride : int
        Distance between the origins of two training windows, >= 1. A larger stride trains faster on less.
    validation_fraction : float
        Share of the windows, the last ones, kept for early stopping and never trained on; 0 for none.
    patience : int or None
        Stop after this many epochs without a lower validation loss. Whatever its value, the weights of the best
        epoch are kept if there is validation data. None trains all epochs.
    clip_norm : float or None
        Largest global gradient norm.
    random_state : int
        Seed of the initial weights and of the shuffling: the same seed gives the same forecasts.
    progress : bool
        Show a progress bar while training.

    Attributes
    ----------
    network_ : Sequential
        The trained network.
    history_ : History
        Losses, gradient norms and times of the training.
    horizon_ : int
        Longest horizon it was trained for.
    feature_names_ : list of str
        Columns of X seen in fit; empty without X.

    Notes
    -----
    * The horizon is that of `fit`: its longest step decides how far the network is unrolled. sktime refuses another
      horizon in `predict`.
    * Covariates X must be known in advance: `predict` needs one row for each step from the cutoff to the longest
      step of the horizon.
    * ``update(y, X, update_params=False)`` only moves the origin forward: cheap, and the usual choice in a
      rolling backtest. ``update_params=True`` trains again from scratch on everything seen.
    * Missing values are refused. Fill them before, with values known at the time.
    * The time index must be regular.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from lstm_numba.forecasting import LSTMForecaster
    >>> index = pd.period_range("2020-01-01", periods=120, freq="D")
    >>> y = pd.Series(np.sin(2 * np.pi * np.arange(120) / 7), index=index)
    >>> forecaster = LSTMForecaster(window_length=7, hidden_size=4, seasonal_period=7, epochs=2)
    >>> forecaster.fit(y, fh=[1, 2, 3]).predict().shape
    (3,)
    """

    _tags = {  # noqa: RUF012  (sktime reads a plain class attribute)
        "authors": ["The lstm_numba authors"],
        "y_inner_mtype": "pd.Series",
        "X_inner_mtype": "pd.DataFrame",
        "capability:multivariate": False,
        "capability:exogenous": True,
        "capability:insample": False,
        "capability:pred_int": False,
        "capability:missing_values": False,
        "capability:categorical_in_X": False,
        "capability:non_contiguous_X": False,
        "capability:update": True,
        "capability:random_state": True,
        "property:randomness": "derandomized",
        "requires-fh-in-fit": True,
        "X-y-must-have-same-index": True,
    }
    # The forecaster keeps the series itself; sktime 1.2 warns unless this choice is explicit.
    _config = {"remember_data": False}  # noqa: RUF012

    def __init__(
        self,
        window_length: int = 48,
        hidden_size: int = 32,
        num_layers: int = 1,
        seasonal_period: int | None = None,
        seasons: int = 1,
        epochs: int = 20,
        batch_size: int = 64,
        learning_rate: float = 4e-3,
        loss: str = "mae",
        stride: int = 1,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        clip_norm: float | None = 1.0,
        random_state: int | None = 0,
        progress: bool = False,
    ):
        self.window_length = window_length
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.seasonal_period = seasonal_period
        self.seasons = seasons
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.loss = loss
        self.stride = stride
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.clip_norm = clip_norm
        self.random_state = random_state
        self.progress = progress
        super().__init__()
        # sktime looks for these two if a user switches its own memory on.
        self._y = self._X = None

    def _fit(self, y: pd.Series, X: pd.DataFrame | None, fh) -> "LSTMForecaster":
        self._check_settings()
        self.horizon_ = int(np.max(fh.to_relative(self.cutoff).to_numpy()))
        self.feature_names_ = [] if X is None else [str(name) for name in X.columns]
        self._seen_y: pd.Series = y
        self._seen_X: pd.DataFrame = pd.DataFrame(index=y.index) if X is None else X
        self._train()
        return self

    def _predict(self, fh, X: pd.DataFrame | None) -> pd.Series:
        steps = fh.to_relative(self.cutoff).to_numpy().astype(int)
        y = self._values()
        covariates = np.concatenate([self._covariates(len(y)), self._future_covariates(X)])
        inputs, reference = self._inputs(y, covariates, np.array([len(y)]))
        scaled = self.network_(inputs)[0, :, 0]  # (horizon,)
        forecast = reference[0] + self._target_scaler.inverse_transform(scaled)
        return pd.Series(forecast[steps - 1], index=fh.to_absolute_index(self.cutoff), name=self._seen_y.name)

    def _update(self, y: pd.Series, X: pd.DataFrame | None = None, update_params: bool = True):
        if self.feature_names_ and X is None:
            raise ValueError(f"X: fit saw the covariates {self.feature_names_}, update got none")
        # Rows that come again replace the old ones; combine_first keeps the index sorted.
        self._seen_y = y.combine_first(self._seen_y).rename(self._seen_y.name)
        if self.feature_names_ and X is not None:
            self._seen_X = X[self._seen_X.columns].combine_first(self._seen_X)
        _check_regular(self._seen_y.index)
        if update_params:
            self._train()
        return self

    # ---------------------------------------------------------------- training

    def _train(self) -> None:
        y = self._values()
        covariates = self._covariates(len(y))
        before = self.window_length + (self.seasonal_period or 0) * self.seasons
        origins = window_origins(len(y), before, self.horizon_, self.stride)
        train, validation = chronological_split(origins, self.validation_fraction, self.horizon_)
        if len(train) == 0:
            raise ValueError(
                f"y: {len(y)} values are too few. One window needs window_length={self.window_length} + "
                f"seasonal_period={self.seasonal_period} * seasons={self.seasons} + horizon={self.horizon_} values, "
                f"and validation_fraction={self.validation_fraction} takes the last windows"
            )
        known = int(train[-1]) + self.horizon_  # nothing from here on may shape the scales
        self._fit_scalers(y, covariates, train, known)
        inputs, reference = self._inputs(y, covariates, train)
        targets = self._targets(y, train, reference)
        held_out = None
        if len(validation):
            held_out_inputs, held_out_reference = self._inputs(y, covariates, validation)
            held_out = held_out_inputs, self._targets(y, validation, held_out_reference)
        seed = 0 if self.random_state is None else int(self.random_state)
        if self.random_state is None:
            seed = int(np.random.default_rng().integers(2**31))
        self.network_ = make_network(
            inputs.shape[-1], self.hidden_size, self.num_layers, self.horizon_, dtype=DTYPE, seed=seed
        )
        self.history_: History = fit(
            self.network_,
            inputs,
            targets,
            loss=LOSSES[self.loss],
            optimiser=Adam(self.network_, lr=self.learning_rate),
            epochs=self.epochs,
            batch_size=self.batch_size,
            validation=held_out,
            schedule=CosineSchedule(self.epochs, warmup=min(1, self.epochs - 1)),
            clip_norm=self.clip_norm,
            patience=None if held_out is None else self.patience or self.epochs,
            seed=seed,
            progress=self.progress,
        )

    def _fit_scalers(self, y: np.ndarray, covariates: np.ndarray, train: np.ndarray, known: int) -> None:
        """Means and scales of everything the network sees, from the training part only."""
        period = self.seasonal_period
        self._value_scaler = Standardiser().fit(y[:known])
        self._past_scaler = Standardiser()
        if period:
            seen = np.arange(period * self.seasons, known)  # each position as if it were an origin: one step ahead
            error = y[seen] - self._seasons(y, seen, 0, 1).mean(axis=-1)[:, 0]
            self._past_scaler.fit(error)
        self._covariate_scaler = Standardiser().fit(covariates[:known])
        errors = take_windows(y, train, 0, self.horizon_) - self._reference(y, train, 0, self.horizon_)
        self._target_scaler = Standardiser().fit(errors.reshape(-1))

    # ---------------------------------------------------------------- inputs and targets

    def _seasons(self, y: np.ndarray, origins: np.ndarray, before: int, after: int) -> np.ndarray:
        """Values of the same step in the last seasons, (M, before + after, seasons)."""
        period, counts = self.seasonal_period, range(1, self.seasons + 1)
        assert period is not None, "called for a seasonal model only"
        return np.stack(
            [seasonal_reference(y, origins, period, before, after, seasons_back=k) for k in counts], axis=-1
        )

    def _reference(self, y: np.ndarray, origins: np.ndarray, before: int, after: int) -> np.ndarray:
        """What the network corrects, (M, before + after): the mean of the last seasons, or 0 without a season."""
        if self.seasonal_period is None:
            return np.zeros((len(origins), before + after))
        return self._seasons(y, origins, before, after).mean(axis=-1)

    def _inputs(self, y: np.ndarray, covariates: np.ndarray, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Network inputs (M, window + horizon, F) and the reference of the future steps (M, horizon)."""
        L, horizon = self.window_length, self.horizon_
        past = take_windows(y, origins, L, 0)  # (M, L): positions before the origin and no others
        reference = self._reference(y, origins, L, horizon)  # (M, L + horizon)
        hidden = np.zeros((len(origins), horizon))
        if self.seasonal_period is None:
            columns = [np.concatenate([self._value_scaler.transform(past), hidden], axis=1)]
        else:
            error = self._past_scaler.transform(past - reference[:, :L])
            seasons = self._value_scaler.transform(self._seasons(y, origins, L, horizon))
            columns = [np.concatenate([error, hidden], axis=1), *np.moveaxis(seasons, -1, 0)]
        is_future = np.zeros((len(origins), L + horizon))
        is_future[:, L:] = 1
        columns.append(is_future)
        scaled = take_windows(self._covariate_scaler.transform(covariates), origins, L, horizon)
        inputs = np.concatenate([np.stack(columns, axis=-1), scaled], axis=-1)
        return inputs.astype(DTYPE), reference[:, L:]

    def _targets(self, y: np.ndarray, origins: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """What the network should answer, (M, horizon, 1), standardised."""
        future = take_windows(y, origins, 0, self.horizon_)
        return self._target_scaler.transform(future - reference).astype(DTYPE)[..., None]

    def _values(self) -> np.ndarray:
        """The series seen so far as float64, (n,)."""
        _check_regular(self._seen_y.index)
        return self._seen_y.to_numpy(dtype=np.float64)

    def _covariates(self, n: int) -> np.ndarray:
        """The covariates seen so far, (n, K); K = 0 without X."""
        if not self.feature_names_:
            return np.zeros((n, 0))
        if not self._seen_X.index.equals(self._seen_y.index):
            raise ValueError(f"X: expected one row for each value of y, got {len(self._seen_X)} rows for {n} values")
        return self._seen_X.to_numpy(dtype=np.float64)

    def _future_covariates(self, X: pd.DataFrame | None) -> np.ndarray:
        """Covariates of the steps 1 to horizon after the cutoff, (horizon, K)."""
        if not self.feature_names_:
            return np.zeros((self.horizon_, 0))
        if X is None:
            raise ValueError(f"X: fit saw the covariates {self.feature_names_}, predict got none")
        needed = self._every_step_ahead()
        missing = needed.difference(X.index)
        if len(missing):
            raise ValueError(
                f"X: expected a row for each of the {self.horizon_} steps after the cutoff, "
                f"missing {len(missing)}, first {missing[0]}"
            )
        return X.loc[needed, self._seen_X.columns].to_numpy(dtype=np.float64)

    def _every_step_ahead(self) -> pd.Index:
        from sktime.forecasting.base import ForecastingHorizon

        fh = ForecastingHorizon(range(1, self.horizon_ + 1), is_relative=True)
        return fh.to_absolute_index(self.cutoff)

    def _check_settings(self) -> None:
        """What the layers and the loop would not check, or would report under another name."""
        counts = {
            name: getattr(self, name)
            for name in ("window_length", "hidden_size", "num_layers", "epochs", "batch_size", "stride", "seasons")
        }
        if self.seasonal_period is not None:
            counts["seasonal_period"] = self.seasonal_period
        if self.patience is not None:
            counts["patience"] = self.patience
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
        if self.seasons > 1 and self.seasonal_period is None:
            raise ValueError(f"seasons: expected 1 with seasonal_period=None, got {self.seasons}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss: expected one of {sorted(LOSSES)}, got {self.loss!r}")

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict]:
        """Small settings for sktime's own tests."""
        small = {"window_length": 3, "hidden_size": 4, "epochs": 2, "batch_size": 8}
        seasonal = {"seasonal_period": 2, "seasons": 2, "loss": "mse", "num_layers": 2, "validation_fraction": 0.0}
        return [small, small | seasonal]


def _check_regular(index: pd.Index) -> None:
    """One time step between any two neighbours: the network counts steps, it does not see the stamps."""
    if len(index) < 3:
        return
    if isinstance(index, pd.DatetimeIndex):
        regular = index.freq is not None or pd.infer_freq(index) is not None
    elif isinstance(index, pd.PeriodIndex):
        regular = bool((np.diff(index.asi8) == 1).all())
    else:
        gaps = np.diff(index.to_numpy())
        regular = bool((gaps == gaps[0]).all())
    if not regular:
        raise ValueError(
            f"y: expected a regular time index without gaps, got {len(index)} stamps from {index[0]} to {index[-1]}; "
            "reindex the series and fill what is missing"
        )
