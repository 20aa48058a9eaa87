"""Checks of chapter 2.8, taking the LSTM apart."""

import numpy as np

from lstm_numba.layers import LSTMVariant
from lstm_numba.teaching import Check, Mistake, exercise


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


@exercise("2.8")
def check_count_parameters(check: Check, count_parameters) -> None:
    """A function from gates, peepholes and gate recurrence to a number of parameters."""
    I, H = 5, 7
    for variant, gates, peepholes, recurrent in (
        ("NP", 3, False, False),
        ("V", 3, True, False),
        ("CIFG", 2, True, False),
        ("FGR", 3, True, True),
    ):
        layer = LSTMVariant(I, H, variant, seed=0)
        expected = sum(p.size for p in layer.parameters.values())
        blocks = gates + 1
        rows = blocks * H * (I + H + 2) + gates * H * peepholes
        given = check.call(f"{variant}: {gates} gates", count_parameters, I, H, gates, peepholes, recurrent)
        check.equal(
            f"number of parameters of {variant}",
            given,
            expected,
            mistakes=[
                Mistake(expected - H * blocks, "There are two bias vectors, as in PyTorch."),
                Mistake(
                    expected - H * (I + H + 2),
                    "The candidate needs weights as well: there is one block more than there are gates.",
                ),
                Mistake(
                    expected + H * peepholes,
                    "Only gates have peepholes. The candidate does not look at the cell state.",
                ),
                Mistake(
                    rows + gates * H * H * recurrent,
                    "Each gate sees all gates: that is a matrix for each pair, 9 for three gates.",
                ),
                Mistake(
                    rows - gates * H * peepholes + gates * H * H * peepholes + (gates * H) ** 2 * recurrent,
                    "A peephole is one number for each unit, not a matrix: a gate sees its own unit's cell state.",
                ),
            ],
            hint="H rows in each block with I + H weights and two biases; one peephole for each gate and unit; "
            "an H x H matrix for each pair of gates.",
        )


@exercise("2.8")
def check_vanilla_step(check: Check, vanilla_step) -> None:
    """One time step with peepholes: new cell state and hidden state."""
    rng = np.random.default_rng(28)
    for _ in range(2):
        z, p = rng.normal(size=(4, 6)), rng.normal(size=(3, 6))
        c_prev = 2 * rng.normal(size=6)
        c, h = _step(z, c_prev, p, newest=True)
        given = check.call("runs", vanilla_step, z, c_prev, p)
        check.true(
            "returns c and h",
            isinstance(given, (tuple, list)) and len(given) == 2,
            hint="Return two arrays: the cell state and the hidden state.",
        )
        plain_c, plain_h = _step(z, c_prev, 0 * p, newest=True)
        check.close(
            "the cell state",
            given[0],
            c,
            mistakes=[
                Mistake(plain_c, "The input and the forget gate look at the cell state: add p * c_prev to their z."),
                Mistake(h, "The order is c, h."),
            ],
            hint="c = f * c_prev + i * g, with sigmoid(z + p * c_prev) for both gates.",
        )
        check.close(
            "the hidden state",
            given[1],
            h,
            mistakes=[
                Mistake(
                    _step(z, c_prev, p, newest=False)[1],
                    "The output gate looked at the old cell state. It is the one gate that can see the new one.",
                ),
                Mistake(_sigmoid(z[3]) * np.tanh(c), "The output gate has a peephole too: p[2] * c."),
                Mistake(plain_h, "No peephole reached the hidden state."),
            ],
            hint="h = sigmoid(z[3] + p[2] * c) * tanh(c), with the new c.",
        )


def _step(z, c_prev, p, newest):
    i, f = _sigmoid(z[0] + p[0] * c_prev), _sigmoid(z[1] + p[1] * c_prev)
    c = f * c_prev + i * np.tanh(z[2])
    return c, _sigmoid(z[3] + p[2] * (c if newest else c_prev)) * np.tanh(c)


@exercise("2.8")
def check_coupled_grad(check: Check, coupled_grad) -> None:
    """The derivative of the loss with respect to the pre-activation of a coupled gate."""
    rng = np.random.default_rng(29)
    dc, g, c_prev = rng.normal(size=(3, 5))
    i = _sigmoid(rng.normal(size=5))
    slope = i * (1 - i)
    given = check.call("runs", coupled_grad, dc, i, g, c_prev)
    check.close(
        "derivative for z_i",
        given,
        dc * (g - c_prev) * slope,
        mistakes=[
            Mistake(dc * g * slope, "The gate also decides how much is forgotten: c = (1 - i) c_prev + i g."),
            Mistake(dc * (g + c_prev) * slope, "More input means less of the old state: watch the sign."),
            Mistake(dc * (g - c_prev), "That is the derivative for i. One more factor leads to z_i."),
            Mistake(dc * (c_prev - g) * slope, "The sign is the other way round: i multiplies g."),
        ],
        hint="Differentiate c = (1 - i) c_prev + i g with respect to i, then multiply by the slope of the sigmoid.",
    )


@exercise("2.8")
def check_largest_state(check: Check, largest_state) -> None:
    """A bound for the cell state after T steps with a constant forget gate."""
    for f, T in ((1.0, 50), (0.9, 50), (0.5, 3)):
        expected = float(T) if f == 1 else (1 - f**T) / (1 - f)
        check.close(
            f"largest |c| for f = {f} after {T} steps",
            check.call(f"runs for f = {f}", largest_state, f, T),
            expected,
            mistakes=[
                Mistake(1.0, "Each step adds up to 1, and what was there before is kept in part."),
                Mistake(f**T, "That is what is left of the first addition. Add up all of them."),
                *([] if f == 1 else [Mistake(1 / (1 - f), "That is the limit for very many steps.")]),
                *([] if f == 1 else [Mistake(float(T), "The old state is multiplied by f at every step.")]),
                Mistake(sum(f**k for k in range(T + 1)), "T steps make T additions, with powers 0 to T - 1."),
            ],
            hint="Add up 1 + f + f^2 + ... with T terms; for f = 1 every term is 1.",
        )


@exercise("2.8")
def check_interval(check: Check, interval) -> None:
    """A bootstrap interval of the mean difference of two models on the same seeds."""
    rng = np.random.default_rng(30)
    a = rng.normal(size=7)
    b = a + 0.3 + 0.1 * rng.normal(size=7)
    chosen = rng.integers(0, 7, (500, 7))
    given = check.call("runs", interval, a, b, chosen)
    check.shape("the interval", given, (2,), letters="(2,)")
    apart = a[chosen].mean(axis=1) - b[rng.permutation(chosen)].mean(axis=1)
    check.close(
        "the interval",
        given,
        np.quantile((a - b)[chosen].mean(axis=1), [0.025, 0.975]),
        mistakes=[
            Mistake(np.quantile((b - a)[chosen].mean(axis=1), [0.025, 0.975]), "The difference is a - b."),
            Mistake(np.quantile((a - b)[chosen], [0.025, 0.975]), "Take the mean of each resample first (axis=1)."),
            Mistake(np.quantile(a - b, [0.025, 0.975]), "Nothing was resampled: use `chosen`."),
            Mistake(np.quantile((a - b)[chosen].mean(axis=0), [0.025, 0.975]), "Average along axis 1, the seeds."),
            Mistake(np.quantile(apart, [0.025, 0.975]), "The seeds of a and b belong together: resample a - b."),
            Mistake(
                np.quantile((a - b)[chosen].mean(axis=1), [0.05, 0.95]),
                "That holds 90 %: leave out 2.5 % at either end.",
            ),
        ],
        hint="np.quantile((a - b)[chosen].mean(axis=1), [0.025, 0.975])",
    )


@exercise("2.8")
def check_1997(check: Check, options) -> None:
    """Options that describe the cell of 1997 in tanh clothes: no forget gate, no peepholes."""
    check.attempted(options)
    check.true(
        "is a VariantOptions",
        hasattr(options, "forget_gate") and hasattr(options, "blocks"),
        hint="Build it with VariantOptions(...).",
    )
    check.true("no forget gate", not options.forget_gate, hint="In 1997 the belt had the weight 1: f = 1.")
    check.true("no peepholes", not options.peepholes, hint="Peepholes came in 2000; leave them out.")
    check.true(
        "input and output gate are there",
        options.input_gate and options.output_gate,
        hint="The cell of 1997 had an input gate and an output gate.",
    )
    check.equal("blocks with weights", tuple(options.blocks), ("i", "g", "o"), hint="Three blocks are left: i, g, o.")
    check.true(
        "both squashing functions are tanh",
        options.input_activation == options.output_activation == "tanh",
        hint="Leave the activations at their defaults here.",
    )
