"""Checks of chapter 4.4, forecasting: seasonal naive, MASE, the shift detector, splits, the poison test, pairing."""

from collections.abc import Callable

import numpy as np

from lstm_numba.teaching.exercises import Check, Mistake, exercise


@exercise("4.4")
def check_seasonal_naive(check: Check, seasonal_naive: Callable) -> None:
    """Repeat the last known season, also when the horizon is longer than the season."""
    y = np.random.default_rng(4401).normal(size=40)
    origin, period = 25, 7
    for horizon in (5, 17):
        result = check.call(f"runs for {horizon} steps", seasonal_naive, y, origin, period, horizon)
        forecast = check.shape(f"{horizon} steps give {horizon} numbers", result, (horizon,))
        steps = np.arange(horizon)
        looks_ahead = y[origin - period : origin - period + horizon]
        check.close(
            f"{horizon} steps, season of {period}",
            forecast,
            y[origin - period + steps % period],
            mistakes=[
                Mistake(
                    looks_ahead,
                    "From step `period` on you read y at the origin and later: the future. Repeat the last KNOWN "
                    "season instead.",
                ),
                Mistake(
                    y[origin - period + 1 + steps % period],
                    "One step late: the first forecast is for position `origin`, so it repeats y[origin - period].",
                ),
                Mistake(np.full(horizon, y[origin - 1]), "That is persistence: the last value, without a season."),
            ],
            hint="Step s repeats y[origin - period + s], and s starts again at 0 after each period.",
        )
    poisoned = y.copy()
    poisoned[origin:] = 1e9
    check.close(
        "does not read the future",
        seasonal_naive(poisoned, origin, period, 17),
        seasonal_naive(y, origin, period, 17),
        hint="When y[origin:] changes, the forecast must not.",
    )


@exercise("4.4")
def check_mase(check: Check, mase: Callable) -> None:
    """MAE over the seasonal naive error of the training part."""
    rng = np.random.default_rng(4402)
    train = 3 * rng.normal(size=60)
    truth, forecast, period = rng.normal(size=12), rng.normal(size=12), 5
    error = np.abs(forecast - truth)
    result = check.call("runs on 60 training values and 12 forecasts", mase, forecast, truth, train, period)
    scale = np.abs(train[period:] - train[:-period]).mean()
    check.close(
        "scaled mean absolute error",
        check.shape("is one number", result, ()),
        error.mean() / scale,
        mistakes=[
            Mistake(error.mean(), "That is the MAE. Divide it by the seasonal naive error of the training part."),
            Mistake(error.mean() / np.abs(np.diff(train)).mean(), "You scaled by lag 1, not by lag `period`."),
            Mistake(
                error.mean() / np.abs(truth[period:] - truth[:-period]).mean(),
                "The scale comes from the training values: it must be known before the test starts.",
            ),
            Mistake(error.mean() / train.std(), "The scale is a mean absolute seasonal difference, not a deviation."),
            Mistake(scale / error.mean(), "Upside down: a smaller error must give a smaller MASE."),
            Mistake(np.abs((forecast - truth).mean()) / scale, "Absolute values first, then the mean."),
        ],
        hint="mean |forecast - truth| divided by mean |train[t] - train[t - period]|.",
    )


@exercise("4.4")
def check_best_lag(check: Check, best_lag: Callable) -> None:
    """The lag at which a forecast looks most like the truth."""
    rng = np.random.default_rng(4403)
    truth = np.convolve(rng.normal(size=400), np.ones(6) / 6, mode="valid")
    for shift in (0, 1, 3):
        forecast = np.roll(truth, shift) + 0.01 * rng.normal(size=len(truth))
        forecast[:shift] = 0.0
        result = check.call(f"runs on a forecast that is {shift} steps late", best_lag, forecast, truth, 5)
        check.equal(
            f"finds {shift}",
            int(result) if np.ndim(result) == 0 else result,
            shift,
            mistakes=[
                Mistake(-shift, "The sign is turned round: a forecast that repeats the past has a positive lag."),
                Mistake(5, "The largest lag wins only if the two series are paired the wrong way round."),
            ],
            hint="Lag k pairs forecast[k:] with truth[:-k] (and lag 0 pairs them as they are). Where is the "
            "correlation largest?",
        )
    scaled = check.call("runs on another scale", best_lag, 100 + 5 * np.roll(truth, 2), truth, 5)
    check.equal(
        "does not depend on level and scale",
        int(scaled),
        2,
        hint="Use the correlation, not the sum of products or the mean difference.",
    )


@exercise("4.4")
def check_training_origins(check: Check, training_origins: Callable) -> None:
    """Training origins whose answers are all known before the first test origin."""
    origins = np.arange(30, 100)
    first_test, horizon = 80, 6
    result = check.call("runs on origins 30 to 99", training_origins, origins, first_test, horizon)
    kept = np.asarray(check._array("returns numbers", result))
    check.equal(
        "keeps exactly the right origins",
        kept.tolist(),
        list(range(30, 75)),
        mistakes=[
            Mistake(
                list(range(30, 80)),
                "The last of these have answers inside the test: origin 79 answers for 79 to 84. Keep a gap.",
            ),
            Mistake(
                list(range(30, 74)),
                "One too few: origin 74 answers for 74 to 79, and 79 still lies before the test.",
            ),
            Mistake(list(range(30, 76)), "One too many: origin 75 answers for 75 to 80, and 80 is test."),
            Mistake(list(range(30, 100)), "You kept the test origins too."),
        ],
        hint="Origin p answers for p, ..., p + horizon - 1. All of these must lie before first_test.",
    )


def honest_pipeline(y: np.ndarray, origin: int) -> np.ndarray:
    """Forecast 4 steps by the mean of the 12 values before the origin."""
    return np.full(4, y[origin - 12 : origin].mean())


def scaled_by_everything(y: np.ndarray, origin: int) -> np.ndarray:
    """Clip at quantiles of the whole series and round: a leak that small changes of the future do not show."""
    low, high = np.quantile(y, [0.05, 0.95])
    return np.round(np.clip(np.full(4, y[origin - 1]), low, high), 1)


def reads_the_origin(y: np.ndarray, origin: int) -> np.ndarray:
    """Off by one: reads position `origin`, the first value that is not known."""
    return np.full(4, y[origin - 3 : origin + 1].mean())


def reads_far_ahead(y: np.ndarray, origin: int) -> np.ndarray:
    """Reads the last value of the file only."""
    return np.full(4, 0.9 * y[origin - 1] + 0.1 * y[-1])


@exercise("4.4")
def check_leaks(check: Check, leaks: Callable) -> None:
    """The poison test as a function."""
    y = np.random.default_rng(4405).normal(size=80)
    y[49] = 3.0  # an extreme last known value, so that clipping shows
    cases = [
        (honest_pipeline, False, "an honest pipeline passes", "This one reads only y[:origin]. Compare forecast with "
         "forecast, both from `origin`, and change nothing before it."),
        (reads_far_ahead, True, "sees a pipeline that reads the end of the file", "Poison everything from the origin "
         "to the end, not only the next few values."),
        (reads_the_origin, True, "sees a pipeline that is off by one", "Position `origin` itself belongs to the "
         "future: poison y[origin:], not y[origin + 1:]."),
        (scaled_by_everything, True, "sees statistics of the whole file", "Poison with something large: a small "
         "change can vanish in a rounding."),
    ]  # fmt: skip
    for pipeline, expected, name, hint in cases:
        result = check.call(f"runs on {pipeline.__name__}", leaks, pipeline, y, 50)
        if not isinstance(result, bool | np.bool_):
            check.fail("returns True or False", f"Got {type(result).__name__}. Do any of the numbers differ?")
        check.equal(name, bool(result), expected, hint=hint)


@exercise("4.4")
def check_paired(check: Check, paired: Callable) -> None:
    """Mean saving per day and share of days won."""
    rng = np.random.default_rng(4406)
    baseline = 100 + 40 * rng.random(30)
    model = baseline - 5 + 12 * rng.normal(size=30)
    model[3] = baseline[3]  # a tie is not a win
    result = check.call("runs on 30 days", paired, model, baseline)
    if not isinstance(result, tuple | list) or len(result) != 2:
        check.fail("returns two numbers", "Expected a tuple: mean saving, share of days won.")
    saving, won = result
    share = float((model < baseline).mean())
    check.close(
        "mean saving",
        saving,
        (baseline - model).mean(),
        mistakes=[
            Mistake((model - baseline).mean(), "Turned round: a model with smaller errors saves a positive amount."),
            Mistake(np.abs(baseline - model).mean(), "Losses count against the model: no absolute value here."),
            Mistake((baseline - model).sum(), "That is the sum over all days. Take the mean."),
        ],
        hint="Subtract day by day, then average.",
    )
    check.close(
        "share of days won",
        won,
        share,
        mistakes=[
            Mistake((model <= baseline).mean(), "A tie is not a win."),
            Mistake((model > baseline).mean(), "You counted the days that the baseline won."),
            Mistake(share * 30, "A share lies between 0 and 1."),
        ],
        hint="On which days is the model's error smaller?",
    )
