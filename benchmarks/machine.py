"""What the machine can do, and what else it is doing: peak rates, load of other processes, memory of this one."""

import ctypes
import gc
import os
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

QUIET = 0.10  # other processes may use this share of one core
_STAT = Path("/proc/stat")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass
class Reading:
    """Processor seconds used so far: by all processes (None if the system does not say) and by this one."""

    everybody: float | None
    own: float
    clock: float


def reading() -> Reading:
    """Read the clocks."""
    everybody = None
    if _STAT.is_file():
        ticks = [int(value) for value in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
        everybody = (sum(ticks) - ticks[3] - ticks[4]) / _TICKS  # all but idle and waiting for a disk
    times = os.times()
    return Reading(everybody, times.user + times.system, time.perf_counter())


def foreign_load(before: Reading, after: Reading) -> float | None:
    """Cores that other processes used between two readings; None where the system does not say."""
    if before.everybody is None or after.everybody is None:
        return None
    foreign = after.everybody - before.everybody - (after.own - before.own)
    return max(0.0, foreign / max(after.clock - before.clock, 1e-9))


class QuietMachine:
    """Waits until other processes use less than a tenth of a core, but never longer than agreed.

    Parameters
    ----------
    once
        Longest single wait in seconds.
    budget
        Longest total wait. When it is used up, timing goes on regardless and the results carry the load.
    """

    def __init__(self, once: float = 10.0, budget: float = 240.0) -> None:
        self.once = once
        self.left = budget

    @classmethod
    def of_a_run(cls, quick: bool) -> "QuietMachine":
        """The patience of the smaller benchmarks."""
        return cls(once=1.0, budget=10.0) if quick else cls(once=10.0, budget=90.0)

    def wait(self) -> float | None:
        """Wait, and return the load that was seen last."""
        start = time.perf_counter()
        while True:
            before = reading()
            time.sleep(0.1)
            load = foreign_load(before, reading())
            waited = time.perf_counter() - start
            if load is None or load < QUIET or waited >= min(self.once, self.left):
                if waited > 0.2:
                    self.left = max(0.0, self.left - waited)
                return load


# -- peak rates --------------------------------------------------------------------------------------------------

_CHAINS = 12  # independent sums: enough to hide the latency of a multiply-add on two units
_UNROLLED = 4


def vector_lanes() -> int:
    """float32 numbers per vector register of this processor."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx2") and features.get("fma") else 4


@intrinsic
def _multiply_adds(typing_context, repeats):
    """``repeats`` times ``_UNROLLED * _CHAINS`` vector multiply-adds that touch no memory."""

    def codegen(context, builder, signature, arguments):
        lanes = vector_lanes()
        real, index = ir.FloatType(), ir.IntType(64)
        vector = ir.VectorType(real, lanes)
        name = f"llvm.fma.v{lanes}f32"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)

        def splat(number):
            value = ir.Constant(vector, ir.Undefined)
            for lane in range(lanes):
                value = builder.insert_element(value, number, ir.IntType(32)(lane))
            return value

        # Nothing may be a constant, or LLVM computes the result in advance.
        n = builder.sitofp(arguments[0], real)
        factor = splat(builder.fdiv(n, real(1e9)))
        start = [splat(builder.fadd(n, real(chain))) for chain in range(_CHAINS)]
        before, loop, end = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(index)
        k.add_incoming(index(0), before)
        sums = [builder.phi(vector) for _ in range(_CHAINS)]
        values: list[Any] = list(sums)
        for _ in range(_UNROLLED):
            values = [builder.call(fma, [value, factor, factor]) for value in values]
        for phi, first, value in zip(sums, start, values, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, loop)
        following = builder.add(k, index(1))
        k.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, arguments[0]), loop, end)
        builder.position_at_end(end)
        total = values[0]
        for value in values[1:]:
            total = builder.fadd(total, value)
        return builder.extract_element(total, ir.IntType(32)(0))

    return types.float32(types.intp), codegen


@njit(nogil=True)
def _fma_loop(repeats):
    return _multiply_adds(repeats)


@njit(nogil=True, fastmath=True)
def _sum(numbers, repeats):
    total = np.float32(0)
    for _ in range(repeats):
        for k in range(numbers.size):
            total += numbers[k]
    return total


def _on_threads(threads: int, work) -> float:
    """Seconds until all threads have done ``work(number)``; the fastest of several tries."""
    best = np.inf
    for _ in range(5):
        pool = [Thread(target=work, args=(number,)) for number in range(threads)]
        start = time.perf_counter()
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
        best = min(best, time.perf_counter() - start)
    return best


def peak_gflops(threads: int) -> dict:
    """Measure the largest rate of float32 multiply-adds: a loop in registers, compiled with Numba.

    Returns
    -------
    dict
        ``gflops`` and ``how`` it was measured. Where the loop cannot be compiled, it is a large matrix product.
    """
    repeats = 300_000
    try:
        _fma_loop(10)
        seconds = _on_threads(threads, lambda _: _fma_loop(repeats))
        gflops = threads * repeats * _CHAINS * _UNROLLED * 2 * vector_lanes() / seconds / 1e9
        return {"gflops": gflops, "how": f"register-only multiply-add loop, {vector_lanes()} lanes, {threads} threads"}
    except Exception as error:  # any failure of the compiler: say so and measure something else
        a = np.ones((1024, 1024), np.float32)
        seconds = _on_threads(1, lambda _: a @ a)
        return {"gflops": 2 * 1024**3 / seconds / 1e9, "how": f"NumPy matrix product 1024^3, because: {error}"[:300]}


def read_bandwidth(megabytes: float, threads: int = 1) -> float:
    """Measure GB/s of reading an array of this size per thread, over and over: L1, L2, L3 or memory by its size."""
    numbers = [np.ones(max(1024, int(megabytes * 2**20 / 4)), np.float32) for _ in range(threads)]
    repeats = max(1, int(200e6 / numbers[0].nbytes))
    _sum(numbers[0][:1024], 1)
    seconds = _on_threads(threads, lambda number: _sum(numbers[number], repeats))
    return threads * repeats * numbers[0].nbytes / seconds / 1e9


def capabilities(threads: int) -> dict:
    """Peak rate and read bandwidths, for the roofline."""
    levels = {"0.02": "L1", "0.4": "L2", "8": "L3", "256": "memory"}
    return {
        **peak_gflops(threads),
        "read_gb_per_s": {
            f"{level} ({size} MB)": read_bandwidth(float(size), threads) for size, level in levels.items()
        },
    }


# -- the state that PyTorch shares with us -------------------------------------------------------------------------


def torch_state() -> dict:
    """PyTorch's thread count, and whether any of its threads flushes denormal numbers to zero."""
    import torch

    # Long enough to be shared out between all threads.
    denormal = torch.full((1_000_000,), 1e-38) * 0.01
    return {
        "threads": torch.get_num_threads(),
        "denormals_kept": bool((denormal != 0).all()),
        "denormals_kept_numpy": bool((np.full(8, 1e-38, np.float32) * np.float32(0.01) != 0).all()),
    }


# -- memory ----------------------------------------------------------------------------------------------------------


def _status(field: str) -> int | None:
    path = Path("/proc/self/status")
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return None


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM, after giving back what is free; None where the system does not say."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
    return _status("VmRSS")


def forget_peak() -> bool:
    """Reset the high-water mark of this process's memory; False where that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int | None:
    """High-water mark of resident memory since :func:`forget_peak`."""
    return _status("VmHWM")
