"""What the checks of kernels share: run the reader's kernel in several orders and turn what goes wrong into hints."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lstm_numba.gpu.emulator import Deadlock, Race
from lstm_numba.teaching.exercises import Check, _is_stub
from lstm_numba.teaching.threads import Trace, run_threads

__all__ = ["launch", "written"]


def launch(
    check: Check,
    name: str,
    kernel: Callable,
    grid: Any,
    block: Any,
    *arguments: Any,
    hint: str = "",
    seeds: tuple[int | None, ...] = (None, 0, 1),
) -> Trace:
    """Run the reader's kernel once per seed; what goes wrong becomes a hint. Returns the run with most NaN."""
    if not callable(kernel):
        check.fail(name, "Pass the kernel itself, without parentheses behind its name.")
    if _is_stub(kernel):
        check.attempted(None)
    traces = []
    for seed in seeds:
        try:
            traces.append(run_threads(kernel, grid, block, *arguments, seed=seed))
        except Race as race:
            check.fail(name, f"A race: {race}. Which barrier is missing between the two? {hint}".strip())
        except Deadlock as deadlock:
            check.fail(
                name,
                f"A deadlock: {deadlock}. Every thread of the block must reach every barrier. {hint}".strip(),
            )
        except IndexError as error:
            check.fail(
                name, f"Outside of an array: {error}. Does every thread have work? Guard it with an if. {hint}".strip()
            )
        except Exception as error:  # the reader's own mistakes come as any exception
            check.fail(name, f"The kernel raised {type(error).__name__}: {error}. {hint}".strip())
    check.true(name, True, hint="")
    return max(traces, key=_missing)


def _missing(trace: Trace) -> int:
    return sum(int(np.isnan(array).sum()) for array in trace.arrays.values())


def written(check: Check, trace: Trace, name: str, hint: str) -> None:
    """End the check if an output still holds NaN, or got NaN from memory that nobody wrote."""
    missing = int(np.isnan(trace.arrays[name]).sum())
    if missing:
        check.fail(f"writes all of {name}", f"{missing} of {trace.arrays[name].size} numbers are NaN. {hint}")
