"""The study behind chapter 1.3: its data, its gradients, and that a stopped run goes on."""

import json

import numpy as np
import pytest

from benchmarks import vanishing
from lstm_numba.gradcheck import central_difference, relative_error


@pytest.mark.parametrize("L", [10, 37])
def test_the_class_is_the_order_of_the_two_symbols(L):
    symbols, classes = vanishing.temporal_order(np.random.default_rng(0), 500, L)
    assert symbols.shape == (L, 500)
    for b in range(500):
        (places,) = np.nonzero(symbols[:, b] < 2)
        first, second = places
        assert 0.1 * L - 1 < first < 0.2 * L
        assert 0.5 * L - 1 < second < 0.6 * L
        assert classes[b] == 2 * symbols[first, b] + symbols[second, b]
    assert set(classes) == {0, 1, 2, 3}
    assert set(symbols.ravel()) == set(range(6))


def test_the_initial_matrix_is_sparse_with_spectral_radius_095():
    W = vanishing.smart_tanh(np.random.default_rng(0))["W_hh"]
    assert ((W != 0).sum(axis=1) == 15).all()
    assert np.abs(np.linalg.eigvals(W)).max() == pytest.approx(0.95)


def small(seed=0, L=7, B=3, H=5):
    rng = np.random.default_rng(seed)
    p = vanishing.smart_tanh(rng, H=20)
    sizes = {"W_ih": (H, 6), "W_hh": (H, H), "b": (H,), "V": (4, H), "b_out": (4,)}
    assert sizes.keys() == p.keys()
    return {name: rng.normal(size=shape) * 0.7 for name, shape in sizes.items()}, vanishing.temporal_order(rng, B, L)


@pytest.mark.parametrize("name", ["W_ih", "W_hh", "b", "V", "b_out"])
def test_gradients_of_the_loss(name):
    p, (symbols, classes) = small(L=10)
    other, (other_symbols, other_classes) = small(seed=1, L=10)
    symbols, classes = np.stack([other_symbols, symbols]), np.stack([other_classes, classes])
    _, (_, grads) = vanishing.rnn_gradients([other, p], symbols, classes, alpha=0.0)

    def loss(value):
        return vanishing.rnn_gradients([other, p | {name: value}], symbols, classes, alpha=0.0)[1][0]

    assert relative_error(grads[name], central_difference(loss, p[name])) < 1e-7


def test_gradient_of_the_regulariser():
    """Against differences of the definition, with the gradients that reach a step held still."""
    rng = np.random.default_rng(3)
    L, B, H = 6, 3, 5
    W, dz = rng.normal(size=(H, H)), rng.normal(size=(L, B, H))
    dh = rng.normal(size=(L + 1, B, H))
    dh[:-1] = dz @ W

    def omega(matrix):
        q = ((dz @ matrix) ** 2).sum(axis=2) / (dh[1:] ** 2).sum(axis=2)
        return ((q - 1.0) ** 2).mean()

    assert relative_error(vanishing.regulariser_gradient(dh, dz), central_difference(omega, W)) < 1e-7


def test_steps_without_gradient_do_not_count():
    dh, dz = np.zeros((4, 2, 3)), np.zeros((3, 2, 3))
    assert (vanishing.regulariser_gradient(dh, dz) == 0).all()


def test_the_regulariser_is_added_to_the_recurrent_weights_only():
    p, (symbols, classes) = small(L=10)
    ((_, without),) = vanishing.rnn_gradients([p], symbols[None], classes[None], alpha=0.0)
    ((_, with_it),) = vanishing.rnn_gradients([p], symbols[None], classes[None], alpha=2.0)
    changed = [name for name in p if not np.array_equal(without[name], with_it[name])]
    assert changed == ["W_hh"]


def test_both_networks_have_about_as_many_parameters():
    sizes = [sum(a.size for a in make(0).parameters.values()) for make in (vanishing._RNN, vanishing._LSTM)]
    assert max(sizes) < 1.04 * min(sizes)


def test_a_stopped_run_goes_on_and_hopeless_lengths_are_not_tried(tmp_path, monkeypatch):
    tried = []

    def fake(method, L, seeds, iterations):
        tried.extend((method, L, seed) for seed in seeds)
        solved = L < 20 or method.startswith("LSTM")
        return [{"method": method, "length": L, "seed": seed, "solved": solved} for seed in seeds]

    monkeypatch.setattr(vanishing, "train", fake)
    out = tmp_path / "result.json"
    first = vanishing.run(out, [10, 20, 30, 40], seeds=1, iterations=5)
    assert json.loads(out.read_text()) == first
    assert ("RNN, SGD", 30, 0) in tried
    assert ("RNN, SGD", 40, 0) not in tried
    assert ("LSTM with forget bias 1, Adam + clipping", 40, 0) in tried
    before = len(tried)
    second = vanishing.run(out, [10, 20, 30, 40], seeds=2, iterations=5)
    assert {row[2] for row in tried[before:]} == {1}
    rates = vanishing.success_rates(second)
    assert rates["RNN, SGD"] == {10: (2, 2), 20: (0, 2), 30: (0, 2), 40: (0, 2)}
    assert rates["LSTM with forget bias 5, Adam + clipping"][40] == (2, 2)


def test_another_commit_that_goes_on_is_written_down(tmp_path, monkeypatch):
    monkeypatch.setattr(
        vanishing,
        "train",
        lambda method, L, seeds, iterations: [vanishing.not_tried(method, L, seed) for seed in seeds],
    )
    commits = iter("aabbc")
    monkeypatch.setattr(vanishing, "provenance", lambda seed: {"commit": next(commits), "versions": {}})
    out = tmp_path / "result.json"
    found = [vanishing.run(out, [10, 20], seeds=n, iterations=5) for n in (1, 2, 3, 4, 5)][-1]
    assert [found["provenance"]["commit"], *(source["commit"] for source in found["continued"])] == ["a", "b", "c"]


@pytest.mark.parametrize("method", vanishing.METHODS)
def test_every_method_trains_and_seeds_do_not_disturb_each_other(method, monkeypatch):
    monkeypatch.setattr(vanishing, "CHECK_EVERY", 2)
    together = vanishing.train(method, L=10, seeds=[0, 1], iterations=3)
    alone = vanishing.train(method, L=10, seeds=[1], iterations=3)
    assert [row["seed"] for row in together] == [0, 1]
    for row in together:
        assert row["iterations"] == 3
        assert not row["solved"]
        assert 0 < row["error"] < 1
    assert together[1]["error"] == alone[0]["error"]
    assert together[1]["largest_norm"] == pytest.approx(alone[0]["largest_norm"], rel=1e-3)


def test_an_easy_length_is_solved_and_confirmed():
    (row,) = vanishing.train("LSTM with forget bias 1, Adam + clipping", L=10, seeds=[0], iterations=1000)
    assert row["solved"]
    assert row["error"] < 0.01
