"""Checks of chapter 0.2, sequences, memory and baselines."""

from collections.abc import Callable

import numpy as np

from lstm_numba.teaching import Check, Mistake, exercise

__all__ = [
    "check_make_windows",
    "check_mase",
    "check_mean_baseline_mse",
    "check_running_parity",
    "check_seasonal_naive",
    "check_split_by_time",
]


@exercise("0.2", hint="Start from one value between 0 and 1, then stretch it, then add k of them.")
def check_mean_baseline_mse(check: Check, mean_baseline_mse: Callable[[int, float], float]) -> None:
    """Expect the variance of a sum of k independent values, uniform between 0 and a."""
    for k, a in ((2, 1.0), (3, 2.0), (5, 0.5)):
        mse = check.call(f"runs for k = {k}, a = {a:g}", mean_baseline_mse, k, a)
        check.close(
            f"MSE of the mean for k = {k}, a = {a:g}",
            mse,
            k * a**2 / 12,
            mistakes=[
                Mistake(
                    k**2 * a**2 / 12, "Variances add up: k times, not k squared times. (Standard deviations do not.)"
                ),
                Mistake(k * a / 12, "Stretching by a multiplies the variance by a squared."),
                Mistake(k / 12, "You forgot a: the values lie between 0 and a."),
                Mistake(a**2 / 12, "That is the variance of one value. The answer is a sum of k."),
                Mistake(k * a / 2, "That is the best constant, the mean. What is its squared error?"),
                Mistake(k * a**2 / 3, "That is the mean square. Subtract the square of the mean."),
                Mistake(np.sqrt(k * a**2 / 12), "That is the standard deviation. The MSE is its square."),
            ],
            hint="The MSE of the mean is the variance, and the variance of one uniform value in [0, 1] is 1/12.",
        )


@exercise("0.2", hint="Write down the first row and its target by hand, for N = 5 and k = 2.")
def check_make_windows(check: Check, make_windows: Callable) -> None:
    """Expect windows of past values and the value that follows each."""
    y = np.random.default_rng(1).normal(size=11)
    for k in (1, 4):
        windows = np.lib.stride_tricks.sliding_window_view(y, k)
        X, target = windows[:-1], y[k:]
        answer = check.call(f"runs for k = {k}", make_windows, y, k)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            check.fail("returns two arrays", "Return the pair `X, target`.")
        rows = f"A series of {len(y)} values has {len(y) - k} windows of {k} that are followed by a value."
        got_X = check.shape("X has shape (N - k, k)", answer[0], X.shape, letters="(N - k, k)", hint=rows)
        got = check.shape("target has shape (N - k,)", answer[1], target.shape, letters="(N - k,)", hint=rows)
        check.close(
            "each row holds the k values before its target",
            got_X,
            X,
            mistakes=[
                Mistake(X[:, ::-1], "The order is reversed: the oldest value comes first."),
                Mistake(windows[1:], "A leak: the last column *is* the target. The window must end one step earlier."),
            ],
            hint="Row n is y[n], ..., y[n + k - 1].",
        )
        mistakes = [Mistake(y[:-k], "Those are the first values of the windows, not what follows them.")]
        if k > 1:
            mistakes.append(
                Mistake(y[k - 1 : -1], "A leak: your target is the last value *inside* the window. Take the next one.")
            )
        check.close(
            "the target is the next value",
            got,
            target,
            mistakes=mistakes,
            hint="The target of row n is y[n + k].",
        )


@exercise("0.2", hint="Which past value stands for the step m + 1? The same as for step 1.")
def check_seasonal_naive(check: Check, seasonal_naive: Callable) -> None:
    """Expect the last season, repeated."""
    y = np.random.default_rng(2).normal(size=30)
    for m, horizon in ((7, 7), (7, 3), (7, 17), (1, 4)):
        right = y[-m:][np.arange(horizon) % m]
        got = check.call(f"runs for a season of {m} and a horizon of {horizon}", seasonal_naive, y, m, horizon)
        got = check.shape(
            "one forecast for each step",
            got,
            (horizon,),
            letters="(horizon,)",
            hint="The horizon can be longer or shorter than the season: repeat the season or cut it.",
        )
        mistakes = [
            Mistake(y[:m][np.arange(horizon) % m], "You repeat the *first* season. The last one is the recent one.")
        ]
        if m > 1:
            mistakes += [
                Mistake(np.full(horizon, y[-1]), "That repeats the last value: it is the naive without a season."),
                Mistake(
                    y[-m - 1 : -1][np.arange(horizon) % m],
                    "One step off: the forecast for the next step is the value m steps *before it*, y[-m].",
                ),
                Mistake(y[-m:][::-1][np.arange(horizon) % m], "The season runs backwards."),
                Mistake(np.full(horizon, y[-m]), "Every step repeats the same value. Walk through the season."),
                Mistake(
                    np.full(horizon, y[-m:].mean()), "That is the mean of the season. Repeat its values one by one."
                ),
            ]
        check.close(
            "repeats the last season", got, right, mistakes=mistakes, hint="Step s (from 0) takes y[-m:][s % m]."
        )


@exercise("0.2", hint="First the scale, from the training part alone; then the mean absolute error on the test part.")
def check_mase(check: Check, mase: Callable) -> None:
    """Expect the mean absolute scaled error."""
    rng = np.random.default_rng(3)
    y_train, y_true = rng.normal(size=40).cumsum(), rng.normal(size=12).cumsum()
    y_pred = y_true + rng.normal(size=12)
    error = np.abs(y_true - y_pred)
    for m in (1, 5):
        scale = np.abs(y_train[m:] - y_train[:-m]).mean()
        got = check.call(f"runs for m = {m}", mase, y_train, y_true, y_pred, m)
        got = check.shape("is one number", got, (), hint="Take means.")
        mistakes = [
            Mistake(error.mean(), "That is the MAE. Divide by the MAE of the seasonal naive on the training part."),
            Mistake(scale / error.mean(), "The fraction is upside down: a smaller MASE is better."),
            Mistake((error**2).mean() / scale, "The errors are squared. MASE uses absolute values."),
            Mistake(
                error.mean() / np.abs(y_true[m:] - y_true[:-m]).mean(),
                "The scale comes from the test part. Then it depends on what is to be predicted: use the training "
                "part.",
            ),
            Mistake(
                error.mean() / np.abs(y_train - y_train.mean()).mean(),
                "You scaled by the spread around the mean. The scale is the error of the seasonal naive.",
            ),
            Mistake(error.sum() / scale, "The numerator is a sum. Take the mean over the test steps."),
        ]
        if m > 1:
            mistakes.append(
                Mistake(
                    error.mean() / np.abs(np.diff(y_train)).mean(),
                    "You used lag 1. The seasonal naive compares with the value m steps earlier.",
                )
            )
        check.close(
            f"MASE with season {m}",
            got,
            error.mean() / scale,
            mistakes=mistakes,
            hint="mean |y_true - y_pred| divided by the mean of |y_train[m:] - y_train[:-m]|.",
        )


@exercise("0.2", hint="Go through the bits one by one. When does the answer change?")
def check_running_parity(check: Check, running_parity: Callable) -> None:
    """Expect the parity of all bits so far, at every step."""
    for T, seed in ((1, 0), (9, 1), (40, 2)):
        bits = np.random.default_rng(seed).integers(0, 2, T)
        right = np.cumsum(bits) % 2
        got = check.call(f"runs on {T} bit{'s' if T > 1 else ''}", running_parity, bits)
        got = check.shape(
            "one answer per step",
            got,
            (T,),
            letters="(T,)",
            hint="Write down the state after every step, not only at the end and not before the first.",
        )
        mistakes = [
            Mistake(np.cumsum(bits), "That counts the ones. Parity only asks whether the count is odd: keep one bit."),
            Mistake(1 - right, "Odd and even are exchanged: before the first bit the count is 0, which is even."),
            Mistake(np.append(0, right[:-1]), "One step late: update the state first, then write it down."),
            Mistake(bits, "You returned the bits. The state must depend on the past."),
            Mistake(np.maximum.accumulate(bits), "Your state turns on and stays on: a one must *flip* it."),
            Mistake(
                np.append(bits[0], bits[1:] ^ bits[:-1]),
                "You combine it with the *previous bit*. Combine it with the previous state.",
            ),
        ]
        check.close(
            f"parity of {T} bit{'s' if T > 1 else ''}", got, right, mistakes=mistakes, hint="A one flips the state."
        )


@exercise("0.2", hint="Draw the series as a line, the oldest step on the left. Who comes first, who last?")
def check_split_by_time(check: Check, split_by_time: Callable) -> None:
    """Expect indices of training, validation and test part, in this order of time."""
    for n, n_valid, n_test in ((100, 20, 10), (57, 5, 12)):
        answer = check.call(f"runs for n = {n}", split_by_time, n, n_valid, n_test)
        if not isinstance(answer, tuple | list) or len(answer) != 3:
            check.fail("returns three arrays", "Return training, validation and test indices.")
        train, valid, test = (np.asarray(part) for part in answer)
        lengths = (train.size, valid.size, test.size)
        if lengths != (n - n_valid - n_test, n_valid, n_test):
            together = "" if sum(lengths) == n else f" Together they have {sum(lengths)} of {n} steps."
            check.fail(
                "the parts have the lengths asked for",
                f"Expected lengths {n - n_valid - n_test}, {n_valid}, {n_test}; got {lengths}.{together}",
            )
        everything = np.concatenate([train, valid, test])
        if not np.array_equal(np.sort(everything), np.arange(n)):
            check.fail("every step is in exactly one part", "Some index is missing or occurs twice, or counts from 1.")
        if test.max() < train.min():
            hint = "The test part is the oldest. Then the model is trained on the future of what it predicts."
        elif valid.min() > test.max():
            hint = "The validation part is newer than the test part. The newest part is the one that judges."
        elif valid.max() < train.min():
            hint = (
                "The validation part is older than the training part. Settings must be chosen on what comes after it."
            )
        else:
            hint = "The parts are mixed in time. A random split lets the model look at neighbours from the future."
        check.true(
            "training before validation before test",
            train.max() < valid.min() and valid.max() < test.min(),
            hint=hint,
        )
        check.true("in the order of time", np.all(np.diff(everything) > 0), hint="Keep the indices in ascending order.")
