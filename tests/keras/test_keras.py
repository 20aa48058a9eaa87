"""Weights in and out of real Keras layers, which must then compute the same."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")  # before Keras is imported; PyTorch is in requirements.txt

import doctest

import keras
import numpy as np
import pytest

import lstm_numba as ln
import lstm_numba.keras.convert
from lstm_numba.gradcheck import relative_error
from lstm_numba.keras import load_weights, to_keras
from tests.conftest import TOLERANCE

# Of Keras, about itself: its variables have an old signature of __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

KINDS = {
    "lstm": (ln.LSTM, keras.layers.LSTM, {}, {}),
    "gru": (ln.GRU, keras.layers.GRU, {}, {}),
    "gru reset before": (ln.GRU, keras.layers.GRU, {"reset_after": False}, {"reset_after": False}),
    "rnn tanh": (ln.RNN, keras.layers.SimpleRNN, {}, {}),
    "rnn relu": (ln.RNN, keras.layers.SimpleRNN, {"nonlinearity": "relu"}, {"activation": "relu"}),
}


def as_numpy(value):
    return keras.ops.convert_to_numpy(value)


def assert_close(value, expected):
    assert value.shape == expected.shape
    assert value.dtype == expected.dtype
    # With the torch backend, Keras' SimpleRNN and its GRU with reset_after=False are within 1e-7 of their own equations
    # in float64 too. That the weights are the same bits is tested below.
    assert relative_error(value, expected) < TOLERANCE["float32"]


OPTIONS = [
    {},
    {"bias": False, "bidirectional": True},
    {"num_layers": 2, "dtype": "float64"},
    {"num_layers": 2, "bidirectional": True},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_both_ways(kind, options):
    T, B, I, H = 5, 2, 3, 4
    options = {"bias": True, "bidirectional": False, "num_layers": 1, "dtype": "float32"} | options
    dtype = options["dtype"]
    rng = np.random.default_rng(0)
    make, theirs_class, special, their_special = KINDS[kind]
    theirs = []
    for _ in range(options["num_layers"]):
        one = theirs_class(H, use_bias=options["bias"], return_sequences=True, dtype=dtype, **their_special)
        theirs.append(keras.layers.Bidirectional(one, dtype=dtype) if options["bidirectional"] else one)
    model = keras.Sequential([keras.Input((None, I), dtype=dtype), *theirs])
    model.set_weights([rng.normal(size=tuple(value.shape)).astype(dtype) / 2 for value in model.weights])
    x = rng.normal(size=(B, T, I)).astype(dtype)
    expected = as_numpy(model(x))

    ours = make(I, H, **options, **special, batch_first=True, backend="reference", seed=rng)
    assert load_weights(ours, model if options["num_layers"] > 1 else theirs[0]) is ours
    y, _ = ours.eval()(x)
    assert_close(y, expected)

    for name, value in ours.parameters.items():
        if name.startswith("bias"):
            value[...] = rng.normal(size=value.shape)  # both biases
    assert_close(as_numpy(to_keras(ours)(x)), ours(x)[0])


def test_states_and_the_last_step():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 3)).astype(np.float32)
    lstm = ln.LSTM(3, 4, batch_first=True, backend="reference", seed=0)
    y, (h_n, c_n) = lstm(x)
    found = to_keras(lstm, return_sequences=False, return_state=True)(x)
    for value, expected in zip(found, (y[:, -1], h_n[0], c_n[0]), strict=True):
        assert_close(as_numpy(value), expected)


def test_a_round_trip_keeps_the_bits_of_what_keras_can_hold():
    gru = ln.GRU(3, 4, bidirectional=True, num_layers=2, seed=0)
    back = load_weights(ln.GRU(3, 4, bidirectional=True, num_layers=2, seed=1), to_keras(gru))
    for name, value in gru.parameters.items():
        np.testing.assert_array_equal(back.parameters[name], value)
    lstm = ln.LSTM(3, 4, seed=0)
    back = load_weights(ln.LSTM(3, 4, seed=1), to_keras(lstm))
    np.testing.assert_array_equal(back.parameters["weight_hh_l0"], lstm.parameters["weight_hh_l0"])
    assert not back.parameters["bias_hh_l0"].any()
    total = lstm.parameters["bias_ih_l0"] + lstm.parameters["bias_hh_l0"]
    np.testing.assert_array_equal(back.parameters["bias_ih_l0"], total)
    rnn = ln.RNN(3, 4, bias=False, dtype="float64", seed=0)
    back = load_weights(ln.RNN(3, 4, bias=False, dtype="float64", seed=1), to_keras(rnn))
    for name, value in rnn.parameters.items():
        np.testing.assert_array_equal(back.parameters[name], value)


def built(kind, **options):
    layer = getattr(keras.layers, kind)(4, **options)
    layer.build((None, None, 3))
    return layer


def both_ways(merge_mode):
    layer = keras.layers.Bidirectional(keras.layers.LSTM(4), merge_mode=merge_mode)
    layer.build((None, None, 3))
    return layer


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: load_weights(ln.LSTM(3, 4), keras.layers.LSTM(4)), ValueError, "not built"),
        (lambda: load_weights(ln.LSTM(3, 4), built("GRU")), TypeError, r"expected keras.layers.LSTM, got G"),
        (lambda: load_weights(ln.GRU(3, 4), built("GRU", reset_after=False)), ValueError,
         "reset_after=True.* got False"),
        (lambda: load_weights(ln.LSTM(3, 4), built("LSTM", recurrent_activation="hard_sigmoid")), ValueError,
         "recurrent_activation='sigmoid'.*hard_sigmoid"),
        (lambda: load_weights(ln.LSTM(3, 4), built("LSTM", go_backwards=True)), ValueError, "go_backwards"),
        (lambda: load_weights(ln.LSTM(3, 4), built("LSTM", use_bias=False)), ValueError, "use_bias=True"),
        (lambda: load_weights(ln.LSTM(3, 5), built("LSTM")), ValueError, "weight_ih_l0"),
        (lambda: load_weights(ln.LSTM(3, 4, dtype="float64"), built("LSTM")), TypeError, "float32"),
        (lambda: load_weights(ln.LSTM(3, 4, num_layers=2), built("LSTM")), ValueError, "num_layers=2"),
        (lambda: load_weights(ln.LSTM(3, 4, bidirectional=True), built("LSTM")), ValueError,
         "expected a Bidirectional, got LSTM"),
        (lambda: load_weights(ln.LSTM(3, 4, bidirectional=True),
                              both_ways("sum")), ValueError,
         "merge_mode='concat', got 'sum'"),
        (lambda: load_weights(ln.Dense(3, 4), built("LSTM")), TypeError, "layer: expected .* got Dense"),
        (lambda: to_keras(ln.LSTM(3, 4, proj_size=2)), ValueError, "proj_size: expected 0, got 2"),
        (lambda: to_keras(ln.LSTM(3, 4, num_layers=2), return_state=True), ValueError, "return_state: expected False"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_docstring_examples():
    assert doctest.testmod(lstm_numba.keras.convert).failed == 0
