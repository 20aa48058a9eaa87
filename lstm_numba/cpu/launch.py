"""Running a kernel: a compiled function of a plan and a thread's number, in one thread or in several.

Kernels are C functions called through their address. The launcher is compiled once for all of them, and a kernel is
compiled once for serial and parallel use.
"""

import os
import sys
import threading
from collections.abc import Callable

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from lstm_numba.cpu.simd import pointer
from lstm_numba.jit import kernel, stamped_cache

_OPTIONS = {"nopython": True, "error_model": "numpy", "fastmath": {"contract"}}


class Kernel:
    """A function ``(plan, like, member)`` that is compiled, or loaded from disk, when it is first used.

    ``plan`` points to the integers that :mod:`lstm_numba.cpu.plan` names, ``like`` is a null pointer that carries
    the dtype, ``member`` is the number of the thread.
    """

    def __init__(self, function: Callable) -> None:
        self.function = function
        self._compiled: dict[str, CFunc] = {}
        self._lock = threading.Lock()

    def address(self, dtype: str) -> int:
        """Address of the machine code for ``"float32"`` or ``"float64"``."""
        compiled = self._compiled.get(dtype)
        if compiled is None:
            with self._lock:  # two threads may come here together
                compiled = self._compiled.get(dtype) or self._compile(dtype)
                self._compiled[dtype] = compiled
        return compiled.address

    def _compile(self, dtype: str) -> CFunc:
        number = {"float32": types.float32, "float64": types.float64}[dtype]
        arguments = (types.CPointer(types.int64), types.CPointer(number), types.int64)
        compiled = CFunc(self.function, (arguments, types.void), locals={}, options=_OPTIONS)
        compiled._cache = stamped_cache(self.function)
        compiled.compile()
        return compiled


@intrinsic
def _call(typing_context, address, plan, member):
    """Call the kernel at an address."""

    def codegen(context, builder, signature, arguments):
        i64, bytes_ = ir.IntType(64), ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [i64.as_pointer(), bytes_, i64])
        callee = builder.inttoptr(arguments[0], function.as_pointer())
        builder.call(callee, [arguments[1], ir.Constant(bytes_, None), arguments[2]])
        return context.get_dummy_value()

    return types.void(types.int64, types.CPointer(types.int64), types.int64), codegen


@kernel()
def _run_serial(address, plan):
    _call(address, pointer(plan), 0)


@kernel(parallel=True)
def _run_parallel(address, plan, members):
    for member in prange(members):
        _call(address, pointer(plan), member)


# Only one parallel region runs at a time: a second Python thread that comes meanwhile computes alone instead of
# fighting for the same cores (and Numba's simplest threading layer would abort the process).
_region = threading.Lock()
_pool_has_started = False
_is_forked_child = False


def _after_fork() -> None:
    # The pool's threads do not exist in the child, and GNU OpenMP cannot make new ones there.
    global _region, _is_forked_child
    _region = threading.Lock()
    _is_forked_child = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def reserve_threads(wanted: int) -> int:
    """Reserve up to ``wanted`` threads for one launch; :func:`release_threads` must follow if they are more than one."""
    if wanted == 1 or _is_forked_child:
        return 1
    threads = min(wanted, numba.get_num_threads())
    return threads if threads > 1 and _region.acquire(blocking=False) else 1


def release_threads(threads: int) -> None:
    """Give back what :func:`reserve_threads` returned."""
    if threads > 1:
        _region.release()


def launch(kernel: Kernel, dtype: str, plan: np.ndarray, threads: int) -> None:
    """Run a kernel in that many threads, which must have been reserved."""
    address = kernel.address(dtype)
    if threads == 1:
        _run_serial(address, plan)
    elif _pool_has_started:
        _run_parallel(address, plan, threads)
    else:
        _start_pool(address, plan, threads)


def _start_pool(address: int, plan: np.ndarray, threads: int) -> None:
    # Numba's first parallel region sets the number of OpenMP threads of the process, which PyTorch reads too.
    global _pool_has_started
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else None
    _run_parallel(address, plan, threads)
    if torch is not None and torch.get_num_threads() != before:
        torch.set_num_threads(before)
    _pool_has_started = True
