"""The checks of chapter 2.2 accept right answers and answer planted mistakes with the intended hint."""

from itertools import permutations

import numpy as np
import pytest

from lstm_numba.reference.lstm import lstm_forward, sigmoid
from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks.ch_2_2 import (
    check_find_order,
    check_from_keras,
    check_last_valid,
    check_parameter_count,
    check_stack,
    check_step,
)


def right_count(I, H, num_layers, bias):
    widths = [I] + [H] * (num_layers - 1)
    return sum(4 * H * (width + H + 2 * bias) for width in widths)


def right_step(x, h, c, W_ih, W_hh, b):
    z_i, z_f, z_g, z_o = np.split(x @ W_ih.T + h @ W_hh.T + b, 4, axis=1)
    c = sigmoid(z_f) * c + sigmoid(z_i) * np.tanh(z_g)
    return sigmoid(z_o) * np.tanh(c), c


def right_stack(x, layers):
    h_n, c_n = [], []
    for weights in layers:
        zeros = np.zeros((x.shape[1], weights[1].shape[1]))
        x, h, c, _ = lstm_forward(x, zeros, zeros, *weights, False)
        h_n.append(h)
        c_n.append(c)
    return x, np.stack(h_n), np.stack(c_n)


def right_from_keras(kernel, recurrent_kernel, bias):
    return {
        "weight_ih_l0": kernel.T,
        "weight_hh_l0": recurrent_kernel.T,
        "bias_ih_l0": bias,
        "bias_hh_l0": np.zeros_like(bias),
    }


def right_last_valid(y, lengths):
    return np.stack([y[length - 1, b] for b, length in enumerate(lengths)])


def right_find_order(W_ih, W_hh, b, x, y):
    zeros = np.zeros(y.shape[1:])
    for order in map("".join, permutations("ifgo")):
        rows = [np.concatenate([np.split(a, 4)[order.index(gate)] for gate in "ifgo"]) for a in (W_ih, W_hh, b)]
        if np.allclose(lstm_forward(x, zeros, zeros, *rows, 0 * b, False)[0], y):
            return order
    return None


ANSWERS = {
    check_parameter_count: right_count,
    check_step: right_step,
    check_stack: right_stack,
    check_from_keras: right_from_keras,
    check_last_valid: right_last_valid,
    check_find_order: right_find_order,
}


@pytest.mark.parametrize("check", ANSWERS, ids=lambda check: check.__name__)
def test_right_answer_passes(check):
    check(ANSWERS[check]).expect_pass()


@pytest.mark.parametrize("check", ANSWERS, ids=lambda check: check.__name__)
def test_stub_counts_as_not_attempted(check):
    def stub(*arguments): ...

    report = check(stub)
    assert not report.attempted
    assert not report.passed


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda I, H, n, bias: sum(4 * H * ((I if k == 0 else H) + H + bias) for k in range(n)), "one bias vector"),
        (lambda I, H, n, bias: n * 4 * H * (I + H + 2 * bias), "second layer reads hidden states"),
        (lambda I, H, n, bias: right_count(I, H, n, bias) // 4, "four: i, f, g and o"),
        (lambda I, H, n, bias: right_count(I, H, n, True), "bias=False"),
        (lambda I, H, n, bias: right_count(I, H, 1, bias), "first layer only"),
        (
            lambda I, H, n, bias: sum(4 * H * ((I if k == 0 else H) + 2 * bias) for k in range(n)),
            "recurrent weights W_hh",
        ),
        (lambda I, H, n, bias: 17, "add up the sizes"),
    ],
)
def test_wrong_counts(wrong, hint):
    assert_rejects(check_parameter_count, wrong, hint_contains=hint)


def step_with(x, h, c, W_ih, W_hh, b, *, order="ifgo", squash=np.tanh, show=np.tanh, old=False, keep=True, recur=True):
    z = x @ W_ih.T + (h @ W_hh.T if recur else 0) + b
    blocks = dict(zip(order, np.split(z, 4, axis=1), strict=True))
    c_old = c
    c = (sigmoid(blocks["f"]) * c if keep else c) + sigmoid(blocks["i"]) * squash(blocks["g"])
    return sigmoid(blocks["o"]) * show(c_old if old else c), c


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"order": "iofg"}, "order i, o, f, g"),
        ({"order": "igfo"}, "order i, g, f, o"),
        ({"order": "fiog"}, "order f, i, o, g"),
        ({"squash": sigmoid}, "not by the sigmoid"),
        ({"squash": lambda z: z}, "needs its tanh"),
        ({"show": lambda c: c}, "the tanh is missing"),
        ({"old": True}, "reads the new cell state"),
        ({"keep": False}, "must pass the forget gate"),
        ({"recur": False}, "recurrent term"),
    ],
)
def test_wrong_steps(options, hint):
    assert_rejects(check_step, lambda *args: step_with(*args, **options), hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda *args: right_step(*args)[::-1], "swapped"),
        (lambda *args: right_step(*args)[0], "return h, c"),
        (lambda x, h, c, W_ih, W_hh, b: right_step(x, h, c, W_ih, W_hh, 0 * b), "bias is missing"),
        (lambda *args: tuple(a.T for a in right_step(*args)), "axes are in the wrong order"),
        (lambda x, h, c, W_ih, W_hh, b: x @ W_ih, "raised ValueError"),
    ],
)
def test_wrong_results_of_a_step(wrong, hint):
    assert_rejects(check_step, wrong, hint_contains=hint)


def test_a_step_that_changes_its_arguments():
    def in_place(x, h, c, W_ih, W_hh, b):
        h[...], c[...] = right_step(x, h, c, W_ih, W_hh, b)
        return h, c

    assert_rejects(check_step, in_place, hint_contains="in place")


def every_layer_reads_x(x, layers):
    out = [lstm_forward(x, *(np.zeros((x.shape[1], 3)),) * 2, *weights, False) for weights in layers]
    return out[-1][0], np.stack([o[1] for o in out]), np.stack([o[2] for o in out])


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (every_layer_reads_x, "Does layer 1 read the output of layer 0"),
        (lambda x, layers: (right_stack(x, layers[:1])[0], *right_stack(x, layers)[1:]), "first layer"),
        (lambda x, layers: tuple(a if k == 0 else a[-1] for k, a in enumerate(right_stack(x, layers))), "every layer"),
        (lambda x, layers: tuple(a if k == 0 else a[::-1] for k, a in enumerate(right_stack(x, layers))), "reverse"),
        (lambda x, layers: (right_stack(x, layers)[0], *(right_stack(x, layers)[2],) * 2), "cell states"),
        (lambda x, layers: right_stack(x, layers)[0], "y, h_n and c_n"),
    ],
)
def test_wrong_stacks(wrong, hint):
    assert_rejects(check_stack, wrong, hint_contains=hint)


def keras_with(**changes):
    return lambda kernel, recurrent, bias: (
        right_from_keras(kernel, recurrent, bias)
        | {name: change(kernel, recurrent, bias) for name, change in changes.items()}
    )


def as_onnx(kernel):
    i, f, g, o = np.split(kernel, 4, axis=1)
    return np.concatenate([i, o, f, g], axis=1).T


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (keras_with(weight_ih_l0=lambda k, r, b: k), "axes are in the wrong order"),
        (keras_with(weight_ih_l0=lambda k, r, b: k.reshape(k.shape[1], -1)), "the transpose, .T"),
        (keras_with(weight_ih_l0=lambda k, r, b: as_onnx(k)), "nothing has to be reordered"),
        (keras_with(weight_hh_l0=lambda k, r, b: as_onnx(r)), "nothing has to be reordered"),
        (keras_with(bias_hh_l0=lambda k, r, b: b), "counted twice"),
        (keras_with(bias_ih_l0=lambda k, r, b: 0 * b), "the bias is lost"),
        (lambda k, r, b: {"kernel": k}, "keys"),
        (lambda k, r, b: k.T, "ndarray"),
    ],
)
def test_wrong_imports_from_keras(wrong, hint):
    assert_rejects(check_from_keras, wrong, hint_contains=hint)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda y, lengths: y[-1], "last step of the padded array"),
        (lambda y, lengths: y[lengths - 1], "pick the sequence as well"),
        (lambda y, lengths: y[lengths - 2, np.arange(4)], "one step too early"),
        (lambda y, lengths: y[np.minimum(lengths, 5), np.arange(4)], "one step too late"),
        (lambda y, lengths: y[lengths, np.arange(4)], "ends at index n - 1"),
        (lambda y, lengths: y[0], "first step"),
    ],
)
def test_wrong_last_steps(wrong, hint):
    assert_rejects(check_last_valid, wrong, hint_contains=hint)


def inverse_order(*args):
    order = right_find_order(*args)
    return "".join("ifgo"[order.index(gate)] for gate in "ifgo")


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda *args: "ifgo", "our own order"),
        (inverse_order, "inverse permutation"),
        (lambda *args: list(right_find_order(*args)), "four letters"),
    ],
)
def test_wrong_orders(wrong, hint):
    assert_rejects(check_find_order, wrong, hint_contains=hint)
