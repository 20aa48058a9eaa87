"""Memory that kernels work in, kept from call to call."""

import math
import threading

import numpy as np

_ALIGNMENT = 128  # bytes: two cache lines, which processors fetch together


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """Uninitialised numbers that start at a cache line."""
    raw = np.empty(size * dtype.itemsize + _ALIGNMENT, np.uint8)
    first = -raw.ctypes.data % _ALIGNMENT
    return raw[first : first + size * dtype.itemsize].view(dtype)


_KEPT = 4 * 2**20  # bytes: a larger buffer is used for so long that making it costs little


class _Own(threading.local):
    """One buffer of bytes for every thread of the program."""

    def __init__(self) -> None:
        self.buffer = np.empty(0, np.uint8)


_own = _Own()


def scratch(size: int, dtype: np.dtype) -> np.ndarray:
    """Uninitialised numbers that start at a cache line, to be used until the next call of this function.

    They are kept for the thread's next call: fresh memory costs more than the work on it, since the system clears it.
    """
    needed = size * dtype.itemsize
    if needed > _KEPT:
        return aligned(size, dtype)
    if needed > _own.buffer.size:
        _own.buffer = aligned(needed, np.dtype(np.uint8))
    return _own.buffer[:needed].view(dtype)


class Workspace:
    """Named buffers that grow when a call needs more, and their addresses."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self._buffers: dict[str, np.ndarray] = {}
        self._addresses: dict[str, int] = {}
        self.sync = np.zeros(0, np.int64)  # state of the teams; see lstm_numba.cpu.teams

    def address(self, name: str, size: int, dtype: np.dtype | None = None) -> int:
        """Address of at least ``size`` numbers. What they hold is left over from the last use."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = aligned(max(size, 1), dtype or self.dtype)
            self._buffers[name] = buffer
            self._addresses[name] = buffer.ctypes.data
        return self._addresses[name]

    def view(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """The first numbers of a buffer as an array."""
        return self._buffers[name][: math.prod(shape)].reshape(shape)

    @property
    def nbytes(self) -> int:
        """Total size of the buffers."""
        return sum(buffer.nbytes for buffer in self._buffers.values())
