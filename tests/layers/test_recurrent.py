"""`LSTM` as a user meets it: what it rejects and how it says so, what it keeps, what it promises."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.gradcheck import relative_error
from tests.conftest import TOLERANCE


@pytest.fixture
def lstm():
    return ln.LSTM(3, 4, num_layers=2, seed=0)


@pytest.fixture
def x(rng):
    return rng.normal(size=(5, 2, 3)).astype(np.float32)


class Bad:
    """Inputs that must be refused: (description, value, error, message)."""

    CASES = (
        ("rank 1", np.zeros(3, np.float32), ValueError, r"x: expected shape \(T, B, I=3\), got \(3,\)"),
        ("rank 4", np.zeros((1, 2, 3, 3), np.float32), ValueError, r"x: expected shape .*, got \(1, 2, 3, 3\)"),
        ("features", np.zeros((5, 2, 7), np.float32), ValueError, r"x: expected .*I=3.*, got \(5, 2, 7\)"),
        ("features, one sequence", np.zeros((5, 7), np.float32), ValueError, r"x: expected \w* ?.*I=3.*got \(5, 7\)"),
        ("no steps", np.zeros((0, 2, 3), np.float32), ValueError, r"x: expected at least one time step.*T=0"),
        ("empty list", [], TypeError, r"x: expected dtype float32, got float64"),
        ("ragged", [[[1.0, 2.0, 3.0]], [[1.0]]], ValueError, r"x: expected a rectangular array, got ragged"),
        ("integers", np.zeros((5, 2, 3), np.int64), TypeError, r"x: expected dtype float32, got int64.*np.asarray\(x"),
        ("objects", np.full((5, 2, 3), None), TypeError, r"x: expected dtype float32, got object"),
        ("booleans", np.zeros((5, 2, 3), bool), TypeError, r"x: expected dtype float32, got bool"),
        ("complex", np.zeros((5, 2, 3), complex), TypeError, r"x: expected dtype float32, got complex128"),
        ("strings", np.full((5, 2, 3), "a"), TypeError, r"x: expected dtype float32, got <U1"),
        ("other float", np.zeros((5, 2, 3)), TypeError, r"x: expected dtype float32, got float64.*dtype='float64'"),
        ("half", np.zeros((5, 2, 3), np.float16), TypeError, r"x: expected dtype float32, got float16"),
        ("byte order", np.zeros((5, 2, 3), ">f4"), TypeError, r"x: expected dtype float32, got >f4"),
        ("None", None, TypeError, r"x: expected dtype float32, got object"),
    )


@pytest.mark.parametrize(("value", "error", "message"), [c[1:] for c in Bad.CASES], ids=[c[0] for c in Bad.CASES])
def test_bad_input_is_named(lstm, value, error, message):
    with pytest.raises(error, match=message):
        lstm(value)


def test_a_list_is_accepted_if_numpy_gives_it_the_layers_dtype():
    layer = ln.LSTM(2, 3, dtype="float64", seed=0)
    y, _ = layer([[0.5, 1.0], [1.5, 2.0]])
    np.testing.assert_array_equal(y, layer(np.array([[0.5, 1.0], [1.5, 2.0]]))[0])


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (np.zeros((2, 2, 4), np.float32), TypeError, r"state: expected a pair \(h, c\) of arrays, got ndarray"),
        ((np.zeros((2, 2, 4), np.float32),), TypeError, r"state: expected a pair \(h, c\) of arrays, got 1 items"),
        ((np.zeros((2, 2, 4)),) * 2, TypeError, r"state\[h\]: expected dtype float32, got float64"),
        ((np.zeros((1, 2, 4), np.float32),) * 2, ValueError, r"state\[h\]: expected .*directions=2.*got \(1, 2, 4\)"),
        ((np.zeros((2, 3, 4), np.float32),) * 2, ValueError, r"state\[h\]: expected .*B=2.*got \(2, 3, 4\)"),
        ((np.zeros((2, 4), np.float32),) * 2, ValueError, r"state\[h\]: expected .*, got \(2, 4\)"),
    ],
)
def test_bad_state_is_named(lstm, x, state, error, message):
    with pytest.raises(error, match=message):
        lstm(x, state)


def test_state_from_another_layer_is_refused(lstm, x):
    _, state = ln.LSTM(3, 6, num_layers=2, seed=0)(x)
    with pytest.raises(ValueError, match=r"state\[h\]: expected shape .*H=4.*, got \(2, 2, 6\)"):
        lstm(x, state)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_size": 0}, ValueError, "input_size: expected an integer of at least 1, got 0"),
        ({"hidden_size": -1}, ValueError, "hidden_size: expected .* got -1"),
        ({"num_layers": 1.5}, TypeError, "num_layers: expected an integer, got 1.5"),
        ({"num_layers": True}, TypeError, "num_layers: expected an integer, got True"),
        ({"bias": 1}, TypeError, "bias: expected True or False, got 1"),
        ({"dropout": 1.0}, ValueError, "dropout: expected a number from 0"),
        ({"dropout": 0.5}, ValueError, "dropout: expected 0 with num_layers=1"),
        ({"dtype": "int32"}, ValueError, "dtype: expected one of 'float32', 'float64', got 'int32'"),
        ({"dtype": "no such"}, ValueError, "dtype: expected one of"),
        ({"backend": "gpu"}, ValueError, "backend: expected one of 'reference', 'cpu', 'cuda', got 'gpu'"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        ln.LSTM(**({"input_size": 3, "hidden_size": 4} | arguments))


def test_an_empty_batch_works(backend, dtype):
    layer = ln.LSTM(3, 4, num_layers=2, backend=backend, dtype=dtype, seed=0)
    y, (h_n, c_n) = layer(np.zeros((5, 0, 3), dtype))
    dx, _ = layer.backward(np.zeros((5, 0, 4), dtype))
    assert (y.shape, h_n.shape, c_n.shape, dx.shape) == ((5, 0, 4), (2, 0, 4), (2, 0, 4), (5, 0, 3))
    assert all(not grad.any() for grad in layer.grads.values())


def test_nan_stays_in_its_sequence_and_its_future(backend, dtype, rng):
    layer = ln.LSTM(3, 4, num_layers=2, backend=backend, dtype=dtype, seed=0)
    x = rng.normal(size=(6, 3, 3)).astype(dtype)
    clean, _ = layer(x)
    x[2, 1, 0] = np.nan
    y, _ = layer(x)
    assert np.isnan(y[2:, 1]).all()
    np.testing.assert_array_equal(y[:2], clean[:2])
    np.testing.assert_array_equal(y[:, [0, 2]], clean[:, [0, 2]])


def test_infinite_input_saturates_the_gates(backend, dtype):
    layer = ln.LSTM(1, 2, backend=backend, dtype=dtype, seed=0)
    y, (_, c_n) = layer(np.full((3, 1, 1), np.inf, dtype))
    assert np.isfinite(y).all()
    assert np.isfinite(c_n).all()


def test_backward_before_forward(lstm):
    with pytest.raises(RuntimeError, match="backward: expected a call of the layer in training mode before it"):
        lstm.backward(np.zeros((5, 2, 4), np.float32))


def test_backward_after_eval(lstm, x):
    y, _ = lstm(x)
    lstm.eval()
    with pytest.raises(RuntimeError, match="the layer is in inference mode"):
        lstm.backward(y)
    y, _ = lstm(x)
    with pytest.raises(RuntimeError, match="the layer is in inference mode"):
        lstm.backward(y)


def test_backward_twice_needs_retain(lstm, x):
    y, _ = lstm(x)
    first, _ = lstm.backward(y, retain=True)
    second, _ = lstm.backward(y)
    np.testing.assert_array_equal(first, second)
    with pytest.raises(RuntimeError, match="each call serves one backward"):
        lstm.backward(y)


@pytest.mark.parametrize(
    ("dy", "error"),
    [
        (np.zeros((5, 2, 3), np.float32), ValueError),
        (np.zeros((4, 2, 4), np.float32), ValueError),
        (np.zeros((5, 2, 4)), TypeError),
    ],
)
def test_bad_gradient_is_named(lstm, x, dy, error):
    lstm(x)
    with pytest.raises(error, match="dy: expected"):
        lstm.backward(dy)


def test_gradients_accumulate_until_zero_grad(lstm, x):
    y, _ = lstm(x)
    lstm.backward(y, retain=True)
    once = {name: grad.copy() for name, grad in lstm.grads.items()}
    lstm.backward(y)
    for name, grad in lstm.grads.items():
        assert relative_error(grad, 2 * once[name]) < TOLERANCE["float32"]
    lstm.zero_grad()
    assert all(not grad.any() for grad in lstm.grads.values())


def test_inputs_are_neither_changed_nor_remembered(lstm, x, backend):
    """The caller may reuse its buffers between the call and `backward`."""
    layer = ln.LSTM(3, 4, num_layers=2, seed=0, backend=backend)
    state = (np.ones((2, 2, 4), np.float32), np.ones((2, 2, 4), np.float32))
    kept = x.copy(), state[0].copy(), state[1].copy()
    y, _ = layer(x, state)
    for now, before in zip((x, *state), kept, strict=True):
        np.testing.assert_array_equal(now, before)
    expected, _ = layer.backward(y, retain=True)
    first = {name: grad.copy() for name, grad in layer.grads.items()}
    x[...], state[0][...], state[1][...] = 7, 7, 7
    layer.zero_grad()
    again, _ = layer.backward(y)
    np.testing.assert_array_equal(again, expected)
    for name, grad in layer.grads.items():
        np.testing.assert_array_equal(grad, first[name])


def test_two_halves_equal_the_whole(lstm, x):
    lstm.eval()
    whole, (h_n, c_n) = lstm(x)
    first, state = lstm(x[:2])
    second, (h_last, c_last) = lstm(x[2:], state)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, atol=1e-6)
    np.testing.assert_allclose(h_last, h_n, atol=1e-6)
    np.testing.assert_allclose(c_last, c_n, atol=1e-6)


def test_eval_gives_the_same_numbers_and_keeps_nothing(lstm, x):
    trained, _ = lstm(x)
    lstm.eval()
    np.testing.assert_array_equal(lstm(x)[0], trained)
    assert lstm._saved is None


def test_dropout_acts_between_layers_in_training_only(rng):
    layer = ln.LSTM(3, 64, num_layers=2, dropout=0.5, seed=0)
    x = rng.normal(size=(5, 8, 3)).astype(np.float32)
    assert np.abs(layer(x)[0] - layer(x)[0]).max() > 0
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0], layer(x)[0])


def test_dropout_gradient_uses_the_forward_mask(rng):
    """With the same mask (same generator state) the loss is deterministic, so central differences apply."""
    x = rng.normal(size=(3, 2, 2))
    dy = rng.normal(size=(3, 2, 3))

    def loss(value):
        return float((ln.LSTM(2, 3, num_layers=2, dropout=0.5, dtype="float64", seed=3)(value)[0] * dy).sum())

    layer = ln.LSTM(2, 3, num_layers=2, dropout=0.5, dtype="float64", seed=3)
    layer(x)
    dx, _ = layer.backward(dy)
    assert ln.gradcheck.relative_error(dx, ln.gradcheck.central_difference(loss, x)) < 1e-7


def test_dropout_mask_keeps_the_expected_share_and_scale():
    layer = ln.LSTM(1, 50, num_layers=2, dropout=0.3, seed=0)
    (mask,) = layer._draw_masks(100, 20)
    kept = mask > 0
    assert abs(kept.mean() - 0.7) < 0.01
    np.testing.assert_allclose(mask[kept], 1 / 0.7, rtol=1e-6)


def test_seed_decides_the_weights():
    first, same, other = (ln.LSTM(3, 4, seed=seed).parameters["weight_hh_l0"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0


class TestLoadStateDict:
    def test_unknown_and_missing_keys(self, lstm):
        state = lstm.state_dict()
        state["weight_xx"] = state.pop("weight_ih_l0")
        with pytest.raises(KeyError, match=r"missing \['weight_ih_l0'\], unknown \['weight_xx'\]"):
            lstm.load_state_dict(state)

    def test_shape(self, lstm):
        state = lstm.state_dict() | {"bias_ih_l1": np.zeros(4, np.float32)}
        with pytest.raises(ValueError, match=r"state\['bias_ih_l1'\]: expected shape \(axis 0=16\), got \(4,\)"):
            lstm.load_state_dict(state)

    def test_dtype(self, lstm):
        state = lstm.state_dict() | {"bias_ih_l1": np.zeros(16)}
        with pytest.raises(TypeError, match=r"state\['bias_ih_l1'\]: expected dtype float32, got float64"):
            lstm.load_state_dict(state)

    def test_failure_changes_nothing(self, lstm):
        before = lstm.state_dict()
        state = {name: value + 1 for name, value in before.items()} | {"bias_hh_l1": np.zeros(3, np.float32)}
        with pytest.raises(ValueError, match="bias_hh_l1"):
            lstm.load_state_dict(state)
        for name, value in lstm.parameters.items():
            np.testing.assert_array_equal(value, before[name])

    def test_state_dict_is_a_copy(self, lstm):
        state = lstm.state_dict()
        state["bias_ih_l0"][...] = 9
        assert not (lstm.parameters["bias_ih_l0"] == 9).any()


def test_parameters_cannot_be_rebound(lstm):
    with pytest.raises(TypeError, match="does not support item assignment"):
        lstm.parameters["weight_ih_l0"] = np.zeros(1)


def test_repr_names_what_differs_from_the_defaults(lstm):
    assert repr(lstm) == "LSTM(3, 4, num_layers=2, dtype='float32', backend='cpu')"
