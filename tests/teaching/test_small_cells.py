"""What chapter 3.1 measures with: budgets, losses with masks, and the task that needs the future."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba import gradcheck
from lstm_numba.teaching import small_cells as study


@pytest.mark.parametrize("cell", study.CELLS)
@pytest.mark.parametrize(("num_layers", "bidirectional"), [(1, False), (3, True)])
def test_parameters_are_those_of_the_network(cell, num_layers, bidirectional):
    sizes = {"num_layers": num_layers, "bidirectional": bidirectional}
    model = study.network(cell, 5, 7, 3, seed=0, **sizes)
    assert study.parameter_count(cell, 5, 7, 3, **sizes) == sum(p.size for p in model.parameters.values())


@pytest.mark.parametrize("cell", study.CELLS)
def test_no_other_number_of_units_is_closer_to_the_budget(cell):
    for budget in (300, 2000, 2017):
        H = study.units_for(budget, cell, 8, 4)
        gaps = [abs(study.parameter_count(cell, 8, other, 4) - budget) for other in range(1, 80)]
        assert gaps[H - 1] == min(gaps)


def test_only_the_gate_that_keeps_is_biased():
    for cell, layer in (("LSTM", ln.LSTM(2, 3, seed=4)), ("GRU after", ln.GRU(2, 3, seed=4))):
        shift = study.recurrent(cell, 2, 3, seed=4).parameters["bias_ih_l0"] - layer.parameters["bias_ih_l0"]
        expected = np.zeros_like(shift)
        expected[3:6] = study.RETENTION
        np.testing.assert_allclose(shift, expected, atol=1e-6)


def test_unknown_cell_is_refused():
    with pytest.raises(ValueError, match="cell: expected one of RNN"):
        study.recurrent("QRNN", 2, 3, seed=0)


@pytest.mark.parametrize("name", study.TASKS)
def test_gradients_of_the_masked_losses(name):
    task = study.TASKS[name]
    rng = np.random.default_rng(5)
    batch = task.samples(rng, 2)
    answers = rng.normal(size=(*batch.mask.shape, task.outputs))
    y = batch.y.astype(float) if batch.y.dtype.kind == "f" else batch.y
    _, gradient = task.loss(answers, y, batch.mask)
    numeric = gradcheck.central_difference(lambda a: task.loss(a, y, batch.mask)[0], answers)
    np.testing.assert_allclose(gradient, numeric, atol=1e-8)
    assert not gradient[~batch.mask].any()


def test_yes_or_no_loss_is_finite_for_large_logits():
    value, gradient = study.masked_yes_or_no(np.full((1, 1, 2), 1e4), np.array([[[0.0, 1.0]]]), np.ones((1, 1), bool))
    assert value == 5e3
    np.testing.assert_allclose(gradient, [[[0.5, 0.0]]])


def test_the_future_is_needed():
    """The exact answer scores 0; the best guess from the position scores the bound."""
    T, V = 12, 8
    batch = study.seen_again(np.random.default_rng(6), 4000, T, V)
    symbols = batch.x.argmax(axis=2)
    for t, b in ((0, 0), (5, 3), (11, 7)):
        assert batch.y[t, b] == (symbols[t][b] in symbols[t + 1 :, b])
    again = 1 - (1 - 1 / V) ** np.arange(T)[::-1]
    guess = np.broadcast_to((again > 0.5)[:, None], batch.y.shape)
    assert abs(np.mean(guess != batch.y) - study.causal_bound(T, V)) < 0.01


def test_accepted_reads_logits():
    def perfect(x):
        symbols = x[:, 0].argmax(axis=1)
        n = int((symbols == 1).sum())
        logits = np.full(x.shape, -1.0)
        for t, symbol in enumerate(symbols):
            following = [[1], [1, 2], [2 if t < 2 * n else 3]][symbol]
            logits[t, 0, following] = 1.0
        return logits

    assert study.accepted(perfect, 6).all()
    assert not study.accepted(lambda x: -perfect(x), 6).any()


def test_training_learns_and_repeats():
    def run():
        model = study.network("GRU after", 8, 8, 4, seed=1)
        losses = study.train(model, study.TASKS["order"], updates=120, lr=0.03, seed=1)
        return losses, study.score(model, study.TASKS["order"], seed=1, sequences=64)

    (losses, errors), again = run(), run()
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    assert (losses, errors) == again


@pytest.mark.parametrize("n", [2, 11])
def test_interval_needs_a_few_values(n):
    with pytest.raises(ValueError, match="3 to 10"):
        study.t_interval(np.arange(n))
