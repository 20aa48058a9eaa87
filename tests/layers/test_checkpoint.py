"""Checkpointing changes how much memory training takes, and nothing else."""

import gc
import tracemalloc

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.gradcheck import relative_error
from tests.conftest import has_route
from tests.layers.test_other_cells import LAYERS, draw, parts


def run(layer, x, state, dy, dstate, lengths):
    """Everything a training step computes."""
    layer.zero_grad()
    y, final = layer(x, state, lengths=lengths)
    dx, initial = layer.backward(dy, dstate)
    return [y, *parts(final), dx, *parts(initial), *(grad.copy() for grad in layer.grads.values())]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("size", [1, 3, 4, 12])
@pytest.mark.parametrize("lengths", [None, [4, 11, 2, 8, 6], [3, 3, 3, 3, 3]])
def test_everything_equals_the_layer_without(kind, size, lengths, backend, dtype, tolerance, rng):
    """With lengths, segments lose sequences, begin with all of them ended at once, or are never reached."""
    options = {"num_layers": 2, "dropout": 0.5, "dtype": dtype, "backend": backend, "seed": 0}
    whole, cut = LAYERS[kind](3, 5, **options), LAYERS[kind](3, 5, checkpoint=size, **options)
    if not has_route(whole, lengths):
        pytest.skip(f"backend {backend!r} has no kernel for this layer")
    T, B = 11, 5
    x = draw(rng, T, B, 3, dtype=dtype)
    y, final = LAYERS[kind](3, 5, **options).eval()(x)
    state, dstate = (tuple(draw(rng, *part.shape, dtype=dtype) for part in parts(final)) for _ in range(2))
    if len(state) == 1:
        state, dstate = state[0], dstate[0]
    arguments = x, state, draw(rng, *y.shape, dtype=dtype), dstate, lengths
    for ours, expected in zip(run(cut, *arguments), run(whole, *arguments), strict=True):
        assert ours.dtype == expected.dtype
        assert relative_error(ours, expected) < tolerance


def test_without_states_and_without_a_batch_axis(rng):
    options = {"num_layers": 2, "batch_first": True, "seed": 0}
    whole, cut = ln.GRU(3, 5, **options), ln.GRU(3, 5, checkpoint=2, **options)
    for shape in ((7, 3), (2, 7, 3), (0, 7, 3)):
        x = draw(rng, *shape)
        results = []
        for layer in (cut, whole):
            y, h_n = layer(x)
            dx, dh0 = layer.backward(np.ones_like(y))
            results.append((y, h_n, dx, dh0))
        for ours, expected in zip(*results, strict=True):
            assert ours.shape == expected.shape
            assert relative_error(ours, expected) < 1e-5


def test_backward_can_be_repeated_and_results_belong_to_the_caller(rng):
    layer = ln.LSTM(3, 5, num_layers=2, checkpoint=3, seed=0)
    x = draw(rng, 8, 2, 3)
    y, (h_n, c_n) = layer(x, lengths=[8, 5])
    dy = np.ones_like(y)
    for array in (x, y, h_n, c_n):
        array[...] = 7
    first, _ = layer.backward(dy, retain=True)
    kept = first.copy()
    first[...] = 7
    np.testing.assert_array_equal(layer.backward(dy)[0], kept)
    with pytest.raises(RuntimeError, match="each call serves one backward"):
        layer.backward(dy)


def test_inference_does_not_notice(rng):
    x = draw(rng, 8, 2, 3)
    whole, cut = ln.RNN(3, 5, seed=0).eval(), ln.RNN(3, 5, checkpoint=3, seed=0).eval()
    np.testing.assert_array_equal(cut(x)[0], whole(x)[0])


@pytest.mark.parametrize("backend", ["reference", "cpu"])  # whose memory is the process' own
@pytest.mark.parametrize("kind", ["lstm", "gru", "gru, reset before"])
def test_memory_shrinks(kind, backend, rng):
    """Bytes that a layer keeps between the call and backward, and at most during backward."""
    T, B, H = 400, 4, 24
    x = draw(rng, T, B, 2)
    held, peak = {}, {}
    for size in (None, 20, None, 20):  # the first two compile the kernels, whose memory is not counted
        layer = LAYERS[kind](2, H, num_layers=2, backend=backend, seed=0, checkpoint=size)
        gc.collect()
        tracemalloc.start()
        y, final = layer(x)
        held[size], _ = tracemalloc.get_traced_memory()
        held[size] -= y.nbytes
        layer.backward(y)
        _, peak[size] = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del y, final, layer
    activations = 2 * 4 * T * B * H * 4  # two layers, at least three gates and the state, float32
    assert held[None] > activations
    assert held[20] < held[None] / 8
    assert peak[20] < peak[None] / 2.5  # y and its copies stay whole


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"checkpoint": 0}, ValueError, "checkpoint: expected an integer of at least 1, got 0"),
        ({"checkpoint": 2.0}, TypeError, "checkpoint: expected an integer, got 2.0"),
        ({"checkpoint": True}, TypeError, "checkpoint: expected an integer, got True"),
        (
            {"checkpoint": 4, "bidirectional": True},
            ValueError,
            "checkpoint: expected None with bidirectional=True, got 4; the second direction",
        ),
    ],
)
@pytest.mark.parametrize("make", [ln.LSTM, ln.GRU, ln.RNN])
def test_bad_arguments_are_named(make, options, error, message):
    with pytest.raises(error, match=message):
        make(3, 4, **options)


def test_repr_names_it():
    assert repr(ln.GRU(3, 4, checkpoint=5)) == "GRU(3, 4, checkpoint=5, dtype='float32', backend='cpu')"
