"""The protocol of the variants study: fair draws, a real search, and the benchmark that runs it."""

import json

import numpy as np
import pytest

import benchmarks.variants as benchmark
from lstm_numba.teaching import variants_study as study


def test_draws_are_the_same_for_everybody_and_inside_the_limits():
    settings = [study.draw_setting(number) for number in range(50)]
    assert settings == [study.draw_setting(number) for number in range(50)]
    assert len({setting["lr"] for setting in settings}) > 40
    for setting in settings:
        assert study.LEARNING_RATES[0] <= setting["lr"] <= study.LEARNING_RATES[1]
        assert study.SIZES[0] <= setting["hidden"] <= study.SIZES[1]


@pytest.mark.parametrize("model", study.MODELS)
def test_whatever_keeps_the_state_is_biased_towards_keeping(model):
    before, after = (study.recurrent_layer(model, 2, 3, seed=0, retention=r).parameters["bias_ih_l0"] for r in (0, 1))
    change = (after - before).reshape(-1, 3)[:, 0].tolist()
    expected = {
        "V": [0, 1, 0, 0],
        "NIG": [1, 0, 0],
        "NFG": [0, 0, 0],
        "NOG": [0, 1, 0],
        "CIFG": [-1, 0, 0],
        "GRU": [0, 1, 0],
    }
    np.testing.assert_allclose(change, expected.get(model, [0, 1, 0, 0]), atol=1e-6)


def test_the_gru_bias_is_on_the_gate_that_keeps():
    layer = study.recurrent_layer("GRU", 2, 3, seed=0, retention=50.0)
    h0 = np.random.default_rng(0).normal(size=(1, 1, 3)).astype("f4")
    y, _ = layer(np.zeros((5, 1, 2), "f4"), h0)
    np.testing.assert_allclose(y[-1], h0[0], rtol=1e-5)


@pytest.mark.parametrize("task", study.TASKS)
def test_samples_fit_the_network_and_seeds_repeat(task):
    task = study.TASKS[task]
    first, again = (task.samples(np.random.default_rng(3)) for _ in range(2))
    for _ in range(2):
        a, b = next(first), next(again)
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.target, b.target)
        assert a.x.shape[2] == task.inputs
        assert a.x.dtype == np.float32
        network = study.Network("NP", task.inputs, 5, task.outputs, seed=0)
        prediction, _ = network(a.x, a.last)
        value, gradient = task.loss(prediction, a.target)
        assert np.isfinite(value)
        assert gradient.shape == prediction.shape


def test_the_text_goes_on_where_the_batch_before_stopped():
    samples = study.TASKS["text"].samples(np.random.default_rng(0))
    first, second = next(samples), next(samples)
    assert not first.carried
    assert second.carried
    np.testing.assert_array_equal(first.target[-1], second.x[0].argmax(axis=1))


def test_training_learns_and_repeats_itself():
    def once():
        return study.run_once("NP", study.TASKS["order"], lr=0.02, hidden=16, seed=1, part="test", updates=40)

    result = once()
    assert result == once()
    assert not result["diverged"]
    assert len(result["curve"]) == 20
    assert 0 <= result["score"] <= 1


def test_gradients_reach_the_weights_through_the_readout_at_one_step():
    network = study.Network("V", 2, 3, 1, seed=0)
    network(np.ones((4, 2, 2), "f4"), np.array([1, 3]))
    network.backward(np.ones((2, 1), "f4"))
    assert all(np.abs(grad).max() > 0 for grad in network.grads.values())


def test_bootstrap_interval_brackets_the_mean():
    values = np.arange(20.0)
    low, high = study.bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(20), rel=0.1)


def test_a_stopped_run_goes_on_and_a_larger_one_adds(tmp_path):
    out = tmp_path / "runs.jsonl"
    arguments = {"models": ("NP", "NFG"), "tasks": ("order",), "draws": 2, "seeds": 1, "updates": 2}
    runs = benchmark.run(out, **arguments)
    assert [run["phase"] for run in runs] == ["search"] * 4 + ["final"] * 2
    lines = out.read_text().splitlines()
    assert len(lines) == 7
    assert "provenance" in json.loads(lines[0])

    out.write_text("\n".join(lines[:4]) + "\n")  # stopped in the middle of the search
    again = benchmark.run(out, **arguments)
    times = "cpu_seconds"
    assert [{k: v for k, v in run.items() if k != times} for run in again] == [
        {k: v for k, v in run.items() if k != times} for run in runs
    ]
    more = benchmark.run(out, **arguments | {"seeds": 2})
    assert len(more) == len(runs) + 2
    assert study.final_scores(more, "order", "NP").shape == (2,)


def test_the_setting_is_chosen_on_the_search_alone():
    def line(phase, number, lr, score, loss):
        return {
            "phase": phase,
            "task": "order",
            "model": "V",
            "number": number,
            "lr": lr,
            "hidden": 9,
            "score": score,
            "curve": [1.0, loss],
        }

    runs = [line("search", 0, 0.1, 0.2, 0.3), line("search", 1, 0.2, 0.1, 0.4), line("search", 2, 0.3, 0.1, 0.2)]
    runs += [line("final", 0, 0.1, 0.0, 0.0), line("final", 1, 0.3, 0.5, 0.0), line("final", 0, 0.3, 0.7, 0.0)]
    assert study.best_setting(runs, "order", "V")["lr"] == 0.3  # equal scores: less training loss
    assert study.best_setting(runs, "order", "V", draws=1)["lr"] == 0.1
    assert study.final_scores(runs, "order", "V").tolist() == [0.7, 0.5]  # by seed
