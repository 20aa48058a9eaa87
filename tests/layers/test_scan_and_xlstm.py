"""The layers MinGRU, MinLSTM, SLSTM and MLSTM: parameters, gradients, states, axes, and what they refuse."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.gradcheck import check_layer, relative_error

LAYERS = {"MinGRU": ln.MinGRU, "MinLSTM": ln.MinLSTM, "SLSTM": ln.SLSTM, "MLSTM": ln.MLSTM}


@pytest.fixture(params=LAYERS)
def kind(request):
    return LAYERS[request.param]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_gradients_equal_central_differences(rng, kind, backend):
    """Through `Sequential`, which passes on the outputs and drops the state."""
    model = ln.Sequential(kind(2, 3, dtype="float64", backend=backend, seed=0))
    report = check_layer(model, rng.normal(size=(4, 2, 2)))
    assert report.passed, str(report)
    assert set(report.errors) == {"x", *model.parameters}


def test_gradients_of_the_initial_state(rng):
    for kind in (ln.MinGRU, ln.MinLSTM):
        report = check_layer(kind(2, 3, dtype="float64", seed=0), rng.normal(size=(4, 2, 2)), rng.normal(size=(2, 3)))
        assert report.passed, str(report)
        assert "h0" in report.errors


def test_backends_agree_on_the_same_seed(rng, kind):
    x, dy = rng.normal(size=(6, 2, 3)), rng.normal(size=(6, 2, 4))
    results = []
    for backend in ("cpu", "reference"):
        layer = kind(3, 4, dtype="float64", backend=backend, seed=7)
        y, state = layer(x)
        dx, dstate = layer.backward(dy)
        parts = [part for s in (state, dstate) for part in (s if isinstance(s, tuple) else (s,))]
        results.append([y, dx, *parts, *layer.grads.values()])
    for one, two in zip(*results, strict=True):
        assert relative_error(one, two) < 1e-10


def test_parameters():
    def shapes(layer):
        return {name: value.shape for name, value in layer.parameters.items()}

    assert shapes(ln.MinGRU(5, 4)) == {"weight_ih_l0": (8, 5), "bias_ih_l0": (8,)}
    assert shapes(ln.MinLSTM(5, 4)) == {"weight_ih_l0": (12, 5), "bias_ih_l0": (12,)}
    assert shapes(ln.SLSTM(5, 4)) == {"weight_ih_l0": (16, 5), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,)}
    assert shapes(ln.MLSTM(5, 4, 2)) == {"weight_ih_l0": (20, 5), "bias_ih_l0": (20,)}
    assert shapes(ln.MLSTM(5, 4, bias=False)) == {"weight_ih_l0": (18, 5)}
    np.testing.assert_array_equal(ln.MLSTM(5, 4, 2).parameters["bias_ih_l0"][-2:], [3, 6])


def test_batch_first_is_a_transposition(rng, kind):
    first, second = kind(3, 4, seed=0), kind(3, 4, batch_first=True, seed=0)
    x, dy = rng.normal(size=(6, 2, 3)).astype("f4"), rng.normal(size=(6, 2, 4)).astype("f4")
    y, _ = first(x)
    dx, _ = first.backward(dy)
    y_b, _ = second(np.ascontiguousarray(x.transpose(1, 0, 2)))
    dx_b, _ = second.backward(np.ascontiguousarray(dy.transpose(1, 0, 2)))
    np.testing.assert_array_equal(y, y_b.transpose(1, 0, 2))
    np.testing.assert_array_equal(dx, dx_b.transpose(1, 0, 2))


def test_pieces_and_single_steps_are_the_sequence(rng, kind):
    layer = kind(3, 4, dtype="float64", seed=0).eval()
    x = rng.normal(size=(8, 2, 3))
    whole, final = layer(x)
    first, state = layer(x[:5])
    second, _ = layer(x[5:], state)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-12)
    state, outputs = None, []
    for x_t in x:
        y_t, state = layer.step(x_t, state)
        outputs.append(y_t)
    np.testing.assert_allclose(np.stack(outputs), whole, rtol=1e-12)
    for one, two in zip(*(s if isinstance(s, tuple) else (s,) for s in (state, final)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)


def test_state_dict_goes_round(rng, kind):
    one, two = kind(3, 4, seed=0).eval(), kind(3, 4, seed=1).eval()
    x = rng.normal(size=(3, 2, 3)).astype("f4")
    two.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(one(x)[0], two(x)[0])


def test_trains_inside_sequential_with_fit(rng, kind):
    """The mean of the inputs so far; every cell can learn it."""
    x = rng.normal(size=(64, 6, 1)).astype("f4")
    target = x.mean(axis=1)
    model = ln.Sequential(kind(1, 8, batch_first=True, seed=0), ln.LastStep(batch_first=True), ln.Dense(8, 1, seed=1))
    history = ln.fit(model, x, target, loss=ln.mse_loss, optimiser=ln.Adam(model, lr=0.02), epochs=40, progress=False)
    assert history.train_loss[-1] < 0.3 * history.train_loss[0]


def test_backward_uses_the_input_as_it_was(rng, kind):
    layer = kind(2, 3, seed=0)
    x = rng.normal(size=(4, 2, 2)).astype("f4")
    y, _ = layer(x)
    layer.backward(y)
    expected = layer.grads["weight_ih_l0"].copy()
    layer.zero_grad()
    layer(x)
    x[...] = 0
    layer.backward(y)
    np.testing.assert_array_equal(layer.grads["weight_ih_l0"], expected)


def test_results_belong_to_the_caller(rng, kind):
    """Writing into an output changes nothing that backward uses."""
    layer = kind(2, 3, dtype="float64", seed=0)
    x, dy = rng.normal(size=(4, 2, 2)), rng.normal(size=(4, 2, 3))
    layer(x)
    expected, _ = layer.backward(dy)
    y, state = layer(x)
    for part in (y, *(state if isinstance(state, tuple) else (state,))):
        part[...] = 99
    np.testing.assert_array_equal(layer.backward(dy)[0], expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ln.MinGRU(2, 0), ValueError, "hidden_size: expected"),
        (lambda: ln.MinGRU(2, 3, backend="cuda"), ValueError, "backend: expected one of 'cpu', 'reference'"),
        (lambda: ln.MLSTM(2, 4, 3), ValueError, "num_heads: expected a divisor of hidden_size=4, got 3"),
        (lambda: ln.MinLSTM(2, 3)(np.zeros((4, 1, 5), "f4")), ValueError, r"x: expected shape \(T, B, I=2\)"),
        (lambda: ln.MinLSTM(2, 3)(np.zeros((4, 1, 2))), TypeError, "x: expected dtype float32"),
        (lambda: ln.MinGRU(2, 3)(np.zeros((0, 1, 2), "f4")), ValueError, "at least one time step"),
        (lambda: ln.MinGRU(2, 3)(np.zeros((1, 1, 2), "f4"), np.zeros((2, 3), "f4")), ValueError, r"state: expected"),
        (lambda: ln.SLSTM(2, 3)(np.zeros((1, 1, 2), "f4"), 0), TypeError, r"state: expected 4 arrays \(h, c, n, m\)"),
        (lambda: ln.MLSTM(2, 3)(np.zeros((1, 1, 2), "f4"), (0, 0)), TypeError, r"state: expected 3 arrays \(C, n, m\)"),
        (lambda: ln.SLSTM(2, 3).backward(np.zeros((1, 1, 3), "f4")), RuntimeError, "backward: expected a call"),
        (lambda: ln.MinGRU(2, 3).step(np.zeros((1, 3), "f4")), ValueError, r"x: expected shape \(B, I=2\)"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
