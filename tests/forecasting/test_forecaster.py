"""The forecaster: sktime's contract, no look-ahead, and skill on a series whose answer is known."""

import warnings

import numpy as np
import pandas as pd
import pytest

from lstm_numba.forecasting import LastSteps, LSTMForecaster
from lstm_numba.forecasting.network import make_network


def noisy_season(n=400, period=12, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    index = pd.date_range("2020-01-01", periods=n, freq="h")
    return pd.Series(10 + 3 * np.sin(2 * np.pi * t / period) + noise * rng.normal(size=n), index=index, name="y")


def covariate(y, seed=1):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"push": rng.normal(size=len(y)), "other": rng.normal(size=len(y))}, index=y.index)


def small(**settings):
    return LSTMForecaster(**({"window_length": 12, "hidden_size": 8, "epochs": 3, "learning_rate": 0.01} | settings))


def test_sktime_accepts_it():
    from sktime.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sktime's own tests provoke warnings of sktime and pandas
        results = check_estimator(LSTMForecaster, raise_exceptions=True, verbose=False)
    assert len(results) > 300
    assert set(results.values()) == {"PASSED"}


@pytest.mark.parametrize(("period", "seasons"), [(None, 1), (1, 1), (12, 1), (12, 3)])
def test_it_learns_a_noisy_season(period, seasons):
    y = noisy_season()
    train, test = y[:-12], y[-12:]
    forecaster = small(seasonal_period=period, seasons=seasons, epochs=40, loss="mse", hidden_size=16)
    forecast = forecaster.fit(train, fh=range(1, 13)).predict()
    assert forecast.index.equals(test.index)
    assert forecast.name == "y"
    error = np.abs(forecast - test).mean()
    assert error < 0.3, error  # noise alone costs 0.08, the last value 2.3
    assert forecaster.history_.train_loss[-1] < forecaster.history_.train_loss[0]


def test_known_covariates_are_used():
    y = noisy_season(600, noise=0.05)
    X = covariate(y)
    y = y + 2 * X["push"]
    cut = len(y) - 12
    fh = range(1, 13)
    errors = {}
    for name, known in (("with", X), ("without", None)):
        forecaster = small(seasonal_period=12, epochs=25, hidden_size=16)
        forecaster.fit(y[:cut], X=None if known is None else known[:cut], fh=fh)
        forecast = forecaster.predict(X=None if known is None else known[cut:])
        errors[name] = np.abs(forecast - y[cut:]).mean()
    assert errors["with"] < 0.5 * errors["without"], errors


def test_same_seed_same_forecast_other_seed_other_forecast():
    y = noisy_season(150)
    first, again, other = (small(random_state=s).fit(y, fh=[1, 2]).predict() for s in (3, 3, 4))
    pd.testing.assert_series_equal(first, again)
    assert (first != other).all()


def test_inputs_never_contain_what_is_not_known_at_the_origin():
    y, origin = noisy_season(200), 150
    changed = y.copy()
    changed.iloc[origin:] = 1e6
    for period, seasons in ((None, 1), (1, 1), (12, 1), (12, 3)):
        forecaster = small(seasonal_period=period, seasons=seasons).fit(y, fh=range(1, 25))
        origins = np.array([origin])
        none = np.zeros((200, 0))
        inputs, reference = forecaster._inputs(y.to_numpy(), none, origins)
        same_inputs, same_reference = forecaster._inputs(changed.to_numpy(), none, origins)
        np.testing.assert_array_equal(inputs, same_inputs)
        np.testing.assert_array_equal(reference, same_reference)
        np.testing.assert_array_equal(inputs[:, 12:, 0], 0)


def test_training_and_scales_ignore_the_validation_part():
    """Poison the targets that only validation sees: without early stopping the weights must not notice."""
    y = noisy_season(200)
    poisoned = y.copy()
    poisoned.iloc[-10:] += 50
    settings = {"seasonal_period": 12, "validation_fraction": 0.2, "epochs": 1}
    clean, dirty = (small(**settings).fit(series, fh=[1, 2, 3]) for series in (y, poisoned))
    for name, value in clean.network_.parameters.items():
        np.testing.assert_array_equal(value, dirty.network_.parameters[name])
    assert clean._value_scaler.mean == dirty._value_scaler.mean
    assert clean.history_.validation_loss != dirty.history_.validation_loss


def test_update_without_training_moves_the_origin_only():
    y = noisy_season(200)
    X = covariate(y)
    forecaster = small(seasonal_period=12).fit(y[:150], X=X[:150], fh=[1, 2, 3])
    before = forecaster.network_.state_dict()
    forecaster.update(y[150:170], X=X[150:170], update_params=False)
    for name, value in before.items():
        np.testing.assert_array_equal(forecaster.network_.parameters[name], value)
    forecast = forecaster.predict(X=X[170:173])
    assert forecast.index.equals(y.index[170:173])
    # Overlapping rows, as sktime's `evaluate` sends them, change nothing.
    forecaster.update(y[:170], X=X[:170], update_params=False)
    pd.testing.assert_series_equal(forecaster.predict(X=X[170:173]), forecast)


def test_update_with_training_equals_a_new_fit():
    y = noisy_season(200)
    updated = small().fit(y[:150], fh=[1, 2]).update(y[150:], update_params=True).predict()
    pd.testing.assert_series_equal(updated, small().fit(y, fh=[1, 2]).predict())


def test_some_steps_of_the_horizon():
    y = noisy_season(150)
    few = small().fit(y, fh=[2, 5]).predict()
    every = small().fit(y, fh=[1, 2, 3, 4, 5]).predict()
    pd.testing.assert_series_equal(few, every.iloc[[1, 4]], check_freq=False)


def test_early_stopping_keeps_the_best_epoch():
    forecaster = small(epochs=30, patience=2, learning_rate=0.2).fit(noisy_season(150), fh=[1])
    history = forecaster.history_
    assert history.stopped_early
    assert history.best_epoch < history.epochs - 1


def test_backtest_with_sktime_evaluate():
    from sktime.forecasting.model_evaluation import evaluate
    from sktime.performance_metrics.forecasting import MeanAbsoluteScaledError
    from sktime.split import ExpandingWindowSplitter

    y = noisy_season(300)
    cv = ExpandingWindowSplitter(fh=range(1, 13), initial_window=250, step_length=12)
    table = evaluate(
        small(seasonal_period=12, epochs=5),
        cv,
        y,
        strategy="no-update_params",
        scoring=MeanAbsoluteScaledError(sp=12),
    )
    assert len(table) == 4
    scores = table["test_MeanAbsoluteScaledError"]
    assert scores.between(0.3, 1.5).all(), scores


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_length": 0}, "window_length: expected an integer >= 1, got 0"),
        ({"hidden_size": 2.5}, "hidden_size: expected an integer >= 1, got 2.5"),
        ({"seasonal_period": 0}, "seasonal_period"),
        ({"patience": 0}, "patience"),
        ({"seasons": 2}, "seasons: expected 1 with seasonal_period=None, got 2"),
        ({"loss": "rmse"}, r"loss: expected one of \['mae', 'mse'\], got 'rmse'"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"window_length": 100}, "y: 60 values are too few"),
        ({"learning_rate": -1.0}, "lr: "),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings).fit(noisy_season(60), fh=[1])


def test_bad_data():
    y = noisy_season(100)
    X = covariate(y)
    with pytest.raises(ValueError, match="forecasting horizon `fh` must be passed"):
        small().fit(y)
    with pytest.raises(ValueError, match=r"missing values|missing data|NaN|nan"):
        small().fit(y.where(y.index != y.index[30]), fh=[1])
    with pytest.raises(ValueError, match="y: expected a regular time index without gaps"):
        small().fit(y.drop(y.index[30]), fh=[1])
    forecaster = small().fit(y[:80], X=X[:80], fh=[1, 2, 3])
    with pytest.raises(ValueError, match=r"X: fit saw the covariates \['push', 'other'\], predict got none"):
        forecaster.predict()
    with pytest.raises(ValueError, match=r"X: fit saw the covariates .* update got none"):
        forecaster.update(y[80:85], update_params=False)
    with pytest.raises(ValueError, match=r"y: expected a regular time index without gaps"):
        small().fit(y[:80], fh=[1]).update(y[85:90], update_params=False)


def test_last_steps_and_network_gradients():
    layer = LastSteps(2, dtype="float64")
    y = np.random.default_rng(0).normal(size=(3, 5, 4))
    np.testing.assert_array_equal(layer(y), y[:, 3:])
    dy = layer.backward(np.ones((3, 2, 4)))
    np.testing.assert_array_equal(dy, np.concatenate([np.zeros((3, 3, 4)), np.ones((3, 2, 4))], axis=1))
    with pytest.raises(RuntimeError, match="backward: expected a call"):
        layer.backward(np.ones((3, 2, 4)))
    with pytest.raises(ValueError, match=r"T >= 2, got \(3, 1, 4\)"):
        layer(np.ones((3, 1, 4)))
    with pytest.raises(ValueError, match="steps"):
        LastSteps(0)

    network = make_network(3, 4, 2, horizon=2, dtype="float64", seed=0)
    x = np.random.default_rng(1).normal(size=(2, 5, 3))
    target = np.random.default_rng(2).normal(size=(2, 2, 1))

    def loss():
        network.eval()
        return float(0.5 * np.sum((network(x) - target) ** 2))

    network.train()
    network.zero_grad()
    network.backward(network(x) - target)
    for name, parameter in network.parameters.items():
        for position in list(np.ndindex(parameter.shape))[::7]:
            original = parameter[position]
            parameter[position] = original + 1e-6
            above = loss()
            parameter[position] = original - 1e-6
            below = loss()
            parameter[position] = original
            assert network.grads[name][position] == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-8)
