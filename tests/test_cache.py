"""The disk cache cannot go stale: edit an equation in a copy of the package and watch the kernels follow."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lstm_numba"

PROGRAM = """
import numpy as np, lstm_numba as ln
from lstm_numba.cpu.forward import FORWARD
layer = ln.LSTM(1, 1, bias=False, seed=0).eval()
layer.parameters["weight_ih_l0"][...] = 1
y, _ = layer(np.ones((2, 1, 1), np.float32))
hits = FORWARD["lstm"]._compiled["float32"].cache_hits
print(float(y[0, 0, 0]), hits, 1 - hits)
"""


def run(folder, cache):
    # NUMBA_CACHE_DIR overrides the cached file's own folder; without it a copy in a temporary folder would still
    # work, but a developer's setting must not leak into the test.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": str(cache)}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, cwd=folder, check=False
    )
    assert result.returncode == 0, result.stderr
    value, hits, misses = result.stdout.split()
    return float(value), int(hits), int(misses)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "lstm_numba", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_an_edited_equation_is_recompiled(copy):
    cache = copy / "cache"
    first, hits, misses = run(copy, cache)
    assert (hits, misses) == (0, 1)
    again, hits, misses = run(copy, cache)
    assert (hits, misses) == (1, 0)
    assert again == first

    cells = copy / "lstm_numba" / "cells.py"
    source = cells.read_text(encoding="utf-8")
    edited = source.replace("return o * tanh(c)", "return o * tanh(c) + type(o)(100)")
    assert edited != source
    cells.write_text(edited, encoding="utf-8")

    changed, hits, misses = run(copy, cache)
    assert (hits, misses) == (0, 1)
    assert changed == pytest.approx(first + 100)
    assert run(copy, cache) == (changed, 1, 0)


def test_an_edit_anywhere_in_the_package_counts(copy):
    """The stamp covers every file a kernel may import, so nobody has to know which kernel calls what."""
    cache = copy / "cache"
    value, *_ = run(copy, cache)
    with (copy / "lstm_numba" / "contract.py").open("a", encoding="utf-8") as file:
        file.write("\n# a comment\n")
    assert run(copy, cache) == (value, 0, 1)


def test_an_edit_that_no_kernel_can_see_keeps_the_cache(copy):
    cache = copy / "cache"
    value, *_ = run(copy, cache)
    with (copy / "lstm_numba" / "training" / "losses.py").open("a", encoding="utf-8") as file:
        file.write("\n# a comment\n")
    assert run(copy, cache) == (value, 1, 0)


def test_no_bare_cache_in_the_package():
    """`cache=True` outside jit.py would bring the stale kernels back."""
    offenders = [p for p in PACKAGE.rglob("*.py") if "cache=True" in p.read_text("utf-8") and p.name != "jit.py"]
    assert offenders == []
