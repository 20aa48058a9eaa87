"""What a processor can do: its peak rate of arithmetic and the rate at which it reads memory.

The two roofs of the roofline model, measured in a second. The chapter on measuring draws them, and ``benchmarks``
uses the same functions to say which share of the peak a kernel reaches.
"""

import time
from collections.abc import Callable
from threading import Thread
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["peak_gflops", "read_bandwidth", "vector_lanes"]

_CHAINS = 12  # independent sums: enough to hide the latency of a multiply-add on two units
_UNROLLED = 4


def vector_lanes() -> int:
    """Return how many float32 numbers a vector register of this processor holds.

    Returns
    -------
    int
        16 with AVX-512, 8 with AVX2, else 4.

    Examples
    --------
    >>> from lstm_numba.teaching.machine import vector_lanes
    >>> vector_lanes() in (4, 8, 16)
    True
    """
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


def _on_threads(threads: int, work: Callable[[int], object]) -> float:
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


def peak_gflops(threads: int = 1) -> dict[str, Any]:
    """Measure the largest rate of float32 multiply-adds: a compiled loop that touches no memory.

    Parameters
    ----------
    threads
        Python threads that run the loop at the same time.

    Returns
    -------
    dict
        ``"gflops"``, and ``"how"`` it was measured. Where the loop cannot be compiled, a large matrix product takes
        its place, and ``"how"`` says so.

    Examples
    --------
    >>> from lstm_numba.teaching.machine import peak_gflops
    >>> peak_gflops()["gflops"] > 0
    True
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
    """Measure how fast an array is read over and over; its size decides from which cache, or from memory.

    Parameters
    ----------
    megabytes
        Size of the array of each thread.
    threads
        Python threads that read at the same time.

    Returns
    -------
    float
        GB per second of all threads together.

    Examples
    --------
    >>> from lstm_numba.teaching.machine import read_bandwidth
    >>> read_bandwidth(0.01) > 0
    True
    """
    numbers = [np.ones(max(1024, int(megabytes * 2**20 / 4)), np.float32) for _ in range(threads)]
    repeats = max(1, int(200e6 / numbers[0].nbytes))
    _sum(numbers[0][:1024], 1)
    seconds = _on_threads(threads, lambda number: _sum(numbers[number], repeats))
    return threads * repeats * numbers[0].nbytes / seconds / 1e9
