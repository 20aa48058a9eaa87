"""What a new process waits for: the import, the first call with an empty kernel cache, the first call with a full one.

Every measurement is a process of its own. The cache is a temporary folder (``NUMBA_CACHE_DIR``), so the caches of the
installed package are neither used nor touched.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from benchmarks import store
from benchmarks.provenance import provenance

_IMPORT = {
    "import numba": "import numba",
    "import lstm_numba": "import lstm_numba",
    "import torch": "import torch",
    "import onnxruntime": "import onnxruntime",
}

_CALL = """
import numpy as np
import lstm_numba as ln
layer_class = getattr(ln, "{cell}", None)
if layer_class is None:
    raise SystemExit(3)
layer = layer_class(64, 64, seed=0)
x = np.zeros((32, 16, 64), np.float32)
if {training}:
    layer(x)
    layer.backward(np.ones((32, 16, 64), np.float32))
else:
    layer.eval()
    layer(x)
"""

_TORCH_CALL = """
import torch
layer = torch.nn.LSTM(64, 64)
x = torch.zeros(32, 16, 64)
if {training}:
    layer(x)[0].sum().backward()
else:
    with torch.inference_mode():
        layer(x)
"""

_TIMED = """
import time, json
start = time.perf_counter()
{code}
print(json.dumps(time.perf_counter() - start))
"""


def _seconds(code: str, threads: int, **environment: str) -> float | None:
    """Seconds the code takes in a new process, without the start of Python itself; None if a layer is missing."""
    process = subprocess.run(
        store.python_command("-c", _TIMED.format(code=code)),
        env=store.process_environment(threads, **environment),
        cwd=store.ROOT,
        capture_output=True,
        text=True,
    )
    if process.returncode == 3:
        return None
    if process.returncode:
        raise RuntimeError(process.stderr[-2000:])
    return json.loads(process.stdout.splitlines()[-1])


def _median(values: list[float]) -> dict:
    return {"median_s": statistics.median(values), "low_s": min(values), "high_s": max(values), "samples": len(values)}


def measure(repeats: int, cells: tuple[str, ...], threads: int = 2) -> dict:
    """All measurements, interleaved; seconds by name, and what is not available."""
    code = dict(_IMPORT)
    for mode, training in (("inference", False), ("training", True)):
        code[f"torch first {mode} call, import included"] = _TORCH_CALL.format(training=training)
    samples: dict[str, list[float]] = {name: [] for name in code}
    for _ in range(repeats):
        for name, statement in code.items():
            seconds = _seconds(statement, threads)
            assert seconds is not None
            samples[name].append(seconds)
    times = {name: _median(values) for name, values in samples.items()}
    missing = {}
    for cell in cells:
        for mode, training in (("inference", False), ("training", True)):
            name = f"{cell} first {mode} call"
            statement = _CALL.format(cell=cell, training=training)
            with tempfile.TemporaryDirectory() as cache:
                cold = _seconds(statement, threads, NUMBA_CACHE_DIR=cache)
                if cold is None:
                    missing[name] = f"lstm_numba has no {cell}"
                    continue
                warm = [_seconds(statement, threads, NUMBA_CACHE_DIR=cache) for _ in range(repeats)]
            times[f"{name}, cold, import included"] = _median([cold])
            times[f"{name}, warm cache, import included"] = _median([value for value in warm if value is not None])
    return {"times": times, "unavailable": missing}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="LSTM only, fewer repeats")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/cold_start.json")


def main(options: argparse.Namespace) -> int:
    """Measure, write and print."""
    result = measure(2, ("LSTM",)) if options.quick else measure(5, ("LSTM", "GRU", "RNN"))
    out = options.out or (store.SCRATCH if options.quick else store.RESULTS) / "cold_start.json"
    store.write_json(out, {"about": __doc__.splitlines()[0], "provenance": provenance(0), **result})
    for name, value in result["times"].items():
        print(f"{name:55} {value['median_s']:7.2f} s")
    for name, reason in result["unavailable"].items():
        print(f"{name:55} not available: {reason}")
    return 0
