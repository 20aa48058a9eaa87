"""Arrays that lie on the device go through the layers without a copy; here device memory is the emulator's."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.gpu import plan as planning
from lstm_numba.gpu.device import EmulatedDevice, GpuDevice, hand_over, stream_of, use_device
from lstm_numba.gradcheck import relative_error


@pytest.fixture(autouse=True)
def steps_only(monkeypatch):
    """The family with the fewest threads: what is tested here lies around the kernels."""
    monkeypatch.setattr(planning, "family", lambda H, dtype, chip: "steps")


class There:
    """An array of another library in "device memory"; NumPy cannot read it by itself."""

    def __init__(self, array, stream=None):
        self._array, self.shape, self.ndim = array, array.shape, array.ndim
        self.__cuda_array_interface__ = {**array.__array_interface__, "stream": stream}

    def __array__(self, *_):
        raise TypeError("this array is not on the host")


class WatchedDevice(EmulatedDevice):
    """Writes down what is copied to the host."""

    def __init__(self):
        super().__init__()
        self.downloads, self.adopted = [], []

    def upload(self, array):
        found = super().upload(array)
        if isinstance(array, There):
            assert np.shares_memory(found, array._array)
            self.adopted.append(array.shape)
        return found

    def download(self, array):
        self.downloads.append(array.shape)
        return super().download(array)


LAYERS = [
    (ln.LSTM, {"num_layers": 2, "bidirectional": True}),
    (ln.LSTM, {"batch_first": True}),
    (ln.LSTM, {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
    (ln.GRU, {"num_layers": 2, "batch_first": True}),
    (ln.RNN, {"bias": False}),
]


@pytest.mark.parametrize(("make", "options"), LAYERS, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize("with_lengths", [False, True])
def test_layers_equal_the_reference_and_copy_no_sequence(make, options, with_lengths, rng):
    T, B, I, H = 3, 2, 3, 4
    ours, expected = (make(I, H, backend=name, seed=0, **options) for name in ("cuda", "reference"))

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    D = 2 if options.get("bidirectional") else 1
    rows = D * options.get("num_layers", 1)
    x = draw(B, T, I) if options.get("batch_first") else draw(T, B, I)
    widths = [options.get("proj_size", H)] + [H] * (make is ln.LSTM)
    dy = draw(*x.shape[:2], D * widths[0])
    pair = make is ln.LSTM
    state, dstate = (tuple(draw(rows, B, width) for width in widths) for _ in range(2))

    def wrapped(parts, wrap=lambda part: part):
        return tuple(map(wrap, parts)) if pair else wrap(parts[0])

    lengths = rng.integers(1, T + 1, B) if with_lengths else None
    with use_device(WatchedDevice()) as device:
        y, final = ours(There(x), wrapped(state, There), lengths=lengths)
        dx, initial = ours.backward(There(dy), wrapped(dstate, There))
    y_expected, final_expected = expected(x, wrapped(state), lengths=lengths)
    dx_expected, initial_expected = expected.backward(dy, wrapped(dstate))
    assert relative_error(y, y_expected) < 1e-5
    assert relative_error(dx, dx_expected) < 1e-5
    for found, right in ((final, final_expected), (initial, initial_expected)):
        for one, other in zip(*((part if pair else (part,)) for part in (found, right)), strict=True):
            assert relative_error(one, other) < 1e-5
    for name, gradient in expected.grads.items():
        assert relative_error(ours.grads[name], gradient) < 1e-5, name
    assert sorted(device.downloads) == sorted(grad.shape for grad in ours.grads.values())  # the weights' alone
    assert device.adopted.count(x.shape) >= 1


def test_one_sequence_without_a_batch_axis_and_zero_states(rng):
    x = rng.normal(size=(3, 2)).astype(np.float32)
    expected, (h, c) = ln.LSTM(2, 4, backend="reference", seed=0)(x)
    lstm = ln.LSTM(2, 4, backend="cuda", seed=0)
    with use_device(EmulatedDevice()):
        y, (h_n, c_n) = lstm(There(x))
        dx, _ = lstm.backward(There(np.ones((3, 4), np.float32)))
    assert y.shape == (3, 4)
    assert dx.shape == x.shape
    for found, right in ((y, expected), (h_n, h), (c_n, c)):
        assert found.shape == right.shape
        assert relative_error(found, right) < 1e-5


def test_backward_once_unless_retained(rng):
    lstm = ln.LSTM(2, 4, backend="cuda", seed=0)
    dy = There(np.ones((3, 1, 4), np.float32))
    with use_device(EmulatedDevice()):
        lstm(There(rng.normal(size=(3, 1, 2)).astype(np.float32)))
        first, _ = lstm.backward(dy, retain=True)
        second, _ = lstm.backward(dy)
        np.testing.assert_array_equal(first, second)
        with pytest.raises(RuntimeError, match="expected a call of the layer in training mode"):
            lstm.backward(dy)
        lstm.eval()
        lstm(There(np.ones((3, 1, 2), np.float32)))
        with pytest.raises(RuntimeError, match="inference mode"):
            lstm.backward(dy)


def test_the_streams_are_those_of_the_arrays(rng):
    x, dy = (rng.normal(size=(2, 1, 4)).astype(np.float32) for _ in range(2))
    lstm = ln.LSTM(4, 4, backend="cuda", seed=0)
    with use_device(EmulatedDevice()) as device:
        lstm(There(x, stream=17))
        lstm.backward(There(dy, stream=18))
        lstm(There(x))
        lstm(There(x, stream=1))  # the default stream by its own number
    assert device.streams == [17, 18, None, None]


@pytest.fixture
def libraries(monkeypatch):
    """PyTorch and CuPy, as far as they matter here."""
    stream = SimpleNamespace(cuda_stream=5)
    torch = SimpleNamespace(
        cuda=SimpleNamespace(current_stream=lambda device: stream),
        as_tensor=lambda array, device: ("tensor", array, device),
    )
    cupy = SimpleNamespace(
        cuda=SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=0)), asarray=lambda array: ("cupy", array)
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return {
        "torch": type("Tensor", (), {"__module__": "torch", "device": "cuda:0"})(),
        "cupy": type("ndarray", (), {"__module__": "cupy"})(),
    }


def test_current_streams_of_libraries(libraries):
    assert stream_of(libraries["torch"]) == 5
    assert stream_of(libraries["cupy"]) is None
    assert stream_of(SimpleNamespace()) is None


def test_results_are_handed_over_in_kind(libraries):
    y = np.ones(3)
    assert hand_over(y, libraries["torch"]) == ("tensor", y, "cuda:0")
    assert hand_over(y, libraries["cupy"]) == ("cupy", y)
    assert hand_over(y, There(y)) is y


@pytest.mark.parametrize(
    ("change", "x", "error", "message"),
    [
        ({}, np.zeros((2, 1, 3)), TypeError, "x: expected dtype float32, got float64"),
        ({}, np.zeros((2, 1, 4), np.float32), ValueError, r"x: expected shape \(T, B, I=3\), got \(2, 1, 4\)"),
        ({}, np.zeros((2, 0, 3), np.float32), ValueError, "at least one time step and one sequence"),
        ({}, np.zeros((3, 1, 2), np.float32).T, ValueError, "x: expected a C-contiguous array on the device"),
        ({"checkpoint": 2}, np.zeros((2, 1, 3), np.float32), ValueError, "checkpoint: expected None"),
        ({"dropout": 0.5, "num_layers": 2}, np.zeros((2, 1, 3), np.float32), ValueError, "dropout: expected 0"),
    ],
)
def test_what_does_not_fit_is_named(change, x, error, message):
    lstm = ln.LSTM(3, 4, backend="cuda", seed=0, **change)
    with use_device(EmulatedDevice()), pytest.raises(error, match=message):
        lstm(There(x))


def test_states_and_gradients_that_do_not_fit(rng):
    lstm, gru = (make(3, 4, backend="cuda", seed=0) for make in (ln.LSTM, ln.GRU))
    x, h = np.zeros((2, 1, 3), np.float32), np.zeros((1, 1, 4), np.float32)
    with use_device(EmulatedDevice()):
        with pytest.raises(TypeError, match="state: expected a pair"):
            lstm(There(x), There(h))
        with pytest.raises(TypeError, match="state: expected one array"):
            gru(There(x), (There(h), There(h)))
        with pytest.raises(ValueError, match=r"state\[c\]: expected shape .*got \(2, 1, 4\)"):
            lstm(There(x), (There(h), There(np.zeros((2, 1, 4), np.float32))))
        lstm(There(x))
        with pytest.raises(ValueError, match="dy: expected shape"):
            lstm.backward(There(np.zeros((2, 1, 5), np.float32)))


def test_other_backends_leave_such_arrays_to_numpy():
    with pytest.raises(TypeError, match="not on the host"):
        ln.LSTM(3, 4)(There(np.zeros((2, 1, 3), np.float32)))


def test_a_real_device_does_not_wait_for_its_own_stream():
    """The calls that reach Numba, with a stand-in for it."""
    calls = []
    array = SimpleNamespace(is_c_contiguous=lambda: True)
    device = GpuDevice.__new__(GpuDevice)
    device._cuda = SimpleNamespace(
        as_cuda_array=lambda given, sync: calls.append(("interface", sync)) or array,
        external_stream=lambda pointer: ("stream", pointer),
    )
    device._stream, device.stream = 0, None
    foreign = There(np.zeros(3, np.float32), stream=9)
    assert device.upload(foreign) is array
    with device.on_stream(9):
        assert device._stream == ("stream", 9)
        device.upload(foreign)
    assert device._stream == 0
    assert calls == [("interface", True), ("interface", False)]


class OnlyDLPack:
    """Memory of the host that says it were a GPU's, through DLPack alone."""

    def __init__(self, array):
        self._array, self.streams = array, []

    def __dlpack__(self, *, stream=None, **options):
        self.streams.append(stream)
        return self._array.__dlpack__()

    def __dlpack_device__(self):
        return (2, 0)  # kDLCUDA


@pytest.mark.parametrize(("stream", "told"), [(None, 1), (9, 9)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_real_device_takes_dlpack_without_a_copy(monkeypatch, stream, told, dtype):
    """The memory's address and layout reach Numba, and the library is told on which stream they will be used."""
    api = pytest.importorskip("numba.cuda.api")
    pytest.importorskip("cuda.core.utils")
    found = []

    def take(described, owner, sync):
        found.append(described)
        assert owner is not None  # which keeps the memory alive
        assert not sync
        shape, strides = described["shape"], described["strides"]
        contiguous = strides is None or strides == np.empty(shape, described["typestr"]).strides
        return SimpleNamespace(is_c_contiguous=lambda: contiguous, strides=strides)

    monkeypatch.setattr(api, "from_cuda_array_interface", take)
    device = GpuDevice.__new__(GpuDevice)
    device.stream = stream
    array = np.ones((2, 3, 4), dtype)
    given = OnlyDLPack(array)
    device.upload(given)
    assert found[0]["data"] == (array.ctypes.data, False)
    assert found[0]["shape"] == (2, 3, 4)
    assert np.dtype(found[0]["typestr"]) == array.dtype
    assert given.streams == [told]  # 1 is the default stream's number in this protocol
    with pytest.raises(ValueError, match="expected a C-contiguous array on the device, got strides"):
        device.upload(OnlyDLPack(array.T))
