"""The checks of chapter 3.1 accept right answers and name the mistake of a wrong one."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_3_1 as checks


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def count(I, H, num_layers, bidirectional, blocks=3, biases=2):
    D = 1 + bidirectional
    return sum(D * blocks * H * (inputs + H + biases) for inputs in [I] + [D * H] * (num_layers - 1))


def step(a, h, W_hh, b_hn, reset_after):
    W_hr, W_hz, W_hn = np.split(W_hh, 3)
    r, z = sigmoid(a[0] + h @ W_hr.T), sigmoid(a[1] + h @ W_hz.T)
    n = np.tanh(a[2] + (r * (h @ W_hn.T + b_hn) if reset_after else (r * h) @ W_hn.T + b_hn))
    return (1 - z) * n + z * h


def to_pytorch(W, order="rzn", sign=-1.0):
    blocks = dict(zip("zrn", np.split(W, 3), strict=True))
    blocks["z"] = sign * blocks["z"]
    return np.concatenate([blocks[gate] for gate in order])


def update_grad(dh, z, n, h_prev):
    return dh * (h_prev - n) * z * (1 - z)


def counter(letter, size=10.0, keep=10.0, down=-1.0):
    return np.array([size, keep, size if letter == "a" else down * size, 0.0])


def best_causal(T, V):
    again = 1 - (1 - 1 / V) ** np.arange(T)
    return np.minimum(again, 1 - again).mean()


def test_right_answers_pass():
    checks.check_count_parameters(count).expect_pass()
    checks.check_gru_step(step).expect_pass()
    checks.check_to_pytorch(to_pytorch).expect_pass()
    checks.check_update_grad(update_grad).expect_pass()
    checks.check_counter(counter).expect_pass()
    checks.check_best_causal(best_causal).expect_pass()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda I, H, n, d: count(I, H, n, d, biases=1), "two bias vectors"),
        (lambda I, H, n, d: count(I, H, n, d, blocks=4), "That is an LSTM"),
        (lambda I, H, n, d: (1 + d) * n * count(I, H, 1, False), "What does the second one read"),
        (lambda I, H, n, d: (1 + d) * count(I, H, n, False), "2 H numbers"),
        (lambda I, H, n, d: count(I, H, n, d) // (1 + d), "weights of its own"),
        (lambda I, H, n, d: 3 * H, "For each layer and direction"),
    ],
)
def test_count_parameters(wrong, hint):
    assert_rejects(checks.check_count_parameters, wrong, hint_contains=hint)


def outside(a, h, W_hh, b_hn, reset_after):
    return step(a, h, W_hh, b_hn, True) if not reset_after else _outside(a, h, W_hh, b_hn)


def _outside(a, h, W_hh, b_hn):
    return step(a + np.array([0, 0, 1])[:, None, None] * b_hn, h, W_hh, 0 * b_hn, True)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda a, h, W, b, after: step(a, h, W, b, not after), "wrong side of the product"),
        (lambda a, h, W, b, after: step(a, h, W, b, True), "wrong side of the product"),
        (lambda a, h, W, b, after: step(a * np.array([1, -1, 1])[:, None, None], h, W, b, after), "h_new ="),
        (lambda a, h, W, b, after: _swapped(a, h, W, b, after), "z and 1 - z are swapped"),
        (outside, "the bias b_hn as well"),
        (lambda a, h, W, b, after: step(a, h, _turned(W), b, after), "wrong way round"),
    ],
)
def test_gru_step(wrong, hint):
    assert_rejects(checks.check_gru_step, wrong, hint_contains=hint)


def _turned(W_hh):
    return np.concatenate([W.T for W in np.split(W_hh, 3)])


def _swapped(a, h, W_hh, b_hn, reset_after):
    W_hr, W_hz, W_hn = np.split(W_hh, 3)
    return step(a * np.array([1, -1, 1])[:, None, None], h, np.concatenate([W_hr, -W_hz, W_hn]), b_hn, reset_after)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda W: to_pytorch(W, sign=1.0), "here it keeps"),
        (lambda W: to_pytorch(W, order="zrn"), "PyTorch's order is r, z, n"),
        (lambda W: W.copy(), "Nothing has changed"),
        (lambda W: np.concatenate([np.split(W, 3)[1], 1 - np.split(W, 3)[0], np.split(W, 3)[2]]), "not its weights"),
        (lambda W: -to_pytorch(W, sign=1.0), "Only the update gate"),
        (lambda W: 2 * W, "Split in three"),
    ],
)
def test_to_pytorch(wrong, hint):
    assert_rejects(checks.check_to_pytorch, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda dh, z, n, h: -update_grad(dh, z, n, h), "other way round"),
        (lambda dh, z, n, h: dh * h * z * (1 - z), "takes the candidate away"),
        (lambda dh, z, n, h: dh * (h - n), "One more factor"),
        (lambda dh, z, n, h: dh * (h - n) * (1 - z**2), "slope of a tanh"),
        (lambda dh, z, n, h: dh, "Differentiate"),
    ],
)
def test_update_grad(wrong, hint):
    assert_rejects(checks.check_update_grad, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda letter: np.zeros(4), "Open the input gate"),
        (lambda letter: counter(letter, keep=3.0), "very close to 1"),
        (lambda letter: counter(letter, down=1.0), "must subtract"),
        (lambda letter: counter(letter)[:3], "(4,)"),
    ],
)
def test_counter(wrong, hint):
    assert_rejects(checks.check_counter, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda T, V: min((p := _chance(T, V).mean()), 1 - p), "the best constant answer"),
        (lambda T, V: _chance(T, V).mean(), "not how often the best guess errs"),
        (lambda T, V: np.minimum(p := _chance(T + 1, V)[1:], 1 - p).mean(), "One step too many"),
        (lambda T, V: 1 - best_causal(T, V), "share of right answers"),
        (lambda T, V: 0.5, "With m symbols to come"),
    ],
)
def test_best_causal(wrong, hint):
    assert_rejects(checks.check_best_causal, wrong, hint_contains=hint)


def _chance(T, V):
    return 1 - (1 - 1 / V) ** np.arange(T)
