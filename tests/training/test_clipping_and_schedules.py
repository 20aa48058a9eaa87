"""Clipping and schedules against PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba.training import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    ReduceOnPlateau,
    Schedule,
    StepSchedule,
    clip_grad_norm,
    global_norm,
)


@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=4),
    max_norm=st.floats(1e-3, 1e3),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**31),
)
def test_clipping_equals_torch(shapes, max_norm, dtype, seed):
    rng = np.random.default_rng(seed)
    grads = {f"p{k}": np.asarray(rng.normal(size=s), dtype) for k, s in enumerate(shapes)}
    tensors = [torch.zeros(s, dtype=getattr(torch, dtype), requires_grad=True) for s in shapes]
    for tensor, grad in zip(tensors, grads.values(), strict=True):
        tensor.grad = torch.from_numpy(grad.copy())
    tolerance = 1e-5 if dtype == "float32" else 1e-10
    expected = torch.nn.utils.clip_grad_norm_(tensors, max_norm).item()
    arrays = list(grads.values())
    np.testing.assert_allclose(clip_grad_norm(grads, max_norm), expected, rtol=tolerance)
    for tensor, grad, array in zip(tensors, grads.values(), arrays, strict=True):
        assert grad is array
        np.testing.assert_allclose(grad, tensor.grad.numpy(), rtol=tolerance, atol=tolerance)
    assert global_norm(grads) <= max_norm * (1 + tolerance)


def test_norm_does_not_overflow_in_float32():
    grads = [np.full(4, 1e30, np.float32)]
    assert clip_grad_norm(grads, 1.0) == pytest.approx(2e30)
    np.testing.assert_allclose(grads[0], 0.5, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite(bad):
    grads = {"weight": np.ones(3), "bias": np.array([bad])}
    with pytest.raises(ValueError, match=rf"global norm is {bad}; not finite in \['bias'\]"):
        clip_grad_norm(grads, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(grads["weight"], 1)
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(clip_grad_norm(grads, 1.0))


def test_bad_input_of_clipping():
    with pytest.raises(ValueError, match=r"max_norm: .*> 0, got 0"):
        clip_grad_norm([np.ones(2)], 0)
    with pytest.raises(TypeError, match=r"grads\['0'\].*int64"):
        clip_grad_norm([np.ones(2, int)], 1.0)
    frozen = np.ones(2)
    frozen.flags.writeable = False
    with pytest.raises(TypeError, match="read-only"):
        clip_grad_norm({"w": frozen}, 1.0)


def oracle_rates(make_scheduler, steps, lr=0.3, metrics=None):
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make_scheduler(optimiser)
    rates = []
    for step in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step(*(() if metrics is None else (metrics[step],)))
    return rates


def warm_cosine(warmup, total, final, lr):
    def make_scheduler(optimiser):
        from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

        rise = LinearLR(optimiser, start_factor=1 / (warmup + 1), total_iters=warmup)
        fall = CosineAnnealingLR(optimiser, T_max=total - warmup, eta_min=final * lr)
        return SequentialLR(optimiser, [rise, fall], milestones=[warmup])

    return make_scheduler


# PyTorch's SequentialLR calls its parts in a way that PyTorch itself deprecates.
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize(
    ("ours", "theirs", "steps"),
    [
        (StepSchedule(3, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5), 12),
        (ExponentialSchedule(0.9), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9), 30),
        (CosineSchedule(20), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20), 21),
        (CosineSchedule(20, warmup=4, final=0.1), warm_cosine(4, 20, 0.1, 0.3), 21),
        (ConstantSchedule(), lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0), 5),
    ],
)
def test_schedules_equal_torch(ours, theirs, steps):
    rates = [0.3 * ours.factor(step) for step in range(steps)]
    np.testing.assert_allclose(rates, oracle_rates(theirs, steps), rtol=1e-10, atol=1e-14)


def test_cosine_stays_at_its_last_value():
    schedule = CosineSchedule(5, final=0.2)
    assert [schedule.factor(step) for step in (5, 6, 100)] == [0.2, 0.2, 0.2]


@given(
    seed=st.integers(0, 2**31),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    min_factor=st.sampled_from([0.0, 0.2]),
)
def test_reduce_on_plateau_equals_torch(seed, patience, cooldown, threshold, min_factor):
    rng = np.random.default_rng(seed)
    metrics = np.maximum(0.05, 1 - 0.02 * np.arange(40) + 0.2 * rng.normal(size=40)).tolist()
    lr = 0.3
    expected = oracle_rates(
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(
            o, factor=0.5, patience=patience, threshold=threshold, cooldown=cooldown, min_lr=min_factor * lr, eps=0
        ),
        40,
        lr,
        metrics,
    )
    schedule, rates = ReduceOnPlateau(0.5, patience, threshold, cooldown, min_factor), []
    for step, metric in enumerate(metrics):
        rates.append(lr * schedule.factor(step))
        if step == 20:  # an interruption changes nothing
            state, schedule = schedule.state_dict(), ReduceOnPlateau(0.5, patience, threshold, cooldown, min_factor)
            schedule.load_state_dict(state)
        schedule.observe(metric)
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("make_schedule", "error", "message"),
    [
        (lambda: StepSchedule(0), ValueError, "step_size: expected an integer >= 1, got 0"),
        (lambda: StepSchedule(1.5), TypeError, "step_size: expected an integer, got float"),
        (lambda: ExponentialSchedule(-1), ValueError, "gamma"),
        (lambda: CosineSchedule(5, warmup=5), ValueError, "warmup: expected fewer steps than total=5"),
        (lambda: CosineSchedule(5, final=2), ValueError, "final"),
        (lambda: ReduceOnPlateau(gamma=1.0), ValueError, "gamma: .*< 1"),
        (lambda: ReduceOnPlateau().load_state_dict({"best": 1}), ValueError, "state: expected the keys"),
        (lambda: Schedule().factor(0), NotImplementedError, "factor"),
    ],
)
def test_bad_settings(make_schedule, error, message):
    with pytest.raises(error, match=message):
        make_schedule()
