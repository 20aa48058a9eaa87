"""Optimisers against the trajectories of torch.optim."""

import itertools

import numpy as np
import pytest
import torch

from lstm_numba.training import SGD, Adam, AdamW

from .models import Bag

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
SHAPES = {"weight": (4, 3), "bias": (4,), "scale": ()}
SGD_OPTIONS = [
    {"lr": 0.1, "momentum": m, "nesterov": n, "weight_decay": w}
    for m, n, w in itertools.product((0.0, 0.9), (False, True), (0.0, 0.05))
    if m or not n
]
ADAM_OPTIONS = [
    {"lr": 0.05, "betas": b, "eps": e, "weight_decay": w}
    for b, e, w in itertools.product(((0.9, 0.999), (0.5, 0.8)), (1e-8, 1e-3), (0.0, 0.1))
]
CASES = (
    [(SGD, torch.optim.SGD, o) for o in SGD_OPTIONS]
    + [(Adam, torch.optim.Adam, o) for o in ADAM_OPTIONS]
    + [(AdamW, torch.optim.AdamW, o) for o in ADAM_OPTIONS]
)


def make(dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return Bag(**{name: np.asarray(rng.normal(size=shape), dtype) for name, shape in SHAPES.items()})


def set_gradients(bag, rng):
    """The gradient depends on the parameters, so errors would grow instead of staying hidden."""
    for name, grad in bag.grads.items():
        grad[...] = bag.parameters[name] ** 3 + rng.normal(size=grad.shape)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_trajectory_equals_torch(ours, theirs, options, dtype):
    bag = make(dtype)
    tensors = {name: torch.from_numpy(p.copy()) for name, p in bag.parameters.items()}
    arrays = dict(bag.parameters)
    optimiser, oracle = ours(bag, **options), theirs(list(tensors.values()), **options)
    rng = np.random.default_rng(7)
    for step in range(30):
        if step == 15:  # what a schedule does
            optimiser.lr /= 10
            oracle.param_groups[0]["lr"] /= 10
        set_gradients(bag, rng)
        for name, tensor in tensors.items():
            tensor.grad = torch.from_numpy(bag.grads[name].copy())
        optimiser.step()
        oracle.step()
        for name, tensor in tensors.items():
            assert bag.parameters[name].dtype == dtype
            np.testing.assert_allclose(
                bag.parameters[name], tensor.numpy(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
            )
    assert all(bag.parameters[name] is array for name, array in arrays.items()), "not updated in place"


@pytest.mark.parametrize(("ours", "theirs"), [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)])
def test_defaults_equal_torch(ours, theirs):
    optimiser, oracle = ours(make()), theirs([torch.zeros(1)]).param_groups[0]
    for name in ("lr", "betas", "eps", "weight_decay"):
        assert getattr(optimiser, name) == oracle[name]


def test_gradients_are_left_alone():
    for ours, options in ((SGD, SGD_OPTIONS[-1]), (Adam, ADAM_OPTIONS[-1]), (AdamW, ADAM_OPTIONS[-1])):
        bag = make()
        set_gradients(bag, np.random.default_rng(0))
        before = {name: grad.copy() for name, grad in bag.grads.items()}
        optimiser = ours(bag, **options)
        optimiser.step()
        optimiser.step()
        for name, grad in before.items():
            np.testing.assert_array_equal(bag.grads[name], grad)


@pytest.mark.parametrize(("ours", "options"), [(SGD, SGD_OPTIONS[-1]), (Adam, ADAM_OPTIONS[1]), (SGD, SGD_OPTIONS[0])])
def test_state_dict_continues_exactly(ours, options):
    reference, rng = make(), np.random.default_rng(3)
    optimiser = ours(reference, **options)
    for _ in range(5):
        set_gradients(reference, rng)
        optimiser.step()
    twin = make(seed=9)
    for name, p in twin.parameters.items():
        p[...] = reference.parameters[name]
    other = ours(twin, lr=99.0, **({"momentum": 0.1} if options.get("momentum") else {}))
    state = optimiser.state_dict()
    other.load_state_dict(state)
    for value in state.values():  # the state was copied, in and out
        if isinstance(value, np.ndarray):
            value[...] = 1e6
    for _ in range(5):
        set_gradients(reference, rng)
        for name, grad in twin.grads.items():
            grad[...] = reference.grads[name]
        optimiser.step()
        other.step()
    for name, p in twin.parameters.items():
        np.testing.assert_array_equal(p, reference.parameters[name])


def test_load_state_dict_refuses_what_does_not_fit():
    adam = Adam(make())
    good = adam.state_dict()
    with pytest.raises(ValueError, match="expected one of Adam, got one of 'SGD'"):
        adam.load_state_dict(SGD(make(), lr=0.1).state_dict())
    with pytest.raises(ValueError, match="got one of 'AdamW'"):
        adam.load_state_dict(AdamW(make()).state_dict())
    with pytest.raises(ValueError, match=r"missing \['first_moment/bias'\], unknown \['surprise'\]"):
        adam.load_state_dict({k: v for k, v in good.items() if k != "first_moment/bias"} | {"surprise": 1})
    with pytest.raises(ValueError, match=r"first_moment/bias.*\(4,\), got \(5,\)"):
        adam.load_state_dict(good | {"first_moment/bias": np.zeros(5)})
    with pytest.raises(TypeError, match=r"first_moment/bias.*float64, got float32"):
        adam.load_state_dict(good | {"first_moment/bias": np.zeros(4, np.float32)})


@pytest.mark.parametrize(
    ("make_optimiser", "error", "message"),
    [
        (lambda m: SGD(m, lr=-1.0), ValueError, "lr: expected a finite number >= 0, got -1.0"),
        (lambda m: SGD(m, lr=float("nan")), ValueError, "lr: .*got nan"),
        (lambda m: SGD(m, lr="fast"), TypeError, "lr: expected a real number, got str 'fast'"),
        (lambda m: SGD(m, lr=0.1, nesterov=True), ValueError, "nesterov: expected momentum > 0"),
        (lambda m: SGD(m, lr=0.1, momentum=-0.5), ValueError, "momentum"),
        (lambda m: Adam(m, betas=(0.9, 1.0)), ValueError, r"betas\[1\].*< 1"),
        (lambda m: Adam(m, betas=0.9), TypeError, "betas: expected two numbers"),
        (lambda m: Adam(m, eps=-1e-8), ValueError, "eps"),
        (lambda m: AdamW(m, weight_decay=-1), ValueError, "weight_decay"),
        (lambda m: SGD(object(), lr=0.1), TypeError, "has no parameters, grads"),
        (lambda m: SGD(Bag(), lr=0.1), ValueError, "at least one parameter"),
        (lambda m: SGD(Bag(weight=np.ones(3, int)), lr=0.1), TypeError, "weight.*int64"),
    ],
)
def test_bad_settings(make_optimiser, error, message):
    with pytest.raises(error, match=message):
        make_optimiser(make())


def test_a_failed_step_changes_nothing():
    bag = make()
    optimiser = Adam(bag)
    before = {name: p.copy() for name, p in bag.parameters.items()}
    bag.grads["bias"] = np.zeros(1)
    with pytest.raises(ValueError, match=r"grads\['bias'\].*\(4,\), got \(1,\)"):
        optimiser.step()
    bag.grads["bias"] = np.zeros(4, np.float32)
    with pytest.raises(TypeError, match=r"grads\['bias'\].*float64, got float32"):
        optimiser.step()
    del bag.grads["bias"]
    with pytest.raises(ValueError, match=r"without a gradient: \['bias'\]"):
        optimiser.step()
    assert optimiser.step_count == 0
    for name, p in before.items():
        np.testing.assert_array_equal(bag.parameters[name], p)


def test_a_model_that_changed_its_parameters_is_refused():
    bag = make()
    optimiser = Adam(bag)
    bag.parameters["extra"] = bag.grads["extra"] = np.zeros(2)
    with pytest.raises(ValueError, match="keeps first_moment"):
        optimiser.step()
