"""Losses against PyTorch, scikit-learn and central differences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss

from lstm_numba.training import cross_entropy_loss, mae_loss, mse_loss, pinball_loss

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
shapes = st.lists(st.integers(1, 5), min_size=0, max_size=4).map(tuple)
dtypes = st.sampled_from(["float32", "float64"])
seeds = st.integers(0, 2**31)


def torch_value_and_gradient(loss, prediction, target):
    prediction = torch.from_numpy(prediction.copy()).requires_grad_()
    value = loss(prediction, torch.from_numpy(target))
    value.backward()
    return value.item(), prediction.grad.numpy()


def assert_same(ours, theirs, dtype):
    value, gradient = ours
    assert isinstance(value, float)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(value, theirs[0], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(gradient, theirs[1], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@given(shape=shapes, dtype=dtypes, seed=seeds)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(mse_loss, torch.nn.functional.mse_loss), (mae_loss, torch.nn.functional.l1_loss)],
)
def test_regression_losses_equal_torch(ours, theirs, shape, dtype, seed):
    rng = np.random.default_rng(seed)
    prediction = np.asarray(rng.normal(size=shape), dtype)
    target = np.asarray(rng.normal(size=shape), dtype)
    before = prediction.copy(), target.copy()
    result = ours(prediction, target)
    assert np.shape(result[1]) == shape
    assert_same(result, torch_value_and_gradient(theirs, prediction, target), dtype)
    np.testing.assert_array_equal(prediction, before[0])
    np.testing.assert_array_equal(target, before[1])


@given(shape=shapes, K=st.integers(1, 6), dtype=dtypes, seed=seeds, ignore=st.booleans())
def test_cross_entropy_equals_torch(shape, K, dtype, seed, ignore):
    rng = np.random.default_rng(seed)
    logits = np.asarray(3 * rng.normal(size=(*shape, K)), dtype)
    target = np.asarray(rng.integers(0, K, size=shape))
    if ignore and target.size > 1:
        target.flat[0] = -100
    ours = cross_entropy_loss(logits, target, ignore_index=-100)

    def theirs(z, y):
        return torch.nn.functional.cross_entropy(z.reshape(-1, K), y.reshape(-1))

    assert_same(ours, torch_value_and_gradient(theirs, logits, target), dtype)


def test_cross_entropy_survives_huge_logits():
    value, gradient = cross_entropy_loss(np.array([[1e30, -1e30]], np.float32), np.array([1]))
    assert value == pytest.approx(2e30)
    np.testing.assert_array_equal(gradient, np.array([[1, -1]], np.float32))


@given(shape=shapes, Q=st.integers(1, 4), dtype=dtypes, seed=seeds)
def test_pinball_equals_scikit_learn(shape, Q, dtype, seed):
    rng = np.random.default_rng(seed)
    quantiles = rng.uniform(0.01, 0.99, size=Q)
    prediction = rng.normal(size=(*shape, Q)).astype(dtype)
    target = np.asarray(rng.normal(size=shape), dtype)
    value, gradient = pinball_loss(prediction, target, quantiles)
    columns = prediction.reshape(-1, Q)
    expected = np.mean([mean_pinball_loss(target.reshape(-1), columns[:, k], alpha=q) for k, q in enumerate(quantiles)])
    np.testing.assert_allclose(value, expected, rtol=TOLERANCE[dtype])

    def in_torch(p, y):
        d = y[..., None] - p
        q = torch.tensor(quantiles, dtype=p.dtype)
        return torch.maximum(q * d, (q - 1) * d).mean()

    assert_same((value, gradient), torch_value_and_gradient(in_torch, prediction, target), dtype)


def test_best_constant_under_the_pinball_loss_is_the_quantile():
    rng = np.random.default_rng(1)
    target = rng.exponential(size=2001)
    candidates = np.linspace(0, 4, 401)
    for q in (0.1, 0.5, 0.9):
        values = [pinball_loss(np.full((2001, 1), c), target, (q,))[0] for c in candidates]
        assert abs(candidates[np.argmin(values)] - np.quantile(target, q)) < 0.02


@pytest.mark.parametrize("loss", [mse_loss, mae_loss])
def test_gradient_is_zero_where_the_prediction_is_exact(loss):
    value, gradient = loss(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    assert value == 0
    np.testing.assert_array_equal(gradient, [0, 0])
    np.testing.assert_array_equal(pinball_loss(np.ones((1, 2)), np.ones(1), (0.1, 0.9))[1], [[0, 0]])


@pytest.mark.parametrize("loss", [mse_loss, mae_loss])
def test_nan_is_never_hidden(loss):
    value, gradient = loss(np.array([np.nan, 1.0]), np.array([1.0, 1.0]))
    assert np.isnan(value)
    assert np.isnan(gradient[0])
    assert np.isnan(pinball_loss(np.full((1, 1), np.nan), np.ones(1), (0.5,))[1]).all()


@pytest.mark.parametrize("loss", [mse_loss, mae_loss])
@pytest.mark.parametrize(
    ("prediction", "target", "error", "message"),
    [
        (np.ones((3, 1)), np.ones(3), ValueError, r"target: expected .*\(3, 1\), got \(3,\)"),
        (np.ones(3), np.ones(3, np.float32), TypeError, "target: expected .*float64, got float32"),
        (np.ones(3, int), np.ones(3, int), TypeError, "prediction: expected dtype .*int64"),
        (np.ones(0), np.ones(0), ValueError, r"prediction: .*\(0,\)"),
        ((np.ones(3), None), np.ones(3), TypeError, "tuple of 2"),
    ],
)
def test_bad_input_of_regression_losses(loss, prediction, target, error, message):
    with pytest.raises(error, match=message):
        loss(prediction, target)


@pytest.mark.parametrize(
    ("prediction", "target", "quantiles", "error", "message"),
    [
        (np.ones((3, 2)), np.ones(3), (0.5,), ValueError, r"prediction: expected 1 columns .*\(3, 2\)"),
        (np.ones((3, 1)), np.ones((3, 1)), (0.5,), ValueError, r"target: .*\(3,\), got \(3, 1\)"),
        (np.ones((3, 1)), np.ones(3), (1.0,), ValueError, "quantiles: .*between 0 and 1"),
        (np.ones((3, 0)), np.ones(3), (), ValueError, "prediction: expected at least one element"),
        (np.ones((3, 1)), np.ones(3, np.float32), (0.5,), TypeError, "target: .*float32"),
    ],
)
def test_bad_input_of_the_pinball_loss(prediction, target, quantiles, error, message):
    with pytest.raises(error, match=message):
        pinball_loss(prediction, target, quantiles)


@pytest.mark.parametrize(
    ("prediction", "target", "ignore_index", "error", "message"),
    [
        (np.ones((3, 2)), np.ones(3), None, TypeError, "target: expected integer"),
        (np.ones((3, 2)), np.ones((3, 2), int), None, ValueError, r"target: .*\(3,\), got \(3, 2\)"),
        (np.ones((3, 2)), np.array([0, 1, 2]), None, ValueError, r"from 0 to 1, got 2 \(1 outside\)"),
        (np.ones((3, 2)), np.array([0, 1, -1]), None, ValueError, "got -1"),
        (np.ones((2, 2)), np.array([-1, -1]), -1, ValueError, "every position"),
        (np.ones(()), np.array(1), None, ValueError, "target"),
    ],
)
def test_bad_input_of_the_cross_entropy(prediction, target, ignore_index, error, message):
    with pytest.raises(error, match=message):
        cross_entropy_loss(prediction, target, ignore_index=ignore_index)
