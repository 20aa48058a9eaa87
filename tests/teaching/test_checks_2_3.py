"""The checks of chapter 2.3 accept right answers and answer each planted mistake with its own hint."""

import inspect

import numpy as np
import pytest

from lstm_numba.gradcheck import complex_step, relative_error
from lstm_numba.reference.lstm import lstm_backward, lstm_forward
from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_2_3 as checks

STEP = """
def answer(dh, dc, i, f, g, o, c_prev, c):
    a = np.tanh(c)
    dc = dc + dh * o * (1 - a**2)
    dz_i = dc * g * i * (1 - i)
    dz_f = dc * c_prev * f * (1 - f)
    dz_g = dc * i * (1 - g**2)
    dz_o = dh * a * o * (1 - o)
    return dz_i, dz_f, dz_g, dz_o, dc * f
"""

COUPLED = """
def answer(dh, dc, i, g, o, c_prev, c):
    a = np.tanh(c)
    total = dc + dh * o * (1 - a**2)
    dz_i = total * (g - c_prev) * i * (1 - i)
    dz_g = total * i * (1 - g**2)
    dz_o = dh * a * o * (1 - o)
    return dz_i, dz_g, dz_o, total * (1 - i)
"""

CLIPPED = """
def answer(grads, max_norm):
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    scale = min(1.0, max_norm / norm)
    return {name: g * scale for name, g in grads.items()}
"""

BYTES = """
def answer(T, B, I, H, itemsize):
    return (T * B * I + 2 * (T + 1) * B * H + T * B * 4 * H) * itemsize
"""

ERRORS = """
def answer(backward):
    rng = np.random.default_rng(0)
    T, B, I, H = 3, 2, 2, 3
    x, h0, c0 = rng.normal(size=(T, B, I)), rng.normal(size=(B, H)), rng.normal(size=(B, H))
    W_ih, W_hh, b = rng.normal(size=(4 * H, I)), rng.normal(size=(4 * H, H)), rng.normal(size=4 * H)
    *_, cache = lstm_forward(x, h0, c0, W_ih, W_hh, b, b, True)
    errors = {}
    for number, name in enumerate(("y", "h_n", "c_n")):
        weights = [np.zeros((T, B, H)), np.zeros((B, H)), np.zeros((B, H))]
        weights[number] = rng.normal(size=weights[number].shape)
        def loss(W):
            outputs = lstm_forward(x, h0, c0, W, W_hh, b, b, False)[:3]
            return sum((w * out).sum() for w, out in zip(weights, outputs))
        dW_ih = backward(*weights, cache, W_ih, W_hh)[3]
        errors[name] = relative_error(dW_ih, complex_step(loss, W_ih))
    return errors
"""


def build(source, right="", wrong=""):
    assert source.count(right) == 1 or not right, f"{right!r} must occur once"
    scope = {
        "np": np,
        "lstm_forward": lstm_forward,
        "complex_step": complex_step,
        "relative_error": relative_error,
    }
    exec(source.replace(right, wrong) if right else source, scope)
    return scope["answer"]


REPAIRED = inspect.getsource(lstm_backward).replace("def lstm_backward", "def answer")


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (checks.check_step_grad, STEP),
        (checks.check_coupled_step_grad, COUPLED),
        (checks.check_repaired_backward, REPAIRED),
        (checks.check_clipped, CLIPPED),
        (checks.check_cache_bytes, BYTES),
        (checks.check_errors_by_output, ERRORS),
    ],
)
def test_right_answers_pass(check, source):
    check(build(source)).expect_pass()


@pytest.mark.parametrize(
    ("check", "source", "right", "wrong", "hint"),
    [
        (checks.check_step_grad, STEP, "dc = dc + dh * o * (1 - a**2)", "pass", "reaches the loss through h_t"),
        (checks.check_step_grad, STEP, "dc = dc + dh", "dc = dh", "You replaced dc"),
        (checks.check_step_grad, STEP, "dh * o * (1 - a**2)", "dh * o", "slope of that tanh"),
        (checks.check_step_grad, STEP, "dc * g * i * (1 - i)", "dc * g", "one more factor"),
        (checks.check_step_grad, STEP, "dc * i * (1 - g**2)", "dc * i * g * (1 - g)", "not a sigmoid"),
        (checks.check_step_grad, STEP, "dc * c_prev", "dc * c", "needs c_prev"),
        (checks.check_step_grad, STEP, "dz_o, dc * f", "dz_o, dc", "passes the forget gate"),
        (
            checks.check_step_grad,
            STEP,
            "dz_o, dc * f",
            "dz_o, (dc - dh * o * (1 - a**2)) * f",
            "start from the total dc",
        ),
        (checks.check_step_grad, STEP, "return dz_i, dz_f, dz_g, dz_o, dc * f", "return dz_i", "Expected a tuple"),
        (checks.check_coupled_step_grad, COUPLED, "(g - c_prev) * i", "g * i", "two uses now"),
        (checks.check_coupled_step_grad, COUPLED, "(g - c_prev)", "(g + c_prev)", "Mind the sign"),
        (checks.check_coupled_step_grad, COUPLED, "(g - c_prev) * i * (1 - i)", "(g - c_prev)", "slope of the sigmoid"),
        (checks.check_coupled_step_grad, COUPLED, "dc + dh * o * (1 - a**2)", "dc", "reaches the loss through h_t"),
        (checks.check_coupled_step_grad, COUPLED, "(1 - g**2)", "g * (1 - g)", "not a sigmoid"),
        (checks.check_coupled_step_grad, COUPLED, "dh * a * o * (1 - o)", "dh * a", "o * (1 - o)"),
        (checks.check_coupled_step_grad, COUPLED, "total * (1 - i)\n", "total * i\n", "and that is 1 - i"),
        (checks.check_coupled_step_grad, COUPLED, "total * (1 - i)\n", "dc * (1 - i)\n", "start from the total dc"),
        (checks.check_repaired_backward, REPAIRED, "dz.T @ h[t]", "dz.T @ h[t + 1]", "that is h[t]"),
        (checks.check_repaired_backward, REPAIRED, "df * f * (1 - f)", "df", "slope of its sigmoid"),
        (checks.check_repaired_backward, REPAIRED, "db += dz.sum(axis=0)", "db = dz.sum(axis=0)", "was right before"),
        (checks.check_clipped, CLIPPED, "scale = min(1.0, max_norm / norm)", "scale = max_norm / norm", "not grow up"),
        (checks.check_clipped, CLIPPED, "max_norm / norm", "max_norm / norm**2", "square root"),
        (checks.check_clipped, CLIPPED, "g * scale", "np.clip(g, -max_norm, max_norm)", "entry by entry"),
        (checks.check_clipped, CLIPPED, "g * scale", "g * min(1.0, max_norm / np.linalg.norm(g))", "one per array"),
        (checks.check_clipped, CLIPPED, "return {", "return {'extra': 0} | {", "keys of `grads`"),
        (checks.check_cache_bytes, BYTES, " * itemsize\n", "\n", "How many bytes"),
        (checks.check_cache_bytes, BYTES, "2 * (T + 1)", "2 * T", "slot 0"),
        (checks.check_cache_bytes, BYTES, "T * B * 4 * H", "T * B * H", "four blocks"),
        (checks.check_cache_bytes, BYTES, "T * B * I + ", "", "The input x is kept"),
        (checks.check_cache_bytes, BYTES, "2 * (T + 1)", "(T + 1)", "Both h and c"),
        (checks.check_errors_by_output, ERRORS, "np.zeros((B, H))]", "rng.normal(size=(B, H))]", "nothing else"),
        (checks.check_errors_by_output, ERRORS, "(weights, outputs))", "(weights[:2], outputs))", "same loss"),
        (checks.check_errors_by_output, ERRORS, "return errors", "return 0.0", "keys 'y'"),
    ],
)
def test_planted_mistakes_get_their_hint(check, source, right, wrong, hint):
    assert_rejects(check, build(source, right, wrong), hint_contains=hint)


def test_both_planted_bugs_at_once_are_told_apart():
    both = REPAIRED.replace("dz.T @ h[t]", "dz.T @ h[t + 1]").replace("df * f * (1 - f)", "df")
    assert_rejects(checks.check_repaired_backward, build(both), hint_contains="Two bugs are still")


def test_learned_state_grad():
    checks.check_learned_state_grad(lambda dh0: dh0.sum(axis=0)).expect_pass()
    assert_rejects(checks.check_learned_state_grad, lambda dh0: dh0.mean(axis=0), hint_contains="uses add up")
    assert_rejects(checks.check_learned_state_grad, lambda dh0: dh0[0], hint_contains="not only the first")
    assert_rejects(checks.check_learned_state_grad, lambda dh0: dh0.sum(axis=1), hint_contains="(H,)")


def test_the_checks_own_backward_pass_equals_the_reference():
    arguments, (dy, dh_n, dc_n) = checks._sequence(1)
    *_, cache = lstm_forward(**arguments, training=True)
    inputs = (dy, dh_n, dc_n, cache, arguments["W_ih"], arguments["W_hh"])
    for ours, reference in zip(checks._backward(*inputs), lstm_backward(*inputs), strict=True):
        assert relative_error(ours, reference) < 1e-12


@pytest.mark.parametrize("name", [name for name in dir(checks) if name.startswith("check_")])
def test_untouched_stubs_count_as_not_attempted(name):
    assert not getattr(checks, name)(...).attempted
