"""The ladder of the GPU chapter: counted reads, the model's arithmetic, and measured times that may not exist yet."""

import json

import numpy as np
import pytest
from numba import cuda

from lstm_numba.gpu.ptx import element_address, load4_l2
from lstm_numba.teaching import gpu_ladder
from lstm_numba.teaching.gpu_ladder import StepModel, climb, device_times, problem, show_device_times, stored_result
from lstm_numba.teaching.threads import run_threads


def test_wide_loads_are_counted_number_by_number():
    def kernel(x, y):
        n = cuda.grid(1)
        v = load4_l2(element_address(x, 4 * n))
        y[n] = v[0] + v[1] + v[2] + v[3]

    trace = run_threads(kernel, 1, 2, np.arange(8.0).reshape(2, 4), np.zeros(2))
    assert trace.arrays["y"].tolist() == [6.0, 22.0]
    assert (trace.reads("x") == 1).all()
    assert trace.readers("x", 1).tolist() == [[0] * 4, [1] * 4]


def test_barriers_are_counted():
    def kernel(x):
        cuda.syncthreads()
        cuda.syncthreads()

    assert run_threads(kernel, 2, 3, np.zeros(1)).barriers == 2


def test_a_wrong_kernel_would_be_noticed():
    p = problem(T=2, B=2, H=32)
    run = climb("block", p)
    assert run.error(p) < 1e-6
    assert run.reads["R"] == p.R.size
    run.hs[1] += 1e-3
    assert run.error(p) > 1e-4
    with pytest.raises(ValueError, match="rung: expected one of 'naive'"):
        climb("stairs", p)


def test_the_model_adds_what_its_constants_say():
    model = StepModel(launch=3.0, l2=1.0)
    parts = model.parts("fused", 256, 16)
    assert parts["launch"] == 3.0
    assert parts["weights"] == pytest.approx(4 * 256 * 256 * 4 / 1e6)  # bytes at one TB/s, in microseconds
    assert model.parts("fused", 256, 17)["weights"] == 2 * parts["weights"]  # another slice of 16 reads them again
    assert model.parts("naive", 256, 16)["launch"] == 6.0
    assert model.total("fused", 256, 16) == pytest.approx(sum(parts.values()))
    assert StepModel(cluster_barrier=1.0).parts("cluster", 256, 8)["exchange"] == 1.0
    assert model.total("cluster", 256, 8, "tf32") < model.total("cluster", 256, 8)
    assert model.total("grid", 768, 16) > model.total("grid", 768, 8)  # one team: the second slice queues


def test_every_constant_is_explained():
    assert set(gpu_ladder._MEANING) == set(StepModel.__dataclass_fields__)
    assert ("start of a kernel from Python", "2 µs", "estimate") in StepModel(launch=2.0).assumptions()


MEASURED = {
    "provenance": {"gpu": "A chip that does not exist", "date": "2000-01-01T00:00:00", "commit": "0" * 40},
    "rows": [
        {"T": 100, "B": 8, "H": 64, "family": "block", "us": {"ours tf32": {"forward": 125.0}}},
        {"T": 100, "B": 8, "H": 128, "family": "cluster", "us": {"cudnn tf32": {"forward": 250.0}}},
        {
            "T": 100,
            "B": 8,
            "H": 128,
            "kind": "two layers",
            "family": "cluster",
            "us": {"cudnn tf32": {"forward": 300.0}},
        },
    ],
    "targets": [{"target": "faster than light", "compared": 3, "met": 0, "missed": []}],
    "failed": [],
    "not_reached": [[1, 1, 1]],
}


def test_without_a_result_the_page_says_so(tmp_path, capsys):
    assert stored_result("cuda.json", tmp_path) is None
    show_device_times(device_times(tmp_path))
    shown = capsys.readouterr().out
    assert "Not measured yet" in shown
    assert "make bench-gpu" in shown


def test_with_a_result_the_page_shows_it(tmp_path, capsys):
    (tmp_path / "cuda.json").write_text(json.dumps(MEASURED))
    show_device_times(device_times(tmp_path))
    shown = capsys.readouterr().out
    assert "Not measured" not in shown
    assert "Measured on **A chip that does not exist**" in shown
    assert "not reached in the time given: 1" in shown
    lines = [[part.strip() for part in line.split("|")] for line in shown.splitlines()]
    assert ["H=64, B=8, T=100", "block", "1.25", "–"] in lines
    assert ["H=128, B=8, T=100", "cluster", "–", "2.50"] in lines
    assert ["H=128, B=8, T=100, two layers", "cluster", "–", "3.00"] in lines
    assert ["faster than light", "3", "0"] in lines


@pytest.mark.parametrize("missing", ["rows", "provenance"])
def test_a_result_without_device_or_rows_is_no_measurement(tmp_path, missing):
    (tmp_path / "cuda.json").write_text(json.dumps(MEASURED | {missing: {}}))
    with pytest.raises(ValueError, match="expected rows, and the name of the GPU"):
        device_times(tmp_path)
