"""`explain` tells the kernel that really runs, and counts work correctly."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba import backend as backends


@pytest.mark.parametrize(
    ("options", "shape", "T", "B"),
    [({}, (7, 5, 3), 7, 5), ({"batch_first": True}, (5, 7, 3), 7, 5), ({}, (7, 3), 7, 1)],
)
def test_operations_are_two_per_weight_step_and_sequence(backend, options, shape, T, B):
    layer = ln.LSTM(3, 4, num_layers=2, bidirectional=True, backend=backend, **options)
    weights = sum(value.size for name, value in layer.parameters.items() if name.startswith("weight"))
    assert ln.explain(layer, shape).flops == 2 * weights * T * B


def test_weight_bytes_are_the_parameters_bytes(dtype):
    layer = ln.LSTM(3, 4, num_layers=2, bidirectional=True, dtype=dtype)
    plan = ln.explain(layer, (7, 5, 3))
    assert sum(part.weight_bytes for part in plan.layers) == sum(p.nbytes for p in layer.parameters.values())


def test_the_named_kernel_is_the_one_that_runs(backend, monkeypatch, rng):
    layer = ln.LSTM(3, 4, backend=backend)
    named = ln.explain(layer, (2, 1, 3)).layers[0].kernel
    used = []
    load = backends.load
    monkeypatch.setattr(backends, "load", lambda route: used.append(route.kernel) or load(route))
    layer(rng.normal(size=(2, 1, 3)).astype(np.float32))
    assert used == [named]


def test_the_table_names_kernel_and_reason(backend):
    layer = ln.LSTM(3, 4, backend=backend)
    plan = ln.explain(layer, (2, 1, 3))
    assert plan.layers[0].kernel in str(plan)
    assert plan.layers[0].reason in " ".join(str(plan).split())
    assert max(len(line) for line in str(plan).splitlines()) <= 80


@pytest.mark.parametrize("shape", [(3,), (0, 1, 3), (2, 1, 4), (1, 2, 1, 3)])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match="shape: expected"):
        ln.explain(ln.LSTM(3, 4), shape)


def test_only_recurrent_layers():
    with pytest.raises(TypeError, match="layer: expected a recurrent layer, got Dense"):
        ln.explain(ln.Dense(3, 4), (2, 1, 3))


def test_every_route_defines_the_contract():
    for route in backends.ROUTES:
        module = backends.load(route)
        assert callable(module.layer_forward)
        assert callable(module.layer_backward)


def test_no_silent_fallback():
    problem = backends.Problem("no such cell", 1, 1, 1, 1, 1, 1, "float32", True, False)
    with pytest.raises(ValueError, match=r"'cpu' has no kernel for Problem.*no such cell"):
        backends.choose("cpu", problem)
