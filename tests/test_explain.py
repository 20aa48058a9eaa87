"""`explain` tells the kernel that really runs, and counts work correctly."""

import re

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


LAYERS = {
    "lstm": lambda **options: ln.LSTM(20, 24, **options),
    "gru": lambda **options: ln.GRU(20, 24, **options),
    "rnn": lambda **options: ln.RNN(20, 24, **options),
    "gru, reset before": lambda **options: ln.GRU(20, 24, reset_after=False, **options),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    ("shape", "bidirectional"), [((200, 64, 20), False), ((200, 64, 20), True), ((2, 1, 20), False)]
)
def test_the_sharing_is_the_one_that_happens(kind, shape, bidirectional, monkeypatch):
    """The threads that a call reserves are the ones that were announced."""
    from lstm_numba.cpu import gru_reset_before, recurrent

    layer = LAYERS[kind](bidirectional=bidirectional).eval()
    wanted = []
    for module, name in ((recurrent, "take_threads"), (gru_reset_before, "reserve_threads")):
        reserve = getattr(module, name)
        monkeypatch.setattr(module, name, lambda n, reserve=reserve: wanted.append(n) or reserve(n))
    plan = ln.explain(layer, shape).layers[0]
    layer(np.zeros(shape, np.float32))
    assert (wanted or [1]) == [plan.threads]  # nothing is reserved for work that is too small to share
    assert plan.sharing.startswith(f"{plan.threads} thread")


@pytest.mark.skipif(ln.get_num_threads() < 2, reason="needs two threads")
def test_overlapping_layers_are_announced():
    layer = ln.LSTM(32, 32, num_layers=3).eval()
    for plan in ln.explain(layer, (128, 1, 32)).layers:
        assert plan.sharing == f"{plan.threads} threads, 12 steps of each layer at the same time"
    for shape in ((128, 2, 32), (20, 1, 32)):
        assert not any("each layer" in plan.sharing for plan in ln.explain(layer, shape).layers)
    assert not any("each layer" in plan.sharing for plan in ln.explain(layer.train(), (128, 1, 32)).layers)


def test_sharing_in_words():
    from lstm_numba.cpu.estimate import _describe_sharing

    assert _describe_sharing(1, 1, False) == "1 thread"
    assert _describe_sharing(2, 1, False) == "2 threads, one per direction"
    assert _describe_sharing(1, 4, True) == "4 threads, sharing the units of every step"
    assert _describe_sharing(2, 2, False) == "4 threads, 2 per direction, sharing the sequences"


def test_useful_lanes_follow_from_the_width_of_a_register(dtype):
    from lstm_numba.cpu.simd import lanes

    width = lanes(np.dtype(dtype).itemsize)
    for H in (1, width, width + 1):
        plan = ln.explain(ln.LSTM(3, H, dtype=dtype), (4, 2, 3))
        assert plan.layers[0].lanes == H / (-(-H // width) * width)


@pytest.mark.parametrize("make", [ln.LSTM, ln.GRU, ln.RNN])
def test_a_measured_prediction_is_complete(make, dtype):
    """Its size depends on the machine and its mood; what it consists of does not."""
    plan = ln.explain(make(8, 40, num_layers=2, dtype=dtype), (10, 3, 8), measure=True)
    for part in plan.layers:
        assert part.gflops > 0
        assert part.peak_gflops > 0
        assert part.limit
        assert part.limit in " ".join(str(plan).split())
    assert max(len(line) for line in str(plan).splitlines()) <= 80


def test_without_measuring_nothing_is_measured(monkeypatch):
    from lstm_numba.cpu import estimate

    monkeypatch.setattr(estimate, "tile_speed", None)
    monkeypatch.setattr(estimate, "peak_speed", None)
    plan = ln.explain(ln.LSTM(8, 40), (10, 3, 8))
    assert plan.layers[0].gflops is None
    assert "GFLOP" not in str(plan)


@pytest.mark.parametrize(
    ("losses", "limit"),
    [
        ((100, 99, 98, 97), "the multiply-add units"),
        ((100, 40, 40, 40), "tiles of 3 x"),
        ((100, 90, 20, 20), "reading .* KiB of recurrent weights per thread at every step"),
    ],
)
def test_the_limit_is_the_largest_loss(losses, limit, monkeypatch):
    from lstm_numba.cpu import estimate
    from lstm_numba.cpu.simd import lanes

    peak, from_l1, recurrent, ahead = losses
    monkeypatch.setattr(estimate, "peak_speed", lambda dtype, threads, *tile: from_l1 if tile else peak)
    speeds = iter((recurrent, ahead))
    monkeypatch.setattr(estimate, "tile_speed", lambda *arguments: next(speeds))
    width = lanes(4)
    problem = backends.Problem("lstm", 2, 3, width, width, width, 1, "float32", False, False)
    speed = estimate.predict_speed(problem)
    assert speed.gflops == pytest.approx(2 / (1 / recurrent + 1 / ahead))
    assert speed.peak_gflops == peak
    assert re.match(limit, speed.limit)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_kernels_without_tiles_have_no_prediction(backend):
    layer = ln.GRU(8, 40, reset_after=False, backend=backend)
    assert ln.explain(layer, (10, 3, 8), measure=True).layers[0].gflops is None


def test_checkpointing_keeps_the_activations_of_one_segment():
    whole, cut = ln.explain(ln.LSTM(3, 4), (100, 5, 3)), ln.explain(ln.LSTM(3, 4, checkpoint=10), (100, 5, 3))
    assert whole.bytes - cut.bytes == 90 * 5 * 5 * 4 * 4
