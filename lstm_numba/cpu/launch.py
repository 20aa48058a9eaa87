"""Running a kernel: a compiled function of a plan and a thread's number, in one thread or in several.

Kernels are C functions called through their address. The launcher is compiled once for all of them, and a kernel is
compiled once for serial and parallel use.
"""

import os
import threading
from collections.abc import Callable, Iterable, Set

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from lstm_numba.cpu import plan as p
from lstm_numba.cpu.denormals import flush_denormals, restore_denormals
from lstm_numba.cpu.simd import (
    get,
    pointer,
    pointer_at,
    split_tile_1,
    split_tile_2,
    step,
    tile_1,
    tile_2,
    tile_3,
    tile_4,
)
from lstm_numba.cpu.teams import SYNC_STRIDE, first_part, next_part
from lstm_numba.cpu.threads import get_num_threads
from lstm_numba.inner import INNER
from lstm_numba.jit import kernel, stamped_cache

_OPTIONS = {"nopython": True, "error_model": "numpy", "fastmath": {"contract"}}


class CompiledFunction:
    """A function without result that is compiled, or loaded from disk, when its address is first asked for.

    Parameters
    ----------
    function
        The Python function.
    arguments
        Its arguments' types for a given type of number.
    """

    def __init__(self, function: Callable, arguments: Callable[[types.Type], tuple[types.Type, ...]]) -> None:
        self.function, self.arguments = function, arguments
        self._compiled: dict[str, CFunc] = {}
        self._lock = threading.Lock()

    def address(self, dtype: str) -> int:
        """Address of the machine code for ``"float32"`` or ``"float64"``."""
        compiled = self._compiled.get(dtype)
        if compiled is None:
            with self._lock:  # two threads may come here together
                compiled = self._compiled.get(dtype) or self._compile(dtype)
                self._compiled[dtype] = compiled
        return self._address_of(compiled)

    def _address_of(self, compiled: CFunc) -> int:
        address: int = compiled.address  # type: ignore[assignment]
        return address

    def _compile(self, dtype: str) -> CFunc:
        number = {"float32": types.float32, "float64": types.float64}[dtype]
        compiled = CFunc(self.function, (self.arguments(number), types.void), locals={}, options=_OPTIONS)
        compiled._cache = stamped_cache(self.function)  # type: ignore[attr-defined]
        compiled.compile()
        return compiled


def _tile_arguments(number: types.Type) -> tuple[types.Type, ...]:
    numbers, size = types.CPointer(number), types.int64
    return (size, numbers, size, numbers, size, numbers, size, size, numbers, size, size, size)


def _kernel_arguments(number: types.Type) -> tuple[types.Type, ...]:
    size = types.int64
    return (types.CPointer(size), types.CPointer(number), size, size, size, size)


#: Names of the dtypes that kernels are compiled for. ``dtype.name`` takes NumPy microseconds to put together.
DTYPE_NAMES = {np.dtype(name): name for name in ("float32", "float64")}


class Tile(CompiledFunction):
    """A tile, to be called as :func:`lstm_numba.cpu.simd.call_tile` does.

    Its address is that of the function inside, in Numba's calling convention. The C function around it would copy
    most of its dozen arguments from stack to stack, and wait for each of them to be written: 5 % of a small layer.
    """

    def _address_of(self, compiled: CFunc) -> int:
        name = compiled.native_name.removeprefix("cfunc.")
        address: int = compiled._library.get_pointer_to_function(name)  # type: ignore[attr-defined]
        return address


TILES = {n: Tile(tile, _tile_arguments) for n, tile in enumerate((tile_1, tile_2, tile_3, tile_4), 1)}
SPLIT_TILES = {1: Tile(split_tile_1, _tile_arguments), 2: Tile(split_tile_2, _tile_arguments), 4: TILES[4]}


class Kernel(CompiledFunction):
    """A function ``(plan, like, d, phase, part, member)`` that does one part of a phase for direction ``d``.

    ``plan`` points to the integers that :mod:`lstm_numba.cpu.plan` names, ``like`` is a null pointer that carries
    the dtype, ``member`` says whose scratch memory may be used. ``tiles`` and ``split_tiles`` are the widths of tiles
    it calls; their addresses go into the plan.
    """

    def __init__(self, function: Callable, tiles: Set[int], split_tiles: Set[int] = frozenset()) -> None:
        super().__init__(function, _kernel_arguments)
        self.tiles, self.split_tiles = tiles, split_tiles

    def write_tiles(self, plan: np.ndarray, dtype: str, widths: Iterable[int] = (1, 2, 3, 4)) -> None:
        """Write the addresses of the tiles into a plan: of those of the given widths only, so that others need not be.

        Parameters
        ----------
        plan
            Written to.
        dtype
            Of the numbers.
        widths
            In vectors.
        """
        for width in self.tiles & set(widths):
            plan[p.TILES + width] = TILES[width].address(dtype)
        for width in self.split_tiles & set(widths):
            plan[p.SPLIT_TILES + width] = SPLIT_TILES[width].address(dtype)


@intrinsic
def _call(typing_context, address, plan, d, phase, part, member):
    """Call the kernel at an address."""
    size = types.int64

    def codegen(context, builder, signature, arguments):
        i64, bytes_ = ir.IntType(64), ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [i64.as_pointer(), bytes_, i64, i64, i64, i64])
        callee = builder.inttoptr(arguments[0], function.as_pointer())
        builder.call(callee, [arguments[1], ir.Constant(bytes_, None), *arguments[2:]])
        return context.get_dummy_value()

    return types.void(size, types.CPointer(size), size, size, size, size), codegen


@njit(**INNER)
def _run_member(address, plan, member):
    """What one thread does: its part of every phase, and other members' parts if they do not come."""
    before = flush_denormals()
    members = get(plan, p.MEMBERS)
    for d in range(member // members, get(plan, p.D), get(plan, p.TEAMS)):
        sync = step(pointer_at(get(plan, p.SYNC), plan), d * SYNC_STRIDE * members)
        for phase in range(get(plan, p.PHASES)):
            part = first_part(sync, members, phase, member % members)
            while part >= 0:
                _call(address, plan, d, phase, part, member)
                part = next_part(sync, members, phase, part)
    restore_denormals(before)


@njit(**INNER)
def run_alone(address, plan):
    """All phases of a plan in this thread, for one direction: no team, no waiting."""
    for phase in range(get(plan, p.PHASES)):
        _call(address, plan, 0, phase, 0, 0)


@kernel()
def _run_serial(address, plan):
    _run_member(address, pointer(plan), 0)


@kernel(parallel=True)
def _run_parallel(address, plan, members):
    for member in prange(members):
        _run_member(address, pointer(plan), member)


# Only one parallel region runs at a time: a second Python thread that comes meanwhile computes alone instead of
# fighting for the same cores (and Numba's simplest threading layer would abort the process).
_region = threading.Lock()
_is_forked_child = False


def _after_fork() -> None:
    # The pool's threads do not exist in the child, and GNU OpenMP cannot make new ones there.
    global _region, _is_forked_child
    _region = threading.Lock()
    _is_forked_child = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def available_threads() -> int:
    """How many threads a launch may use."""
    return 1 if _is_forked_child else get_num_threads()


def reserve_threads(wanted: int) -> int:
    """Reserve up to ``wanted`` threads for one launch; :func:`release_threads` must follow."""
    return 1 if wanted == 1 else take_threads(min(wanted, available_threads()))


def take_threads(wanted: int) -> int:
    """Reserve that many of the available threads, or the calling one alone if another launch has them."""
    return wanted if wanted > 1 and _region.acquire(blocking=False) else 1


def release_threads(threads: int) -> None:
    """Give back what :func:`reserve_threads` returned."""
    if threads > 1:
        _region.release()


def launch(address: int, plan: np.ndarray, threads: int) -> None:
    """Run the kernel at an address in that many threads, which must have been reserved."""
    if threads == 1:
        _run_serial(address, plan)
    else:
        _run_parallel(address, plan, threads)
