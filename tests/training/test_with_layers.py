"""The loop, the optimisers and the losses together with the package's own layers."""

from functools import partial

import numpy as np
import pytest

from lstm_numba.layers import LSTM, Dense, LastStep, Sequential
from lstm_numba.training import Adam, cross_entropy_loss, fit, mse_loss, pinball_loss


def classifier(dtype="float64", outputs=2, seed=0):
    return Sequential(
        LSTM(1, 8, batch_first=True, dtype=dtype, seed=seed),
        LastStep(batch_first=True, dtype=dtype),
        Dense(8, outputs, dtype=dtype, seed=seed + 1),
    )


def first_sign(samples=200, T=10, dtype="float64", seed=0):
    """The class is the sign of the first of T numbers: it must be remembered to the end."""
    x = np.random.default_rng(seed).normal(size=(samples, T, 1)).astype(dtype)
    return x, (x[:, 0, 0] > 0).astype(np.int64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_lstm_learns_to_remember(dtype):
    model, (x, y) = classifier(dtype), first_sign(dtype=dtype)
    fit(model, x, y, loss=cross_entropy_loss, optimiser=Adam(model, lr=0.02), epochs=40, clip_norm=1.0, progress=False)
    x, y = first_sign(dtype=dtype, seed=1)
    assert np.mean(model(x).argmax(axis=-1) == y) > 0.95


def test_an_lstm_resumes_bit_for_bit(tmp_path):
    x, y = first_sign(60)

    def run(epochs, seed=0, **settings):
        model = classifier(seed=seed)
        history = fit(
            model, x, y, loss=cross_entropy_loss, optimiser=Adam(model), epochs=epochs, progress=False, **settings
        )
        return model.state_dict(), history

    straight, expected = run(4)
    run(2, checkpoint=tmp_path / "half.npz")
    resumed, history = run(4, seed=50, resume=tmp_path / "half.npz")
    assert history.train_loss == expected.train_loss
    for name, value in straight.items():
        np.testing.assert_array_equal(resumed[name], value)


def test_quantiles_are_calibrated():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 3, 1))
    y = x[:, -1, 0] + rng.normal(size=1000)
    model = classifier(outputs=3)
    quantiles = (0.1, 0.5, 0.9)
    loss = partial(pinball_loss, quantiles=quantiles)
    fit(model, x, y, loss=loss, optimiser=Adam(model, lr=0.01), epochs=20, progress=False)
    below = np.mean(y[:, None] <= model(x), axis=0)
    np.testing.assert_allclose(below, quantiles, atol=0.05)


def test_a_bare_lstm_is_refused_with_advice():
    model = LSTM(1, 2, batch_first=True, dtype="float64", seed=0)
    x = np.zeros((4, 3, 1))
    with pytest.raises(TypeError, match="build the model with Sequential"):
        fit(model, x, x, loss=mse_loss, optimiser=Adam(model), epochs=1, progress=False)
