"""What the machine can do, and what else it is doing: peak rates, load of other processes, memory of this one."""

import ctypes
import gc
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstm_numba.teaching.machine import peak_gflops, read_bandwidth

QUIET = 0.10  # other processes may use this share of one core
_STAT = Path("/proc/stat")
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
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


# -- peak rates ------------------------------------------------------------------------------------------------


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


def give_arrays_their_own_pages() -> bool:
    """Let every array of 64 KiB or more have pages of its own, which leave the process when it is freed.

    Otherwise glibc keeps freed arrays in a heap for each of several threads. Arrays of random sizes leave holes there,
    and resident memory grows for a long time although nothing is kept.

    Returns
    -------
    bool
        False where the C library has no such setting.
    """
    setting = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    return setting is not None and setting(_MMAP_THRESHOLD, 64 * 1024) == 1


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
