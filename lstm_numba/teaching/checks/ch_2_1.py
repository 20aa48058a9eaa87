"""Checks of chapter 2.1, from constant error carousel to gates."""

from collections.abc import Callable

import numpy as np

from lstm_numba.teaching import Check, Mistake, exercise

__all__ = [
    "check_bias_for_half_life",
    "check_count_parameters",
    "check_direct_path",
    "check_half_life",
    "check_latch",
    "check_run_unit",
]


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


@exercise("2.1", hint="Two steps: from the bias to the gate, then from the gate to the number of steps.")
def check_half_life(check: Check, half_life: Callable[[float], float]) -> None:
    """Expect the half-life in steps of a forget gate whose pre-activation is the bias alone."""
    for b in (0.0, 1.0, 5.0):
        f = _sigmoid(b)
        steps = check.call(f"runs for b = {b:g}", half_life, b)
        check.close(
            f"half-life at b = {b:g}",
            steps,
            np.log(0.5) / np.log(f),
            mistakes=[
                Mistake(np.log(f) / np.log(0.5), "The fraction is upside down: how many factors f make one half?"),
                Mistake(
                    np.log(0.5) / np.log(1 - f),
                    "You used 1 - f. In this notation f is the fraction that is *kept*, not the fraction thrown away.",
                ),
                Mistake(0.5 / (1 - f), "Half of f is not half of the memory: f acts as a power, f ** n = 1/2."),
            ],
            hint="The gate is f = 1 / (1 + exp(-b)). Then solve f ** n = 1/2 for n.",
        )


@exercise("2.1", hint="Undo the two steps of the previous exercise in the opposite order.")
def check_bias_for_half_life(check: Check, bias_for_half_life: Callable[[float], float]) -> None:
    """Expect the forget bias whose half-life is the given number of steps."""
    for n in (1.0, 10.0, 500.0):
        f = 0.5 ** (1 / n)
        bias = check.call(f"runs for {n:g} steps", bias_for_half_life, n)
        check.close(
            f"bias for a half-life of {n:g} steps",
            bias,
            np.log(f / (1 - f)),
            atol=1e-7,
            mistakes=[
                Mistake(f, "That is the gate f itself. Which bias b gives sigmoid(b) = f?"),
                Mistake(-np.log(f / (1 - f)), "The sign is wrong: a longer memory needs a larger bias."),
                Mistake(np.log(n), "ln n is close for long memories, and wrong for short ones. Solve it exactly."),
            ],
            hint="From f ** n = 1/2 get f = 0.5 ** (1 / n); then invert the sigmoid: b = ln(f / (1 - f)).",
        )


@exercise("2.1", hint="Write the six equations in the order in which the section 'The whole cell' lists them.")
def check_run_unit(check: Check, run_unit: Callable) -> None:
    """Expect the cell state and the hidden state of one unit, given all its pre-activations."""
    rng = np.random.default_rng(21)
    z, c0 = rng.normal(0, 1.5, (7, 4)), 0.8
    c, h = _unit(z, c0)
    answer = check.call("runs on seven steps", run_unit, z, c0)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        check.fail("returns two arrays", "Return the pair `c, h`, each of shape (T,).")
    got_c = check.shape("c has one entry per step", answer[0], (7,), letters="(T,)", hint="Leave the initial c0 out.")
    got_h = check.shape("h has one entry per step", answer[1], (7,), letters="(T,)")
    wrong_order, _ = _unit(z[:, [0, 2, 1, 3]], c0)
    swapped, _ = _unit(z[:, [1, 0, 2, 3]], c0)
    check.close(
        "cell state",
        got_c,
        c,
        mistakes=[
            Mistake(wrong_order, "Columns 1 and 2 are exchanged: the order is i, f, g, o."),
            Mistake(swapped, "i and f are exchanged: f multiplies the old state, i multiplies the candidate."),
            Mistake(_unit(z, 0.0)[0], "You started from zero instead of c0."),
            Mistake(_unit(z, c0, g_of=_sigmoid)[0], "The candidate g can be negative: it is a tanh, not a sigmoid."),
            Mistake(_unit(z, c0, g_of=lambda v: v)[0], "The candidate is not squashed: g = tanh(z_g)."),
        ],
        hint="c = f * c_before + i * g, with f and i through the sigmoid and g through tanh.",
    )
    gate_o = _sigmoid(z[:, 3])
    check.close(
        "hidden state",
        got_h,
        h,
        mistakes=[
            Mistake(gate_o * c, "The cell state is squashed before it is shown: h = o * tanh(c)."),
            Mistake(np.tanh(gate_o * c), "The gate acts after the squashing: o * tanh(c), not tanh(o * c)."),
            Mistake(
                gate_o * np.tanh(np.concatenate([[c0], c[:-1]])),
                "You show the state from before this step. h_t reads the new c_t.",
            ),
        ],
        hint="h = o * tanh(c), with the new c.",
    )


def _unit(z: np.ndarray, c0: float, g_of: Callable = np.tanh) -> tuple[np.ndarray, np.ndarray]:
    """Run one unit over pre-activations (T, 4) in the order i, f, g, o. Returns c (T,) and h (T,)."""
    c, states, shown = c0, [], []
    for z_i, z_f, z_g, z_o in z:
        c = _sigmoid(z_f) * c + _sigmoid(z_i) * g_of(z_g)
        states.append(c)
        shown.append(_sigmoid(z_o) * np.tanh(c))
    return np.array(states), np.array(shown)


@exercise("2.1", hint="Decide for each gate at which steps it must be open, and write that as a large positive number.")
def check_latch(check: Check, latch: Callable) -> None:
    """Expect pre-activations that make one unit remember the last marked bit and say it at the end only."""
    rng = np.random.default_rng(22)
    T = 40
    for count in (1, 2, 5):
        marker = np.zeros(T)
        marker[np.sort(rng.choice(np.arange(T - 6), count, replace=False))] = 1
        content = 0.3 * rng.standard_normal(T)
        bits = rng.choice([-1.0, 1.0], count)
        bits[-1] = -bits[0] if count > 1 else bits[0]  # otherwise remembering the first bit would pass
        content[marker == 1] = bits
        z = check.call(f"runs on a stream with {count} marked step{'s' if count > 1 else ''}", latch, content, marker)
        z = check.shape("one pre-activation per step and gate", z, (T, 4), letters="(T, 4)")
        gates = _sigmoid(z)
        open_i, kept, open_o = gates[:, 0], gates[:, 1], gates[:, 3]
        marked = marker == 1
        check.true(
            "the input gate is shut at unmarked steps",
            open_i[~marked].max() < 0.02,
            hint="The input gate lets unmarked content in. Where marker is 0, z_i must be clearly negative.",
        )
        check.true(
            "the forget gate keeps the state between marks",
            kept[~marked].min() > 0.98,
            hint="The forget gate loses the bit between marks. Remember that f = 1 *keeps*.",
        )
        if count > 1:
            check.true(
                "a new bit replaces the old one",
                kept[np.flatnonzero(marked)[1:]].max() < 0.02,
                hint="At a marked step the old bit must go: with f open, the new bit is added to the old one.",
            )
        _, h = _unit(z, 0.0)
        check.true(
            "silent before the last step",
            np.abs(h[:-1]).max() < 0.1,
            hint="The unit speaks before it is asked: the output gate must be shut until the last step.",
        )
        check.true(
            "the output gate opens at the last step",
            open_o[-1] > 0.9,
            hint="Nothing comes out at the end: open the output gate at step T, in row z[-1].",
        )
        check.true(
            "says the last marked bit",
            h[-1] * bits[-1] > 0.5,
            hint="The sign or the size at the end is wrong. Does z_g carry the content, and does z_i open at the mark?",
        )


@exercise("2.1", hint="Start from the end, where the derivative is 1, and go back one step at a time.")
def check_direct_path(check: Check, direct_path: Callable) -> None:
    """Expect the direct-path derivative of the last cell state with respect to every earlier one."""
    f = np.random.default_rng(23).uniform(0.2, 0.95, (6, 3))
    right = np.vstack([np.cumprod(f[::-1], axis=0)[::-1], np.ones((1, 3))])
    got = check.call("runs on six steps and three units", direct_path, f)
    got = check.shape(
        "one row per state, c_0 to c_T",
        got,
        (7, 3),
        letters="(T + 1, H)",
        hint="There are T + 1 states: c_0 before the first step, and c_T, whose derivative with itself is 1.",
    )
    shifted = np.vstack([right[1:], np.ones((1, 3))])
    check.close(
        "product of the forget gates that lie between",
        got,
        right,
        mistakes=[
            Mistake(
                np.vstack([np.ones((1, 3)), np.cumprod(f, axis=0)]),
                "That is the product from the start up to t. The gradient meets the gates *after* t.",
            ),
            Mistake(shifted, "One factor too few: on the way from c_t to c_T the first gate met is f_{t+1}."),
            Mistake(
                np.vstack([np.cumsum(f[::-1], axis=0)[::-1], np.ones((1, 3))]),
                "Along one path the factors multiply; only different paths add up.",
            ),
        ],
        hint="Row t is f[t] * f[t + 1] * ... * f[T - 1] in Python's counting (f[t] holds the gate of step t + 1).",
    )


@exercise("2.1", hint="Add up the sizes of weight_ih, weight_hh, bias_ih and bias_hh.")
def check_count_parameters(check: Check, count_parameters: Callable[[int, int], int]) -> None:
    """Expect the number of parameters of one LSTM layer with two bias vectors."""
    for I, H in ((1, 1), (10, 20), (3, 50)):
        count = check.call(f"runs for I = {I}, H = {H}", count_parameters, I, H)
        check.equal(
            f"parameters for I = {I}, H = {H}",
            count,
            4 * H * (I + H + 2),
            mistakes=[
                Mistake(4 * H * (I + H + 1), "One bias vector is missing: b_ih and b_hh are both stored."),
                Mistake(4 * H * (I + H), "The two bias vectors of length 4H are missing."),
                Mistake(4 * I * (I + H + 2), "I and H are exchanged in the first factor: there are 4H rows."),
                Mistake(H * (I + H + 2), "That is one block. There are four: i, f, g and o."),
                Mistake(3 * H * (I + H + 2), "The candidate g has weights too: four blocks, not three gates."),
            ],
            hint="Each of the 4H rows holds I input weights, H recurrent weights and two biases.",
        )
