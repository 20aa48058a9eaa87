"""How many threads the CPU kernels use."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numba
from numba.np.ufunc import parallel


def set_num_threads(n: int) -> None:
    """Set how many threads the CPU kernels use, in the calling thread of the program.

    Results do not depend on it, not in a single bit: every sum runs in an order that the shapes alone decide.

    Parameters
    ----------
    n
        Number of threads, from 1 to the number of cores Numba found at import (``NUMBA_NUM_THREADS``).

    Raises
    ------
    TypeError
        If ``n`` is no integer.
    ValueError
        If ``n`` is out of range.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> before = ln.get_num_threads()
    >>> ln.set_num_threads(1)
    >>> ln.get_num_threads()
    1
    >>> ln.set_num_threads(before)
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"n: expected an integer, got {type(n).__name__}")
    limit = numba.config.NUMBA_NUM_THREADS
    if not 1 <= n <= limit:
        raise ValueError(f"n: expected a number of threads from 1 to {limit} (NUMBA_NUM_THREADS), got {n}")
    _start()
    numba.set_num_threads(n)


def get_num_threads() -> int:
    """Return how many threads the CPU kernels use.

    Returns
    -------
    int
        The number set by :func:`set_num_threads`, or all the cores Numba found.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> ln.get_num_threads() >= 1
    True
    """
    _start()
    return _ask_numba()


_has_started = False


def _start() -> None:
    """Start Numba's threads, which it does when it is first asked about them, and leave PyTorch's as they are.

    Numba sets the number of OpenMP threads of the process, and PyTorch reads it.
    """
    global _has_started
    if _has_started:
        return
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else None
    numba.get_num_threads()
    if torch is not None and torch.get_num_threads() != before:
        torch.set_num_threads(before)
    _has_started = True


def _ask_numba() -> int:
    # The public function takes two locks first, to see whether the threads have been started.
    ask = getattr(parallel, "_get_num_threads", numba.get_num_threads)
    threads: int = ask()
    return threads


# Waking a second thread costs microseconds on a quiet machine and far more on a busy one, where the first thread
# then waits for it. Below this many operations (some tens of microseconds of work) one thread is as fast.
SERIAL_FLOPS = 1.5e6


@contextmanager
def threads_for(flops: float) -> Iterator[int]:
    """Use one thread inside the block if the work is small; yields the number of threads."""
    threads = get_num_threads()
    if threads == 1 or flops >= SERIAL_FLOPS:
        yield threads
        return
    numba.set_num_threads(1)
    try:
        yield 1
    finally:
        numba.set_num_threads(threads)
