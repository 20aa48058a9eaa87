"""Norms and GELU: the same bits in any number of threads. Their numbers are tested with the layers."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.cpu import norm as cpu


@pytest.mark.skipif(ln.get_num_threads() < 2, reason="needs two threads")
def test_threads_do_not_change_a_bit(rng, monkeypatch):
    monkeypatch.setattr(cpu, "SERIAL_FLOPS", 0)
    x, dy = rng.normal(size=(2, 300, 33)).astype("f4")  # several blocks of rows, and a row that fills no vector
    weight, bias = rng.normal(size=(2, 33)).astype("f4")

    def everything():
        y, cache = cpu.layer_norm_forward(x, weight, bias, 1e-5)
        z, z_cache = cpu.rms_norm_forward(x, weight, 1e-5)
        a, a_cache = cpu.gelu_forward(x)
        gradients = [*cpu.layer_norm_backward(dy, cache, weight), *cpu.rms_norm_backward(dy, z_cache, weight)]
        return [y, z, a, cpu.gelu_backward(dy, a_cache), *gradients]

    several = everything()
    before = ln.get_num_threads()
    ln.set_num_threads(1)
    try:
        alone = everything()
    finally:
        ln.set_num_threads(before)
    for a, b in zip(several, alone, strict=True):
        np.testing.assert_array_equal(a, b)
