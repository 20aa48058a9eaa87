"""Checks of chapter 5.1, measure first."""

import math
from collections.abc import Callable

import numpy as np

from lstm_numba.teaching import Check, Mistake, exercise

__all__ = [
    "check_geometric_mean",
    "check_intensity",
    "check_roof",
    "check_smallest_batch",
    "check_speedup",
    "check_step_flops",
]


@exercise("5.1", hint="Count one pre-activation first: how many products, how many sums? Then count pre-activations.")
def check_step_flops(check: Check, layer_flops: Callable[[int, int, int, int], float]) -> None:
    """Expect the operations of the matrix products of a forward pass."""
    for T, B, I, H in ((1, 1, 2, 3), (7, 3, 5, 11)):
        right = 8 * T * B * H * (I + H)
        check.equal(
            f"operations for T={T} B={B} I={I} H={H}",
            check.call(f"runs for T={T} B={B} I={I} H={H}", layer_flops, T, B, I, H),
            right,
            mistakes=[
                Mistake(right // 2, "You count multiply-adds. A multiplication and an addition are two operations."),
                Mistake(right // 4, "That is one gate. A step has the pre-activations of four."),
                Mistake(8 * B * H * (I + H), "That is one step. There are T of them."),
                Mistake(8 * T * H * (I + H), "That is one sequence. There are B of them."),
                Mistake(8 * T * B * H * H, "The recurrent part is right; the product with the input is missing."),
                Mistake(8 * T * B * H * I, "The input's part is right; the recurrent product is missing."),
            ],
            hint="Each of the 4H pre-activations sums I + H products: 2 (I + H) operations; B sequences, T steps.",
        )


@exercise("5.1", hint="Operations of the recurrent part divided by the bytes it fetches and writes.")
def check_intensity(check: Check, intensity: Callable[[int, int, int], float]) -> None:
    """Expect the operations per byte of the recurrent part of one step."""
    for B, H, itemsize in ((1, 64, 4), (8, 96, 8)):
        flops, numbers = 8 * B * H**2, 4 * H**2 + 8 * B * H
        check.close(
            f"intensity for B={B} H={H}, {itemsize} bytes per number",
            check.call(f"runs for B={B} H={H} itemsize={itemsize}", intensity, B, H, itemsize),
            flops / (itemsize * numbers),
            mistakes=[
                Mistake(itemsize * numbers / flops, "The fraction is upside down: operations per byte."),
                Mistake(flops / numbers, "That is operations per *number*. Each number has `itemsize` bytes."),
                Mistake(flops / (4 * numbers), "You wrote 4 bytes; use `itemsize`."),
                Mistake(flops / 2 / (itemsize * numbers), "A multiply-add is two operations."),
                Mistake(
                    flops / (itemsize * 4 * H**2),
                    "Only the weights are counted. Each sequence also moves 8H numbers: pre-activations and states.",
                ),
            ],
            hint="8 B H^2 operations; 4 H^2 + 8 B H numbers of `itemsize` bytes.",
        )


@exercise("5.1", hint="Two limits, and the lower one holds.")
def check_roof(check: Check, attainable: Callable) -> None:
    """Expect the roofline over an array of intensities."""
    intensities = np.array([0.1, 0.5, 2.0, 40.0])
    peak, bandwidth = 110.0, 60.0
    slanted = bandwidth * intensities
    answer = check.call("runs on an array", attainable, intensities, peak, bandwidth)
    check.close(
        "the roof",
        answer,
        np.minimum(peak, slanted),
        mistakes=[
            Mistake(np.maximum(peak, slanted), "That is the higher of the two limits. A program is held by the lower."),
            Mistake(slanted, "The slanted roof has no end here: arithmetic limits the rate too."),
            Mistake(np.minimum(peak, bandwidth / intensities), "More operations per byte allow a *higher* rate."),
            Mistake(np.full(4, peak), "The flat roof alone: below the corner memory cannot keep up."),
        ],
        hint="np.minimum(peak, bandwidth * intensity).",
    )


@exercise("5.1", hint="At the corner, peak = bandwidth * intensity. Put the intensity of a batch in and solve for B.")
def check_smallest_batch(check: Check, smallest_batch: Callable[[float, float, int], int]) -> None:
    """Expect the smallest batch whose steps can reach the flat roof."""
    for peak, bandwidth, itemsize in ((115.0, 93.0, 4), (57.0, 20.0, 8), (100.0, 50.0, 4)):
        exact = itemsize * peak / (2 * bandwidth)
        check.equal(
            f"batch for {peak:g} GFLOP/s, {bandwidth:g} GB/s, {itemsize} bytes",
            check.call(f"runs for {peak:g}, {bandwidth:g}, {itemsize}", smallest_batch, peak, bandwidth, itemsize),
            math.ceil(exact),
            mistakes=[
                Mistake(exact, "Round up: a batch is a whole number of sequences."),
                Mistake(int(exact), "Rounded down, the batch stays just left of the corner. Round up."),
                Mistake(math.ceil(peak / bandwidth), "That is the corner in operations per byte. Which B has it?"),
                Mistake(
                    math.ceil(2 * peak / (itemsize * bandwidth)),
                    "The relation is inverted: from A = 2B/s follows B = s A / 2.",
                ),
            ],
            hint="B = itemsize * peak / (2 * bandwidth), rounded up with math.ceil.",
        )


@exercise("5.1", hint="Divide within each round first.")
def check_speedup(check: Check, speedup: Callable) -> None:
    """Expect the median over rounds of the ratio within a round."""
    theirs = np.array([2.0, 2.2, 6.6, 2.0, 9.0])
    ours = np.array([1.0, 1.0, 3.1, 4.0, 3.0])
    right = np.median(theirs / ours)
    for label, x, y in (("arrays", theirs, ours), ("lists", theirs.tolist(), ours.tolist())):
        check.close(
            f"speed-up from {label}",
            check.call(f"runs on {label}", speedup, x, y),
            right,
            mistakes=[
                Mistake(np.median(ours / theirs), "The ratio is upside down: theirs divided by ours."),
                Mistake(1 / right, "The ratio is upside down: theirs divided by ours."),
                Mistake(np.mean(theirs / ours), "That is the mean: one disturbed round moves it."),
                Mistake(
                    np.median(theirs) / np.median(ours),
                    "That is a ratio of medians, which may come from different rounds. Divide first.",
                ),
                Mistake(theirs.min() / ours.min(), "Minima may come from different rounds, too. Divide first."),
            ],
            hint="np.median of theirs / ours, as arrays.",
        )


@exercise("5.1", hint="Logarithms turn a product into a sum.")
def check_geometric_mean(check: Check, geometric_mean: Callable) -> None:
    """Expect the geometric mean, also of many numbers."""
    ratios = np.array([4.0, 0.25, 3.0])
    right = np.exp(np.log(ratios).mean())
    check.close(
        "mean of three ratios",
        check.call("runs on three ratios", geometric_mean, ratios),
        right,
        mistakes=[
            Mistake(ratios.mean(), "That is the arithmetic mean: with the roles exchanged it tells another story."),
            Mistake(1 / (1 / ratios).mean(), "That is the harmonic mean."),
            Mistake(np.prod(ratios), "The product needs a root: the power 1/n."),
            Mistake(np.log(ratios).mean(), "You forgot to go back from logarithms: np.exp."),
            Mistake(np.sqrt(np.prod(ratios)), "A square root is right for two numbers. Here it is the n-th root."),
        ],
        hint="exp of the mean of the logarithms.",
    )
    many = np.full(400, 1e3)
    check.close(
        "mean of 400 ratios of 1000",
        check.call("runs on 400 ratios", geometric_mean, many),
        1e3,
        hint="The product of 400 such numbers overflows. Take the mean of the logarithms instead.",
    )
