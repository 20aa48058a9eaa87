"""Windows against definitions written as loops, and the property that matters: nothing looks ahead."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba.forecasting import (
    Standardiser,
    calendar_features,
    chronological_split,
    seasonal_reference,
    take_windows,
    window_origins,
)

lengths = st.integers(1, 8)


@given(n=st.integers(0, 40), L=lengths, horizon=lengths, stride=lengths, first=st.integers(0, 5))
def test_origins_are_all_that_fit(n, L, horizon, stride, first):
    origins = window_origins(n, L, horizon, stride, first=first)
    fitting = [o for o in range(n + 1) if o - L >= first and o + horizon <= n]
    expected = sorted(fitting[::-1][::stride])  # every stride-th, counted from the latest
    assert origins.tolist() == expected


@given(n=st.integers(12, 40), L=lengths, horizon=st.integers(1, 4), width=st.integers(0, 3), seed=st.integers(0, 99))
def test_windows_equal_slices(n, L, horizon, width, seed):
    values = np.random.default_rng(seed).normal(size=(n, width))
    origins = window_origins(n, L, horizon)
    windows = take_windows(values, origins, L, horizon)
    assert windows.shape == (len(origins), L + horizon, width)
    for window, o in zip(windows, origins, strict=True):
        np.testing.assert_array_equal(window, values[o - L : o + horizon])
    windows[...] = 99
    assert not (values == 99).any()


@pytest.mark.parametrize(("origin", "before", "after"), [(2, 3, 0), (9, 1, 2), (11, 1, 0)])
def test_a_window_never_leaves_the_series(origin, before, after):
    with pytest.raises(IndexError, match=f"around {origin} leaves the 10 values"):
        take_windows(np.arange(10), np.array([origin]), before, after)


@given(
    period=lengths,
    before=st.integers(0, 6),
    after=st.integers(0, 20),
    back=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_seasonal_reference_equals_its_definition(period, before, after, back, seed):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=60)
    origins = rng.integers(period * back + before, 61, size=5)
    reference = seasonal_reference(y, origins, period, before, after, seasons_back=back)
    for row, o in zip(reference, origins, strict=True):
        for value, step in zip(row, range(-before, after), strict=True):
            position = o + step - period
            while position >= o:  # not known yet: one more season back
                position -= period
            assert value == y[position - period * (back - 1)]


@given(period=lengths, after=st.integers(0, 20), back=st.integers(1, 2), o=st.integers(20, 60))
def test_seasonal_reference_does_not_look_ahead(period, after, back, o):
    y = np.arange(60.0)
    changed = y.copy()
    changed[o:] = np.nan
    np.testing.assert_array_equal(
        seasonal_reference(changed, np.array([o]), period, 3, after, seasons_back=back),
        seasonal_reference(y, np.array([o]), period, 3, after, seasons_back=back),
    )


def test_seasonal_reference_needs_a_season():
    with pytest.raises(IndexError, match=r"period \* seasons_back \+ before = 9 and 20, got 8 to 8"):
        seasonal_reference(np.arange(20.0), np.array([8]), 7, 2, 1)
    with pytest.raises(ValueError, match="period"):
        seasonal_reference(np.arange(20.0), np.array([8]), 0, 2, 1)
    with pytest.raises(ValueError, match="seasons_back"):
        seasonal_reference(np.arange(20.0), np.array([8]), 1, 2, 1, seasons_back=0)


@given(n=st.integers(0, 60), stride=lengths, horizon=lengths, fraction=st.floats(0, 1, exclude_max=True, width=16))
def test_training_targets_lie_before_validation_targets(n, stride, horizon, fraction):
    origins = window_origins(n, 3, horizon, stride)
    train, validation = chronological_split(origins, fraction, horizon)
    assert set(train) | set(validation) <= set(origins)
    assert len(validation) == int(np.ceil(fraction * len(origins)))
    targets = {int(o) + k for o in train for k in range(horizon)}
    if len(validation):
        assert all(target < validation[0] for target in targets)
        dropped = [o for o in origins if o not in train and o not in validation]
        assert all(o + horizon > validation[0] for o in dropped)
    else:
        np.testing.assert_array_equal(train, origins)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_bad_validation_fraction(fraction):
    with pytest.raises(ValueError, match="validation_fraction"):
        chronological_split(np.arange(5), fraction, 1)


@given(rows=st.integers(2, 30), columns=st.integers(0, 4), seed=st.integers(0, 99))
def test_standardiser_round_trip(rows, columns, seed):
    rng = np.random.default_rng(seed)
    train, other = rng.normal(5, 3, size=(rows, columns)), rng.normal(size=(7, columns))
    scaler = Standardiser().fit(train)
    scaled = scaler.transform(train)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-10)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(other)), other, atol=1e-10)


def test_standardiser_of_a_constant_and_of_bad_values():
    scaler = Standardiser().fit(np.full((50, 1), 0.1))
    np.testing.assert_allclose(scaler.transform(np.array([[0.1], [0.3]])), [[0], [0.2]], atol=1e-12)
    with pytest.raises(ValueError, match="got 1 others"):
        Standardiser().fit(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="at least one row"):
        Standardiser().fit(np.zeros((0, 2)))


@pytest.mark.parametrize("settings", [{"window_length": 0}, {"horizon": 0}, {"stride": 0}, {"first": -1}])
def test_bad_origin_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        window_origins(10, **({"window_length": 2, "horizon": 1} | settings))


def test_calendar_features_are_right():
    index = pd.date_range("2018-07-01", periods=14 * 24, freq="h")
    features = calendar_features(index, holidays=["2018-07-04"])
    days = features[[f"day_{k}" for k in range(7)]]
    assert (days.sum(axis=1) == 1).all()
    assert features.loc["2018-07-01 05:00", "day_6"] == 1  # a Sunday
    np.testing.assert_allclose(features.loc["2018-07-03 06:00", ["hour_sin_1", "hour_cos_1"]], [1, 0], atol=1e-12)
    assert features.index[features["holiday"] == 1].normalize().unique().tolist() == [pd.Timestamp("2018-07-04")]
    after = features.index[features["holiday_last_week"] == 1]
    assert after.normalize().unique().tolist() == [pd.Timestamp("2018-07-11")]
    assert len(after) == 24
    assert "holiday" not in calendar_features(index)


@given(start=st.integers(0, 200), length=st.integers(1, 100))
def test_calendar_features_depend_on_their_own_stamp_only(start, length):
    index = pd.date_range("2018-06-25", periods=400, freq="h")
    whole = calendar_features(index, holidays=["2018-07-04"])
    part = slice(start, start + length)
    pd.testing.assert_frame_equal(calendar_features(index[part], holidays=["2018-07-04"]), whole.iloc[part])


def test_calendar_features_of_periods_and_of_numbers():
    stamps = pd.date_range("2018-07-01", periods=5, freq="h")
    pd.testing.assert_frame_equal(
        calendar_features(stamps.to_period("h")).reset_index(drop=True),
        calendar_features(stamps).reset_index(drop=True),
    )
    with pytest.raises(TypeError, match="index: expected a DatetimeIndex or PeriodIndex, got RangeIndex"):
        calendar_features(pd.RangeIndex(5))
    with pytest.raises(ValueError, match="harmonics"):
        calendar_features(stamps, harmonics=-1)
