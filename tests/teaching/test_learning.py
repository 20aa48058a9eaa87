"""The studies of chapter 2.5 measure what they say."""

import json
from itertools import pairwise

import numpy as np
import pytest

import lstm_numba as ln
from benchmarks import making_it_learn
from lstm_numba.gradcheck import relative_error
from lstm_numba.teaching import learning
from lstm_numba.teaching.learning import STUDIES, Study, median_interval


@pytest.mark.parametrize(("n", "k"), [(5, 1), (6, 1), (8, 2), (10, 2), (20, 6)])
def test_the_interval_is_an_order_statistic(n, k):
    median, low, high = median_interval(np.arange(1, n + 1))
    assert (median, low, high) == ((n + 1) / 2, k, n + 1 - k)


def test_the_interval_covers_the_median():
    """As often as promised, for a skewed distribution."""
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(4000, 8))
    covered = [low <= np.log(2) <= high for _, low, high in map(median_interval, samples)]
    assert 0.92 < np.mean(covered) < 0.94  # 1 - 2 * 9 / 256 = 0.93


def test_the_interval_needs_five_values():
    with pytest.raises(ValueError, match="at least 5"):
        median_interval([1.0, 2.0])


def test_chrono_time_scales():
    lstm = ln.LSTM(1, 400, seed=0)
    learning.chrono(lstm, 100, np.random.default_rng(1))
    b = lstm.parameters["bias_ih_l0"] + lstm.parameters["bias_hh_l0"]
    scales = np.exp(b[400:800])
    assert 1 <= scales.min() < 3
    assert 95 < scales.max() <= 99
    np.testing.assert_allclose(b[:400], -b[400:800])


def test_forget_bias():
    lstm = ln.LSTM(1, 3, seed=0)
    before = lstm.state_dict()
    learning.set_forget_bias(lstm, 2.0)
    b = lstm.parameters["bias_ih_l0"] + lstm.parameters["bias_hh_l0"]
    np.testing.assert_array_equal(b[3:6], 2.0)
    kept = np.r_[0:3, 6:12]
    np.testing.assert_array_equal(lstm.parameters["bias_ih_l0"][kept], before["bias_ih_l0"][kept])


def test_first_below():
    losses = np.concatenate([np.ones(30), np.zeros(30)])
    assert learning.first_below(losses, 0.5, width=10) == 36  # 6 of the last 10 are zero
    assert learning.first_below(np.ones(30), 0.5, width=10) is None


def test_truncation_keeps_the_whole_gradient_at_full_length():
    rng = np.random.default_rng(2)
    lstm = ln.LSTM(2, 4, dtype="float64", seed=3)
    x, d = rng.normal(size=(9, 3, 2)), rng.normal(size=(3, 4))
    full = learning.truncated_gradient(lstm, x, d, 9)
    parts = [learning.truncated_gradient(lstm, x, d, keep) for keep in (1, 3, 6)]
    errors = [relative_error(part, full) for part in parts]
    assert all(later < earlier for earlier, later in pairwise(errors))
    y, _ = lstm(x)
    dy = np.zeros_like(y)
    dy[-1] = d
    lstm.zero_grad()
    lstm.backward(dy)
    np.testing.assert_allclose(full, np.concatenate([g.ravel() for g in lstm.grads.values()]), atol=1e-12)


@pytest.mark.parametrize("kind", learning.DROPOUTS)
def test_dropout_gradient(kind):
    """Against central differences with the masks held fixed; float32, hence the tolerance."""
    model = learning.Tagger(2, 5, seed=1)
    data = np.random.default_rng(3)
    x, target = learning._noisy_means(data, 4, 6)

    def loss():
        prediction, *rest = learning.dropout_forward(model, x, kind, 0.4, np.random.default_rng(9))
        value, d = ln.mse_loss(prediction.astype(np.float64), target.astype(np.float64))
        return value, d.astype(np.float32), rest

    _, d, (caches, masks) = loss()
    learning.dropout_backward(model, d, caches, masks)
    for name, parameter in model.parameters.items():
        analytic, numeric = model.grads[name].copy(), np.empty_like(parameter)
        for index in np.ndindex(parameter.shape):
            kept = parameter[index]
            values = []
            for step in (0.01, -0.01):
                parameter[index] = kept + step
                values.append(loss()[0])
            parameter[index] = kept
            numeric[index] = (values[0] - values[1]) / 0.02
        assert relative_error(analytic, numeric) < 5e-3, name


def test_without_dropout_the_steps_are_the_layer():
    model = learning.Tagger(2, 5, seed=1)
    x, _ = learning._noisy_means(np.random.default_rng(3), 4, 6)
    prediction, *_ = learning.dropout_forward(model, x, "none", 0.4, np.random.default_rng(9))
    y, _ = model.lstm(x)
    np.testing.assert_allclose(prediction, model.dense(y.mean(axis=0)), atol=1e-6)


def test_the_suggested_rate():
    rates = np.geomspace(1e-4, 1, 100)
    losses = (np.log10(rates) + 1) ** 2  # lowest at 0.1
    assert learning.suggested_rate(rates, losses, decay=0.0) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("study", "condition", "shorter"),
    [
        ("memory", "chrono, lag 10", {"updates": 25}),
        ("memory", "default, lag 10", {"updates": 25}),
        ("clipping", "each entry at most 0.1, rate 0.01", {"updates": 25}),
        ("clipping", "no clipping, rate 0.03", {"updates": 25}),
        ("truncation", "chunks of 6, state carried", {"steps": 60}),
        ("dropout", "recurrent, one mask", {"updates": 2}),
        ("learning rate", "rate 0.01", {"updates": 25}),
    ],
)
def test_a_condition_gives_plain_numbers(study, condition, shorter):
    settings = STUDIES[study].conditions[condition]
    measured = STUDIES[study].measure(**settings, **shorter, seed=0)
    assert measured == STUDIES[study].measure(**settings, **shorter, seed=0)
    assert json.loads(json.dumps(measured)) == measured


def test_a_stopped_run_goes_on(tmp_path):
    calls = []

    def measure(value, seed):
        calls.append((value, seed))
        return {"final": value / 3 + seed}

    studies = {"demo": Study({"a": {"value": 1}, "b": {"value": 2}}, measure)}
    out = tmp_path / "result.json"
    making_it_learn.run(out, 2, studies)
    result = making_it_learn.run(out, 3, studies)
    assert calls == [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2)]
    assert result["seeds"] == 3
    assert json.loads(out.read_text())["studies"]["demo"]["a"] == [
        {"final": 0.33333},
        {"final": 1.3333},
        {"final": 2.3333},
    ]
