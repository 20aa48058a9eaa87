"""GRU, RNN, projection and lengths as a user meets them: what they reject and how they say so, what they promise."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba import backend as backends
from lstm_numba.gradcheck import check_layer, relative_error
from tests.conftest import has_route

LAYERS = {
    "lstm": lambda *a, **k: ln.LSTM(*a, **k),
    "projected lstm": lambda *a, **k: ln.LSTM(*a, proj_size=2, **k),
    "gru": lambda *a, **k: ln.GRU(*a, **k),
    "gru, reset before": lambda *a, **k: ln.GRU(*a, reset_after=False, **k),
    "rnn": lambda *a, **k: ln.RNN(*a, **k),
    "relu rnn": lambda *a, **k: ln.RNN(*a, nonlinearity="relu", **k),
}


@pytest.fixture(params=LAYERS)
def make(request, backend):
    """A layer of each kind on each backend that has it."""
    make_layer = LAYERS[request.param]
    if not has_route(make_layer(3, 4, backend=backend), [1]):
        pytest.skip(f"backend {backend!r} has no kernel for this layer with lengths")
    return lambda *arguments, **options: make_layer(*arguments, backend=backend, **options)


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def draw(rng, *shape, dtype="float32"):
    return rng.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("lengths", [None, [3, 1]])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_equal_central_differences(make, rng, bidirectional, lengths):
    layer = make(2, 3, num_layers=2, bidirectional=bidirectional, dtype="float64", seed=0)
    if lengths is not None:
        call = type(layer).__call__
        layer = copy.copy(layer)
        layer.__class__ = type("Fixed", (type(layer),), {"__call__": lambda s, *a: call(s, *a, lengths=lengths)})
    x = rng.normal(size=(3, 2, 2))
    zeros = parts(layer(x)[1])
    state = tuple(rng.normal(size=part.shape) for part in zeros)
    report = check_layer(layer, x, state if len(state) == 2 else state[0])
    assert report.passed, str(report)
    assert ("c0" in report.errors) == (len(state) == 2)


def test_every_backend_equals_the_reference(make, rng, dtype, tolerance):
    """Sizes around and beyond a vector register, both directions, lengths, dropout, one step."""
    for T, B, I, H in ((1, 1, 1, 3), (6, 5, 4, 17), (3, 13, 20, 33)):
        options = {"num_layers": 2, "bidirectional": True, "dropout": 0.5, "dtype": dtype, "seed": 3}
        layer = make(I, H, **options)
        reference = copy.deepcopy(layer)
        reference.backend = "reference"
        x, lengths = draw(rng, T, B, I, dtype=dtype), rng.integers(1, T + 1, size=B)
        results = []
        for one in (layer, reference):
            y, final = one(x, lengths=lengths)
            dx, initial = one.backward(np.ones_like(y), final)
            results.append([y, *parts(final), dx, *parts(initial), *one.grads.values()])
        for ours, expected in zip(*results, strict=True):
            assert relative_error(ours, expected) < tolerance


def test_padding_is_neither_read_nor_written(make, rng):
    layer = make(3, 4, num_layers=2, bidirectional=True, seed=0)
    x, lengths = draw(rng, 6, 3, 3), [4, 6, 1]
    clean, clean_final = layer(x, lengths=lengths)
    for b, n in enumerate(lengths):
        x[n:, b] = np.nan
    y, final = layer(x, lengths=np.array(lengths, np.uint8))
    np.testing.assert_array_equal(y, clean)
    for part, clean_part in zip(parts(final), parts(clean_final), strict=True):
        np.testing.assert_array_equal(part, clean_part)
    dy = np.ones_like(y)
    for b, n in enumerate(lengths):
        assert not y[n:, b].any()
        dy[n:, b] = np.nan
    dx, _ = layer.backward(dy)
    for b, n in enumerate(lengths):
        assert not dx[n:, b].any()
        assert np.isfinite(dx[:n, b]).all()
    assert all(np.isfinite(grad).all() for grad in layer.grads.values())


def test_full_lengths_are_no_lengths(make, rng):
    layer = make(3, 4, bidirectional=True, batch_first=True, seed=0)
    x = draw(rng, 2, 5, 3)
    np.testing.assert_array_equal(layer(x, lengths=[5, 5])[0], layer(x)[0])


def test_an_empty_batch_works(make, dtype):
    layer = make(3, 4, num_layers=2, dtype=dtype, seed=0)
    for lengths in (None, []):
        y, final = layer(np.zeros((5, 0, 3), dtype), lengths=lengths)
        dx, initial = layer.backward(np.zeros_like(y))
        assert dx.shape == (5, 0, 3)
        assert [p.shape for p in parts(initial)] == [p.shape for p in parts(final)]
    assert all(not grad.any() for grad in layer.grads.values())


def test_nan_stays_in_its_sequence_and_its_future(make, dtype, rng):
    layer = make(3, 4, num_layers=2, dtype=dtype, seed=0)
    x = draw(rng, 6, 3, 3, dtype=dtype)
    clean, _ = layer(x)
    x[2, 1, 0] = np.nan
    y, _ = layer(x)
    assert np.isnan(y[2:, 1]).all()
    np.testing.assert_array_equal(y[:2], clean[:2])
    np.testing.assert_array_equal(y[:, [0, 2]], clean[:, [0, 2]])


def test_results_belong_to_the_caller(make, rng):
    """Writing into inputs and results between the call and backward changes no gradient."""
    layer = make(3, 4, num_layers=2, seed=0)
    x = draw(rng, 5, 2, 3)
    state = tuple(draw(rng, *part.shape) for part in parts(layer(x)[1]))
    outputs = []
    for scribble in (False, True):
        layer.zero_grad()
        given = x.copy(), tuple(part.copy() for part in state)
        y, final = layer(given[0], given[1] if len(state) == 2 else given[1][0], lengths=[5, 3])
        dy = np.ones_like(y)
        if scribble:
            for array in (given[0], *given[1], y, *parts(final)):
                array[...] = 7
        dx, initial = layer.backward(dy, retain=True)
        first = [dx.copy(), *(part.copy() for part in parts(initial))]
        for array in (dx, *parts(initial)):
            array[...] = 7
        again, _ = layer.backward(dy)
        np.testing.assert_array_equal(again, first[0])
        outputs.append([*first, *(grad.copy() for grad in layer.grads.values())])
    for clean, scribbled in zip(*outputs, strict=True):
        np.testing.assert_array_equal(clean, scribbled)


def test_a_state_goes_on(make, rng):
    layer = make(3, 4, num_layers=2, seed=0).eval()
    x = draw(rng, 5, 2, 3)
    whole, final = layer(x)
    _, state = layer(x[:2])
    second, last = layer(x[2:], state)
    np.testing.assert_allclose(second, whole[2:], atol=1e-6)
    for part, whole_part in zip(parts(last), parts(final), strict=True):
        np.testing.assert_allclose(part, whole_part, atol=1e-6)


def test_one_layer_serves_several_threads(make, rng):
    """In inference mode; the batch sizes alternate, so that a shared scratch array would be caught."""
    layer = make(3, 4, num_layers=2, bidirectional=True, seed=0).eval()
    inputs = [draw(rng, 4, B, 3) for B in (1, 2, 3, 2)] * 5
    expected = [layer(x)[0] for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for y, alone in zip(pool.map(lambda x: layer(x)[0], inputs), expected, strict=True):
            np.testing.assert_array_equal(y, alone)


def test_copies_and_pickles_are_independent_and_work(make, rng):
    layer = make(3, 4, num_layers=2, seed=0)
    x = draw(rng, 5, 2, 3)
    y, _ = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        for name in other.parameters:
            other.parameters[name][...] *= 2  # the layer must see what an optimiser writes into its parameters
        changed, _ = other(x)
        assert np.abs(changed - y).max() > 1e-3
        other.backward(np.ones_like(changed))
        assert all(grad.any() for grad in other.grads.values())
    np.testing.assert_array_equal(layer(x)[0], y)
    assert not any(grad.any() for grad in layer.grads.values())


def test_in_a_sequence_of_layers(make, rng):
    layer = make(3, 4, dtype="float64", seed=0)
    width = layer.proj_size or 4
    model = ln.Sequential(layer, ln.LastStep(dtype="float64"), ln.Dense(width, 2, dtype="float64", seed=1))
    assert check_layer(model, rng.normal(size=(4, 2, 3))).passed


def test_explain_counts_every_weight(make):
    layer = make(3, 4, num_layers=2, bidirectional=True, seed=0)
    weights = sum(value.size for name, value in layer.parameters.items() if name.startswith("weight"))
    plan = ln.explain(layer, (7, 5, 3))
    assert plan.flops == 2 * weights * 7 * 5
    assert sum(part.weight_bytes for part in plan.layers) == sum(p.nbytes for p in layer.parameters.values())


class TestLengths:
    @pytest.fixture
    def layer(self):
        return ln.GRU(3, 4, backend="reference", seed=0)

    @pytest.mark.parametrize(
        ("lengths", "error", "message"),
        [
            ([5, 0], ValueError, r"lengths: expected integers from 1 to T=5, got 0 for sequence 1"),
            ([6, 5], ValueError, r"lengths: expected integers from 1 to T=5, got 6 for sequence 0"),
            ([-1, 5], ValueError, r"lengths: expected integers from 1 to T=5, got -1"),
            ([5], ValueError, r"lengths: expected shape \(B=2\), got \(1,\)"),
            ([], ValueError, r"lengths: expected shape \(B=2\), got \(0,\)"),
            (5, ValueError, r"lengths: expected shape \(B=2\), got \(\)"),
            ([[5, 5]], ValueError, r"lengths: expected shape \(B=2\), got \(1, 2\)"),
            ([5.0, 4.0], TypeError, r"lengths: expected integers, got dtype float64"),
            ([True, True], TypeError, r"lengths: expected integers, got dtype bool"),
            (["5", "4"], TypeError, r"lengths: expected integers, got dtype <U1"),
            ([[5], [4, 3]], ValueError, r"lengths: expected a flat list of integers, got ragged"),
        ],
    )
    def test_bad_lengths_are_named(self, layer, lengths, error, message):
        with pytest.raises(error, match=message):
            layer(np.zeros((5, 2, 3), np.float32), lengths=lengths)

    def test_one_sequence_has_no_lengths(self, layer):
        with pytest.raises(ValueError, match=r"lengths: expected None for one sequence .* pass x\[:length\]"):
            layer(np.zeros((5, 3), np.float32), lengths=[5])

    def test_lengths_are_not_positional(self, layer):
        with pytest.raises(TypeError, match="positional"):
            layer(np.zeros((5, 2, 3), np.float32), None, [5, 5])

    def test_the_callers_array_is_not_kept(self, layer, rng):
        lengths = np.array([3, 5])
        y, _ = layer(draw(rng, 5, 2, 3), lengths=lengths)
        dx, _ = layer.backward(np.ones_like(y), retain=True)
        lengths[:] = 1
        np.testing.assert_array_equal(layer.backward(np.ones_like(y))[0], dx)


@pytest.mark.parametrize("layer", [ln.GRU(3, 4, 2), ln.RNN(3, 4, 2)], ids=["gru", "rnn"])
@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ((np.zeros((2, 2, 4), np.float32),) * 2, TypeError, r"state: expected one array h, got a tuple of 2 items"),
        (np.zeros((2, 2, 4)), TypeError, r"state: expected dtype float32, got float64"),
        (np.zeros((1, 2, 4), np.float32), ValueError, r"state: expected .*directions=2, B=2, H=4\), got \(1, 2, 4\)"),
        (np.zeros((2, 4), np.float32), ValueError, r"state: expected .*, got \(2, 4\)"),
    ],
)
def test_bad_state_is_named(layer, state, error, message):
    with pytest.raises(error, match=message):
        layer(np.zeros((5, 2, 3), np.float32), state)


def test_the_two_parts_of_a_projected_state_have_different_widths():
    layer = ln.LSTM(3, 4, proj_size=2, backend="reference", seed=0)
    x, h, c = np.zeros((5, 2, 3), np.float32), np.zeros((1, 2, 2), np.float32), np.zeros((1, 2, 4), np.float32)
    layer(x, (h, c))
    with pytest.raises(ValueError, match=r"state\[h\]: expected shape .*proj_size=2\), got \(1, 2, 4\)"):
        layer(x, (c, c))
    with pytest.raises(ValueError, match=r"state\[c\]: expected shape .*H=4\), got \(1, 2, 2\)"):
        layer(x, (h, h))


@pytest.mark.parametrize(
    ("make_bad", "error", "message"),
    [
        (lambda: ln.LSTM(3, 4, proj_size=4), ValueError, r"proj_size: expected less than hidden_size=4 .*, got 4"),
        (lambda: ln.LSTM(3, 4, proj_size=-1), ValueError, "proj_size: expected an integer of at least 0, got -1"),
        (lambda: ln.LSTM(3, 4, proj_size=True), TypeError, "proj_size: expected an integer, got True"),
        (lambda: ln.RNN(3, 4, nonlinearity="elu"), ValueError, "nonlinearity: expected 'tanh' or 'relu', got 'elu'"),
        (lambda: ln.RNN(3, 4, 1, True), ValueError, "nonlinearity: expected 'tanh' or 'relu', got True"),
        (lambda: ln.GRU(3, 4, reset_after=1), TypeError, "reset_after: expected True or False, got 1"),
        (lambda: ln.GRU(3, 4, dropout=0.5), ValueError, "dropout: expected 0 with num_layers=1"),
        (lambda: ln.GRU(3, 4, backend="gpu"), ValueError, "backend: expected one of .*, got 'gpu'"),
    ],
)
def test_bad_arguments_are_named(make_bad, error, message):
    with pytest.raises(error, match=message):
        make_bad()


def test_a_backend_without_the_kernel_says_so(monkeypatch):
    monkeypatch.setattr(backends, "ROUTES", tuple(route for route in backends.ROUTES if route.cell != "gru"))
    with pytest.raises(ValueError, match=r"'cpu' has no kernel for Problem\(cell='gru'.*backend='reference'"):
        ln.GRU(3, 4)(np.zeros((5, 2, 3), np.float32))


def test_repr_names_what_differs_from_the_defaults():
    layers = [
        ln.GRU(3, 4, 2, reset_after=False),
        ln.RNN(3, 4, nonlinearity="relu", bias=False),
        ln.LSTM(3, 4, proj_size=2),
    ]
    tail = "dtype='float32', backend='cpu')"
    assert [repr(layer) for layer in layers] == [
        f"GRU(3, 4, num_layers=2, reset_after=False, {tail}",
        f"RNN(3, 4, nonlinearity='relu', bias=False, {tail}",
        f"LSTM(3, 4, proj_size=2, {tail}",
    ]
