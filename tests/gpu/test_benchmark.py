"""The GPU benchmark's flow, on the emulator: it checks before it times, survives a bad shape and keeps its time."""

import json

import numpy as np
import pytest
import torch

import lstm_numba as ln
from benchmarks import cuda_speed, cuda_targets
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


@pytest.mark.parametrize("kind", cuda_speed.KINDS)
def test_stacks_and_packed_sequences(tmp_path, device, kind):
    """On the CPU's kernels: what is tested is the flow, and that both modules are given the same."""
    clock = cuda_speed.WallClock()
    shape = (4, 3, 8, kind)
    result = cuda_speed.run(tmp_path / "cuda.json", torch, "cpu", device, clock, [shape], seconds=60, rounds=1)
    assert result["failed"] == []
    (row,) = result["rows"]
    assert row["kind"] == kind
    assert all(times["training"] > 0 for times in row["us"].values())
    expected = "1.5 times as fast as cuDNN's standard algorithm"
    assert [(entry["target"], entry["compared"]) for entry in result["targets"]] == [(expected, 4)]  # no bfloat16 there


def test_every_kind_is_measured_early():
    assert {shape[3] for shape in cuda_speed.WORK[:20] if len(shape) == 4} == set(cuda_speed.KINDS)
    assert [shape for shape in cuda_speed.WORK if len(shape) == 3] == cuda_speed.SHAPES


def row_of(T, B, H, us, kind=None):
    return {"T": T, "B": B, "H": H, "us": us} | ({} if kind is None else {"kind": kind})


def test_targets_compare_what_they_are_for():
    both = {"forward": 100.0, "training": 300.0}  # 1 µs per step forward, 2 back
    slow = {"forward": 200.0, "training": 500.0}
    rows = [
        row_of(100, 8, 64, {"ours tf32": both, "cudnn tf32": both}),  # small: inside cuDNN's box
        row_of(100, 8, 384, {"ours tf32": both, "cudnn tf32": slow}),  # 2 times as fast, 1.5 times back
        row_of(100, 8, 64, {"ours tf32": both, "cudnn tf32": both}, "bidirectional"),
        row_of(100, 65, 64, {"ours tf32": both}),  # for no target
    ]
    standard, small = sorted(cuda_targets.verdicts(rows), key=lambda entry: entry["target"])
    assert (small["compared"], small["met"], small["missed"]) == (2, 2, [])
    assert cuda_targets.describe(small) == "small layers: 1.5 µs forward, 2.5 µs back: 2 of 2"
    assert (standard["compared"], standard["met"]) == (4, 2)
    assert [miss["what"] for miss in standard["missed"]] == ["tf32, forward", "tf32, backward"]
    assert standard["missed"][0]["us_per_step"] == 1.0
    assert standard["missed"][0]["allowed"] == pytest.approx(1 / 1.5)
    assert cuda_targets.describe(standard).endswith(
        "2 of 4; furthest off tf32, forward at T=100, B=8, H=64, kind=bidirectional: 1.00 µs per step, 0.67 allowed"
    )


def test_targets_of_the_anchor_shape():
    us = {"ours bfloat16": {"forward": 4.0 * 1024, "training": 14.0 * 1024},
          "cudnn float16": {"forward": 2.0 * 1024, "training": 12.0 * 1024}}  # fmt: skip
    found = {entry["target"]: entry for entry in cuda_targets.verdicts([row_of(1024, 16, 768, us)])}
    assert set(found) == {"faster than FlashRNN", "within 1.3 times cuDNN in 16 bits"}
    assert [miss["what"] for miss in found["faster than FlashRNN"]["missed"]] == ["bfloat16, training"]
    assert [miss["what"] for miss in found["within 1.3 times cuDNN in 16 bits"]["missed"]] == ["bfloat16, forward"]


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
