"""On a real GPU: the same results as the reference, the same at every run, from poisoned memory.

Run with ``make test-gpu``. Without a GPU these tests are skipped; they had not been run on one when they were written.
"""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.contract import Weights
from lstm_numba.gpu.device import CudaMissing, GpuDevice, require_gpu, use_device
from lstm_numba.gpu.plan import PRECISIONS, family, precision
from lstm_numba.gradcheck import relative_error
from tests.conftest import TOLERANCE
from tests.gpu.test_emulator import tile_product, tile_product_bf16

try:
    require_gpu()
except CudaMissing as missing:
    if os.environ.get("LSTM_NUMBA_GPU") == "required":
        raise
    pytest.skip(str(missing), allow_module_level=True)

SEED = int.from_bytes(os.urandom(4), "little")  # fresh numbers every time; printed when a test fails
ALLOWED = {"float32": 2e-5, "tf32": 1e-2, "bfloat16": 5e-2}  # longer sums than on the CPU, in another order


class PoisonedGpu(GpuDevice):
    """Memory that is full of NaN until a kernel writes it."""

    def empty(self, shape, dtype):
        kind = np.dtype(dtype)
        poison = np.full(shape, np.nan if kind.kind == "f" else np.iinfo(kind).max, kind)
        return self._cuda.to_device(poison, stream=self._stream)  # on another one it could land on a result


@pytest.fixture
def device():
    with use_device(PoisonedGpu()) as device:
        print(f"seed {SEED}, {device.chip}")
        yield device


def test_fragment_layouts_of_the_hardware(device):
    """The one assumption that emulator and kernels share."""
    from lstm_numba.gpu.binding import Kernel

    if device.chip.capability < (8, 0):
        pytest.skip("no TF32 tensor cores")
    rng = np.random.default_rng(SEED)
    A, B = rng.integers(-9, 9, (16, 8)).astype(np.float32), rng.integers(-9, 9, (8, 8)).astype(np.float32)
    C = device.empty((16, 8), np.float32)
    device.launch(Kernel("tile_product", tile_product, 32, (2, 2, 2)), 1, device.upload(A), device.upload(B), C)
    np.testing.assert_array_equal(device.download(C), A @ B)
    A, B = rng.integers(-9, 9, (16, 16)).astype(np.float32), rng.integers(-9, 9, (16, 8)).astype(np.float32)
    C = device.empty((16, 8), np.float32)
    kernel = Kernel("tile_product_bf16", tile_product_bf16, 32, (2, 2, 2))
    device.launch(kernel, 1, device.upload(A), device.upload(B), C)
    np.testing.assert_array_equal(device.download(C), A @ B)


SIZES = [1, 7, 16, 33, 64, 100, 128, 192, 250, 256, 300, 384, 512, 640, 768, 1024, 1030]


# Other cells share everything with the LSTM but the equations: one size of each family, and the precisions in turn.
# Compiling takes most of the time of this file.
OTHERS = [
    (kind, H, PRECISIONS[(position + shift) % 3])
    for shift, kind in enumerate(("gru", "rnn_tanh"))
    for position, H in enumerate((33, 128, 250, 300, 1030))
]


@pytest.mark.parametrize(
    ("kind", "H", "chosen"), [*(("lstm", H, chosen) for H in SIZES for chosen in PRECISIONS), *OTHERS]
)
def test_layers_equal_the_reference(device, kind, H, chosen):
    """Forward and backward, two directions, sequences of different lengths."""
    rng = np.random.default_rng(SEED)
    T, B, I = 9, int(rng.integers(1, 40)), 11
    make = {"lstm": ln.LSTM, "gru": ln.GRU, "rnn_tanh": ln.RNN}[kind]
    ours = make(I, H, bidirectional=True, backend="cuda", seed=1)
    expected = make(I, H, bidirectional=True, backend="reference", seed=1)
    x, lengths = rng.normal(size=(T, B, I)).astype(np.float32), rng.integers(1, T + 1, B)
    dy = rng.normal(size=(T, B, 2 * H)).astype(np.float32)
    with precision(chosen):
        y, state = ours(x, lengths=lengths)
        dx, dstate = ours.backward(dy)
    y_expected, state_expected = expected(x, lengths=lengths)
    dx_expected, dstate_expected = expected.backward(dy)
    allowed = ALLOWED[chosen if family(H, "float32", device.chip) != "steps" else "float32"]
    assert relative_error(y, y_expected) < allowed
    assert relative_error(np.array(state), np.array(state_expected)) < allowed
    assert relative_error(dx, dx_expected) < allowed
    assert relative_error(np.array(dstate), np.array(dstate_expected)) < allowed
    for name, gradient in expected.grads.items():
        assert relative_error(ours.grads[name], gradient) < allowed, name


@pytest.mark.parametrize("H", [20, 256, 700])
def test_float64(device, H):
    rng = np.random.default_rng(SEED)
    ours = ln.LSTM(5, H, dtype="float64", backend="cuda", seed=1)
    expected = ln.LSTM(5, H, dtype="float64", backend="reference", seed=1)
    x = rng.normal(size=(6, 17, 5))
    y, _ = ours(x)
    assert relative_error(y, expected(x)[0]) < TOLERANCE["float64"]
    assert relative_error(ours.backward(y)[0], expected.backward(y)[0]) < TOLERANCE["float64"]


@pytest.mark.parametrize("H", [64, 128, 256, 512, 1024])
def test_long_sequences_give_the_same_bits_every_time(device, H):
    """Every sum has a fixed order, so a difference between two runs is a race."""
    rng = np.random.default_rng(SEED)
    lstm = ln.LSTM(16, H, backend="cuda", seed=1)
    x = rng.normal(size=(400, 40, 16)).astype(np.float32)
    first = None
    for _ in range(10):
        lstm.zero_grad()
        y, _ = lstm(x)
        dx, _ = lstm.backward(y)
        found = [y, dx, *lstm.grads.values()]
        if first is None:
            first = [part.copy() for part in found]
        for one, other in zip(first, found, strict=True):
            np.testing.assert_array_equal(one, other)


def test_arrays_on_the_device_are_used_in_place(device):
    """Contract level: a CUDA tensor goes in without a copy, device arrays come out."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch without CUDA")
    from lstm_numba.gpu.layer import layer_forward, layer_gradients

    rng = np.random.default_rng(SEED)
    T, B, I, H = 7, 5, 6, 48

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    host = Weights(draw(4 * H, I), draw(4 * H, H) / 7, draw(4 * H), draw(4 * H))
    x, state = draw(T, B, I), (draw(1, B, H), draw(1, B, H))
    expected, _, cache = layer_forward("lstm", x, state, (host,), None, True)
    dx_expected, _, _ = layer_gradients("lstm", expected, state, cache, (host,))
    to = lambda part: torch.as_tensor(part, device="cuda")  # noqa: E731
    weights = Weights(*(None if part is None else to(part) for part in host))
    y, _, cache = layer_forward("lstm", to(x), tuple(map(to, state)), (weights,), None, True)
    assert hasattr(y, "__cuda_array_interface__")
    np.testing.assert_array_equal(torch.as_tensor(y, device="cuda").cpu().numpy(), expected)
    dx, _, _ = layer_gradients("lstm", y, tuple(map(to, state)), cache, (weights,))
    np.testing.assert_array_equal(torch.as_tensor(dx, device="cuda").cpu().numpy(), dx_expected)


class CountingGpu(PoisonedGpu):
    """Knows how many graphs were recorded and replayed."""

    def __init__(self):
        super().__init__()
        self.recorded = self.replayed = 0

    def record(self, launches):
        self.recorded += 1
        return super().record(launches)

    def replay(self, graph):
        self.replayed += 1
        super().replay(graph)


@pytest.mark.parametrize(("dtype", "H"), [("float64", 40), ("float32", 1030)])
def test_graphs_of_steps(dtype, H):
    """New data and weights in every pass; a graph that the driver refuses would be a warning, and so an error here."""
    rng = np.random.default_rng(SEED)
    with use_device(CountingGpu()) as device:
        ours, expected = (ln.LSTM(7, H, dtype=dtype, backend=name, seed=1) for name in ("cuda", "reference"))
        for T in (20, 20, 12, 20, 20, 12, 12):
            x, lengths = rng.normal(size=(T, 5, 7)).astype(dtype), rng.integers(1, T + 1, 5)
            for layer in (ours, expected):
                layer.zero_grad()
                layer.parameters["weight_hh_l0"] *= 1.01
            y, _ = ours(x, lengths=lengths)
            y_expected, _ = expected(x, lengths=lengths)
            allowed = TOLERANCE["float64"] if dtype == "float64" else ALLOWED["float32"]
            assert relative_error(y, y_expected) < allowed
            assert relative_error(ours.backward(y_expected)[0], expected.backward(y_expected)[0]) < allowed
            for name, gradient in expected.grads.items():
                assert relative_error(ours.grads[name], gradient) < allowed, name
        assert device.recorded == 4  # two lengths, there and back
        assert device.replayed == 2 * (3 + 2)
        device.workspaces.release()


class OnlyDLPack:
    """A tensor that hides its other protocol."""

    def __init__(self, tensor):
        self._tensor, self.shape, self.ndim = tensor, tuple(tensor.shape), tensor.ndim

    def __dlpack__(self, **options):
        return self._tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._tensor.__dlpack_device__()


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("wrap", [lambda tensor: tensor, OnlyDLPack], ids=["interface", "dlpack"])
def test_layers_take_tensors_and_work_on_their_stream(device, options, wrap):
    """On a side stream that is busy: a kernel on another stream would read what is not there yet."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch without CUDA")
    rng = np.random.default_rng(SEED)
    I, H = 16, 48
    ours = ln.LSTM(I, H, backend="cuda", seed=0, **options)
    expected = ln.LSTM(I, H, backend="reference", seed=0, **options)
    x = rng.normal(size=(6, 5, I)).astype(np.float32)
    y_expected, (h_expected, _) = expected(x)
    dx_expected, _ = expected.backward(y_expected)
    there = torch.as_tensor(x, device="cuda")
    torch.cuda.synchronize()
    stream = torch.cuda.Stream() if wrap is not OnlyDLPack else torch.cuda.default_stream()
    with torch.cuda.stream(stream):
        busy = torch.full((4096, 4096), 1 / 4096, device="cuda")
        for _ in range(20):
            busy = busy @ busy  # stays what it is
        given = there * (busy[0, 0] * 4096)  # written by this stream, when the products are done
        y, (h_n, _) = ours(wrap(given))
        y = torch.as_tensor(y, device="cuda")
        dx, _ = ours.backward(y.contiguous())
        found = [torch.as_tensor(part, device="cuda").cpu().numpy() for part in (y, h_n, dx)]
    for one, right in zip(found, (y_expected, h_expected, dx_expected), strict=True):
        assert relative_error(one, right) < ALLOWED["float32"]
    for name, gradient in expected.grads.items():
        assert relative_error(ours.grads[name], gradient) < ALLOWED["float32"], name


@pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="no compute-sanitizer on the path")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(tool):
    program = (
        "import numpy as np, lstm_numba as ln\n"
        "for H in (33, 130, 300):\n"
        "    lstm = ln.LSTM(3, H, backend='cuda', seed=0)\n"
        "    y, _ = lstm(np.ones((3, 9, 3), np.float32)); lstm.backward(y)\n"
    )
    run = subprocess.run(
        ["compute-sanitizer", "--tool", tool, "--error-exitcode", "7", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
