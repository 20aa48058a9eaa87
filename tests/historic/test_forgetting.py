"""The network of 2000: its weight count, the kernel against NumPy and numerical derivatives, and what it learns."""

import numpy as np
import pytest

from lstm_numba.gradcheck import relative_error
from lstm_numba.historic import forgetting
from lstm_numba.historic.forgetting import ForgettingArchitecture, ForgettingNetwork
from lstm_numba.historic.random_numbers import below, seeded
from lstm_numba.reference import lstm2000
from lstm_numba.tasks.reber import grammar_tables

TOLERANCE = 1e-10
BIASES = (0.5, 1.0, 1.5, 2.0)


@pytest.fixture(scope="module")
def grammar():
    target, symbol, legal = grammar_tables()
    return target, symbol, legal.astype(float)


def test_weight_counts():
    assert ForgettingArchitecture(7, 7, 4, 2).weights == 424  # as Gers et al. print it
    assert ForgettingArchitecture(7, 7, 4, 2, forget_gates=False).weights == 360
    for architecture in (ForgettingArchitecture(7, 7, 4, 2), ForgettingArchitecture(5, 3, 2, 3, forget_gates=False)):
        network = ForgettingNetwork(architecture, np.random.default_rng(0), 0.2)
        assert np.count_nonzero(network.W) + np.count_nonzero(network.V) == architecture.weights


def test_gate_biases_have_the_signs_of_the_paper():
    network = ForgettingNetwork(ForgettingArchitecture(7, 7, 4, 2), np.random.default_rng(0), 0.2, BIASES)
    np.testing.assert_array_equal(network.W[8, :12].reshape(3, 4), np.outer([-1, -1, 1], BIASES))


def test_wrong_networks_are_refused():
    with pytest.raises(ValueError, match="1 to 4 blocks"):
        ForgettingArchitecture(7, 7, 4, 3)
    with pytest.raises(ValueError, match="gate_biases: expected 4"):
        ForgettingNetwork(ForgettingArchitecture(7, 7, 4, 2), np.random.default_rng(0), 0.2, (1.0,))
    with pytest.raises(ValueError, match="decay: expected 1 with forget gates"):
        ForgettingNetwork(ForgettingArchitecture(7, 7, 4, 2), np.random.default_rng(0), 0.2, decay=0.9)


def to_reference(network, W, V):
    """Weights in the layout of the reference: (H, I + C + 1) and (K, C + I + 1)."""
    a = network.architecture
    B, C = a.blocks, a.blocks * a.cells
    units = [k for k in range(3 * B + C) if a.forget_gates or not 2 * B <= k < 3 * B]
    W = W[:, units].T
    return np.hstack([W[:, C + 1 :], W[:, : C + 1]]), np.hstack([V[:C].T, V[C + 1 :].T, V[C : C + 1].T])


@pytest.mark.parametrize(
    ("architecture", "decay"),
    [
        (ForgettingArchitecture(7, 7, 4, 2), 1.0),
        (ForgettingArchitecture(5, 3, 2, 3), 1.0),
        (ForgettingArchitecture(7, 7, 4, 2, forget_gates=False), 1.0),
        (ForgettingArchitecture(4, 2, 3, 1, forget_gates=False), 0.9),
    ],
)
def test_the_rule_is_the_exact_gradient_when_the_sources_are_frozen(architecture, decay, rng):
    """The kernel against the complex step through an independent NumPy run; what is truncated is what is frozen."""
    a, T = architecture, 9
    network = ForgettingNetwork(a, rng, 0.9, decay=decay)
    symbols, targets = rng.integers(0, a.inputs, T), rng.random((T, a.outputs))
    answers, *gradients = forgetting.stream_gradient(network.W, network.V, network.sizes, decay, symbols, targets)
    W, V = to_reference(network, network.W, network.V)
    x, constant = np.eye(a.inputs)[symbols], None if a.forget_gates else decay
    done = lstm2000.run(x, W, V, a.blocks, constant)
    assert relative_error(answers, done.answers) < TOLERANCE
    assert not gradients[0][:, 3 * a.blocks + a.blocks * a.cells :].any()  # padding stays out of it
    if not a.forget_gates:
        assert not gradients[0][:, 2 * a.blocks : 3 * a.blocks].any()

    def complex_step(which, frozen):
        array = W if which == "W" else V
        gradient = np.empty_like(array)
        for place in np.ndindex(array.shape):
            moved = array.astype(complex)
            moved[place] += 1e-30j
            run = lstm2000.run(x, *(moved, V) if which == "W" else (W, moved), a.blocks, constant, frozen)
            gradient[place] = 0.5 * np.sum((targets - run.answers) ** 2).imag / 1e-30
        return gradient

    dW, dV = to_reference(network, *gradients)
    exact = complex_step("W", done.u)
    exact[-a.blocks * a.cells :, -1] = 0  # cells have no bias
    assert relative_error(-dW, exact) < TOLERANCE
    assert relative_error(-dV, complex_step("V", done.u)) < TOLERANCE
    assert relative_error(-dV, complex_step("V", None)) < TOLERANCE  # outputs feed nothing back
    full = complex_step("W", None)
    full[-a.blocks * a.cells :, -1] = 0
    assert relative_error(-dW, full) > 1e-3  # the full gradient is another one


def test_streams_of_the_kernel_follow_the_task(grammar):
    """Symbols drawn in the kernel are those of a walk in Python, seen through the states of a network."""
    network = ForgettingNetwork(ForgettingArchitecture(7, 7, 4, 2), np.random.default_rng(0), 0.2)
    states, forgets, right = np.zeros((400, 8)), np.zeros((400, 8)), np.zeros(400, bool)
    forgetting.watch(network.W, network.V, network.sizes, 1.0, grammar, False, seeded(0), states, forgets, right)
    x, legal = stream(grammar, seeded(0), 400)
    run = lstm2000.run(x, *to_reference(network, network.W, network.V), 4)
    assert relative_error(states, run.s) < 1e-9
    assert relative_error(forgets, run.f) < 1e-9
    np.testing.assert_array_equal(right, (np.abs(run.answers - legal) < 0.49).all(axis=1))


def stream(grammar, seed, T):
    """The same stream in Python: every symbol is legal after the one before, as in the task."""
    target, symbol, legal = grammar
    place, x, allowed = 0, np.zeros((T, 7)), np.zeros((T, 7))
    for t in range(T):
        coin = below(seed, 2)
        if t:
            assert allowed[t - 1, symbol[place, coin]]
        x[t, symbol[place, coin]] = 1
        place = target[place, coin] % len(target)
        allowed[t] = legal[place]
    return x, allowed


def trained(grammar, *, forget_gates, reset=False, streams, seed=0, keep=1.0):
    network = ForgettingNetwork(
        ForgettingArchitecture(7, 7, 4, 2, forget_gates), np.random.default_rng(seed), 0.2, BIASES
    )
    record, lengths = np.zeros(6), np.zeros(10, np.int64)
    seeds = np.stack([seeded(seed, 0), seeded(seed, 1)])
    forgetting.train(
        network.W, network.V, network.sizes, 1.0, grammar, reset, seeds, 0.5, keep, 1000, (streams, 10**7), 100,
        lengths, record,
    )  # fmt: skip
    return network, record, lengths


def test_training_is_repeatable_and_learns(grammar):
    first, record, lengths = trained(grammar, forget_gates=True, streams=2000)
    again, record_again, _ = trained(grammar, forget_gates=True, streams=2000)
    np.testing.assert_array_equal(first.W, again.W)
    np.testing.assert_array_equal(record, record_again)
    assert record[1] <= 2000
    assert record[2] >= record[1]
    _, early, _ = trained(grammar, forget_gates=True, streams=100)
    assert record[3] > 1.5 * early[3]
    assert lengths.max() <= 1000


def test_states_of_the_cell_without_forget_gates_grow(grammar):
    """The point of the paper: without a reset they blow up, with forget gates they stay small."""
    size = {}
    for forget_gates in (False, True):
        network, _, _ = trained(grammar, forget_gates=forget_gates, streams=2000)
        states, forgets, right = np.zeros((3000, 8)), np.zeros((3000, 8)), np.zeros(3000, bool)
        forgetting.watch(network.W, network.V, network.sizes, 1.0, grammar, False, seeded(5), states, forgets, right)
        size[forget_gates] = np.abs(states[-100:]).mean()
    assert size[False] > 10 * size[True]
