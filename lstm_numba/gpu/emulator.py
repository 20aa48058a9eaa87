"""Run CUDA kernels without a GPU: every thread of every block is alive at once, and mistakes are reported.

Numba has a simulator of its own. It runs one block after another and knows neither warps nor clusters nor tensor cores,
so the kernels that matter cannot run on it. Here each CUDA thread is a greenlet (a function that can be paused), and a
thread pauses whenever it waits for others. That gives shuffles, tensor core products, block, cluster and grid barriers
and spinning on flags.

What it reports, as exceptions:

- :class:`Race`: two threads of a block or cluster touched the same shared memory, one of them writing, with no barrier
  between them. It does not matter whether the result happened to be right.
- :class:`Deadlock`: all threads wait for something that no thread will do.
- Reading what nobody wrote: shared and local memory start as NaN, so the result is NaN.

What it cannot show: time, the limits of a real chip (registers, shared memory), and mistakes in the ordering of
*global* memory between blocks, because its memory is sequentially consistent. Integers do not overflow.

References
----------
The layout of the tensor core fragments follows "PTX ISA", section "Matrix fragments for mma.m16n8k8"; a test compares
it with the layouts that CUTLASS states for the same instruction.
"""

import contextvars
import math
import random
import sys
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np

from lstm_numba.gpu.binding import DeviceFunction, Kernel, bind
from lstm_numba.gpu.ptx import Builtin, Instruction

SHARED_BYTES = 227 * 1024  # what a block may have on a H100
_ROUNDS_WITHOUT_PROGRESS = 200


class Deadlock(RuntimeError):
    """Every living thread waits, and nothing they wait for can happen any more."""


class Race(RuntimeError):
    """Two threads used the same word of shared memory without a barrier between them, and one of them wrote."""


class _Meeting:
    """A place where ``size`` threads wait for each other and may exchange values."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.current: dict[str, Any] = {"arrived": {}}

    def join(self, emulator: "Emulator", member: int, value: Any = None, combine: Callable | None = None) -> Any:
        meeting = self.current
        arrived = meeting["arrived"]
        if member in arrived:
            raise Deadlock(f"thread {member} is at the same barrier twice while others have not come")
        arrived[member] = value
        if len(arrived) == self.size:
            values = [arrived[key] for key in sorted(arrived)]
            result = combine(values) if combine else [None] * self.size
            meeting["result"] = dict(zip(sorted(arrived), result, strict=True))
            self.current = {"arrived": {}}
            emulator._progress += 1
        else:
            while "result" not in meeting:
                emulator._pause()
        return meeting["result"][member]


class _SplitBarrier:
    """A cluster barrier: arrive now, wait later."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.arrivals = 0

    def arrive(self, emulator: "Emulator", thread: Any) -> None:
        thread.cluster_phase += 1
        self.arrivals += 1
        emulator._progress += 1

    def wait(self, emulator: "Emulator", thread: Any) -> None:
        while self.arrivals < thread.cluster_phase * self.size:
            emulator._pause()
        emulator._passed(thread, 4)


class _Block:
    def __init__(self, index: int, threads: int, cluster: Any, rank: int) -> None:
        self.index, self.cluster, self.rank = index, cluster, rank
        self.memory = np.full(SHARED_BYTES, 0xFF, np.uint8)  # all bits set: NaN in every floating-point format
        self.used = 0
        self.arrays: dict[tuple, SharedArray] = {}
        self.shadow: dict[int, tuple] = {}  # byte address of a word -> (last write, a read, another thread's read)
        self.barrier = _Meeting(threads)
        self.warps = [_Meeting(min(32, threads - first)) for first in range(0, threads, 32)]


class SharedArray:
    """A shared array as a thread sees it; every access is checked for races."""

    def __init__(self, emulator: "Emulator", block: _Block, data: np.ndarray, offset: int) -> None:
        self._emulator, self._block, self._data, self._offset = emulator, block, data, offset
        self.shape, self.ndim, self.dtype, self.size = data.shape, data.ndim, data.dtype, data.size
        self._line, self._item = data.reshape(-1), data.dtype.itemsize

    def _flat(self, index: Any) -> int:
        if self.ndim == 1 and not isinstance(index, tuple):
            if not 0 <= index < self.size:
                raise IndexError(f"shared array of shape {self.shape}: index {int(index)} is out of bounds")
            return int(index)
        index = index if isinstance(index, tuple) else (index,)
        if len(index) != self.ndim:
            raise IndexError(f"shared array of shape {self.shape}: {len(index)} indices given")
        flat = 0
        for position, extent in zip(index, self.shape, strict=True):
            if not 0 <= position < extent:
                raise IndexError(f"shared array of shape {self.shape}: index {tuple(map(int, index))} is out of bounds")
            flat = flat * extent + int(position)
        return flat

    def __getitem__(self, index: Any) -> Any:
        flat = self._flat(index)
        self._emulator._touch(self._block, self._offset + flat * self._item, False)
        return self._line[flat]

    def __setitem__(self, index: Any, value: Any) -> None:
        flat = self._flat(index)
        self._emulator._touch(self._block, self._offset + flat * self._item, True)
        self._line[flat] = value


class Emulator:
    """Emulates kernel launches.

    Parameters
    ----------
    seed
        With a number, threads run in a random order between the points where they wait, and whole blocks fall behind
        now and then; without, in order.
    check_races
        Report unordered uses of shared memory as :class:`Race`.

    Examples
    --------
    >>> import numpy as np
    >>> from numba import cuda
    >>> from lstm_numba.gpu.emulator import Emulator
    >>> def double(x):
    ...     i = cuda.grid(1)
    ...     x[i] = 2 * x[i]
    >>> x = np.arange(6.0)
    >>> Emulator().launch(double, 2, 3, (x,))
    >>> x
    array([ 0.,  2.,  4.,  6.,  8., 10.])
    """

    def __init__(self, seed: int | None = None, check_races: bool = True) -> None:
        self._random = random.Random(seed) if seed is not None else None
        self._check_races = check_races
        self._progress = 0
        self._hub: Any = None

    def launch(
        self,
        function: Callable | DeviceFunction | Kernel,
        grid: int | tuple[int, ...],
        block: int | tuple[int, ...],
        arguments: tuple,
        *,
        cluster: int = 1,
        replaced: dict[str, Callable] | None = None,
    ) -> None:
        """Run a kernel to its end.

        Parameters
        ----------
        function
            The undecorated kernel, one of the package, or anything with ``py_func``.
        grid, block
            Number of blocks and of threads per block; tuples for two or three axes.
        arguments
            NumPy arrays (changed in place) and numbers.
        cluster
            Blocks per cluster.
        replaced
            Operations by name with another meaning, to see what a missing barrier does:
            ``{"cluster_wait": lambda: None}``. The names are those the kernel uses; for ``cuda.syncthreads`` it is
            ``"syncthreads"``.

        Raises
        ------
        Race, Deadlock
            See the module's description.
        """
        try:
            from greenlet import getcurrent, greenlet
        except ImportError as error:
            raise ImportError("the emulator needs the package greenlet: pip install greenlet") from error

        if isinstance(function, Kernel):
            cluster = function.cluster
            function = function.function
        grid_shape, block_shape = _shape3(grid), _shape3(block)
        blocks, threads = math.prod(grid_shape), math.prod(block_shape)
        if blocks % cluster:
            raise ValueError(f"grid: expected a multiple of the cluster's {cluster} blocks, got {blocks}")
        self._hub = getcurrent()
        self._current = getcurrent
        self._grid_shape, self._block_shape = grid_shape, block_shape
        self._grid_barrier = _Meeting(blocks * threads)
        run = self._bind(function, replaced or {})
        living = []
        group: Any = None
        for index in range(blocks):
            if index % cluster == 0:
                group = SimpleNamespace(barrier=_SplitBarrier(cluster * threads), blocks=[])
            block_state = _Block(index, threads, group, index % cluster)
            group.blocks.append(block_state)
            for number in range(threads):
                thread = greenlet(lambda: run(*arguments))
                thread.block, thread.number, thread.cluster_phase = block_state, number, 0
                thread.use = (block_state.rank, number, 0, 0, 0)  # who, and barriers passed: warp, block, cluster
                thread.gr_context = contextvars.copy_context()
                living.append(thread)
        idle = 0
        asleep: dict[int, int] = {}
        # Overflow and NaN are as silent as on a GPU. NumPy keeps that setting per context, hence the copy above.
        with np.errstate(all="ignore"):
            for thread in living:
                thread.gr_context = contextvars.copy_context()
            while living:
                before = self._progress, len(living)
                turn = self._shuffled(living, asleep) if self._random else living
                for thread in turn:
                    thread.switch()
                living = [thread for thread in living if not thread.dead]
                idle = 0 if (self._progress, len(living)) != before else idle + 1
                if idle > _ROUNDS_WITHOUT_PROGRESS:
                    places = sorted({f"block {thread.block.index}" for thread in living})
                    raise Deadlock(f"{len(living)} threads wait for ever, in {', '.join(places[:4])}")

    # ---- scheduling and memory

    def _shuffled(self, living: list, asleep: dict[int, int]) -> list:
        """The threads of the next round in random order. Now and then a whole block falls behind for some rounds."""
        draw = self._random
        assert draw is not None
        for index in {thread.block.index for thread in living}:
            if asleep.get(index, 0) > 0:
                asleep[index] -= 1
            elif draw.random() < 0.2:
                asleep[index] = draw.randint(1, 6)
        turn = [thread for thread in living if not asleep.get(thread.block.index)]
        draw.shuffle(turn)
        return turn

    def _pause(self) -> None:
        self._hub.switch()

    @property
    def _me(self) -> Any:
        return self._current()

    def _touch(self, block: _Block, address: int, write: bool) -> None:
        if not self._check_races:
            return
        me = self._current()
        use = me.use  # the same object until the thread passes its next barrier, which makes the common cases cheap
        last = block.shadow.get(address)
        if last is None:
            block.shadow[address] = (use, None, None) if write else (None, use, None)
            return
        writer, first_reader, second_reader = last
        if writer is not None and writer is not use and not _ordered(writer, use):
            self._report(me, block, address, write, writer)
        if not write:
            if first_reader is use or second_reader is use:
                return
            if first_reader is None or first_reader[:2] == use[:2]:
                block.shadow[address] = (writer, use, second_reader)
            else:
                block.shadow[address] = (writer, first_reader, use)
            return
        for reader in (first_reader, second_reader):
            if reader is not None and reader is not use and not _ordered(reader, use):
                self._report(me, block, address, write, reader)
        block.shadow[address] = (use, None, None)

    def _report(self, me: Any, block: _Block, address: int, write: bool, other: tuple) -> None:
        raise Race(
            f"thread {me.number} of block {me.block.index} {'writes' if write else 'reads'} byte {address} of the"
            f" shared memory of block {block.index}, which thread {other[1]} of the block of rank {other[0]}"
            " has used since their last common barrier"
        )

    def _passed(self, thread: Any, level: int) -> None:
        """A thread has passed a barrier of its warp (2), block (3) or cluster (4)."""
        use = list(thread.use)
        use[level] += 1
        thread.use = tuple(use)

    def _shared(self, address: int, words: int, write: bool) -> tuple[np.ndarray, int]:
        """Addresses of other blocks of the cluster carry ``rank + 1`` in their top byte."""
        rank, offset = int(address) >> 24, int(address) & 0xFFFFFF
        block = self._me.block if rank == 0 else self._me.block.cluster.blocks[rank - 1]
        if offset % (4 * words) or offset + 4 * words > block.used:
            raise IndexError(f"shared memory: address {offset} is not aligned to {4 * words} bytes or out of bounds")
        for word in range(words):
            self._touch(block, offset + 4 * word, write)
        return block.memory.view(np.float32), offset >> 2

    # ---- binding of names

    def _bind(self, function: Callable | DeviceFunction, replaced: dict[str, Callable]) -> Callable:
        bound: dict[int, Callable] = {}
        operations = self._operations() | replaced
        fake = _Cuda(self, replaced)

        def translate(value: Any) -> Any:
            if isinstance(value, (Instruction, Builtin)):
                if value.name not in operations:
                    raise NotImplementedError(f"the emulator has no {value.name}")
                return operations[value.name]
            if isinstance(value, DeviceFunction):
                return translated(value.function)
            if getattr(value, "py_func", None) is not None:
                return translated(value.py_func)
            if getattr(value, "__name__", None) == "numba.cuda":
                return fake
            name = getattr(value, "name", None)
            if type(value).__module__.startswith(("numba.", "numba_cuda.")) and name in _NUMBERS:
                return _NUMBERS[name]
            return value

        def translated(source: Callable) -> Callable:
            if id(source) not in bound:
                bound[id(source)] = bind(source, translate)
            return bound[id(source)]

        if isinstance(function, DeviceFunction):
            function = function.function
        source = getattr(function, "py_func", function)
        if not isinstance(source, FunctionType):
            raise TypeError(f"function: expected a Python function, got {type(source).__name__}")
        return translated(source)

    def _operations(self) -> dict[str, Callable]:
        def with_warp(value: Any, combine: Callable) -> Any:
            me = self._me
            return me.block.warps[me.number >> 5].join(self, me.number & 31, value, combine)

        def load4_shared(address):
            memory, word = self._shared(address, 4, write=False)
            return tuple(memory[word : word + 4])

        def store4_shared(address, *values):
            memory, word = self._shared(address, 4, write=True)
            memory[word : word + 4] = values

        def store_remote(address, value):
            memory, word = self._shared(address, 1, write=True)
            memory[word] = value

        def load4(address):
            array, word = _global(address, 4)
            return tuple(array[word : word + 4])

        def store4_global(address, *values):
            array, word = _global(address, 4)
            array[word : word + 4] = values

        def load4_relaxed(address):
            self._pause()
            array, word = _global(address, 4)
            return tuple(int(value) for value in array.view(np.uint32)[word : word + 4])

        def store_relaxed(address, value):
            array, word = _global(address, 1)
            array[word] = value
            self._progress += 1

        def load_acquire(address):
            self._pause()
            array, word = _global(address, 1)
            return int(array[word])

        def add_release(address, value):
            array, word = _global(address, 1)
            array[word] += np.uint32(value)
            self._progress += 1

        def element_address(array, position):
            if not array.flags.c_contiguous:
                raise ValueError("element_address: expected a C-contiguous array")
            return array.reshape(-1), int(position)

        def cluster_arrive():
            me = self._me
            me.block.cluster.barrier.arrive(self, me)

        def cluster_wait():
            me = self._me
            me.block.cluster.barrier.wait(self, me)

        return {
            "mma_tf32": lambda *registers: with_warp(registers, _mma_tf32),
            "mma_bf16": lambda *registers: with_warp(registers, _mma_bf16),
            "pack_bf16": lambda low, high: _to_bf16(low) | _to_bf16(high) << 16,
            "to_tf32": _to_tf32,
            "to_tf32_here": _to_tf32,
            "float_bits": _float_bits,
            "bits_float": _bits_float,
            "exp2_approx": lambda x: np.exp2(np.float32(x)),
            "reciprocal_approx": lambda x: np.float32(1) / np.float32(x),
            "load4_constant": load4,
            "load4_l2": load4,
            "store4_global": store4_global,
            "load4_shared": load4_shared,
            "store4_shared": store4_shared,
            "add_release": add_release,
            "load_acquire": load_acquire,
            "load4_relaxed": load4_relaxed,
            "store_relaxed": store_relaxed,
            "cluster_rank": lambda: self._me.block.rank,
            "cluster_arrive": cluster_arrive,
            "cluster_wait": cluster_wait,
            "remote_address": lambda address, rank: (int(address) & 0xFFFFFF) | (int(rank) + 1) << 24,
            "store_remote": store_remote,
            "shared_address": lambda array: array._offset,
            "element_address": element_address,
            "cluster_size": lambda blocks: None,
            "cooperative": lambda: None,
        }


def _shape3(extent: int | tuple[int, ...]) -> tuple[int, int, int]:
    axes = tuple(extent) if isinstance(extent, tuple) else (extent,)
    return (*axes, *(1,) * (3 - len(axes)))  # type: ignore[return-value]


def _ordered(earlier: tuple, now: tuple) -> bool:
    """Whether a barrier that both threads take part in lies between two uses of shared memory."""
    same_block = earlier[0] == now[0]
    if same_block and earlier[1] == now[1]:
        return True
    if same_block and earlier[1] >> 5 == now[1] >> 5 and earlier[2] != now[2]:
        return True
    return (same_block and earlier[3] != now[3]) or earlier[4] != now[4]


def _global(address: tuple[np.ndarray, int], words: int) -> tuple[np.ndarray, int]:
    array, word = address
    if word % words or not 0 <= word <= array.size - words:
        raise IndexError(f"global memory: element {word} of {array.size} is not aligned to {words} or out of bounds")
    return array, word


# One float32 seen as a number and as bits; much faster than NumPy for single values.
_WORD = memoryview(bytearray(4))
_AS_FLOAT, _AS_BITS = _WORD.cast("f"), _WORD.cast("I")


def _float_bits(x: Any) -> int:
    _AS_FLOAT[0] = x
    return _AS_BITS[0]


def _bits_float(bits: int) -> np.float32:
    _AS_BITS[0] = bits
    return np.float32(_AS_FLOAT[0])


def _to_tf32(x: Any) -> int:
    """Round to 10 explicit mantissa bits, ties away from zero; Inf and NaN pass."""
    _AS_FLOAT[0] = x
    bits = _AS_BITS[0]
    return bits if bits & 0x7F800000 == 0x7F800000 else (bits + 0x1000) & 0xFFFFE000


def _to_bf16(x: Any) -> int:
    """Round to 7 explicit mantissa bits, ties to even, and keep the upper half; Inf and NaN pass."""
    _AS_FLOAT[0] = x
    bits = _AS_BITS[0]
    if bits & 0x7F800000 == 0x7F800000:
        return bits >> 16 | (0x40 if bits & 0x7FFFFF else 0)  # NaN stays NaN without its lower bits
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 & 0xFFFF


def fragment_positions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column of every register of every lane in the three tiles of ``mma.m16n8k8`` with TF32 factors.

    Returns
    -------
    a, b, c
        Integer arrays (32, registers, 2) with row and column: ``a`` of the (16, 8) left factor, four registers per
        lane; ``b`` of the (8, 8) right factor, two; ``c`` of the (16, 8) sum, four.

    Examples
    --------
    >>> a, b, c = fragment_positions()
    >>> a[5].tolist()  # lane 5: rows 1 and 9, columns 1 and 5
    [[1, 1], [9, 1], [1, 5], [9, 5]]
    """
    lane = np.arange(32)
    group, quad = lane >> 2, lane & 3
    a = np.stack([[group, quad], [group + 8, quad], [group, quad + 4], [group + 8, quad + 4]]).transpose(2, 0, 1)
    b = np.stack([[quad, group], [quad + 4, group]]).transpose(2, 0, 1)
    c = np.stack(
        [[group, 2 * quad], [group, 2 * quad + 1], [group + 8, 2 * quad], [group + 8, 2 * quad + 1]]
    ).transpose(2, 0, 1)
    return a, b, c


_A, _B, _C = fragment_positions()


def _mma_tf32(lanes: list[tuple]) -> list[tuple]:
    bits = np.array([registers[:6] for registers in lanes], np.uint32) & np.uint32(0xFFFFE000)  # low bits are ignored
    factors = bits.view(np.float32)
    left, right, total = np.empty((16, 8), np.float32), np.empty((8, 8), np.float32), np.empty((16, 8), np.float32)
    left[_A[..., 0], _A[..., 1]] = factors[:, :4]
    right[_B[..., 0], _B[..., 1]] = factors[:, 4:]
    total[_C[..., 0], _C[..., 1]] = np.array([registers[6:] for registers in lanes], np.float32)
    result = (left @ right + total)[_C[..., 0], _C[..., 1]]
    return [tuple(row) for row in result]


def fragment_positions_bf16() -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every number of every lane in the factors of ``mma.m16n8k16`` with bfloat16.

    Returns
    -------
    a, b
        Integer arrays (32, numbers, 2): ``a`` of the (16, 16) left factor, four registers of two numbers per lane, low
        half first; ``b`` of the (16, 8) right factor, two registers. The sum is as in :func:`fragment_positions`.

    Examples
    --------
    >>> a, b = fragment_positions_bf16()
    >>> a[5, :4].tolist()  # lane 5, registers 0 and 1
    [[1, 2], [1, 3], [9, 2], [9, 3]]
    """
    lane = np.arange(32)
    group, quad = lane >> 2, lane & 3
    a = [[group + 8 * (r & 1), 2 * quad + half + 8 * (r >> 1)] for r in range(4) for half in range(2)]
    b = [[2 * quad + half + 8 * r, group] for r in range(2) for half in range(2)]
    return np.stack(a).transpose(2, 0, 1), np.stack(b).transpose(2, 0, 1)


_A16, _B16 = fragment_positions_bf16()


def _mma_bf16(lanes: list[tuple]) -> list[tuple]:
    bits = np.array([registers[:6] for registers in lanes], np.uint32)
    halves = np.stack([bits << np.uint32(16), bits & np.uint32(0xFFFF0000)], axis=-1).reshape(len(lanes), 12)
    factors = halves.view(np.float32)
    left, right, total = np.empty((16, 16), np.float32), np.empty((16, 8), np.float32), np.empty((16, 8), np.float32)
    left[_A16[..., 0], _A16[..., 1]] = factors[:, :8]
    right[_B16[..., 0], _B16[..., 1]] = factors[:, 8:]
    total[_C[..., 0], _C[..., 1]] = np.array([registers[6:] for registers in lanes], np.float32)
    result = (left @ right + total)[_C[..., 0], _C[..., 1]]
    return [tuple(row) for row in result]


_NUMBERS: dict[str, Callable] = {
    "float32": np.float32,
    "float64": np.float64,
    "int32": int,
    "int64": int,
    "uint32": int,
    "uint64": int,
}
_STORED = {int: np.int64, np.float32: np.float32, np.float64: np.float64}


class _Axes:
    def __init__(self, x: int, y: int = 0, z: int = 0) -> None:
        self.x, self.y, self.z = x, y, z


class _Cuda:
    """What a kernel sees under the name ``cuda``."""

    def __init__(self, emulator: Emulator, replaced: dict[str, Callable]) -> None:
        self._emulator = emulator
        self.shared = SimpleNamespace(array=self._shared_array)
        self.local = SimpleNamespace(array=self._local_array)
        self.atomic = SimpleNamespace(add=self._atomic_add, max=self._atomic_max)
        self.cg = SimpleNamespace(this_grid=lambda: SimpleNamespace(sync=self._grid_sync))
        for name, meaning in replaced.items():
            if hasattr(_Cuda, name):
                setattr(self, name, meaning)

    # ---- where am I

    @property
    def threadIdx(self) -> _Axes:
        x, y, _ = self._emulator._block_shape
        number = self._emulator._me.number
        return _Axes(number % x, number // x % y, number // (x * y))

    @property
    def blockIdx(self) -> _Axes:
        x, y, _ = self._emulator._grid_shape
        index = self._emulator._me.block.index
        return _Axes(index % x, index // x % y, index // (x * y))

    @property
    def blockDim(self) -> _Axes:
        return _Axes(*self._emulator._block_shape)

    @property
    def gridDim(self) -> _Axes:
        return _Axes(*self._emulator._grid_shape)

    @property
    def laneid(self) -> int:
        return self._emulator._me.number & 31

    def grid(self, axes: int) -> Any:
        thread, block, extent = self.threadIdx, self.blockIdx, self.blockDim
        place = (block.x * extent.x + thread.x, block.y * extent.y + thread.y, block.z * extent.z + thread.z)
        return place[0] if axes == 1 else place[:axes]

    def gridsize(self, axes: int) -> Any:
        sizes = [a * b for a, b in zip(self._emulator._grid_shape, self._emulator._block_shape, strict=True)]
        return sizes[0] if axes == 1 else tuple(sizes[:axes])

    # ---- memory

    def _shared_array(self, shape: Any, dtype: Any) -> SharedArray:
        """One allocation per source line and block, as in Numba."""
        frame = sys._getframe(1)
        block = self._emulator._me.block
        key = (frame.f_code, frame.f_lineno)
        if key not in block.arrays:
            kind = _dtype(dtype)
            offset = -(-block.used // 128) * 128
            block.used = offset + int(np.prod(shape)) * kind.itemsize
            if block.used > SHARED_BYTES:
                raise MemoryError(f"shared memory: {block.used} bytes asked for, a block has {SHARED_BYTES}")
            data = block.memory[offset : block.used].view(kind).reshape(shape)
            block.arrays[key] = SharedArray(self._emulator, block, data, offset)
        return block.arrays[key]

    def _local_array(self, shape: Any, dtype: Any) -> np.ndarray:
        kind = _dtype(dtype)
        return np.full(shape, np.nan if kind.kind == "f" else np.iinfo(kind).max, kind)

    def _atomic_add(self, array: Any, index: Any, value: Any) -> Any:
        return self._atomic(array, index, lambda old: old + value)

    def _atomic_max(self, array: Any, index: Any, value: Any) -> Any:
        return self._atomic(array, index, lambda old: max(old, value))

    def _atomic(self, array: Any, index: Any, change: Callable) -> Any:
        data = array._data if isinstance(array, SharedArray) else array  # atomic: no race with other atomics
        old = data[index]
        data[index] = change(old)
        self._emulator._progress += 1
        return old

    # ---- waiting for each other

    def syncthreads(self) -> None:
        me = self._emulator._me
        me.block.barrier.join(self._emulator, me.number)
        self._emulator._passed(me, 3)

    def syncwarp(self, mask: int = 0xFFFFFFFF) -> None:
        me = self._emulator._me
        me.block.warps[me.number >> 5].join(self._emulator, me.number & 31)
        self._emulator._passed(me, 2)

    def _grid_sync(self) -> None:
        me = self._emulator._me
        self._emulator._grid_barrier.join(
            self._emulator, me.block.index * math.prod(self._emulator._block_shape) + me.number
        )
        self._emulator._passed(me, 3)
        self._emulator._passed(me, 4)

    def threadfence(self) -> None:
        """Memory is sequentially consistent here: nothing to do."""

    def _warp(self, value: Any, combine: Callable) -> Any:
        me = self._emulator._me
        return me.block.warps[me.number >> 5].join(self._emulator, me.number & 31, value, combine)

    def shfl_sync(self, mask: int, value: Any, source: int) -> Any:
        return self._warp((value, source), lambda lanes: [lanes[lane[1] % len(lanes)][0] for lane in lanes])

    def shfl_xor_sync(self, mask: int, value: Any, distance: int) -> Any:
        return self._warp(value, lambda lanes: [lanes[lane ^ distance] for lane in range(len(lanes))])

    def shfl_down_sync(self, mask: int, value: Any, distance: int) -> Any:
        def combine(lanes: list) -> list:
            return [lanes[lane + distance if lane + distance < len(lanes) else lane] for lane in range(len(lanes))]

        return self._warp(value, combine)

    def shfl_up_sync(self, mask: int, value: Any, distance: int) -> Any:
        return self._warp(
            value, lambda lanes: [lanes[lane - distance if lane >= distance else lane] for lane in range(len(lanes))]
        )

    def ballot_sync(self, mask: int, predicate: Any) -> int:
        return self._warp(
            bool(predicate), lambda lanes: [sum(1 << lane for lane, vote in enumerate(lanes) if vote)] * len(lanes)
        )


def _dtype(dtype: Any) -> np.dtype:
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return np.dtype({"int": "int32"}.get(name, name))
