"""The protocol of chapter 4.4 looks at nothing it should not, and the stored study is what the page says it is."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from lstm_numba.forecasting import LSTMForecaster
from lstm_numba.teaching import traffic

STORED = Path(__file__).parents[2] / "benchmarks" / "results" / "forecast_traffic.json"
BASELINES = ("same hour yesterday", "same hour last week", "mean of four weeks", "ETS", "ridge, holidays")


@pytest.fixture(scope="module")
def data():
    return traffic.load_traffic()


@pytest.fixture(scope="module")
def results():
    return json.loads(STORED.read_text(encoding="utf-8"))


def poisoned(series, origin):
    changed = series.copy()
    changed.iloc[origin:] = -1e6
    return changed


def test_filling_reads_no_later_value(data):
    observed, filled, _ = data
    for origin in (200, 5000, int(np.flatnonzero(observed.isna())[50]) + 1):
        again = traffic.fill_from_last_week(poisoned(observed, origin))
        np.testing.assert_array_equal(again[:origin], filled[:origin])
    assert not filled.isna().any()
    assert (filled[observed.notna()] == observed[observed.notna()]).all()


def test_ridge_reads_nothing_of_the_day_it_forecasts(data):
    _, y, calendar = data
    first = len(y) - 7 * traffic.DAY
    forecast = {}
    for name, series in (("as it is", y), ("poisoned", poisoned(y, first))):
        inputs = traffic.ridge_inputs(series.to_numpy(), calendar)
        forecast[name] = traffic.ridge_backtest(series.to_numpy(), inputs, first, 1)
    np.testing.assert_array_equal(forecast["as it is"], forecast["poisoned"])


def test_smoothing_reads_nothing_of_the_day_it_forecasts(data):
    _, y, _ = data
    first = len(y) - 7 * traffic.DAY
    fitted, again = (
        traffic.smoothing_backtest(series, first, 1, level=None, seasonal=None) for series in (y, poisoned(y, first))
    )
    np.testing.assert_array_equal(fitted, again)
    assert traffic.smoothing_for_a_day(y, first, days=2) == traffic.smoothing_for_a_day(
        poisoned(y, first), first, days=2
    )


@pytest.mark.parametrize("period", [traffic.DAY, traffic.WEEK])
def test_the_backtest_of_one_season_is_the_seasonal_naive_forecast(data, period):
    _, y, _ = data
    first = len(y) - 3 * traffic.DAY
    with warnings.catch_warnings(record=True) as said:
        forecast = traffic.backtest(traffic.seasonal_mean(period, 1), y, None, first, 3, refit_on=period)
    assert not said
    np.testing.assert_array_equal(forecast.ravel(), y.to_numpy()[first - period : len(y) - period])


def test_the_backtest_moves_the_origin_of_the_lstm_without_training_it(data):
    _, y, calendar = data
    y, calendar = y[-30 * traffic.DAY :], calendar[-30 * traffic.DAY :]
    first = len(y) - 2 * traffic.DAY
    settings = {"window_length": 6, "hidden_size": 3, "seasonal_period": 24, "stride": 12, "epochs": 1}
    forecast = traffic.backtest(LSTMForecaster(**settings), y, calendar, first, 2)
    by_hand = LSTMForecaster(**settings).fit(y[:first], X=calendar[:first], fh=range(1, 25))
    np.testing.assert_array_equal(forecast[0], by_hand.predict(X=calendar[first : first + 24]))
    by_hand.update(y[first : first + 24], X=calendar[first : first + 24], update_params=False)
    np.testing.assert_array_equal(forecast[1], by_hand.predict(X=calendar[first + 24 :]))


def test_bootstrap_means_know_that_neighbours_are_alike():
    rng = np.random.default_rng(0)
    steps = np.repeat(rng.normal(size=12), 7)  # each value lasts a week
    single, weeks = (traffic.bootstrap_means(steps, np.random.default_rng(1), block=b).std() for b in (1, 7))
    assert weeks > 1.7 * single
    for wrong in (0, 85):
        with pytest.raises(ValueError, match="block: expected between 1 and 84 days"):
            traffic.bootstrap_means(steps, rng, block=wrong)


def test_daily_errors_leave_out_what_was_not_observed():
    forecasts, observed = np.zeros((2, 3)), np.array([[1.0, np.nan, 3.0], [4.0, 4.0, 4.0]])
    np.testing.assert_array_equal(traffic.daily_errors(forecasts, observed), [2.0, 4.0])


def test_the_stored_study_is_complete_and_used_these_settings(results):
    study = results["study"]
    assert study["lstm"] == traffic.LSTM_SETTINGS
    assert study["lags"] == list(traffic.LAGS)
    assert study["seeds"] >= 3
    names = {f"LSTM, {known}, seed {seed}" for known in ("holidays", "no holidays") for seed in range(study["seeds"])}
    assert len(results["blocks"]) == 3
    for block in results["blocks"]:
        assert set(block["models"]) == names | set(BASELINES) | {"ridge, no holidays"}
        for model in block["models"].values():
            assert len(model["by_day"]) == study["days"]
            assert len(model["by_hour"]) == 24
            if not block["hours_missing"]:
                assert np.mean(model["by_day"]) == pytest.approx(model["mae"], abs=0.01)


def test_the_stored_baselines_can_be_computed_again(results, data):
    observed, y, calendar = data
    values, days = y.to_numpy(), results["study"]["days"]
    for block in results["blocks"]:
        first = block["first"]
        test = slice(first, first + days * traffic.DAY)
        truth = observed.to_numpy()[test].reshape(days, traffic.DAY)
        again = {
            "same hour yesterday": values[test.start - traffic.DAY : test.stop - traffic.DAY],
            "same hour last week": values[test.start - traffic.WEEK : test.stop - traffic.WEEK],
            "mean of four weeks": np.mean(
                [values[test.start - k : test.stop - k] for k in (168, 336, 504, 672)], axis=0
            ),
            "ridge, holidays": traffic.ridge_backtest(values, traffic.ridge_inputs(values, calendar), first, days),
        }
        for name, forecast in again.items():
            error = np.nanmean(np.abs(forecast.reshape(days, traffic.DAY) - truth))
            assert error == pytest.approx(block["models"][name]["mae"], rel=1e-3), name


def test_every_stored_lstm_beats_the_weekly_naive_forecast(results):
    for block in results["blocks"]:
        naive = block["models"]["same hour last week"]["mae"]
        for name, model in block["models"].items():
            if name.startswith("LSTM"):
                assert model["mae"] < naive, (block["first_day"], name)
