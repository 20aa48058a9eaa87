"""Day-ahead traffic forecasts: LSTM, ridge regression and simple baselines on three blocks of 60 days.

Every model is fitted once, before its block, and forecasts 24 hours from each of 60 midnights. The LSTM is trained
with several seeds, with and without holidays in the calendar. Results are written after every model, and a run that
was stopped goes on where it was: ``python -m benchmarks.forecast_traffic``.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.provenance import provenance
from lstm_numba.forecasting import LSTMForecaster
from lstm_numba.teaching.traffic import (
    DAY,
    LAGS,
    LSTM_SETTINGS,
    WEEK,
    backtest,
    daily_errors,
    load_traffic,
    ridge_backtest,
    ridge_inputs,
    seasonal_mean,
    smoothing_backtest,
    smoothing_for_a_day,
)

DAYS, BLOCKS = 60, 3
OUT = Path(__file__).parent / "results" / "forecast_traffic.json"


def run(out: Path, seeds: int) -> dict:
    """Compute what is missing in ``out`` and return everything.

    Parameters
    ----------
    out
        Where the results are written, and read from if a run was stopped.
    seeds
        Number of LSTMs per block and calendar.
    """
    study = {"days": DAYS, "horizon": DAY, "lags": list(LAGS), "lstm": LSTM_SETTINGS, "seeds": seeds}
    result = _resumed(out, study)
    data = {known: load_traffic(holidays=known == "holidays") for known in ("holidays", "no holidays")}
    observed, y, _ = data["holidays"]
    for number in range(BLOCKS):
        first = len(y) - (BLOCKS - number) * DAYS * DAY
        if len(result["blocks"]) == number:
            result["blocks"].append(_new_block(observed, y, first))
        baselines = result["blocks"][number]["models"]
        for name, forecast in _baselines(data, first).items():
            if name not in baselines:
                baselines[name] = _scored(forecast, observed, first)
                _write(out, result)
    for seed in range(seeds):  # the seed is the outer loop: a run that is stopped early has few seeds, but all blocks
        for block in result["blocks"]:
            for known, (_, _, calendar) in data.items():
                name, first = f"LSTM, {known}, seed {seed}", block["first"]
                if name not in block["models"]:
                    forecaster = LSTMForecaster(**LSTM_SETTINGS, random_state=seed)
                    block["models"][name] = _scored(
                        lambda f=forecaster, c=calendar, o=first: backtest(f, y, c, o, DAYS), observed, first
                    )
                    _write(out, result)
    return result


def _resumed(out: Path, study: dict) -> dict:
    """What an earlier run of the same sources left behind, or a new start."""
    fresh = {"provenance": provenance(seed=0), "study": json.loads(json.dumps(study)), "blocks": []}
    if not out.is_file():
        return fresh
    old = json.loads(out.read_text(encoding="utf-8"))
    same = ("commit", "sources_modified", "versions", "processor")
    if old["study"] != fresh["study"] or any(old["provenance"][key] != fresh["provenance"][key] for key in same):
        return fresh
    return old


def _new_block(observed, y, first: int) -> dict:
    errors = np.abs(y.to_numpy()[WEEK:first] - y.to_numpy()[: first - WEEK])
    days = observed.index[first : first + DAYS * DAY : DAY]
    return {
        "first": first,
        "first_day": str(days[0].date()),
        "last_day": str(days[-1].date()),
        "hours_missing": int(observed.iloc[first : first + DAYS * DAY].isna().sum()),
        "mase_scale": float(errors.mean()),  # what the weekly naive forecast misses by before the block
        "models": {},
    }


def _baselines(data: dict, first: int) -> dict:
    """Name to function without arguments that returns forecasts (days, 24)."""
    _, y, _ = data["holidays"]

    def ridge(known):
        return lambda: ridge_backtest(y.to_numpy(), ridge_inputs(y.to_numpy(), data[known][2]), first, DAYS)

    def smoothing():
        errors = smoothing_for_a_day(y, first)
        level, seasonal = min(errors, key=errors.get)
        return smoothing_backtest(y, first, DAYS, level=level, seasonal=seasonal)

    return {
        "same hour yesterday": lambda: backtest(seasonal_mean(DAY, 1), y, None, first, DAYS, refit_on=DAY),
        "same hour last week": lambda: backtest(seasonal_mean(WEEK, 1), y, None, first, DAYS, refit_on=WEEK),
        "mean of four weeks": lambda: backtest(seasonal_mean(WEEK, 4), y, None, first, DAYS, refit_on=4 * WEEK),
        "ETS": smoothing,
        "ridge, holidays": ridge("holidays"),
        "ridge, no holidays": ridge("no holidays"),
    }


def _scored(forecast, observed, first: int) -> dict:
    start = time.perf_counter()
    forecasts = forecast()
    seconds = time.perf_counter() - start
    truth = observed.to_numpy()[first : first + DAYS * DAY].reshape(DAYS, DAY)
    errors = np.abs(forecasts - truth)
    return {
        "mae": round(float(np.nanmean(errors)), 3),
        "by_day": np.round(daily_errors(forecasts, truth), 2).tolist(),
        "by_hour": np.round(np.nanmean(errors, axis=0), 2).tolist(),
        "seconds": round(seconds, 2),
    }


def _write(out: Path, result: dict) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    temporary = out.with_suffix(".tmp")  # a run that is killed while writing must not spoil what is there
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(out)


def main() -> None:
    """Parse the arguments, run, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.forecast_traffic",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where to write the results")
    parser.add_argument("--seeds", type=int, default=5, help="LSTMs per block and calendar")
    options = parser.parse_args()
    for block in run(options.out, options.seeds)["blocks"]:
        print(f"\n{block['first_day']} to {block['last_day']}")
        for name, model in block["models"].items():
            print(f"  {name:32}{model['mae']:8.1f}{model['seconds']:9.1f} s")


if __name__ == "__main__":
    main()
