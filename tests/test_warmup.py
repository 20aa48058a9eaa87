"""After a warm-up nothing is left to compile."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.cpu import bind, gru_reset_before, launch
from lstm_numba.cpu.backward import BACKWARD, tile_widths
from lstm_numba.cpu.cell_blocks import LSTM_FORM, RNN_TANH_FORM
from lstm_numba.cpu.forward import FORWARD
from lstm_numba.cpu.launch import TILES
from lstm_numba.cpu.simd import VECTORS
from lstm_numba.warmup import _SIZES


def test_kernels_are_there_afterwards():
    ln.warmup(["gru"], ["float64"])
    assert "float64" in FORWARD["gru"]._compiled
    assert "float64" in BACKWARD["gru"]._compiled


def compiled_for():
    """Argument types for which the functions around the kernels have been compiled."""
    around = (launch._run_serial, launch._run_parallel, bind.bind, bind.fingerprint)
    return {function.__name__: set(function.signatures) for function in around}


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_nothing_is_left_to_compile_for_calls_large_and_small(cell):
    ln.warmup([cell])
    before = compiled_for()
    assert all(before[name] for name in ("_run_serial", "bind", "fingerprint"))
    assert before["_run_parallel"] or ln.get_num_threads() == 1
    kernels = (
        set(FORWARD[cell]._compiled),
        set(BACKWARD[cell]._compiled),
        {n: set(t._compiled) for n, t in TILES.items()},
    )
    for I, H in ((7, 33), (16, 16), (20, 100), (64, 64)):
        layer = {"lstm": ln.LSTM, "gru": ln.GRU, "rnn_tanh": ln.RNN}[cell](I, H)
        for T, B in ((1, 1), (50, 64)):
            x = np.zeros((T, B, I), np.float32)
            layer.eval()(x)
            layer.backward(layer.train()(x)[0])
    assert compiled_for() == before
    after = set(FORWARD[cell]._compiled), set(BACKWARD[cell]._compiled), {n: set(t._compiled) for n, t in TILES.items()}
    assert after == kernels


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.parametrize("form", [LSTM_FORM, RNN_TANH_FORM])
def test_its_layers_need_every_tile(lanes, form):
    widths = {1, 2, 4} if VECTORS >= 4 or form.slots == 4 else {1, 2}
    assert tile_widths(form, lanes, *_SIZES) == widths


def test_the_reset_before_the_product_too():
    ln.warmup(["gru_reset_before"], training=False)
    assert any(
        "float32" in kernel._compiled for kernel in vars(gru_reset_before).values() if hasattr(kernel, "_compiled")
    )


def test_unknown_cell():
    with pytest.raises(ValueError, match=r"^cells: expected"):
        ln.warmup(["transformer"])
