"""The packaged data are what the docstrings say, and a missing package is a clear error."""

import builtins
import importlib.util
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lstm_numba.datasets import traffic_hourly


@pytest.fixture(scope="module")
def traffic():
    return traffic_hourly()


def test_hourly_grid(traffic):
    index = traffic.data.index
    assert traffic.data.shape == (17520, 6)
    assert index.freqstr == "h"
    assert (np.diff(index.to_numpy()) == np.timedelta64(1, "h")).all()
    assert (index[0], index[-1]) == (pd.Timestamp("2016-10-01 00:00"), pd.Timestamp("2018-09-30 23:00"))


def test_missing_values_are_kept_and_marked(traffic):
    volume = traffic.data[traffic.target]
    assert traffic.missing.dtype == bool
    assert traffic.missing.sum() == volume.isna().sum() == 104
    pd.testing.assert_series_equal(traffic.missing, volume.isna(), check_names=False)
    assert (traffic.data.isna().sum() == 104).all()


def test_values_are_plausible(traffic):
    data = traffic.data
    assert data["traffic_volume"].between(0, 10_000)[~traffic.missing].all()
    assert data["temp"].between(230, 320)[~traffic.missing].all()
    assert data["clouds_all"].between(0, 100)[~traffic.missing].all()
    assert (data["snow_1h"].dropna() == 0).all()
    weekly = data["traffic_volume"] - data["traffic_volume"].shift(168)
    daily = data["traffic_volume"] - data["traffic_volume"].shift(24)
    assert weekly.abs().mean() < daily.abs().mean()


def test_source_is_named(traffic):
    assert "10.24432/C5X60B" in traffic.source
    assert "10.24432/C5X60B" in traffic.citation
    assert traffic.licence == "CC BY 4.0"
    assert "104 missing" in repr(traffic)


def test_every_call_returns_fresh_data(traffic):
    other = traffic_hourly()
    other.data.iloc[0, 0] = -1
    assert traffic.data.iloc[0, 0] == 1195


def test_autots_is_not_imported():
    code = "import sys, lstm_numba.datasets as d; d.traffic_hourly(); print('autots' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_without_autots(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs the package autots: pip install .lstm_numba\[forecast\]"):
        traffic_hourly()


def test_without_pandas(monkeypatch):
    real_import = builtins.__import__

    def no_pandas(name, *args, **kwargs):
        if name == "pandas":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_pandas)
    with pytest.raises(ImportError, match=r"needs the package pandas: pip install .lstm_numba\[forecast\]"):
        traffic_hourly()


def test_an_autots_without_the_file(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = [str(tmp_path)]  # noqa: RUF012

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(ImportError, match=r"holds no traffic_hourly.zip; .*lstm_numba\[forecast\]"):
        traffic_hourly()
