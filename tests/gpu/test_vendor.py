"""Products by a vendor's library: the right library, the right settings, and the right strides."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import lstm_numba as ln
from lstm_numba.gpu import plan as planning
from lstm_numba.gpu import vendor
from lstm_numba.gpu.device import EmulatedDevice, GpuDevice, use_device
from lstm_numba.gradcheck import relative_error


def by_torch(A, a, B, b, bias, C, M, N, K):
    flat = [None if part is None else torch.from_numpy(part) for part in (A, B, bias, C)]
    vendor.torch_product(torch, *flat, a, b, M, N, K)


def by_arrays(A, a, B, b, bias, C, M, N, K):
    vendor.array_product(np, A, B, bias, C, a, b, M, N, K)


class VendorDevice(EmulatedDevice):
    """Products by a library on the CPU, under the rules of a real device."""

    def __init__(self, way):
        super().__init__()
        self._way, self.asked = way, []

    def product(self, A, a, B, b, bias, C, M, N, K, tf32):
        self.asked.append(tf32)
        if 0 in (*a, *b):
            return False
        self._way(A, a, B, b, bias, C, M, N, K)
        return True


@pytest.mark.parametrize("way", [by_torch, by_arrays])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chosen", planning.PRECISIONS)
def test_layers_equal_the_reference(way, bias, chosen, monkeypatch, rng):
    monkeypatch.setattr(planning, "family", lambda H, dtype, chip: "steps")
    x = rng.normal(size=(3, 2, 3)).astype(np.float32)
    ours, expected = (ln.LSTM(3, 4, bias=bias, backend=name, seed=0) for name in ("cuda", "reference"))
    with use_device(VendorDevice(way)) as device, planning.precision(chosen):
        y, _ = ours(x)
        dx, _ = ours.backward(y)
    y_expected, _ = expected(x)
    dx_expected, _ = expected.backward(y_expected)
    assert relative_error(y, y_expected) < 1e-5
    assert relative_error(dx, dx_expected) < 1e-5
    for name, gradient in expected.grads.items():
        assert relative_error(ours.grads[name], gradient) < 1e-5, name
    assert not any(device.asked)  # the family "steps" is strict in either precision
    products = sum("matmul" in name for name in device.launches)
    assert products == (1 if bias else 0)  # the sum over all steps, as a product with a column of ones


def test_persistent_kernels_ask_for_their_precision(rng):
    x = rng.normal(size=(2, 2, 3)).astype(np.float32)
    for chosen, wanted in (("float32", False), ("tf32", True)):
        with use_device(VendorDevice(by_torch)) as device, planning.precision(chosen):
            ln.LSTM(3, 4, backend="cuda", seed=0).eval()(x)
        assert device.asked == [wanted]


def test_which_library(monkeypatch):
    monkeypatch.setattr(vendor, "_cupy", lambda: "cupy")
    seen = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True))
    blind = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", seen)
    assert vendor.find() is seen
    monkeypatch.setitem(sys.modules, "torch", blind)
    assert vendor.find() == "cupy"
    monkeypatch.delitem(sys.modules, "torch")  # not imported by the program: not imported by us
    assert vendor.find() == "cupy"


@pytest.mark.parametrize("problem", [None, RuntimeError("no driver"), 0, 1])
def test_cupy_may_be_missing_or_broken(monkeypatch, problem):
    def count():
        if isinstance(problem, Exception):
            raise problem
        return problem

    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count)))
    monkeypatch.setattr(vendor, "find_spec", lambda name: None if problem is None else name)
    monkeypatch.setattr(vendor, "import_module", lambda name: cupy)
    vendor._cupy.cache_clear()
    try:
        assert vendor._cupy() is (cupy if problem == 1 else None)
    finally:
        vendor._cupy.cache_clear()


class FakeCuda:
    """PyTorch's streams, as far as they matter here."""

    def __init__(self):
        self.entered = []

    def stream(self, stream):
        cuda = self

        class Entered:
            def __enter__(self):
                cuda.entered.append(stream)

            def __exit__(self, *_):
                return False

        return Entered()

    def ExternalStream(self, pointer):
        return pointer

    def default_stream(self):
        return "default"


@pytest.mark.parametrize("settings", [{"fp32_precision": "none"}, {"allow_tf32": True}], ids=str)
@pytest.mark.parametrize("stream", [None, 5])
def test_settings_are_ours_during_a_product_and_the_programs_after_it(settings, stream):
    matmul = SimpleNamespace(**settings)
    fake = SimpleNamespace(backends=SimpleNamespace(cuda=SimpleNamespace(matmul=matmul)), cuda=FakeCuda())
    for tf32, inside in ((True, ("tf32", True)), (False, ("ieee", False))):
        with vendor._torch_settings(fake, stream, tf32):
            assert set(vars(matmul).values()) <= set(inside)
        assert vars(matmul) == settings
    assert fake.cuda.entered == [stream or "default"] * 2


def test_the_installed_pytorch_has_the_setting():
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "ieee"
    matmul.fp32_precision = before


def test_a_device_asks_the_vendor_unless_a_stride_is_zero(monkeypatch):
    calls = []
    device = GpuDevice.__new__(GpuDevice)
    device.stream = 3
    monkeypatch.setattr(vendor, "find", lambda: "library")
    monkeypatch.setattr(vendor, "product", lambda *arguments: calls.append(arguments))
    assert device.product("A", (2, 1), "B", (2, 1), None, "C", 2, 2, 2, True)
    assert not device.product("A", (2, 1), "B", (0, 0), None, "C", 2, 1, 2, True)
    monkeypatch.setattr(vendor, "find", lambda: None)
    assert not device.product("A", (2, 1), "B", (2, 1), None, "C", 2, 2, 2, True)
    assert calls == [("library", 3, "A", (2, 1), "B", (2, 1), None, "C", 2, 2, 2, True)]
