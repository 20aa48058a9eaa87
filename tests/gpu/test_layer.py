"""backend="cuda" through the public layers, on the emulator, equals the reference."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.contract import Weights
from lstm_numba.gpu import layer as gpu_layer
from lstm_numba.gpu import plan as planning
from lstm_numba.gpu.device import CudaMissing, EmulatedDevice, chip, use_device
from lstm_numba.gpu.plan import H100, Chip, family, plan
from lstm_numba.gradcheck import relative_error
from lstm_numba.reference import layer as reference
from tests.conftest import TOLERANCE, gpu_is_there


@pytest.fixture(autouse=True)
def small_chips(monkeypatch):
    """Clusters and grids from few units on, so that the emulator gets by with few threads."""
    monkeypatch.setattr(planning, "_CLUSTERS", ((32, 2, 2, 1, 1),))

    def small_family(H, dtype, chip):
        if dtype != "float32" or chip.capability < (8, 0):
            return "steps"
        if H <= 16:
            return "block"
        return "cluster" if chip.capability >= (9, 0) else "grid"

    monkeypatch.setattr(planning, "family", small_family)


LAYERS = {
    "lstm": lambda I, H, **options: ln.LSTM(I, H, **options),
    "gru": lambda I, H, **options: ln.GRU(I, H, **options),
    "rnn_tanh": lambda I, H, **options: ln.RNN(I, H, **options),
    "rnn_relu": lambda I, H, **options: ln.RNN(I, H, nonlinearity="relu", **options),
}


def parts(state):
    """Of an LSTM two, which a projection gives different widths; of other layers one."""
    return state if isinstance(state, tuple) else (state,)


# kind, family, chip, dtype, T, B, I, H, options
CASES = [
    ("lstm", "block", H100, "float32", 3, 3, 2, 5, {"num_layers": 2, "bidirectional": True}),
    ("lstm", "cluster", H100, "float32", 2, 9, 3, 20, {}),
    ("lstm", "grid", Chip((8, 0), 8), "float32", 2, 9, 3, 20, {"bidirectional": True}),
    ("lstm", "steps", Chip((7, 5), 40), "float32", 2, 3, 3, 5, {"bias": False}),
    ("lstm", "steps", H100, "float64", 2, 3, 3, 5, {"bidirectional": True}),
    ("lstm", "block", H100, "float32", 3, 3, 2, 5, {"proj_size": 2, "bidirectional": True, "num_layers": 2}),
    ("lstm", "grid", Chip((8, 0), 8), "float32", 2, 9, 3, 20, {"proj_size": 7, "bias": False}),
    ("lstm", "steps", H100, "float64", 3, 3, 3, 5, {"proj_size": 3, "bidirectional": True}),
    ("gru", "block", H100, "float32", 3, 3, 2, 5, {"bidirectional": True}),
    ("gru", "cluster", H100, "float32", 2, 3, 3, 17, {"bias": False}),
    ("gru", "steps", H100, "float64", 2, 3, 3, 5, {}),
    ("rnn_tanh", "block", H100, "float32", 3, 3, 2, 5, {"batch_first": True}),
    ("rnn_relu", "steps", H100, "float64", 2, 3, 2, 5, {}),
]


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize(("kind", "kernel", "chip", "dtype", "T", "B", "I", "H", "options"), CASES)
def test_equals_the_reference(kind, kernel, chip, dtype, T, B, I, H, options, with_lengths, rng):
    ours = LAYERS[kind](I, H, dtype=dtype, backend="cuda", seed=0, **options)
    expected = LAYERS[kind](I, H, dtype=dtype, backend="reference", seed=0, **options)
    shape = (B, T, I) if options.get("batch_first") else (T, B, I)
    x = rng.normal(size=shape).astype(dtype)
    lengths = rng.integers(1, T + 1, B) if with_lengths else None
    with use_device(EmulatedDevice(chip, seed=0)) as device:
        assert ln.explain(ours, shape).layers[0].kernel == kernel
        state0 = tuple(rng.normal(size=part.shape).astype(dtype) for part in parts(expected(x)[1]))
        state0 = state0 if kind == "lstm" else state0[0]
        y, state = ours(x, state0, lengths=lengths)
        y_expected, state_expected = expected(x, state0, lengths=lengths)
        dy = rng.normal(size=y.shape).astype(dtype)
        dstate = tuple(rng.normal(size=part.shape).astype(dtype) for part in parts(state))
        dstate = dstate if isinstance(state, tuple) else dstate[0]
        dx, dinitial = ours.backward(dy, dstate)
    dx_expected, dinitial_expected = expected.backward(dy, dstate)
    assert any(f"_{kernel}_forward" in name for name in device.launches)
    assert any(f"_{kernel}_backward" in name for name in device.launches)
    tolerance = TOLERANCE[dtype]
    assert relative_error(y, y_expected) < tolerance
    assert relative_error(dx, dx_expected) < tolerance
    for found, right in ((state, state_expected), (dinitial, dinitial_expected)):
        for one, other in zip(parts(found), parts(right), strict=True):
            assert relative_error(one, other) < tolerance
    for name, gradient in expected.grads.items():
        assert relative_error(ours.grads[name], gradient) < tolerance, name


def test_every_kernel_of_a_pass_emulated(rng):
    """Matrix products and copies too, which the other tests leave to NumPy."""
    ours = ln.LSTM(2, 5, backend="cuda", seed=0)
    expected = ln.LSTM(2, 5, backend="reference", seed=0)
    x, dy = rng.normal(size=(2, 3, 2)).astype(np.float32), rng.normal(size=(2, 3, 5)).astype(np.float32)
    with use_device(EmulatedDevice(everything=True)):
        y, _ = ours(x)
        dx, _ = ours.backward(dy)
    assert relative_error(y, expected(x)[0]) < 1e-5
    assert relative_error(dx, expected.backward(dy)[0]) < 1e-5
    for name, gradient in expected.grads.items():
        assert relative_error(ours.grads[name], gradient) < 1e-5, name


def test_more_sequences_than_teams_are_resident(rng):
    """The grid kernels then take the batch in several launches."""
    ours = ln.LSTM(2, 32, backend="cuda", seed=0)
    x = rng.normal(size=(2, 20, 2)).astype(np.float32)
    with use_device(EmulatedDevice(Chip((8, 0), 2))) as device:
        y, _ = ours(x)
        ours.backward(np.ones_like(y))
    assert sum("grid_forward" in name for name in device.launches) == 3
    assert sum("grid_backward" in name for name in device.launches) == 2
    assert relative_error(y, ln.LSTM(2, 32, backend="reference", seed=0)(x)[0]) < 1e-5


def test_tf32_is_less_precise_and_has_to_be_asked_for(rng):
    x = rng.normal(size=(4, 8, 5)).astype(np.float32)
    lstm = ln.LSTM(5, 16, backend="cuda", seed=0)
    expected, _ = ln.LSTM(5, 16, backend="reference", seed=0)(x)
    assert planning.get_precision() == "float32"
    with use_device(EmulatedDevice()):
        strict, _ = lstm(x)
        with planning.precision("tf32"):
            fast, _ = lstm(x)
    assert relative_error(strict, expected) < 1e-6
    assert 1e-6 < relative_error(fast, expected) < 5e-3
    assert planning.get_precision() == "float32"
    with pytest.raises(ValueError, match="precision: expected one of 'float32', 'tf32', 'bfloat16', got 'fp8'"):
        planning.set_precision("fp8")


def test_an_empty_batch(rng):
    lstm = ln.LSTM(2, 5, backend="cuda", seed=0)
    with use_device(EmulatedDevice()):
        y, (h_n, c_n) = lstm(np.zeros((3, 0, 2), np.float32))
        dx, _ = lstm.backward(np.zeros_like(y))
    assert y.shape == (3, 0, 5)
    assert h_n.shape == c_n.shape == (1, 0, 5)
    assert dx.shape == (3, 0, 2)


def test_nan_stays_in_its_sequence(rng):
    x = rng.normal(size=(3, 2, 2)).astype(np.float32)
    x[1, 0, 0] = np.nan
    with use_device(EmulatedDevice()):
        y, _ = ln.LSTM(2, 5, backend="cuda", seed=0)(x)
    assert np.isnan(y[1:, 0]).all()
    assert np.isfinite(y[0]).all()
    assert np.isfinite(y[:, 1]).all()


def test_what_has_no_kernel_says_so():
    layer = ln.GRU(2, 5, reset_after=False, backend="cuda")
    with use_device(EmulatedDevice()), pytest.raises(ValueError, match="'cuda' has no kernel for Problem"):
        layer(np.zeros((2, 1, 2), np.float32))


@pytest.mark.parametrize("H", [1, 16, 17, 64, 65, 128, 129, 200, 256, 257, 384, 500, 512, 513, 700, 1024, 1025])
@pytest.mark.parametrize("B", [1, 64, 2000])
@pytest.mark.parametrize(
    "chip", [H100, Chip((8, 0), 108), Chip((8, 6), 30), Chip((7, 5), 40), Chip((8, 9), 128)], ids=str
)
def test_plans_fit(monkeypatch, H, B, chip):
    """Sizes that the kernels assume, for every number of units and chip."""
    monkeypatch.undo()  # the real families
    for precision in planning.PRECISIONS:
        chosen = plan("lstm", H, B, "float32", chip, precision)
        assert chosen.family == family(H, "float32", chip)
        assert H <= chosen.H <= max(16, 2 * H)
        for kernel in (chosen.forward, chosen.backward):
            assert kernel.name.endswith("float32" if chosen.family == "steps" else precision)
            assert kernel.threads % 32 == 0
            assert 32 <= kernel.threads <= 1024
            assert kernel.rows % 8 == 0
            assert kernel.cluster <= 8
            assert kernel.cluster == 1 or chip.capability >= (9, 0)
        if chosen.family == "grid":
            assert chosen.teams >= 1
            assert chosen.teams * chosen.forward_blocks <= chip.multiprocessors


@pytest.mark.skipif(gpu_is_there(), reason="there is a GPU")
def test_without_a_gpu_explain_still_answers_and_running_says_what_is_missing():
    assert chip() == H100
    lstm = ln.LSTM(2, 5, backend="cuda")
    explanation = ln.explain(lstm, (3, 1, 2), measure=True)
    assert explanation.layers[0].kernel == "block"
    assert explanation.layers[0].gflops is None  # nothing was measured
    assert "(an H100, assumed: no GPU was found)" in " ".join(str(explanation).split())
    with pytest.raises(CudaMissing, match="backend='cuda' needs"):
        lstm(np.zeros((3, 1, 2), np.float32))


@pytest.mark.parametrize(
    ("chip", "H", "kernel", "words"),
    [
        (Chip((7, 5), 40), 200, "steps", "7.5, 40 multiprocessors; 16 units of 16 sequences per block and launch"),
        (Chip((8, 0), 108), 40, "block", "8.0, 108 multiprocessors; 1 block forward and 1 backward per 8 sequences, "
         "40 units padded to 48"),
        (Chip((8, 0), 108), 200, "grid", "14 blocks per 8 sequences forward, 14 blocks per 16 backward, 200 units "
         "padded to 224"),
        (Chip((8, 6), 30), 512, "steps", "8.6, 30 multiprocessors; 16 units"),
        (Chip((8, 9), 128), 1024, "grid", "128 blocks per 8 sequences forward, 128 blocks per 16 backward"),
        (H100, 192, "cluster", "9.0, 132 multiprocessors; 8 blocks forward and 4 backward per 8 sequences"),
    ],
)  # fmt: skip
def test_explain_names_the_chip_and_the_blocks(monkeypatch, chip, H, kernel, words):
    monkeypatch.undo()  # the real families
    with use_device(EmulatedDevice(chip)):
        layer = ln.explain(ln.LSTM(4, H, backend="cuda"), (3, 2, 4)).layers[0]
    assert layer.kernel == kernel
    assert words in layer.sharing


class Elsewhere:
    """An array that only claims to lie on a device."""

    def __init__(self, array):
        self.array, self.shape, self.ndim = array, array.shape, array.ndim
        self.__cuda_array_interface__ = array.__array_interface__


class UnwrappingDevice(EmulatedDevice):
    def upload(self, array):
        return array.array if isinstance(array, Elsewhere) else super().upload(array)

    def download(self, array):
        raise AssertionError("nothing may be copied to the host")


def test_arrays_on_the_device_are_neither_copied_nor_brought_back(rng):
    """The contract's functions take them; what a real device does with them is tested on one."""
    T, B, I, H = 3, 2, 4, 5

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    x, dy = draw(T, B, I), draw(T, B, H)
    state = (draw(1, B, H), draw(1, B, H))
    weights = Weights(draw(4 * H, I), draw(4 * H, H), draw(4 * H), draw(4 * H))
    expected, _, cache = reference.layer_forward("lstm", x, state, (weights,), None, True)
    dx_expected, _, _ = reference.layer_gradients("lstm", dy, state, cache, (weights,))
    there = tuple(map(Elsewhere, state))
    on_device = (Weights(*(None if part is None else Elsewhere(part) for part in weights)),)
    with use_device(UnwrappingDevice()):
        y, _, cache = gpu_layer.layer_forward("lstm", Elsewhere(x), there, on_device, None, True)
        dx, _, grads = gpu_layer.layer_gradients("lstm", Elsewhere(dy), there, cache, on_device)
    assert cache.x is x
    assert relative_error(y, expected) < 1e-5
    assert relative_error(dx, dx_expected) < 1e-5
    assert grads[0].W_hr is None


def test_gradients_are_added_where_they_lie(rng):
    T, B, I, H = 2, 2, 3, 4
    x, dy = rng.normal(size=(T, B, I)).astype(np.float32), rng.normal(size=(T, B, H)).astype(np.float32)
    state = (np.zeros((1, B, H), np.float32),) * 2
    weights = (Weights(*(rng.normal(size=shape).astype(np.float32) for shape in ((16, I), (16, H), 16, 16))),)
    totals = Weights(*(None if part is None else np.ones_like(part) for part in weights[0]))
    there = (Weights(*(None if part is None else Elsewhere(part) for part in totals)),)
    with use_device(UnwrappingDevice()):
        _, _, cache = gpu_layer.layer_forward("lstm", Elsewhere(x), state, weights, None, True)
        gpu_layer.layer_backward("lstm", Elsewhere(dy), state, cache, weights, there)
    _, _, cache = reference.layer_forward("lstm", x, state, weights, None, True)
    _, _, expected = reference.layer_gradients("lstm", dy, state, cache, weights)
    for found, gradient in zip(totals, expected[0], strict=True):
        assert (found is None) == (gradient is None)
        assert found is None or relative_error(found - 1, gradient) < 1e-5
