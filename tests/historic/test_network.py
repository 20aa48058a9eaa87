"""The network of 1997: its weight counts, and the kernel against NumPy, and NumPy against numerical derivatives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba import tasks
from lstm_numba.gradcheck import relative_error
from lstm_numba.historic import Architecture, Network, kernel, one_cell, recurrent_network, sequences
from lstm_numba.historic.random_numbers import seeded
from lstm_numba.reference import lstm1997

TOLERANCE = 1e-10


@pytest.mark.parametrize(
    ("experiment", "architecture", "weights"),
    [
        ("1, four blocks", Architecture(7, 7, 4, 1, "gates"), 264),
        ("1, three blocks of two", Architecture(7, 7, 3, 2, "gates"), 276),
        ("2c, p = 50", Architecture(54, 2, 2, 1, "none"), 364),
        ("2c, p = 100", Architecture(104, 2, 2, 1, "none"), 664),
        ("2c, p = 200", Architecture(204, 2, 2, 1, "none"), 1264),
        ("2c, p = 500", Architecture(504, 2, 2, 1, "none"), 3064),
        ("2c, p = 1000", Architecture(1004, 2, 2, 1, "none"), 6064),
        ("3", Architecture(1, 1, 3, 1, "hidden"), 102),
        ("4 and 5", Architecture(2, 1, 2, 2, "all"), 93),
        ("6a", Architecture(8, 4, 2, 2, "all"), 156),
        ("6b", Architecture(8, 8, 3, 2, "all"), 308),
    ],
)
def test_weight_counts_of_table_10(experiment, architecture, weights):
    assert architecture.weights == weights
    network = Network(architecture, np.random.default_rng(0), 0.1)
    assert np.count_nonzero(network.W) + np.count_nonzero(network.V) == weights


def test_weight_counts_of_experiment_2a_and_its_rival():
    for p, unit_inputs, weights in ((100, 2, 10504), (100, 1, 10404), (10, 1, 144), (4, 1, 36)):
        direct = (p + 2) * (p + 1)
        hidden = unit_inputs * (p + 1) + (unit_inputs == 1)  # cell and input gate; or a unit that feeds itself
        assert direct + hidden == weights


def test_wrong_architectures_are_refused():
    with pytest.raises(ValueError, match="bias: expected"):
        Architecture(1, 1, 1, 1, "some")
    with pytest.raises(ValueError, match="1 to 4 blocks"):
        Architecture(1, 1, 5, 1, "all")
    with pytest.raises(ValueError, match="gate biases: expected 2"):
        Network(Architecture(1, 1, 2, 1, "all"), np.random.default_rng(0), 0.1, (-1.0,))


def to_reference(network):
    """Weights in the layout of the reference: (H, I + H + 1) and (K, C + 1)."""
    a = network.architecture
    W = network.W[:, : a.hidden].T
    H = a.hidden
    return np.hstack([W[:, H + 1 :], W[:, : H + 1]]), network.V[:, : a.outputs].T.copy()


ARCHITECTURES = [
    Architecture(8, 4, 2, 2, "all"),
    Architecture(7, 7, 3, 2, "gates"),
    Architecture(7, 7, 4, 1, "gates"),
    Architecture(9, 2, 2, 1, "none"),
    Architecture(2, 1, 2, 2, "all"),
    Architecture(1, 1, 3, 1, "hidden"),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: f"{a.inputs}-{a.blocks}x{a.cells}-{a.bias}")
@pytest.mark.parametrize("as_symbols", [True, False])
def test_kernel_equals_the_reference(architecture, as_symbols, rng):
    a, T, rate = architecture, 23, 0.7
    network = Network(a, rng, 0.8)
    symbols = rng.integers(0, a.inputs, T)
    x = np.eye(a.inputs)[symbols] if as_symbols else rng.normal(size=(T, a.inputs))
    target = np.zeros(network.V.shape[1])
    target[: a.outputs] = rng.random(a.outputs)
    W, V = to_reference(network)
    dW, dV = lstm1997.truncated_gradient(x, np.tile(target[: a.outputs], (T, 1)), W, V, a.blocks, every_step=False)
    has_bias = network.biased[: a.hidden, None] != 0
    dW[:, -1:] *= has_bias
    dV[:, -1] *= a.bias == "all"
    expected = lstm1997.run(x, W, V, a.blocks).answers[-1]
    given_x = np.zeros((1, 2)) if as_symbols else x
    answer = kernel.last_step_update(
        network.W, network.V, network.biased, network.sizes, given_x, symbols, T, target, rate
    )
    assert relative_error(answer, expected) < TOLERANCE
    W_after, V_after = to_reference(network)
    assert relative_error((W_after - W) / rate, dW) < 1e-9  # a difference of weights: a few digits are lost
    assert relative_error((V_after - V) / rate, dV) < 1e-9
    assert not network.W[:, a.hidden :].any()  # padding stays out of it
    assert not network.V[:, a.outputs :].any()


@pytest.mark.parametrize("every_step", [False, True])
def test_the_rule_is_the_exact_gradient_when_the_sources_are_frozen(every_step, rng):
    """What is truncated, as a statement that can be tested: the way a weight acts through earlier gates and cells."""
    T, blocks, cells, inputs, outputs = 7, 2, 2, 3, 2
    H, C = blocks * (2 + cells), blocks * cells
    W, V = rng.normal(size=(H, inputs + H + 1)), rng.normal(size=(outputs, C + 1))
    x, targets = rng.normal(size=(T, inputs)), rng.random((T, outputs))
    dW, dV = lstm1997.truncated_gradient(x, targets, W, V, blocks, every_step)
    u = lstm1997.run(x, W, V, blocks).u

    def loss(W, V, frozen):
        e = targets - lstm1997.run(x, W, V, blocks, frozen).answers
        return 0.5 * np.sum(e**2 if every_step else e[-1] ** 2)

    def complex_step(array, which, frozen):
        gradient = np.empty_like(array)
        for place in np.ndindex(array.shape):
            moved = array.astype(complex)
            moved[place] += 1e-30j
            gradient[place] = loss(*(moved, V) if which == "W" else (W, moved), frozen).imag / 1e-30
        return gradient

    assert relative_error(-dW, complex_step(W, "W", u)) < TOLERANCE
    assert relative_error(-dV, complex_step(V, "V", u)) < TOLERANCE
    assert relative_error(-dV, complex_step(V, "V", None)) < TOLERANCE  # outputs feed nothing back
    assert relative_error(-dW, complex_step(W, "W", None)) > 1e-3  # the full gradient is another one


def test_training_changes_exactly_the_weights_that_exist(rng):
    a = Architecture(7, 7, 3, 2, "gates")
    network = Network(a, rng, 0.2, output_gate_bias=(-1, -2, -3))
    before = network.W.copy()
    strings, lengths, legal = reber_arrays(8)
    record = np.zeros((2, 2))
    kernel.train_reber(
        network.W, network.V, network.biased, network.sizes, seeded(0), strings, lengths, legal, 4, 0.1, False, False,
        10, 50, record,
    )  # fmt: skip
    assert (before != network.W)[: a.hidden, : a.hidden].all()
    assert not network.W[a.hidden, 2 * a.blocks :].any()
    assert not network.V[-1].any()


def reber_arrays(n):
    batch = tasks.embedded_reber(np.random.default_rng(0), n)
    T = batch.x.shape[0]
    strings = np.full((n, T + 1), 6)
    strings[:, :T] = batch.x.argmax(axis=2).T
    strings[np.arange(n), batch.lengths] = 6
    return strings, batch.lengths, batch.y.transpose(1, 0, 2) > 0.5


def test_an_open_output_gate_is_one_and_stays_one(rng):
    network = Network(Architecture(7, 7, 3, 2, "gates"), rng, 0.2)
    strings, lengths, legal = reber_arrays(8)
    record = np.zeros((2, 2))
    gates_before = network.W[:, 3:6].copy()
    kernel.train_reber(
        network.W, network.V, network.biased, network.sizes, seeded(0), strings, lengths, legal, 4, 0.1, True, True,
        10, 20, record,
    )  # fmt: skip
    np.testing.assert_array_equal(network.W[:, 3:6][:12], gates_before[:12])


# ---------------------------------------------------------------- the rivals


def central_difference(function, array, step=1e-6):
    gradient = np.empty_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        array[place] = kept + step
        above = function()
        array[place] = kept - step
        gradient[place] = (above - function()) / (2 * step)
        array[place] = kept
    return gradient


@pytest.mark.parametrize("kind", [one_cell.CELL, one_cell.LOGISTIC_UNIT])
def test_gradient_of_the_one_cell_network(kind, rng):
    S = 5
    symbols = rng.integers(0, S, 9)
    direct, gate, unit = rng.normal(size=(S + 1, S)), rng.normal(size=S + 1), rng.normal(size=S + 1)
    gradients = tuple(np.zeros_like(a) for a in (direct, gate, unit))
    work, wrong = np.zeros((2, S + 1)), np.zeros(2)
    one_cell.sequence_gradient(symbols, direct, gate, unit, kind, work, gradients, wrong)
    nowhere = tuple(np.zeros_like(a) for a in gradients)

    def loss():
        return 0.5 * one_cell.sequence_gradient(symbols, direct, gate, unit, kind, work, nowhere, wrong)

    for array, gradient in zip((direct, gate, unit), gradients, strict=True):
        assert np.abs(central_difference(loss, array) + gradient).max() < 1e-8


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("as_symbols", [False, True])
def test_gradient_of_the_recurrent_network(every_step, as_symbols, rng):
    T, H, I, K = 6, 4, 3, 3
    W, V = rng.normal(size=(H, H + 1 + I)), rng.normal(size=(K, H + 1))
    x = np.zeros((1, I)) if as_symbols else rng.normal(size=(T, I))
    symbols, targets = rng.integers(0, 3, T + 1), rng.random((1, K))
    h, delta, answer = np.zeros((T + 1, H)), np.zeros((2, H)), np.zeros((T, K))

    def run(dW, dV):
        recurrent_network.sequence_gradient(W, V, I, x, symbols, T, targets, every_step, h, delta, dW, dV, answer)
        goal = np.eye(K)[symbols[1:]] if every_step else targets
        return 0.5 * np.sum((goal - (answer if every_step else answer[-1:])) ** 2)

    dW, dV = np.zeros_like(W), np.zeros_like(V)
    run(dW, dV)
    assert np.abs(central_difference(lambda: run(np.zeros_like(W), np.zeros_like(V)), W) + dW).max() < 1e-8
    assert np.abs(central_difference(lambda: run(np.zeros_like(W), np.zeros_like(V)), V) + dV).max() < 1e-8


# ---------------------------------------------------------------- sequences in kernels follow the tasks


def drawn(seed, task, numbers, outputs, n):
    """Sequences of the kernel as lists of inputs and targets."""
    numbers = np.array(numbers)
    x, symbols, target, clean = buffers = sequences.buffers(task, numbers, outputs)
    rng = seeded(seed)
    for _ in range(n):
        length = sequences.draw(rng, task, numbers, *buffers)
        yield (symbols[:length].copy() if len(x) == 1 else x[:length].copy()), target.copy(), clean.copy()


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
def test_temporal_order_in_the_kernel(seed, marks):
    windows = {2: [(10, 20), (50, 60)], 3: [(10, 20), (33, 43), (66, 76)]}[marks]
    for symbols, target, _ in drawn(seed, sequences.TEMPORAL_ORDER, [marks, 0, 0], 2**marks, 3):
        assert 100 <= len(symbols) <= 110
        places = np.flatnonzero(symbols >= 6)
        assert len(places) == marks
        assert all(low <= place <= high for place, (low, high) in zip(places, windows, strict=True))
        assert (symbols[0], symbols[-1]) == (0, 1)
        assert set(np.delete(symbols[1:-1], places - 1)) <= {2, 3, 4, 5}
        answer = int("".join(str(s - 6) for s in symbols[places]), 2)
        assert target.tolist() == np.eye(2**marks)[answer].tolist()


@given(st.integers(0, 10**6), st.integers(24, 60), st.booleans(), st.sampled_from(range(3)))
def test_marked_pairs_in_the_kernel(seed, T, multiply, first_pair):
    neutral = 1.0 if multiply else 0.0
    for x, target, _ in drawn(seed, sequences.MARKED_PAIRS, [T, multiply, first_pair], 1, 3):
        assert T <= len(x) <= T + T // 10
        assert x[0, 1] == x[-1, 1] == -1
        marked = np.flatnonzero(x[:, 1] == 1)
        assert set(np.unique(x[:, 1])) <= {-1, 0, 1}
        assert len(marked) == 2 or first_pair != sequences.NEVER
        assert marked.max() <= T // 2 - 2
        assert marked.min() < 10 or len(marked) == 1
        values = [*x[marked, 0], *[neutral] * (2 - len(marked))]
        assert target[0] == pytest.approx(values[0] * values[1] if multiply else 0.5 + sum(values) / 4)
        if len(marked) == 1 and first_pair == sequences.NEUTRAL:
            assert x[0, 0] == neutral


@given(st.integers(0, 10**6), st.integers(10, 40), st.integers(1, 3), st.sampled_from(range(3)))
def test_two_sequences_in_the_kernel(seed, T, N, variant):
    for x, target, clean in drawn(seed, sequences.TWO_SEQUENCES, [T, N, variant], 1, 3):
        assert T <= len(x) <= T + T // 10
        assert clean[0] in ((0.2, 0.8) if variant == 2 else (0.0, 1.0))
        if variant == 0:
            assert (x[:N, 0] == (1 if clean[0] == 1 else -1)).all()
        assert (target == clean).all() or variant == 2


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(0, 30))
def test_long_lag_in_the_kernel(seed, p, q):
    for symbols, target, _ in drawn(seed, sequences.LONG_LAG, [p, q, 0], 2, 3):
        assert len(symbols) >= q + 3
        assert symbols[0] == p + 1
        assert symbols[-1] == p
        assert target.tolist() == [float(symbols[1] == p + 2), float(symbols[1] == p + 3)]
        assert (symbols[2:-1] < p).all()


def test_moments_of_the_random_numbers():
    """Means and variances over many sequences: the statistics that a wrong constant would change."""
    x = np.concatenate([x[3:, 0] for x, _, _ in drawn(1, sequences.TWO_SEQUENCES, [100, 3, 2], 1, 2000)])
    assert x.mean() == pytest.approx(0, abs=5e-3)
    assert x.var() == pytest.approx(0.2, rel=0.01)
    noise = np.concatenate([t - c for _, t, c in drawn(2, sequences.TWO_SEQUENCES, [10, 3, 2], 1, 5000)])
    assert noise.var() == pytest.approx(0.1, rel=0.06)
    y = np.array([t[0] for _, t, _ in drawn(3, sequences.MARKED_PAIRS, [100, 0, 2], 1, 20000)])
    assert y.var() == pytest.approx(1 / 24, rel=0.03)
    lengths = [len(s) for s, _, _ in drawn(4, sequences.LONG_LAG, [5, 50, 0], 2, 5000)]
    assert np.mean(lengths) == pytest.approx(62, abs=0.5)
    classes = np.array([t for _, t, _ in drawn(5, sequences.TEMPORAL_ORDER, [2, 0, 0], 4, 4000)])
    np.testing.assert_allclose(classes.mean(axis=0), 0.25, atol=0.03)


def test_a_seed_gives_the_same_training_run_again():
    records = []
    for seed in (0, 0, 1):
        network = Network(Architecture(8, 4, 2, 2, "all"), np.random.default_rng(seed), 0.1, (-2, -4))
        numbers, record = np.array([2, 0, 0]), np.zeros((2, 5))
        seeds = np.stack([seeded(seed, stream) for stream in range(3)])
        kernel.train(
            network.W, network.V, network.biased, network.sizes, seeds, sequences.TEMPORAL_ORDER, numbers,
            sequences.buffers(sequences.TEMPORAL_ORDER, numbers, 4), 0.5, 0.3, 100, np.array([60]), 0, np.zeros(1), 300,
            record,
        )  # fmt: skip
        records.append(record)
    np.testing.assert_array_equal(records[0], records[1])
    assert not np.array_equal(records[0], records[2], equal_nan=True)


@pytest.mark.parametrize(("blocks", "cells"), [(4, 1), (3, 2)])
def test_error_at_every_step_equals_the_reference(blocks, cells, rng):
    """Experiment 1: one string, and the change of all weights after it."""
    a, rate = Architecture(7, 7, blocks, cells, "gates"), 0.3
    network = Network(a, rng, 0.5)
    strings, lengths, legal = (array[:1] for array in reber_arrays(4))
    W, V = to_reference(network)
    T = lengths[0]
    x, targets = np.eye(7)[strings[0, :T]], np.eye(7)[strings[0, 1 : T + 1]]
    dW, _ = lstm1997.truncated_gradient(x, targets, W, V, blocks, every_step=True)
    dW[:, -1] *= network.biased[: a.hidden]
    kernel.train_reber(
        network.W, network.V, network.biased, network.sizes, seeded(0), strings, lengths, legal, 1, rate, False, False,
        100, 1, np.zeros((2, 2)),
    )  # fmt: skip
    assert relative_error((to_reference(network)[0] - W) / rate, dW) < 1e-9


def test_a_look_at_all_strings_ends_when_too_few_can_be_right(rng):
    """A number below what was asked for need not be the exact one; a number that reaches it is."""
    a = Architecture(7, 7, 3, 2, "gates")
    network = Network(a, rng, 0.2)
    sets = reber_arrays(32)
    sets[2][::2] = True  # every output may be the next symbol: nothing can be wrong

    def right(enough):
        state = kernel.workspace(network.W, network.V)
        return kernel.reber_right(network.W, network.V, network.sizes, *sets, enough, state)

    exact = right(0)
    assert 16 <= exact < 32
    assert right(exact) == exact
    assert right(exact + 1) <= exact
    assert right(33) == 0
