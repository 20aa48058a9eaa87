"""Fair timing: implementations take turns in one process, so that a slow moment of the machine hits all of them."""

import statistics
import time
from collections.abc import Callable, Mapping


def _calls_per_sample(run: Callable[[], object], minimum_seconds: float) -> int:
    """How often to repeat a call so that one sample is long enough for the clock."""
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        elapsed = time.perf_counter() - start
        if elapsed >= minimum_seconds:
            return calls
        calls *= 2 if elapsed <= 0 else max(2, min(10, round(1.2 * minimum_seconds / elapsed)))


def paired_times(
    candidates: Mapping[str, Callable[[], object]], rounds: int, minimum_seconds: float
) -> dict[str, list[float]]:
    """Time each candidate once per round, in turn.

    Parameters
    ----------
    candidates
        Functions without arguments, by name. Each is called before timing starts, which warms caches and compiles.
    rounds
        Number of samples per candidate.
    minimum_seconds
        Length of one sample; short calls are repeated within it.

    Returns
    -------
    dict of str to list of float
        Seconds per call, one number per round.
    """
    calls = {name: _calls_per_sample(run, minimum_seconds) for name, run in candidates.items()}
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            run()  # the first call after another candidate finds cold caches and sleeping threads
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            samples[name].append((time.perf_counter() - start) / calls[name])
    return samples


def summary(samples: list[float]) -> dict[str, float]:
    """Median and quartiles of the samples, in microseconds."""
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median_us": median * 1e6, "low_us": low * 1e6, "high_us": high * 1e6}


def ratio(baseline: list[float], ours: list[float]) -> dict[str, float]:
    """How many times faster we are: median over rounds of the ratio within a round, and its quartiles."""
    ratios = [theirs / mine for theirs, mine in zip(baseline, ours, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}
