"""Checks of chapter 2.7, looking inside."""

from collections.abc import Callable

import numpy as np

from lstm_numba.teaching import Check, Mistake, exercise

__all__ = [
    "check_auc_of_unit",
    "check_choose_and_judge",
    "check_cut_unit",
    "check_linear_influence",
    "check_p_value",
    "check_survival",
]


@exercise("2.7", hint="Write the forget gates of steps 4, 5 and 6 on paper for s = 3, t = 6.")
def check_survival(check: Check, survival: Callable[[np.ndarray, int, int], float]) -> None:
    """Expect the share of what a cell held after step s that it still holds after step t."""
    f = np.random.default_rng(271).uniform(0.5, 0.99, 12)
    for s, t in ((2, 7), (0, 11), (5, 6)):
        check.close(
            f"share of c after step {s} left after step {t}",
            check.call(f"runs for s = {s}, t = {t}", survival, f, s, t),
            np.prod(f[s + 1 : t + 1]),
            mistakes=[
                Mistake(np.prod(f[s : t + 1]), "The gate of step s acted *before* the state of step s was complete."),
                Mistake(np.prod(f[s + 1 : t]), "The gate of step t has acted too when step t is over."),
                Mistake(np.prod(f[s:t]), "The window is one step early: the gates that act after s are s + 1, ..., t."),
                Mistake(np.sum(f[s + 1 : t + 1]), "Gates act one after another: multiply them."),
                Mistake(np.mean(f[s + 1 : t + 1]), "Gates act one after another: multiply them, no mean."),
            ],
            hint="Multiply the forget gates of the steps s + 1, ..., t.",
        )


@exercise("2.7", hint="Compare every labelled value with every other value; an outer comparison does it in one line.")
def check_auc_of_unit(check: Check, auc_of_unit: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """Expect the area under the ROC curve of one unit, ties counted one half."""
    rng = np.random.default_rng(272)
    label = rng.random(40) < 0.3
    value = np.round(rng.normal(0, 1, 40) + 0.8 * label, 1)  # rounding makes ties
    yes, no = value[label], value[~label]
    above, equal = (yes[:, None] > no).mean(), (yes[:, None] == no).mean()
    check.close(
        "AUC with ties",
        check.call("runs on 40 values", auc_of_unit, value, label),
        above + equal / 2,
        mistakes=[
            Mistake(1 - above - equal / 2, "The sides are exchanged: count how often the *labelled* value is larger."),
            Mistake(above, "Ties count nothing in your answer; they count one half."),
            Mistake(above + equal, "Ties count fully in your answer; they count one half."),
            Mistake(
                (above + equal / 2) * len(yes) * len(no) / len(value) ** 2,
                "Divide by the number of pairs with one value from each side, not by all pairs.",
            ),
            Mistake((above + equal / 2) * len(yes) * len(no), "That is the number of pairs. Divide to get a share."),
        ],
        hint="The share of pairs (labelled, other) in which the labelled value is larger, plus half the share of ties.",
    )
    check.close(
        "a perfect unit, upside down",
        check.call("runs on a falling unit", auc_of_unit, np.array([3.0, 2.0, 1.0]), np.array([False, False, True])),
        0.0,
        mistakes=[Mistake(1.0, "Do not fold here: the sign of a unit must be chosen on other data than it is judged.")],
        hint="A unit that is low exactly where the label is true has AUC 0.",
    )


@exercise("2.7", hint="Everything that involves a choice, the sign too, may look at the first array only.")
def check_choose_and_judge(check: Check, choose_and_judge: Callable[[np.ndarray, np.ndarray], tuple]) -> None:
    """Expect the unit that tells most on the first text, and its AUC on the second, with the sign of the first."""
    chosen = np.array([0.55, 0.20, 0.74, 0.50])  # the strongest unit points downwards
    judged = np.array([0.60, 0.35, 0.91, 0.48])
    for name, first, second in (
        ("a unit that points down", chosen, judged),
        ("a unit that changes its mind", chosen, np.array([0.60, 0.58, 0.91, 0.48])),
        ("a unit that points up", 1 - chosen, judged),
    ):
        answer = check.call(f"{name}: runs", choose_and_judge, first, second)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            check.fail(f"{name}: returns two values", "Return the pair `unit, auc`.")
        unit = int(np.argmax(np.abs(first - 0.5)))
        sign = np.sign(first[unit] - 0.5)
        check.equal(
            f"{name}: the unit",
            answer[0],
            unit,
            mistakes=[
                Mistake(int(np.argmax(first)), "An AUC of 0.2 tells as much as 0.8. Measure the distance from 0.5."),
                Mistake(int(np.argmax(np.abs(second - 0.5))), "You chose on the text that is there to judge."),
            ],
            hint="Choose the unit whose AUC on the first text is farthest from 0.5.",
        )
        check.close(
            f"{name}: its AUC on the other text",
            answer[1],
            0.5 + sign * (second[unit] - 0.5),
            mistakes=[
                Mistake(0.5 + abs(first[unit] - 0.5), "That is its AUC on the text it was chosen on."),
                Mistake(
                    0.5 + abs(second[unit] - 0.5),
                    "You folded on the second text. If the unit changes its direction there, that is a failure.",
                ),
                Mistake(second[unit], "The unit points down on the first text: turn its AUC around, 1 - AUC."),
            ],
            hint="The AUC on the second text, or 1 minus it if the unit points down on the first.",
        )


@exercise("2.7", hint="Count the shuffled results that are at least as large, and count the real one as well.")
def check_p_value(check: Check, p_value: Callable[[float, np.ndarray], float]) -> None:
    """Expect the p-value of an observed statistic against its values under shuffled labels."""
    null = np.array([0.61, 0.58, 0.70, 0.66, 0.63, 0.59, 0.70, 0.55, 0.64])
    for observed in (0.63, 0.70, 0.95):
        larger, ties = np.sum(null > observed), np.sum(null == observed)
        n = len(null)
        check.close(
            f"p-value of {observed}",
            check.call(f"runs for {observed}", p_value, observed, null),
            (1 + larger + ties) / (1 + n),
            mistakes=[
                Mistake(
                    (larger + ties) / n,
                    "This can be 0, and no finite number of shuffles shows that. Count the observed value itself.",
                ),
                Mistake((1 + larger) / (1 + n), "A shuffled result *equal* to the observed one counts as well."),
                Mistake((1 + larger + ties) / n, "There are n + 1 results: n shuffled ones and the observed one."),
                Mistake(
                    (1 + np.sum(null <= observed)) / (1 + n), "The comparison is upside down: large values are extreme."
                ),
            ],
            hint="(1 + number of shuffled values >= observed) / (1 + number of shuffled values).",
        )


@exercise("2.7", hint="h_j is multiplied by column j of each matrix that reads h. Where does that product go?")
def check_cut_unit(check: Check, cut_unit: Callable) -> None:
    """Expect weights with which unit j says a constant, whatever its gates do."""
    rng = np.random.default_rng(275)
    H, V, j, value = 3, 5, 1, 0.4
    W_hh, b_hh = rng.normal(size=(4 * H, H)), rng.normal(size=4 * H)
    W_out, b_out = rng.normal(size=(V, H)), rng.normal(size=V)
    answer = check.call("runs on H = 3", cut_unit, W_hh, b_hh, W_out, b_out, j, value)
    if not isinstance(answer, tuple | list) or len(answer) != 4:
        check.fail("returns four arrays", "Return `W_hh, b_hh, W_out, b_out`.")
    for weight_name, bias_name, weight, bias, got_weight, got_bias in (
        ("W_hh", "b_hh", W_hh, b_hh, answer[0], answer[1]),
        ("W_out", "b_out", W_out, b_out, answer[2], answer[3]),
    ):
        column = weight.copy()
        column[:, j] = 0
        row = weight.copy()
        row[j] = 0
        got_weight = check.shape(f"{weight_name} keeps its shape", got_weight, weight.shape)
        check.close(
            f"{weight_name} no longer reads the unit",
            got_weight,
            column,
            mistakes=[
                Mistake(row, "You cleared row j: that is what the unit *computes*. Column j is where it is *read*."),
                Mistake(
                    weight, f"The unit is still read by {weight_name}: it is read at the next step and at the output."
                ),
            ],
            hint=f"Set column j of {weight_name} to zero and leave the rest.",
        )
        got_bias = check.shape(f"{bias_name} keeps its shape", got_bias, bias.shape)
        check.close(
            f"{bias_name} takes over the constant",
            got_bias,
            bias + weight[:, j] * value,
            mistakes=[
                Mistake(bias, "That replaces h_j by 0, not by the given value: its share must move into the bias."),
                Mistake(bias + value, "The value is weighted: add column j times the value."),
                Mistake(bias - weight[:, j] * value, "The sign is wrong: the readers still see the constant."),
            ],
            hint="Add (column j of the old matrix) times the value.",
        )


@exercise("2.7", hint="Follow one input: W_ih brings it in, W_hh carries it on step by step, W_out shows it.")
def check_linear_influence(check: Check, linear_influence: Callable) -> None:
    """Expect the Frobenius norm of d output_t / d input_(t - k), k = 0 ... K - 1, of a linear network."""
    rng = np.random.default_rng(276)
    H, I, V, K = 4, 3, 2, 5
    W_ih, W_hh, W_out = rng.normal(size=(H, I)), 0.6 * rng.normal(size=(H, H)), rng.normal(size=(V, H))

    def sizes(power, lags, norm=np.linalg.norm):
        return np.array([norm(W_out @ power(k) @ W_ih) for k in lags])

    def matrix_power(k):
        return np.linalg.matrix_power(W_hh, k)

    got = check.call("runs for K = 5", linear_influence, W_ih, W_hh, W_out, K)
    got = check.shape("one size for each lag", got, (K,), letters="(K,)")
    right = sizes(matrix_power, range(K))
    check.close(
        "sizes by lag",
        got,
        right,
        mistakes=[
            Mistake(sizes(matrix_power, range(1, K + 1)), "You start at lag 1. At lag 0 the input passes no W_hh."),
            Mistake(right[::-1], "The order is reversed: entry k belongs to lag k."),
            Mistake(
                sizes(lambda k: W_hh**k, range(K)), "`**` takes the power of each entry. You need matrix products."
            ),
            Mistake(sizes(lambda k: matrix_power(k).T, range(K)), "W_hh is transposed in your product."),
            Mistake(
                sizes(matrix_power, range(K), norm=lambda a: np.linalg.norm(a, 2)),
                "That is the largest singular value. The exercise asks for the Frobenius norm.",
            ),
            Mistake(
                np.array(
                    [np.linalg.norm(W_out) * np.linalg.norm(matrix_power(k)) * np.linalg.norm(W_ih) for k in range(K)]
                ),
                "The product of the norms is only a bound: take the norm of the product.",
            ),
        ],
        hint="The derivative is W_out @ W_hh^k @ W_ih; take its Frobenius norm for each k.",
    )
