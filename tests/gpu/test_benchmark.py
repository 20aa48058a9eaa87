"""The GPU benchmark's flow, on the emulator: it checks before it times, survives a bad shape and keeps its time."""

import json

import numpy as np
import pytest
import torch

import lstm_numba as ln
from benchmarks import cuda_speed
from lstm_numba.gpu.device import EmulatedDevice, use_device
from lstm_numba.gpu.plan import Chip


@pytest.fixture
def device():
    return cuda_speed._timed_launches(EmulatedDevice)()


def test_rows_are_complete(tmp_path, device):
    out = tmp_path / "cuda.json"
    clock = cuda_speed.WallClock()
    result = cuda_speed.run(out, torch, "cpu", device, clock, [(2, 1, 16)], seconds=60, rounds=1)
    assert json.loads(out.read_text()) == result
    assert result["failed"] == result["not_reached"] == []
    (row,) = result["rows"]
    assert row["family"] == "block"
    assert set(row["us"]) == {
        "ours float32", "ours tf32", "ours bfloat16", "cudnn float32", "cudnn tf32",
    }  # fmt: skip
    assert result["provenance"]["products"] == "own kernel"
    for ways in [*row["us"].values(), *row["kernel_us_per_step"].values()]:
        assert ways["forward"] > 0
        assert ways["training"] > 0


def test_graphs_are_timed_once_per_replay_and_not_while_recorded(device, monkeypatch, rng):
    monkeypatch.setattr("lstm_numba.gpu.layer.SHORTEST", 2)
    device.chip = Chip((7, 5), 40)  # family `steps`
    clock = cuda_speed.WallClock()
    marks = []
    with use_device(device):
        lstm = ln.LSTM(2, 3, backend="cuda", seed=0).eval()
        for _ in range(3):
            device.clock, device.marks = clock.mark, []
            lstm(rng.normal(size=(4, 1, 2)).astype(np.float32))
            marks.append(len(device.marks))
    assert marks == [4, 1, 1]


def test_the_shapes_cover_the_whole_range_and_the_best_come_first():
    shapes = cuda_speed.SHAPES
    assert shapes[0] == (1024, 16, 768)
    assert len(set(shapes)) == len(shapes)
    every = {(T, B, H) for T in (64, 256, 1024) for B in (1, 8, 32, 64, 256) for H in (32, 64, 128, 256, 512, 1024)}
    assert every <= set(shapes)
    early = shapes[:40]
    for place, values in enumerate(zip(*shapes, strict=True)):
        assert set(values) == {shape[place] for shape in early}  # a short run has something of everything


@pytest.mark.parametrize(("function", "what"), [("layer_forward", "y"), ("layer_gradients", "dx")])
def test_a_wrong_result_is_not_timed(tmp_path, device, monkeypatch, function, what):
    right = getattr(cuda_speed, function)

    def off_by_half(*arguments):
        first, *others = right(*arguments)
        return first * 1.5, *others

    monkeypatch.setattr(cuda_speed, function, off_by_half)
    clock = cuda_speed.WallClock()
    result = cuda_speed.run(tmp_path / "cuda.json", torch, "cpu", device, clock, [(2, 1, 16)], seconds=60, rounds=1)
    assert result["rows"] == []
    assert f"{what} differs from cuDNN by 5.0e-01" in result["failed"][0]["error"]


def test_it_stops_when_the_time_is_over(tmp_path, device):
    clock = cuda_speed.WallClock()
    result = cuda_speed.run(tmp_path / "cuda.json", torch, "cpu", device, clock, cuda_speed.SHAPES, seconds=-1)
    assert result["rows"] == []
    assert len(result["not_reached"]) == len(cuda_speed.SHAPES)
