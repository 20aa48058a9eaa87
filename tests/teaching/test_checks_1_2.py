"""The checks of chapter 1.2 accept right answers and answer planted mistakes with the intended hint."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks.ch_1_2 import (
    check_central_difference,
    check_leaky_backward,
    check_repaired_backward,
    check_step_size,
    check_total_derivative,
    check_truncated_gradient,
)

# --------------------------------------------------------------------------------------------- total derivative


def total_derivative(w, h0, x, *, slope=lambda h: 1 - h**2, transport=lambda w: w, source=lambda h: h):
    h, dh = h0, 0.0
    for x_t in x:
        new = np.tanh(w * h + x_t)
        h, dh = new, slope(new) * (source(h) + transport(w) * dh)
    return dh


def test_total_derivative_is_accepted():
    check_total_derivative(total_derivative).expect_pass()


def immediate_only(w, h0, x):
    return total_derivative(w, h0, x, transport=lambda w: 0.0)


def without_tanh(w, h0, x):
    return total_derivative(w, h0, x, slope=lambda h: 1.0)


def never_carried(w, h0, x):
    h, total = h0, 0.0
    for x_t in x:
        new = np.tanh(w * h + x_t)
        total, h = total + (1 - new**2) * h, new
    return total


def the_state(w, h0, x):
    for x_t in x:
        h0 = np.tanh(w * h0 + x_t)
    return h0


def new_state_too_early(w, h0, x):
    h, dh = h0, 0.0
    for x_t in x:
        h = np.tanh(w * h + x_t)
        dh = (1 - h**2) * (h + w * dh)
    return dh


def per_step_array(w, h0, x):
    return np.array([total_derivative(w, h0, x[: t + 1]) for t in range(len(x))])


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (immediate_only, "immediate derivative: only the last copy"),
        (without_tanh, "1 - h_t**2"),
        (never_carried, "carrying each of them"),
        (the_state, "not its derivative"),
        (new_state_too_early, "How does z_t move"),
        (per_step_array, "Expected shape ()"),
        (lambda w, h0, x: 1 / 0, "division by zero"),
    ],
)
def test_total_derivative_mistakes(wrong, hint):
    assert_rejects(check_total_derivative, wrong, hint_contains=hint)


# ------------------------------------------------------------------------------------------- central difference


def differences(f, x, eps, *, up=1.0, down=1.0, width=2.0, sign=1.0):
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        high, low = x.copy(), x.copy()
        high[index] += up * eps
        low[index] -= down * eps
        gradient[index] = sign * (f(high) - f(low)) / (width * eps)
    return gradient


def all_together(f, x, eps):
    return np.full(x.shape, (f(x + eps) - f(x - eps)) / (2 * eps))


def never_put_back(f, x, eps):
    x, gradient = x.copy(), np.empty_like(x)
    for index in np.ndindex(x.shape):
        x[index] += eps
        high = f(x)
        x[index] -= 2 * eps
        gradient[index] = (high - f(x)) / (2 * eps)
    return gradient


def in_place(f, x, eps):
    x += eps
    return np.zeros_like(x)


def test_central_difference_is_accepted():
    check_central_difference(differences).expect_pass()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda f, x, eps: differences(f, x, eps, down=0.0, width=1.0), "forward difference"),
        (lambda f, x, eps: differences(f, x, eps, up=0.0, width=1.0), "backward difference"),
        (lambda f, x, eps: differences(f, x, eps, width=1.0), "2 * eps apart"),
        (lambda f, x, eps: differences(f, x, eps, sign=-1.0), "sign"),
        (lambda f, x, eps: differences(f, x, eps).ravel(), "Expected shape"),
        (all_together, "moved together"),
        (never_put_back, "stay where they were"),
        (in_place, "in place"),
    ],
)
def test_central_difference_mistakes(wrong, hint):
    assert_rejects(check_central_difference, wrong, hint_contains=hint)


# --------------------------------------------------------------------------------------------------- step size


def test_step_size_is_accepted():
    check_step_size(lambda f, third, unit: np.cbrt(3 * unit * abs(f / third))).expect_pass()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda f, third, unit: np.sqrt(6 * unit * abs(f / third)), "square root"),
        (lambda f, third, unit: np.cbrt(6 * unit * abs(f / third)), "slopes cancel"),
        (lambda f, third, unit: np.cbrt(3 * unit * f / third), "absolute values"),
        (lambda f, third, unit: np.cbrt(unit), "eps cubed"),
    ],
)
def test_step_size_mistakes(wrong, hint):
    assert_rejects(check_step_size, wrong, hint_contains=hint)


# ---------------------------------------------------------------------------------------------- backward sweeps


def backward(dy, x, h, p, *, a=1.0, plus=True, bias=np.sum, back=None, leak_factor=True, tanh_of=None, road=None):
    """The leaky network's backward sweep (plain for a = 1), with every part open to sabotage."""
    grads = {name: np.zeros_like(p[name]) for name in ("W_ih", "W_hh", "b")}
    dx, dh_next = np.empty_like(x), np.zeros_like(h[0])
    for t in range(len(x), 0, -1):
        dh = dy[t - 1] + dh_next if plus else dy[t - 1]
        tanh_z = tanh_of(h, t) if tanh_of else (h[t] - (1 - a) * h[t - 1]) / a
        dz = (a if leak_factor else 1.0) * dh * (1 - tanh_z**2)
        grads["W_ih"] += dz.T @ x[t - 1]
        grads["W_hh"] += dz.T @ h[t - 1]
        grads["b"] += bias(dz, axis=0)
        dx[t - 1] = dz @ p["W_ih"]
        direct = (1 - a if road is None else road) * dh
        dh_next = (dz @ p["W_hh"] if back is None else back(dz, p)) + direct
    return dx, dh_next, grads


def test_repaired_backward_is_accepted():
    check_repaired_backward(backward).expect_pass()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"plus": False}, "overwritten"),
        ({"bias": np.mean}, "add their contributions"),
        ({"back": lambda dz, p: dz @ p["W_hh"].T}, "which way round"),
        ({"tanh_of": lambda h, t: 0.0 * h[t]}, "Ask of each array"),
    ],
)
def test_repaired_backward_with_one_bug_left(wrong, hint):
    assert_rejects(check_repaired_backward, lambda dy, x, h, p: backward(dy, x, h, p, **wrong), hint_contains=hint)


def test_repaired_backward_names_every_bug_of_the_stub():
    def suspicious(dy, x, h, p):
        return backward(dy, x, h, p, plus=False, bias=np.mean, back=lambda dz, p: dz @ p["W_hh"].T)

    for hint in ("overwritten", "add their contributions", "which way round"):
        assert_rejects(check_repaired_backward, suspicious, hint_contains=hint)


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (lambda dx, dh0, grads: (dx, grads), "three things"),
        (lambda dx, dh0, grads: (dx, dh0, {"W_ih": grads["W_ih"]}), "Missing gradients: dW_hh, db"),
        (lambda dx, dh0, grads: (dx, dh0, grads | {"bias": 0.0}), "unknown: bias"),
        (lambda dx, dh0, grads: (dx, dh0, grads | {"b": grads["b"][None]}), "db must have shape (4,)"),
        (lambda dx, dh0, grads: (dx, dh0, grads | {"b": "zero"}), "real numbers"),
        (lambda dx, dh0, grads: (np.nan * dx, dh0, grads), "Wrong: dx."),
    ],
)
def test_repaired_backward_of_another_form(spoil, hint):
    assert_rejects(check_repaired_backward, lambda dy, x, h, p: spoil(*backward(dy, x, h, p)), hint_contains=hint)


def truncated(dy, x, h, p, window, *, cut=lambda t, window: (t - 1) % window == 0):
    grads = {name: np.zeros_like(p[name]) for name in ("W_ih", "W_hh", "b")}
    dh_next = np.zeros_like(h[0])
    for t in range(len(x), 0, -1):
        dz = (dy[t - 1] + dh_next) * (1 - h[t] ** 2)
        grads["W_ih"] += dz.T @ x[t - 1]
        grads["W_hh"] += dz.T @ h[t - 1]
        grads["b"] += dz.sum(axis=0)
        dh_next = 0.0 * dh_next if cut(t, window) else dz @ p["W_hh"]
    return grads


def only_whole_windows(dy, x, h, p, window):
    T = len(x) // window * window
    return truncated(dy[:T], x[:T], h[: T + 1], p, window)


def only_last_window(dy, x, h, p, window):
    steps = len(x) - (len(x) - 1) // window * window
    return truncated(dy[-steps:], x[-steps:], h[-steps - 1 :], p, window)


def test_truncated_gradient_is_accepted():
    check_truncated_gradient(truncated).expect_pass()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda *args: truncated(*args, cut=lambda t, window: False), "never cut"),
        (lambda *args: truncated(*args, cut=lambda t, window: t % window == 0), "one step away"),
        (lambda *args: truncated(*args, cut=lambda t, window: True), "Windows start at step 1"),
        (lambda *args: list(truncated(*args).values()), "dictionary"),
        (only_whole_windows, "shorter window is missing"),
        (only_last_window, "last window"),
    ],
)
def test_truncated_gradient_mistakes(wrong, hint):
    assert_rejects(check_truncated_gradient, wrong, hint_contains=hint)


def test_leaky_backward_is_accepted():
    check_leaky_backward(lambda dy, x, h, p, a: backward(dy, x, h, p, a=a)).expect_pass()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"road": 0.0}, "two roads"),
        ({"leak_factor": False}, "factor a in front"),
        ({"tanh_of": lambda h, t: h[t]}, "no longer tanh"),
        ({"road": 1.0}, "has the factor 1 - a"),
        ({"a": 1.0}, "where is a?"),
        ({"plus": False}, "every road"),
    ],
)
def test_leaky_backward_mistakes(wrong, hint):
    def answer(dy, x, h, p, a):
        return backward(dy, x, h, p, **({"a": a} | wrong))

    assert_rejects(check_leaky_backward, answer, hint_contains=hint)


# ------------------------------------------------------------------------------------------------------- stubs


@pytest.mark.parametrize(
    "check",
    [
        check_total_derivative,
        check_central_difference,
        check_step_size,
        check_truncated_gradient,
        check_leaky_backward,
    ],
)
def test_untouched_stub_is_not_an_error(check):
    def stub(*args):
        """What the notebook gives the reader."""

    report = check(stub)
    assert not report.attempted
    assert not report.passed
