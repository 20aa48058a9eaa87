"""Run a CUDA kernel on the emulator, remember what each thread touches, and draw it."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lstm_numba.gpu.binding import Kernel
from lstm_numba.gpu.emulator import Emulator

__all__ = ["Trace", "draw_threads", "run_threads"]


class Touch(NamedTuple):
    """One access to an array in global memory."""

    thread: int  # number over the whole grid
    place: tuple[int, ...]
    write: bool


class SharedTouch(NamedTuple):
    """One access to shared memory."""

    thread: int  # number over the whole grid
    block: int  # whose memory it is
    barriers: int  # of its block that the thread has passed before
    address: int  # in bytes
    write: bool


@dataclass
class Trace:
    """Everything the threads of one launch did to the arrays they were given.

    Examples
    --------
    >>> import numpy as np
    >>> from numba import cuda
    >>> from lstm_numba.teaching.threads import run_threads
    >>> def shift(x, y):
    ...     i = cuda.grid(1)
    ...     y[i] = x[(i + 1) % 4]
    >>> trace = run_threads(shift, 1, 4, np.arange(4.0), np.zeros(4))
    >>> trace.writers("y").tolist(), trace.reads("x").tolist(), trace.arrays["y"].tolist()
    ([0, 1, 2, 3], [1, 1, 1, 1], [1.0, 2.0, 3.0, 0.0])
    """

    threads: int
    barriers: int = 0  # of its block that the first thread passed
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    touches: dict[str, list[Touch]] = field(default_factory=dict)
    shared: list[SharedTouch] = field(default_factory=list)  # empty unless asked for

    def reads(self, name: str) -> np.ndarray:
        """How often each element of an array was read."""
        return self._count(name, write=False)

    def writes(self, name: str) -> np.ndarray:
        """How often each element of an array was written."""
        return self._count(name, write=True)

    def writers(self, name: str) -> np.ndarray:
        """The thread that wrote each element last, -1 for none."""
        return self._last(name, write=True)

    def read_by(self, name: str) -> np.ndarray:
        """The thread that read each element last, -1 for none."""
        return self._last(name, write=False)

    def readers(self, name: str, thread: int) -> np.ndarray:
        """How often one thread read each element."""
        return self._count(name, write=False, thread=thread)

    def shared_writers(self, barriers: int, like: np.ndarray) -> np.ndarray:
        """The thread that wrote each place of block 0's first shared array after so many barriers, -1 for none.

        ``like`` has the shape and the dtype of that array.
        """
        owners = np.full(like.size, -1)
        for touch in self._shared(barriers, like):
            if touch.write:
                owners[touch.address // like.itemsize] = touch.thread
        return owners.reshape(like.shape)

    def shared_reads(self, barriers: int, like: np.ndarray) -> np.ndarray:
        """How often each place of block 0's first shared array was read after so many barriers."""
        counts = np.zeros(like.size, int)
        for touch in self._shared(barriers, like):
            counts[touch.address // like.itemsize] += not touch.write
        return counts.reshape(like.shape)

    def _shared(self, barriers: int, like: np.ndarray) -> list[SharedTouch]:
        return [t for t in self.shared if (t.block, t.barriers) == (0, barriers) and t.address < like.nbytes]

    def _count(self, name: str, write: bool, thread: int | None = None) -> np.ndarray:
        counts = np.zeros(self.arrays[name].shape, int)
        for touch in self.touches[name]:
            if touch.write == write and thread in (None, touch.thread):
                counts[touch.place] += 1
        return counts

    def _last(self, name: str, write: bool) -> np.ndarray:
        owners = np.full(self.arrays[name].shape, -1)
        for touch in self.touches[name]:
            if touch.write == write:
                owners[touch.place] = touch.thread
        return owners


class _Watched:
    """An array in global memory that writes down who touches it."""

    def __init__(self, array: np.ndarray, touches: list[Touch], block: int) -> None:
        from greenlet import getcurrent

        self._array, self._touches, self._block, self._current = array, touches, block, getcurrent
        self.shape, self.ndim, self.dtype, self.size = array.shape, array.ndim, array.dtype, array.size

    def _note(self, index: Any, write: bool) -> None:
        me = self._current()
        parts = index if isinstance(index, tuple) else (index,)
        if len(parts) != self.ndim or slice in map(type, parts):
            raise IndexError(f"an array of shape {self.shape} takes {self.ndim} numbers as index, got {parts}")
        place = tuple(map(int, parts))
        for part, extent in zip(place, self.shape, strict=True):
            if not 0 <= part < extent:
                raise IndexError(f"index {place} is outside an array of shape {self.shape}")
        self._touches.append(Touch(me.block.index * self._block + me.number, place, write))

    def __getitem__(self, index: Any) -> Any:
        self._note(index, write=False)
        return self._array[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._note(index, write=True)
        self._array[index] = value

    def __len__(self) -> int:
        return len(self._array)

    @property
    def flags(self) -> Any:
        return self._array.flags

    def reshape(self, size: int) -> "_WatchedLine":
        return _WatchedLine(self, self._array.reshape(size))


class _WatchedLine:
    """A watched array as instructions for four neighbours see it: one axis, and slices."""

    def __init__(self, watched: _Watched, line: np.ndarray) -> None:
        self._watched, self._line, self.size = watched, line, line.size

    def _note(self, index: Any, write: bool) -> None:
        for place in range(*index.indices(self.size)) if isinstance(index, slice) else (index,):
            self._watched._note(tuple(map(int, np.unravel_index(place, self._watched.shape))), write)

    def __getitem__(self, index: Any) -> Any:
        self._note(index, write=False)
        return self._line[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._note(index, write=True)
        self._line[index] = value


class _CountingEmulator(Emulator):
    """Counts the barriers that the first thread passes."""

    barriers = 0

    def _passed(self, thread: Any, level: int) -> None:
        super()._passed(thread, level)
        if level == 3 and thread.number == 0 and thread.block.index == 0:
            self.barriers += 1


class _WatchingEmulator(_CountingEmulator):
    """Writes down every access to shared memory too."""

    def __init__(self, touches: list[SharedTouch], seed: int | None) -> None:
        super().__init__(seed=seed)
        self._touches = touches

    def _touch(self, block: Any, address: int, write: bool) -> None:
        super()._touch(block, address, write)
        me = self._me
        number = me.block.index * int(np.prod(self._block_shape)) + me.number
        self._touches.append(SharedTouch(number, block.index, me.use[3], address, write))


def run_threads(
    kernel: Callable | Kernel,
    grid: int | tuple[int, ...],
    block: int | tuple[int, ...],
    *arguments: Any,
    seed: int | None = None,
    replaced: dict[str, Callable] | None = None,
    shared: bool = False,
) -> Trace:
    """Run a kernel on copies of the arguments and return what its threads did.

    Parameters
    ----------
    kernel
        The undecorated kernel, or one of the package.
    grid, block
        Number of blocks, and of threads per block.
    *arguments
        NumPy arrays and numbers.
    seed
        Seed of the order in which threads run; None for their own order.
    replaced
        Operations that shall do something else, as in :meth:`lstm_numba.gpu.emulator.Emulator.launch`.
    shared
        Write down accesses to shared memory too.

    Returns
    -------
    Trace
        The arrays afterwards, by parameter name, and every access.

    Raises
    ------
    lstm_numba.gpu.emulator.Race, lstm_numba.gpu.emulator.Deadlock, IndexError
        If the kernel is wrong in one of these ways.
    """
    size = int(np.prod(block))
    trace = Trace(threads=int(np.prod(grid)) * size)
    given = []
    function = kernel.function if isinstance(kernel, Kernel) else kernel
    for name, value in zip(inspect.signature(function).parameters, arguments, strict=True):
        if isinstance(value, np.ndarray):
            trace.arrays[name], trace.touches[name] = value.copy(), []
            given.append(_Watched(trace.arrays[name], trace.touches[name], size))
        else:
            given.append(value)
    emulator = _WatchingEmulator(trace.shared, seed) if shared else _CountingEmulator(seed=seed)
    emulator.launch(kernel, grid, block, tuple(given), replaced=replaced)
    trace.barriers = emulator.barriers
    return trace


def draw_threads(panels: Sequence[tuple[str, np.ndarray]], columns: int = 1, cell: float = 0.42) -> Any:
    """Draw arrays of thread numbers or counts as grids of labelled squares.

    Parameters
    ----------
    panels
        Title and integer array, one- or two-dimensional; negative numbers are left blank.
    columns
        Panels per row.
    cell
        Side of a square in inches.

    Returns
    -------
    matplotlib.figure.Figure
        To be shown with :func:`lstm_numba.plots.figure`.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    from lstm_numba import plots

    grids = [(title, np.atleast_2d(np.asarray(values))) for title, values in panels]
    lines = -(-len(grids) // columns)
    width = max(values.shape[1] for _, values in grids) * cell * columns + 0.3 * columns
    height = sum(max(v.shape[0] for _, v in grids[r * columns : (r + 1) * columns]) * cell + 0.5 for r in range(lines))
    fig, axes = plt.subplots(lines, columns, figsize=(max(width, 3.2), height), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, values) in zip(axes.flat, grids, strict=False):
        rows, across = values.shape
        for row in range(rows):
            for column in range(across):
                number = values[row, column]
                shade = f"C{number % 5}" if number >= 0 else "none"
                axis.add_patch(
                    Rectangle((column, row), 1, 1, facecolor=shade, alpha=0.25 if number >= 0 else 1, edgecolor="none")
                )
                axis.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor=plots.TEXT, linewidth=0.6))
                if number >= 0:
                    axis.text(
                        column + 0.5, row + 0.5, str(number), ha="center", va="center", color=plots.TEXT, fontsize=10
                    )
        axis.set(xlim=(-0.1, across + 0.1), ylim=(rows + 0.1, -0.1), aspect="equal")
        axis.set_title(title, fontsize=11, loc="left")
    return fig
