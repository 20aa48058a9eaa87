"""One step at a time gives what a whole sequence gives, in memory that was there before."""

import tracemalloc

import numpy as np
import pytest
from numba import njit

import lstm_numba as ln
from lstm_numba.cpu.stream import stream_step
from lstm_numba.gradcheck import relative_error
from tests.conftest import TOLERANCE

LAYERS = {
    "lstm": lambda **options: ln.LSTM(5, 20, **options),
    "projected": lambda **options: ln.LSTM(5, 20, proj_size=7, **options),
    "gru": lambda **options: ln.GRU(5, 20, **options),
    "tanh": lambda **options: ln.RNN(5, 20, **options),
    "relu": lambda **options: ln.RNN(5, 20, nonlinearity="relu", **options),
}


def parts_of(state):
    return list(state) if isinstance(state, tuple) else [state]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_steps_equal_the_sequence(kind, num_layers, batch_size, backend, dtype, rng):
    layer = LAYERS[kind](num_layers=num_layers, backend=backend, dtype=dtype, seed=0).eval()
    x = rng.normal(size=(6, batch_size, 5)).astype(dtype)
    stream = layer.stream(batch_size)
    y = np.stack([stream.step(x_t).copy() for x_t in x])
    expected, final = layer(x)
    assert relative_error(y, expected) < TOLERANCE[dtype]
    for one, other in zip(parts_of(stream.state), parts_of(final), strict=True):
        assert one.shape == other.shape
        assert relative_error(one, other) < TOLERANCE[dtype]


def test_reset_goes_on_from_a_state_and_takes_new_weights(rng):
    layer = ln.LSTM(3, 17, num_layers=2, seed=0).eval()
    x = rng.normal(size=(8, 2, 3)).astype("float32")
    _, middle = layer(x[:5])
    stream = layer.stream(2)
    stream.reset(middle)
    np.testing.assert_array_equal(np.stack([stream.step(x_t).copy() for x_t in x[5:]]), layer(x[5:], middle)[0])
    old = stream.step(x[0]).copy()
    layer.parameters["weight_hh_l1"][...] *= 2
    stream.reset()
    np.testing.assert_array_equal(stream.step(x[0]), layer(x[:1])[0][0])
    assert not np.array_equal(layer(x[:1])[0][0], old)


def test_a_step_inside_compiled_code(rng):
    layer = ln.GRU(3, 18, seed=0).eval()
    x = rng.normal(size=(50, 1, 3)).astype("float32")

    @njit
    def run(handle, x, y):
        for t in range(len(x)):
            y[t] = stream_step(handle, x[t])

    stream, y = layer.stream(), np.empty((50, 1, 18), np.float32)
    run(stream.handle, x, y)
    np.testing.assert_array_equal(y, layer(x)[0])


def test_a_step_allocates_nothing(rng):
    stream = ln.LSTM(3, 17, seed=0).stream()
    x = rng.normal(size=(1, 3)).astype("float32")
    for _ in range(3):
        y = stream.step(x)
    tracemalloc.start()
    for _ in range(1000):
        stream.step(x)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert stream.step(x) is y
    assert kept < 500
    assert peak < 5000


def test_two_streams_do_not_share_a_state(rng):
    layer = ln.LSTM(3, 17, seed=0)
    x = rng.normal(size=(1, 3)).astype("float32")
    one, two = layer.stream(), layer.stream()
    first = one.step(x).copy()
    one.step(x)
    np.testing.assert_array_equal(two.step(x), first)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ln.LSTM(3, 4, bidirectional=True).stream(), ValueError, "bidirectional=False"),
        (lambda: ln.LSTM(3, 4).stream(0), ValueError, "batch_size"),
        (lambda: ln.LSTM(3, 4).stream().step(np.zeros((2, 3), np.float32)), ValueError, "^x: "),
        (lambda: ln.LSTM(3, 4).stream().step(np.zeros((1, 3))), TypeError, "^x: "),
        (lambda: ln.GRU(3, 4).stream().reset(np.zeros((1, 1, 5), np.float32)), ValueError, "^state"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
