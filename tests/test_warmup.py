"""After a warm-up nothing is left to compile."""

import pytest

import lstm_numba as ln
from lstm_numba.cpu.backward import BACKWARD
from lstm_numba.cpu.forward import FORWARD


def test_kernels_are_there_afterwards():
    ln.warmup(["gru"], ["float64"])
    assert "float64" in FORWARD["gru"]._compiled
    assert "float64" in BACKWARD["gru"]._compiled


def test_unknown_cell():
    with pytest.raises(ValueError, match=r"^cells: expected"):
        ln.warmup(["transformer"])
