"""The device that kernels run on: a GPU through numba-cuda, or the emulator in its place.

Everything above this module allocates, copies and launches through a :class:`Device`, so the whole backend runs on the
emulator too. What is missing for a GPU is found out here, once, and said in one message.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from lstm_numba.gpu.binding import Kernel
from lstm_numba.gpu.plan import H100, Chip

INSTALL = 'pip install "lstm_numba[cuda]"'
OLDEST = (7, 5)  # the oldest chip that CUDA 13 compiles for


class CudaMissing(RuntimeError):
    """Something that ``backend="cuda"`` needs is not there; the message says what, and what to do."""


class Device(Protocol):
    """Where arrays live and kernels run."""

    chip: Chip

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array with arbitrary content."""

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array of zeros."""

    def upload(self, array: Any) -> Any:
        """Return a C-contiguous array on the device; no copy if it is there already."""

    def download(self, array: Any) -> np.ndarray:
        """Return a NumPy copy of an array on the device."""

    def launch(self, kernel: Kernel, blocks: int, *arguments: Any) -> None:
        """Start a kernel; array results are there when a later launch or download needs them."""


def _typed(kernel: Kernel, arguments: tuple) -> list:
    numbers = {"i": np.int32, "l": np.int64}
    return [
        numbers[kind](value) if kind in numbers else value
        for kind, value in zip(kernel.signature, arguments, strict=True)
    ]


class EmulatedDevice:
    """A device made of NumPy arrays and :class:`lstm_numba.gpu.emulator.Emulator`.

    New arrays are poisoned with NaN, so that a kernel that leaves out an element is noticed.

    Parameters
    ----------
    chip
        The chip to be; it decides which kernels are chosen.
    seed
        Seed of the scheduling, None for in order.
    everything
        Emulate also the kernels around the recurrence (matrix products, copies), instead of calling NumPy for them.
    """

    def __init__(self, chip: Chip = H100, seed: int | None = None, everything: bool = False) -> None:
        from lstm_numba.gpu.emulator import Emulator

        self.chip = chip
        self.launches: list[str] = []
        self._everything = everything
        self._emulator = Emulator(seed=seed)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an array of NaN, or of the largest integer."""
        kind = np.dtype(dtype)
        return np.full(shape, np.nan if kind.kind == "f" else np.iinfo(kind).max, kind)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an array of zeros."""
        return np.zeros(shape, dtype)

    def upload(self, array: Any) -> np.ndarray:
        """Return a copy."""
        return np.array(array, order="C")

    def download(self, array: Any) -> np.ndarray:
        """Return a copy."""
        return np.array(array)

    def launch(self, kernel: Kernel, blocks: int, *arguments: Any) -> None:
        """Run the kernel to its end."""
        self.launches.append(kernel.name)
        if kernel.stand_in is not None and not self._everything:
            kernel.stand_in(*arguments)
        else:
            self._emulator.launch(kernel, blocks, kernel.threads, tuple(_typed(kernel, arguments)))


class GpuDevice:
    """The current CUDA device, on its default stream."""

    def __init__(self) -> None:
        from numba import cuda

        self._cuda = cuda
        current = cuda.get_current_device()
        self.chip = Chip(tuple(current.compute_capability), current.MULTIPROCESSOR_COUNT)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return uninitialised memory."""
        return self._cuda.device_array(shape, np.dtype(dtype))

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array of zeros."""
        return self._cuda.to_device(np.zeros(shape, dtype))

    def upload(self, array: Any) -> Any:
        """Copy a NumPy array; take anything that is on the device already as it is."""
        if not is_on_device(array):
            return self._cuda.to_device(np.ascontiguousarray(array))
        by_interface = getattr(array, "__cuda_array_interface__", None) is not None
        found = self._cuda.as_cuda_array(array) if by_interface else self._cuda.from_dlpack(array)
        if not found.is_c_contiguous():
            raise ValueError(f"array: expected a C-contiguous array on the device, got strides {found.strides}")
        return found

    def download(self, array: Any) -> np.ndarray:
        """Wait for the kernels that write the array, and copy it."""
        return array.copy_to_host()

    def launch(self, kernel: Kernel, blocks: int, *arguments: Any) -> None:
        """Put the kernel on the default stream."""
        from lstm_numba.gpu.compiler import dispatcher

        dispatcher(kernel)[blocks, kernel.threads](*_typed(kernel, arguments))


def is_on_device(array: Any) -> bool:
    """Whether an array lies in GPU memory: a CUDA tensor of PyTorch, a CuPy array, a Numba device array."""
    if isinstance(array, np.ndarray):
        return False
    if getattr(array, "__cuda_array_interface__", None) is not None:
        return True
    where = getattr(array, "__dlpack_device__", None)
    return where is not None and where()[0] in (2, 13)  # kDLCUDA, kDLCUDAManaged


_emulated: Device | None = None


@contextmanager
def use_device(device: Device) -> Iterator[Device]:
    """Run ``backend="cuda"`` on a given device, for example an :class:`EmulatedDevice`, in a ``with`` block.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> from lstm_numba.gpu.device import EmulatedDevice, use_device
    >>> lstm = ln.LSTM(2, 3, backend="cuda", seed=0)
    >>> with use_device(EmulatedDevice()) as device:
    ...     y, _ = lstm(np.ones((2, 1, 2), np.float32))
    >>> [name for name in device.launches if "forward" in name]
    ['lstm_block_forward_h16_1x8_float32']
    """
    global _emulated
    before = _emulated
    _emulated = device
    try:
        yield device
    finally:
        _emulated = before


def current() -> Device:
    """Return the device in use, or raise :class:`CudaMissing`."""
    return _emulated if _emulated is not None else _gpu()


def chip() -> Chip:
    """Return the chip in use; on a machine without a GPU the one that `explain` assumes, an H100."""
    try:
        return current().chip
    except CudaMissing:
        return H100


@cache
def _gpu() -> Device:
    require_gpu()
    return GpuDevice()


def require_compiler() -> None:
    """Raise :class:`CudaMissing` unless numba-cuda and NVIDIA's compiler libraries can be loaded."""
    if find_spec("numba_cuda") is None:
        raise CudaMissing(f"backend='cuda' needs numba-cuda, which is not installed: {INSTALL}")
    import numba_cuda

    version = tuple(int(part) for part in numba_cuda.__version__.split(".")[:2])
    if version < (0, 30):
        raise CudaMissing(
            f"backend='cuda' needs numba-cuda 0.30 or newer, {numba_cuda.__version__} is installed: {INSTALL}"
        )
    from numba.cuda.cudadrv import nvvm

    try:
        nvvm.NVVM()
    except Exception as problem:
        raise CudaMissing(
            f"backend='cuda' needs NVIDIA's compiler library libnvvm, which cannot be loaded: {INSTALL}. "
            f"The loader said: {_first_line(problem)}"
        ) from problem


def require_gpu() -> None:
    """Raise :class:`CudaMissing` unless a kernel can be compiled and launched."""
    require_compiler()
    from numba import cuda

    if not cuda.is_available():
        raise CudaMissing(
            "backend='cuda' needs an NVIDIA GPU and its driver (580 or newer, for CUDA 13), and found none that works. "
            f"The driver said: {_first_line(cuda.cuda_error()) or 'no device'}. backend='cpu' needs neither; "
            "lstm_numba.gpu.device.use_device(EmulatedDevice()) runs the kernels slowly without a GPU"
        )
    capability = tuple(cuda.get_current_device().compute_capability)
    if capability < OLDEST:
        raise CudaMissing(
            f"backend='cuda' needs compute capability {OLDEST[0]}.{OLDEST[1]} or higher, "
            f"{cuda.get_current_device().name} has {capability[0]}.{capability[1]}"
        )


def _first_line(problem: Any) -> str:
    text = str(problem or "").strip()
    return text.splitlines()[0] if text else ""
