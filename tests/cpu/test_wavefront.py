"""Layers that overlap: the numbers of one layer after the other, bit by bit."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.cpu import recurrent, wavefront

pytestmark = pytest.mark.skipif(ln.get_num_threads() < 2, reason="needs two threads")


@pytest.fixture
def overlapping(monkeypatch):
    """Layers of any size overlap; returns what ran so."""
    ran = []
    run = wavefront._WAVE.address
    monkeypatch.setattr(wavefront, "_SHORTEST", 1)
    monkeypatch.setattr(wavefront, "_FEWEST_FLOPS", 0)
    monkeypatch.setattr(wavefront._WAVE, "address", lambda dtype: ran.append(dtype) or run(dtype))
    return ran


def one_after_the_other(layer, x, state, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(recurrent, "stack_forward", lambda *arguments: None)
        return layer(x, state)


@pytest.mark.parametrize("T", [1, 11, 12, 13, 40, 300])  # less than a chunk; whole chunks; a last one that is shorter
@pytest.mark.parametrize("layers", [2, 3, 5])
@pytest.mark.parametrize(
    "make",
    [
        lambda **options: ln.LSTM(7, 20, **options),
        lambda **options: ln.LSTM(7, 20, proj_size=6, **options),
        lambda **options: ln.GRU(7, 20, **options),
        lambda **options: ln.RNN(7, 20, nonlinearity="relu", **options),
    ],
    ids=["lstm", "projected", "gru", "rnn"],
)
def test_same_bits_as_one_after_the_other(rng, monkeypatch, overlapping, dtype, make, layers, T):
    layer = make(num_layers=layers, dtype=dtype, seed=0).eval()
    x = rng.normal(size=(T, 1, 7)).astype(dtype)
    expected = one_after_the_other(layer, x, None, monkeypatch)
    again = one_after_the_other(layer, x, expected[1], monkeypatch)
    assert not overlapping
    for state, wanted in ((None, expected), (expected[1], again), (None, expected)):  # the weights are packed once
        y, final = layer(x, state)
        np.testing.assert_array_equal(y, wanted[0])
        parts = (final, wanted[1]) if isinstance(final, tuple) else ((final,), (wanted[1],))
        for part, wanted_part in zip(*parts, strict=True):
            np.testing.assert_array_equal(part, wanted_part)
    assert overlapping == [dtype] * 3


def test_other_calls_in_between(rng, monkeypatch, overlapping):
    """The jobs of the layers serve other lengths and batches, and changed weights, right after."""
    layer = ln.LSTM(5, 18, num_layers=2, seed=0).eval()
    long, short = (rng.normal(size=(T, 1, 5)).astype("f4") for T in (40, 12))
    batch = rng.normal(size=(12, 3, 5)).astype("f4")
    inputs = [long, short, batch, long, batch, short]
    for change in (0.0, 0.5):
        for parameter in layer.parameters.values():
            parameter += np.float32(change)
        expected = [one_after_the_other(layer, x, None, monkeypatch)[0] for x in inputs]
        for parameter in layer.parameters.values():
            parameter += np.float32(1)
        layer(long)
        for parameter in layer.parameters.values():
            parameter -= np.float32(1)
        for x, wanted in zip(inputs, expected, strict=True):
            y = layer(x)[0]
            assert np.allclose(y, wanted, rtol=0, atol=1e-5)  # adding and subtracting 1 rounds
            np.testing.assert_array_equal(layer(x)[0], y)
    assert overlapping


def test_a_short_sequence_right_after_a_long_one(rng):
    """As long as a chunk: what was prepared for chunks, the last of them shorter, must not be left half used."""
    layer, fresh = (ln.LSTM(32, 32, num_layers=2, seed=0).eval() for _ in range(2))
    long, short = (rng.normal(size=(T, 1, 32)).astype("f4") for T in (128, 12))
    for _ in range(3):
        layer(long)
        np.testing.assert_array_equal(layer(short)[0], fresh(short)[0])


def test_training_and_lengths_do_not_overlap(rng, overlapping):
    layer = ln.LSTM(5, 18, num_layers=2, seed=0)
    x = rng.normal(size=(200, 1, 5)).astype("f4")
    layer(x)
    layer.backward(np.ones((200, 1, 18), "f4"))
    layer.eval()(x, lengths=[150])
    ln.LSTM(5, 18, num_layers=2, bidirectional=True, seed=0).eval()(x)
    assert not overlapping


def test_one_thread_runs_one_layer_after_the_other(rng, overlapping):
    layer = ln.GRU(5, 18, num_layers=2, seed=0).eval()
    x = rng.normal(size=(40, 1, 5)).astype("f4")
    y = layer(x)[0]
    before = ln.get_num_threads()
    ln.set_num_threads(1)
    try:
        np.testing.assert_array_equal(layer(x)[0], y)
    finally:
        ln.set_num_threads(before)
    assert len(overlapping) == 1


def test_where_it_pays():
    def overlap(T, B, H, layers=2):
        return wavefront.overlap_of(ln.LSTM(H, H, num_layers=layers)._layer_weights, T, B)

    assert overlap(128, 1, 64).chunk == 12
    assert overlap(512, 1, 64).chunk == 30
    assert all(found is None for found in (overlap(32, 1, 64), overlap(128, 2, 64), overlap(128, 1, 16)))
    assert overlap(128, 1, 112) is not None
    assert overlap(128, 1, 128) is None
