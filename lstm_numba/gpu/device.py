"""The device that kernels run on: a GPU through numba-cuda, or the emulator in its place.

Everything above this module allocates, copies and launches through a :class:`Device`, so the whole backend runs on the
emulator too. What is missing for a GPU is found out here, once, and said in one message.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

from lstm_numba.gpu.binding import Kernel
from lstm_numba.gpu.graphs import GraphDriver, Workspaces
from lstm_numba.gpu.plan import H100, Chip

INSTALL = 'pip install "lstm_numba[cuda]"'
OLDEST = (7, 5)  # the oldest chip that CUDA 13 compiles for


class CudaMissing(RuntimeError):
    """Something that ``backend="cuda"`` needs is not there; the message says what, and what to do."""


class Device(Protocol):
    """Where arrays live and kernels run."""

    chip: Chip
    workspaces: Workspaces

    @property
    def stream(self) -> int | None:
        """Address of the stream in use, None for the default stream."""

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

    def on_stream(self, pointer: int | None) -> AbstractContextManager:
        """Do everything on a given stream in a ``with`` block; None for the default stream."""

    def fill(self, target: Any, source: Any) -> None:
        """Copy an array of the host or the device into one of the device."""

    def record(self, launches: Callable[[], None]) -> Any:
        """Return the launches of a function as a graph, without computing anything."""

    def replay(self, graph: Any) -> None:
        """Put all launches of a graph on the stream."""

    def forget(self, graph: Any) -> None:
        """Give a graph back."""

    def product(self, A: Any, a: tuple[int, int], B: Any, b: tuple[int, int], bias: Any, C: Any, M: int, N: int, K: int,
                tf32: bool) -> bool:  # fmt: skip
        """Let a vendor's library do ``C = A @ B (+ bias)``, if there is one; say whether it did."""


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
        self.workspaces = Workspaces()
        self.stream: int | None = None
        self.launches: list[str] = []
        self.streams: list[int | None] = []  # of the blocks entered
        self._recorded: list[tuple] | None = None
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
        """Return a copy; of an array "on the device", whose address is one of this process, a view."""
        return _view(array) if is_on_device(array) else np.array(array, order="C")

    def download(self, array: Any) -> np.ndarray:
        """Return a copy."""
        return np.array(array)

    def launch(self, kernel: Kernel, blocks: int, *arguments: Any) -> None:
        """Run the kernel to its end, or write it down for a graph."""
        if self._recorded is not None:
            self._recorded.append((kernel, blocks, *arguments))
            return
        self.launches.append(kernel.name)
        if kernel.stand_in is not None and not self._everything:
            kernel.stand_in(*arguments)
        else:
            self._emulator.launch(kernel, blocks, kernel.threads, tuple(_typed(kernel, arguments)))

    @contextmanager
    def on_stream(self, pointer: int | None) -> Iterator[None]:
        """Only write down which stream it would be."""
        self.streams.append(pointer)
        before, self.stream = self.stream, pointer
        try:
            yield
        finally:
            self.stream = before

    def fill(self, target: Any, source: Any) -> None:
        """Copy."""
        target[...] = source

    def record(self, launches: Callable[[], None]) -> list[tuple]:
        """Return what is launched, with the arrays themselves: later content is seen, as on a GPU."""
        found: list[tuple] = []
        self._recorded = found
        try:
            launches()
        finally:
            self._recorded = None
        return found

    def replay(self, graph: list[tuple]) -> None:
        """Launch all that was written down."""
        for launched in graph:
            self.launch(*launched)

    def forget(self, graph: list[tuple]) -> None:
        """Make it useless."""
        graph.clear()

    def product(self, *arguments: Any) -> bool:
        """No vendor here: our own kernel, or its stand-in."""
        return False


def _view(array: Any) -> np.ndarray:
    """The memory behind ``__cuda_array_interface__``, if it is host memory, as the emulator's "device memory" is."""
    interface = array.__cuda_array_interface__
    found = np.asarray(SimpleNamespace(__array_interface__={**interface, "version": 3}, owner=array))
    if not found.flags.c_contiguous:
        raise ValueError(f"array: expected a C-contiguous array on the device, got strides {found.strides}")
    return found


class GpuDevice:
    """The current CUDA device, on its default stream or another one."""

    def __init__(self) -> None:
        from numba import cuda

        self._cuda = cuda
        current = cuda.get_current_device()
        self.chip = Chip(tuple(current.compute_capability), current.MULTIPROCESSOR_COUNT)
        self.workspaces = Workspaces()
        self.stream: int | None = None  # its address
        self._stream: Any = 0
        self._graphs: GraphDriver | None = None

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return uninitialised memory."""
        return self._cuda.device_array(shape, np.dtype(dtype), stream=self._stream)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array of zeros."""
        return self._cuda.to_device(np.zeros(shape, dtype), stream=self._stream)

    def upload(self, array: Any) -> Any:
        """Copy a NumPy array; take anything that is on the device already as it is."""
        if not is_on_device(array):
            # From pageable memory, which NumPy's is, the copy has left the host when the call returns.
            return self._cuda.to_device(np.ascontiguousarray(array), stream=self._stream)
        if getattr(array, "__cuda_array_interface__", None) is not None:
            # The launches go to the stream that the array's library works on: there is nothing to wait for.
            found = self._cuda.as_cuda_array(array, sync=stream_of(array) != self.stream)
        else:
            from cuda.core.utils import StridedMemoryView
            from numba.cuda.api import from_cuda_array_interface

            view = StridedMemoryView.from_dlpack(array, stream_ptr=self.stream or 1)  # 1: the legacy default stream
            strides = None if view.strides is None else tuple(view.dtype.itemsize * step for step in view.strides)
            described = {"shape": tuple(view.shape), "strides": strides, "typestr": view.dtype.str,
                         "data": (view.ptr, view.readonly), "version": 3}  # fmt: skip
            found = from_cuda_array_interface(described, owner=view, sync=False)
        if not found.is_c_contiguous():
            raise ValueError(f"array: expected a C-contiguous array on the device, got strides {found.strides}")
        return found

    def download(self, array: Any) -> np.ndarray:
        """Wait for the kernels that write the array, and copy it."""
        copy = array.copy_to_host(stream=self._stream)
        if self._stream:
            self._stream.synchronize()
        return copy

    def launch(self, kernel: Kernel, blocks: int, *arguments: Any) -> None:
        """Put the kernel on the stream."""
        from lstm_numba.gpu.compiler import dispatcher

        dispatcher(kernel)[blocks, kernel.threads, self._stream](*_typed(kernel, arguments))

    def product(self, A: Any, a: tuple[int, int], B: Any, b: tuple[int, int], bias: Any, C: Any, M: int, N: int, K: int,
                tf32: bool) -> bool:  # fmt: skip
        """By cuBLAS, through PyTorch or CuPy; see :mod:`lstm_numba.gpu.vendor`."""
        from lstm_numba.gpu import vendor

        library = vendor.find()
        if library is None or 0 in (*a, *b):
            return False
        vendor.product(library, self.stream, A, a, B, b, bias, C, M, N, K, tf32)
        return True

    @contextmanager
    def on_stream(self, pointer: int | None) -> Iterator[None]:
        """Do everything on a given stream in a ``with`` block."""
        before = self._stream, self.stream
        self._stream, self.stream = self._cuda.external_stream(pointer) if pointer else 0, pointer
        try:
            yield
        finally:
            self._stream, self.stream = before

    def fill(self, target: Any, source: Any) -> None:
        """Copy on the stream."""
        target.copy_to_device(source, stream=self._stream)

    def record(self, launches: Callable[[], None]) -> Any:
        """Record on a stream of its own."""

        def on(stream: int) -> None:
            with self.on_stream(stream):
                launches()

        if self._graphs is None:
            self._graphs = GraphDriver()
        return self._graphs.record(on)

    def replay(self, graph: Any) -> None:
        """One call for all launches."""
        assert self._graphs is not None  # which has recorded it
        self._graphs.replay(graph, self.stream)

    def forget(self, graph: Any) -> None:
        """Wait until it has run, and free it."""
        assert self._graphs is not None
        self._graphs.destroy(graph)


def stream_of(array: Any) -> int | None:
    """Return the stream that an array's library works on now, as an address; None for the default stream.

    PyTorch and CuPy have a current stream. Of other arrays, ``__cuda_array_interface__`` may name the stream that wrote
    them last.
    """
    library = type(array).__module__.partition(".")[0]
    if library == "torch":
        pointer = sys.modules["torch"].cuda.current_stream(array.device).cuda_stream
    elif library == "cupy":
        pointer = sys.modules["cupy"].cuda.get_current_stream().ptr
    else:
        pointer = (getattr(array, "__cuda_array_interface__", None) or {}).get("stream")
    return None if pointer in (None, 0, 1) else int(pointer)  # 1: the same by another name


def hand_over(array: Any, example: Any) -> Any:
    """Return a result as an array of the same library as ``example``, without a copy."""
    library = type(example).__module__.partition(".")[0]
    if library == "torch":
        return sys.modules["torch"].as_tensor(array, device=example.device)
    if library == "cupy":
        return sys.modules["cupy"].asarray(array)
    return array


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


def chip_in_use() -> tuple[Chip, bool]:
    """Return the chip in use and True; without a GPU the chip that `explain` assumes, an H100, and False."""
    try:
        return current().chip, True
    except CudaMissing:
        return H100, False


def chip() -> Chip:
    """Return the chip in use, or the assumed one."""
    return chip_in_use()[0]


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
    linker, compiler = _linker_version(), _version_of("nvidia-nvvm")
    if compiler is not None and (compiler > linker or compiler[0] != linker[0]):
        raise CudaMissing(
            "backend='cuda' needs a linker that reads what its compiler writes: libnvvm is of CUDA "
            f"{_dotted(compiler)}, nvJitLink of CUDA {_dotted(linker)}. Both come with: {INSTALL}"
        )


def _linker_version() -> tuple[int, int]:
    """The CUDA version of nvJitLink, or :class:`CudaMissing`."""
    try:
        from cuda.bindings import nvjitlink

        major, minor = nvjitlink.version()
    except Exception as problem:
        raise CudaMissing(
            f"backend='cuda' needs NVIDIA's linker library nvJitLink, which cannot be loaded: {INSTALL}. "
            f"The loader said: {_first_line(problem)}"
        ) from problem
    return major, minor


def _version_of(package: str) -> tuple[int, int] | None:
    """CUDA version of an installed package of NVIDIA's; None for a library from elsewhere."""
    try:
        major, minor = metadata.version(package).split(".")[:2]
    except metadata.PackageNotFoundError:
        return None
    return int(major), int(minor)


def _driver_version() -> tuple[int, int]:
    """The newest CUDA version that the driver is for."""
    from cuda.bindings import driver

    _, number = driver.cuDriverGetVersion()
    return number // 1000, number % 1000 // 10


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


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
    driver, linker = _driver_version(), _linker_version()
    if driver[0] < linker[0]:  # within a major version, any driver runs what any linker has linked
        raise CudaMissing(
            f"backend='cuda' needs a newer driver: this one is for CUDA {_dotted(driver)}, the libraries are those of "
            f"CUDA {_dotted(linker)} (for CUDA 13: driver 580 or newer)"
        )
    capability = tuple(cuda.get_current_device().compute_capability)
    if capability < OLDEST:
        raise CudaMissing(
            f"backend='cuda' needs compute capability {OLDEST[0]}.{OLDEST[1]} or higher, "
            f"{cuda.get_current_device().name} has {capability[0]}.{capability[1]}"
        )


def _first_line(problem: Any) -> str:
    text = str(problem or "").strip()
    return text.splitlines()[0].rstrip(".") if text else ""
