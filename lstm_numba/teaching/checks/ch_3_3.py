"""Checks of chapter 3.3, a fair fight."""

import math
from itertools import combinations

import numpy as np

from lstm_numba.teaching import Check, Mistake, exercise
from lstm_numba.teaching.fair_fight import MODELS
from lstm_numba.teaching.small_cells import t_interval

#: Five comparisons; what is unfair about each is the reader's to find.
CLAIMS = {
    "A": "A new cell with 64 units errs in 1.9 %, an LSTM with 64 units in 2.4 %. The new cell has six blocks of "
    "weights, the LSTM four. Both got the same 20 trials; five fresh networks each.",
    "B": "Both models have 5,000 parameters. The new cell got the best of 40 settings, the LSTM the learning rate of "
    "an earlier paper. Five fresh networks each: 1.9 % and 2.4 %.",
    "C": "Both have 5,000 parameters, and both got the same 20 trials. For each model the trial with the fewest errors "
    "on the data of the final score is reported, with the mean of five networks: 1.9 % and 2.4 %.",
    "D": "Both have 5,000 parameters and the same 20 trials, scored on validation data. Then one network of each was "
    "trained with the best setting and scored on test data: 1.9 % and 2.4 %.",
    "E": "Both have 5,000 parameters, the same 20 trials on validation data and the same seconds of training. Five "
    "fresh networks each on test data; the 95 % interval of the paired difference is 0.1 to 0.9 points.",
}
#: What can be the matter with a comparison.
REASONS = ("parameters", "tuning", "test data", "seeds", "nothing")
_VERDICTS = dict(zip(CLAIMS, REASONS, strict=True))
_WHY = {
    "A": "Equal width is not equal size: what do six blocks of 64 units have that four blocks have not?",
    "B": "Count how many settings each model could choose from.",
    "C": "Which data chose the setting, and which data gave the score?",
    "D": "How would the two numbers change if both networks were trained once more?",
    "E": "Go through the list: size, trials, data that chose, number of networks. All are there.",
}


@exercise("3.3")
def check_gru_flops(check: Check, gru_flops) -> None:
    """Operations of one training update of a GRU with a readout."""
    for I, H, K, T, B in ((3, 8, 2, 5, 4), (1, 37, 2, 16, 32), (33, 26, 33, 40, 7)):
        task = f"I = {I}, H = {H}, K = {K}, T = {T}, B = {B}"
        right = B * MODELS["GRU"].training_flops(I, H, K, T)
        check.close(
            f"operations for {task}",
            check.call(f"runs for {task}", gru_flops, I, H, K, T, B),
            right,
            mistakes=[
                Mistake(right / 2, "A multiplication and an addition for each weight: two operations."),
                Mistake(right / 3, "That is the forward pass. The backward pass takes two products for each of its."),
                Mistake(
                    right * 2 / 3, "The backward pass takes two products for each one of the forward pass: 3 in all."
                ),
                Mistake(right / B, "That is one sequence. An update has B of them."),
                Mistake(right / T, "Every weight is used at every step."),
                Mistake(6 * B * T * 3 * H * (I + H), "The readout has weights as well: K H of them."),
                Mistake(6 * B * T * (4 * H * (I + H) + K * H), "A GRU has three blocks of weights; four is an LSTM."),
                Mistake(6 * B * T * (3 * H * I + K * H), "Each block reads the input *and* the state."),
            ],
            hint="Entries of the matrices: 3 H (I + H) + K H. Two operations for each of them, three passes, T steps, "
            "B sequences.",
        )


@exercise("3.3")
def check_lstm_width(check: Check, lstm_width) -> None:
    """Units of the LSTM whose number of parameters comes closest to a budget."""

    def count(H: int, I: int, K: int, biases: int = 2) -> int:
        return 4 * H * (I + H + biases) + (K * (H + 1) if K else 0)

    def nearest(parameters: int, I: int, K: int, biases: int = 2) -> int:
        return min(range(1, 400), key=lambda H: abs(count(H, I, K, biases) - parameters))

    for parameters, I, K in ((4600, 2, 1), (2000, 8, 4), (4600, 8, 8), (5600, 33, 33), (3780, 2, 1), (30_000, 10, 3)):
        case = f"{parameters:,} parameters, I = {I}, K = {K}"
        below = max(H for H in range(1, 400) if count(H, I, K) <= parameters)
        check.equal(
            f"units for {case}",
            check.call(f"runs for {case}", lstm_width, parameters, I, K),
            nearest(parameters, I, K),
            mistakes=[
                Mistake(nearest(parameters, I, 0), "The readout has parameters as well: K (H + 1)."),
                Mistake(nearest(parameters, I, K, 1), "This package, like PyTorch, has two biases for each block."),
                Mistake(
                    nearest(parameters, I, K, 0), "There are biases: two for each block, and those of the readout."
                ),
                Mistake(below, "The largest width within the budget is not always the closest one. Look one further."),
            ],
            hint="Count 4 H (I + H + 2) + K (H + 1) for rising H and take the one that comes closest.",
        )


@exercise("3.3")
def check_expected_best(check: Check, expected_best) -> None:
    """Mean over all choices of k trials of the best score among them."""
    rng = np.random.default_rng(33)
    for n, k in ((6, 1), (6, 3), (7, 2), (5, 5)):
        scores = rng.normal(size=n)
        right = float(np.mean([min(chosen) for chosen in combinations(scores.tolist(), k)]))
        share = np.arange(1, n + 1) / n  # of the scores that are at most the r-th smallest
        better_or_equal = 1 - (1 - share) ** k
        again = float(np.sort(scores) @ np.diff(better_or_equal, prepend=0.0))
        check.close(
            f"best of {k} out of {n}",
            check.call(f"runs for k = {k} out of {n}", expected_best, scores, k),
            right,
            mistakes=[
                Mistake(scores[:k].min(), "That is one choice, the first k trials. Take the mean over all choices."),
                Mistake(again, "That may draw the same trial twice. All k trials are different here."),
                Mistake(np.mean([max(c) for c in combinations(scores.tolist(), k)]), "Smaller is better here."),
                Mistake(scores.min(), "That is the best of all trials, not of k of them."),
                Mistake(scores.mean(), "That is the mean of single trials, k = 1."),
            ],
            hint="itertools.combinations(scores, k) lists all choices; take the smallest score of each, then the mean.",
        )


@exercise("3.3")
def check_paired_interval(check: Check, paired_interval) -> None:
    """95 % interval of the mean difference of five pairs."""
    rng = np.random.default_rng(34)
    quantile = 2.776
    for name, shared in (("differences between seeds are large", 1.0), ("differences between seeds are small", 0.05)):
        luck = shared * rng.normal(size=5)
        a, b = luck + 0.1 * rng.normal(size=5), luck + 0.3 + 0.1 * rng.normal(size=5)
        difference = a - b
        mean = difference.mean()
        center = np.array([mean, mean])
        sign = np.array([-1, 1])
        unpaired = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 5)
        given = check.call(f"runs where {name}", paired_interval, a, b)
        check.shape(f"returns two numbers where {name}", given, (2,), hint="Return low, high.")
        check.close(
            f"the interval where {name}",
            np.asarray(given, float),
            np.array(t_interval(difference)),
            rtol=1e-3,
            mistakes=[
                Mistake(-np.array(t_interval(difference))[::-1], "The difference is a - b, not b - a."),
                Mistake(
                    center + sign * quantile * difference.std() / math.sqrt(5),
                    "With five numbers, divide the sum of squares by 4, not by 5: ddof=1.",
                ),
                Mistake(
                    center + sign * 1.96 * difference.std(ddof=1) / math.sqrt(5),
                    "1.96 is for many pairs. With five, Student's t gives 2.776.",
                ),
                Mistake(
                    center + sign * quantile * difference.std(ddof=1), "Divide by the root of the number of pairs."
                ),
                Mistake(
                    center + sign * quantile * unpaired,
                    "Those are the spreads of a and of b. A shared seed is in both and leaves the difference: subtract "
                    "first.",
                ),
            ],
            hint="Subtract pair by pair. Then mean plus and minus 2.776 times the standard deviation (ddof=1) over the "
            "root of 5.",
        )


@exercise("3.3")
def check_cache_bytes(check: Check, cache_bytes) -> None:
    """Bytes that a causal Transformer keeps after t steps."""
    for blocks, heads, E, t, size in ((2, 2, 16, 128, 4), (6, 8, 512, 1000, 2), (1, 4, 64, 1, 4)):
        case = f"{blocks} blocks, {heads} heads, width {E}, {t} steps, {size} bytes a number"
        right = 2 * blocks * E * t * size
        check.equal(
            f"bytes for {case}",
            check.call(f"runs for {case}", cache_bytes, blocks, heads, E, t, size),
            right,
            mistakes=[
                Mistake(right // 2, "Both are kept, the key and the value of each step."),
                Mistake(right // blocks, "Every block has its own keys and values."),
                Mistake(right // size, "Those are numbers. Each has so many bytes."),
                Mistake(right * heads, "The heads share the width E: each has E / heads of it."),
                Mistake(right // heads, "There are E / heads numbers for each head, and so many heads."),
                Mistake(right // t, "The keys and values of *all* steps are kept."),
                Mistake(right * t, "A step adds one row. There is no table of t by t numbers."),
            ],
            hint="Two rows of E numbers for each step and each block.",
        )


@exercise("3.3")
def check_unfair(check: Check, verdict) -> None:
    """What is unfair about each of five comparisons."""
    check.true(
        f"has the letters {', '.join(CLAIMS)}",
        isinstance(verdict, dict) and set(verdict) == set(CLAIMS),
        hint=f"Keep the dictionary with its letters {', '.join(CLAIMS)}, and fill in a reason for each.",
    )
    check.attempted(*verdict.values())
    for letter, reason in _VERDICTS.items():
        check.true(
            f"{letter}: one of the reasons",
            verdict[letter] in REASONS,
            hint=f"Choose from {', '.join(map(repr, REASONS))}; each is used once.",
        )
        check.true(f"{letter}: the reason", verdict[letter] == reason, hint=f"{letter}: {_WHY[letter]}")
