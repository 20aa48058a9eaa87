"""Checks of chapter 2.5, making it learn."""

from collections.abc import Callable

import numpy as np

from lstm_numba.teaching.exercises import Check, Mistake, exercise


@exercise("2.5")
def check_bias_for(check: Check, bias_for: Callable) -> None:
    """A function from a half-life to a forget bias."""
    for n in (1, 10, 100):
        f = 0.5 ** (1 / n)
        check.close(
            f"bias for a half-life of {n}",
            check.call(f"runs for {n}", bias_for, n),
            np.log(f / (1 - f)),
            mistakes=[
                Mistake(f, "That is the forget gate. Which pre-activation gives it, through the sigmoid?"),
                Mistake(np.log(1 - f) - np.log(f), "The sign is wrong: a long memory needs a positive bias."),
                Mistake(
                    np.log(n),
                    "Close, but the time constant is not the half-life: start from f**n = 1/2.",
                ),
            ],
            hint="Solve f**n = 1/2 for f, then sigmoid(b) = f for b.",
        )


@exercise("2.5")
def check_chrono_bias(check: Check, chrono_bias: Callable) -> None:
    """A bias vector (4H,) from the time scales of H units."""
    scales = np.array([1.5, 4.0, 30.0])
    logs, zeros = np.log(scales), np.zeros(3)
    result = check.call("runs", chrono_bias, scales)
    result = check.shape("shape", result, (12,), letters="(4H,)")
    check.close(
        "i, f, g, o",
        result,
        np.concatenate([-logs, logs, zeros, zeros]),
        mistakes=[
            Mistake(
                np.concatenate([logs, -logs, zeros, zeros]), "Upside down: what is kept for long is written little."
            ),
            Mistake(np.concatenate([logs, logs, zeros, zeros]), "The input bias is MINUS the forget bias."),
            Mistake(
                np.concatenate([zeros, logs, zeros, zeros]), "Only half of it: the input bias is minus the forget bias."
            ),
            Mistake(
                np.stack([-logs, logs, zeros, zeros], axis=1).ravel(),
                "The gates are stacked in blocks of H, not interleaved.",
            ),
        ],
        hint="Four blocks of H numbers, in the order i, f, g, o; the last two are zero.",
    )


@exercise("2.5")
def check_kept_share(check: Check, kept_share: Callable) -> None:
    """The share of values that survive fresh dropout masks on the cell state."""
    for rate, steps in ((0.3, 10), (0.1, 50)):
        check.close(
            f"rate {rate}, {steps} steps",
            check.call(f"runs for {rate}, {steps}", kept_share, rate, steps),
            (1 - rate) ** steps,
            mistakes=[
                Mistake(1 - rate, "That is one step. Every step draws again."),
                Mistake(rate**steps, "That is the share hit every time. One hit is enough to lose a value."),
                Mistake(1 - rate * steps, "Chances of independent events multiply."),
            ],
            hint="A value survives if it survives every step.",
        )


@exercise("2.5")
def check_one_mask(check: Check, one_mask: Callable) -> None:
    """A dropout mask (T, B, H) that is the same at every step."""
    T, B, H, rate = 5, 40, 50, 0.25
    mask = check.call("runs", one_mask, np.random.default_rng(0), rate, T, B, H)
    mask = check.shape("shape", mask, (T, B, H), letters="(T, B, H)")
    check.true(
        "the same at every step",
        np.array_equal(mask, np.broadcast_to(mask[:1], mask.shape)),
        hint="Draw one mask of shape (1, B, H) and repeat it T times.",
    )
    check.true(
        "sequences and units differ",
        mask[0].std(axis=0).max() > 0 and mask[0].std(axis=1).max() > 0,
        hint="Every sequence and every unit needs its own draw.",
    )
    check.true(
        "zeros and 1 / (1 - rate)",
        set(np.round(np.unique(mask), 9)) == {0.0, round(1 / (1 - rate), 9)},
        hint="Survivors are scaled by 1 / (1 - rate), so that the mean stays what it was; the others are 0.",
    )
    check.true(
        "the right share of zeros",
        abs((mask[0] == 0).mean() - rate) < 0.06,
        hint="`rate` is the share that is dropped, not the share that is kept.",
    )


@exercise("2.5")
def check_unanswerable(check: Check, unanswerable: Callable) -> None:
    """The share of answers that lie before the chunk."""
    for delay, chunk in ((4, 12), (4, 4), (4, 2)):
        check.close(
            f"delay {delay}, chunks of {chunk}",
            check.call(f"runs for {delay}, {chunk}", unanswerable, delay, chunk),
            min(1.0, delay / chunk),
            mistakes=[
                Mistake(delay / chunk, "A share is never more than 1: with short chunks no answer is inside."),
                Mistake(1 - min(1.0, delay / chunk), "That is the share that can be answered."),
                Mistake(chunk / delay, "Upside down: of `chunk` answers, the first `delay` lie before it."),
            ],
            hint="Count in a chunk of 12 with a delay of 4: how many answers stand in the chunk before?",
        )


@exercise("2.5")
def check_pick_rate(check: Check, pick_rate: Callable) -> None:
    """A tenth of the learning rate with the lowest loss, in a test that may have diverged."""
    rates = np.geomspace(1e-4, 1, 9)
    losses = np.array([1.0, 0.99, 0.9, 0.6, 0.3, 0.35, 0.8, np.nan, np.nan])
    picked = check.call("runs", pick_rate, rates, losses)
    check.close(
        "a tenth of the rate with the lowest loss",
        picked,
        rates[4] / 10,
        mistakes=[
            Mistake(rates[4], "At the lowest loss it is already about to diverge: stay a factor of 10 below."),
            Mistake(rates[7] / 10, "np.argmin takes a NaN for the smallest number. np.nanargmin does not."),
            Mistake(rates[7], "np.argmin takes a NaN for the smallest number. np.nanargmin does not."),
            Mistake(np.nanmin(losses) / 10, "That is a loss. Asked for is the rate at which it was seen."),
        ],
        hint="Find where the loss is lowest among the numbers that are not NaN.",
    )
