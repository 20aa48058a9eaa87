"""Experiment 1 taken apart: both ways to compute the rule of 1997 agree, and the whole gradient is the whole one."""

import numpy as np
import pytest

from lstm_numba.gradcheck import relative_error
from lstm_numba.historic import Architecture, Network, kernel, reber
from lstm_numba.historic.random_numbers import seeded
from lstm_numba.reference import lstm1997

TOLERANCE = 1e-10
PAPER = np.array([2.0, 1.0])
SWAPPED = np.array([1.0, 2.0])
SYMBOLS = np.array([0, 1, 0, 1, 3, 3, 4, 3, 6, 1, 6])  # BTBTSSXSET, then E


def reference_weights(network):
    """Weights in the layout of the reference: (H, I + H + 1) and (K, C + 1)."""
    H, outputs = network.architecture.hidden, network.architecture.outputs
    W = network.W[:, :H].T
    return np.hstack([W[:, H + 1 :], W[:, : H + 1]]), network.V[:, :outputs].T.copy()


def in_reference_layout(dW, dV, architecture):
    H = architecture.hidden
    dW = dW[:, :H].T
    return np.hstack([dW[:, H + 1 :], dW[:, : H + 1]]), dV[:, : architecture.outputs].T


def network_of(blocks, cells, rng, reach=0.7):
    network = Network(Architecture(7, 7, blocks, cells, "gates"), rng, reach)
    return network, np.zeros((7, network.V.shape[1]))


@pytest.mark.parametrize(("blocks", "cells"), [(3, 2), (4, 1)])
def test_the_cut_gradient_is_the_rule_of_the_paper_with_an_error_at_every_step(blocks, cells, rng):
    network, S = network_of(blocks, cells, rng)
    dW, dV, _ = reber.gradient(network.W, network.V, S, network.sizes, PAPER, False, SYMBOLS, 10)
    W, V = reference_weights(network)
    one_hot = np.eye(7)[SYMBOLS]
    expected = lstm1997.truncated_gradient(one_hot[:-1], one_hot[1:], W, V, blocks, every_step=True)
    for ours, theirs in zip(in_reference_layout(dW, dV, network.architecture), expected, strict=True):
        assert relative_error(ours, theirs) < TOLERANCE


@pytest.mark.parametrize("ranges", [PAPER, SWAPPED], ids=["paper", "swapped"])
def test_the_whole_gradient_leaves_nothing_out(ranges, rng):
    """Against the complex step, through all paths; shortcuts from inputs to outputs included."""
    blocks = 2
    network, S = network_of(blocks, 2, rng)
    S[:, :7] = rng.normal(size=(7, 7))
    dW, dV, dS = reber.gradient(network.W, network.V, S, network.sizes, ranges, True, SYMBOLS, 10)
    W, V = reference_weights(network)
    one_hot = np.eye(7)[SYMBOLS]

    def loss(W, V, S):
        y_c = lstm1997.run(one_hot[:-1], W, V, blocks, ranges=ranges).y_c
        answers = lstm1997.logistic(y_c @ V[:, :-1].T + V[:, -1] + one_hot[:-1] @ S)
        return 0.5 * np.sum((one_hot[1:] - answers) ** 2)

    arguments = [W, V, S[:, :7]]
    ours = [*in_reference_layout(dW, dV, network.architecture), dS[:, :7]]
    for which, array in enumerate(arguments):
        expected = np.empty_like(array)
        for place in np.ndindex(array.shape):
            moved = [a.astype(complex) for a in arguments]
            moved[which][place] += 1e-30j
            expected[place] = loss(*moved).imag / 1e-30
        assert relative_error(-ours[which], expected) < TOLERANCE
    cut, _, _ = reber.gradient(network.W, network.V, S, network.sizes, ranges, False, SYMBOLS, 10)
    assert relative_error(cut, dW) > 1e-3  # the rule of 1997 is another one


def strings_of(n, rng):
    """Any symbols will do for a comparison of updates."""
    lengths = rng.integers(8, 15, n)
    strings = rng.integers(0, 7, (n, 15))
    legal = np.zeros((n, 14, 7), bool)
    np.put_along_axis(legal, strings[:, 1:, None], True, axis=2)
    return strings, lengths, legal


def train(network, S, strings, most, *, whole=False, shortcuts=False, in_order=False, half=4, check_every=10**6):
    record = np.zeros((2, 2))
    reber.train(
        network.W, network.V, S, network.biased, network.sizes, PAPER, whole, shortcuts, in_order, seeded(3), *strings,
        half, 0.5, check_every, most, record,
    )  # fmt: skip
    return record


def test_both_kernels_train_alike_string_after_string(rng):
    """Traces and summed changes start anew with each string in the kernel that carries traces forward."""
    strings = strings_of(6, rng)
    forward, _ = network_of(3, 2, np.random.default_rng(1))
    back, S = network_of(3, 2, np.random.default_rng(1))
    before, record = back.W.copy(), np.zeros((2, 2))
    kernel.train_reber(
        forward.W, forward.V, forward.biased, forward.sizes, seeded(3), *strings, 4, 0.5, False, False, 10**6, 30,
        record,
    )  # fmt: skip
    train(back, S, strings, 30)
    assert relative_error(forward.W, back.W) < TOLERANCE
    assert relative_error(forward.V, back.V) < TOLERANCE
    assert np.abs(back.W - before).max() > 0.1
    assert not S.any()
    assert not back.W[12, 6:].any()  # cells have no bias
    assert not back.V[6].any()  # nor have outputs


def test_options_change_what_they_say(rng):
    strings = strings_of(6, rng)
    weights = {}
    for name, options in {
        "cut": {},
        "whole": {"whole": True},
        "shortcuts": {"shortcuts": True},
        "in order": {"in_order": True},
    }.items():
        network, S = network_of(3, 2, np.random.default_rng(1))
        train(network, S, strings, 5, **options)
        weights[name] = network.W
        assert S.any() == (name == "shortcuts")
    for name in ("whole", "shortcuts", "in order"):
        assert relative_error(weights[name], weights["cut"]) > 1e-6


def test_one_string_is_learned_and_the_examination_says_so(rng):
    strings = strings_of(1, rng)
    network, S = network_of(3, 2, rng)
    wrong, states = np.zeros((1, 14), bool), np.ones((1, 14, 6))
    sizes = network.sizes
    reber.examine(network.W, network.V, S, sizes, PAPER, *strings, wrong, states)
    assert wrong.any()
    record = train(network, S, strings, 20_000, whole=True, shortcuts=True, half=1, check_every=20)
    assert not np.isnan(record).any()
    assert record[0, 0] == record[1, 0]
    reber.examine(network.W, network.V, S, sizes, PAPER, *strings, wrong, states)
    assert not wrong.any()
    length = strings[1][0]
    W, V = reference_weights(network)
    expected = lstm1997.run(np.eye(7)[strings[0][0, :length]], W, V, 3).s
    assert relative_error(states[0, :length], expected) < TOLERANCE
    assert not states[0, length:].any()
