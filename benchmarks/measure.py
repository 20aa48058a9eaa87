"""Fair timing: implementations take turns in one process, so that a slow moment of the machine hits all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.machine import QUIET, QuietMachine, foreign_load, reading

Run = Callable[[], object]

# GNU OpenMP's threads spin for some milliseconds after their work. PyTorch and Numba each have such a pool, and a
# thread of one that still spins on the core that the other needs doubles the other's time.
_SETTLE = 0.01


@dataclass
class Samples:
    """What :func:`paired_times` measured."""

    seconds: dict[str, list[float]]  # per call; one number per round
    calls: dict[str, int]  # calls per sample
    loads: list[float] = field(default_factory=list)  # cores used by other processes, per kept round
    rejected: int = 0  # rounds thrown away because of that

    @property
    def load(self) -> float | None:
        """Median load of other processes during the rounds."""
        return statistics.median(self.loads) if self.loads else None

    @property
    def disturbed(self) -> bool:
        """Whether other processes used more than was allowed."""
        return self.load is not None and self.load > 1.5 * QUIET

    def joined(self, more: "Samples") -> "Samples":
        """The rounds of both; nothing is left out."""
        seconds = {name: values + more.seconds[name] for name, values in self.seconds.items()}
        return Samples(seconds, more.calls, self.loads + more.loads, self.rejected + more.rejected)


def _calls_per_sample(run: Run, minimum_seconds: float) -> int:
    """How often to repeat a call so that one sample is long enough for the clock."""
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        elapsed = time.perf_counter() - start
        if elapsed >= minimum_seconds / 2:
            return max(1, round(calls * minimum_seconds / elapsed))
        calls *= 2 if elapsed <= 0 else max(2, min(10, round(minimum_seconds / elapsed)))


def paired_times(
    candidates: Mapping[str, Run],
    rounds: int,
    minimum_seconds: float,
    *,
    budget: float = 8.0,
    quiet: QuietMachine | None = None,
) -> Samples:
    """Time each candidate once per round, in turn.

    Parameters
    ----------
    candidates
        Functions without arguments, by name. Each is called before timing starts, which warms caches and compiles.
    rounds
        Number of samples per candidate.
    minimum_seconds
        Length of one sample; short calls are repeated within it.
    budget
        Seconds after which the remaining rounds are left out; three rounds are made in any case.
    quiet
        Waits for a quiet machine before a round. Without it nothing waits and no load is measured.

    Returns
    -------
    Samples
        Seconds per call, one number per round and candidate, and the load of other processes meanwhile. The order
        rotates: every candidate follows every other one.
    """
    calls = {}
    for name, run in candidates.items():
        run()
        calls[name] = _calls_per_sample(run, minimum_seconds)
    result = Samples({name: [] for name in candidates}, calls)
    names = list(candidates)
    start, tried, done, load = time.perf_counter(), 0, 0, None
    while done < rounds and (done < 3 or time.perf_counter() - start < budget):
        if quiet is not None and (tried == 0 or (load or 0) > QUIET):  # looking takes a tenth of a second
            quiet.wait()
        before, row = reading(), {}
        for name in names[tried % len(names) :] + names[: tried % len(names)]:
            time.sleep(_SETTLE)
            run = candidates[name]
            run()  # the first call after another candidate finds cold caches and sleeping threads
            begin = time.perf_counter()
            for _ in range(calls[name]):
                run()
            row[name] = (time.perf_counter() - begin) / calls[name]
        tried += 1
        load = foreign_load(before, reading()) if quiet is not None else None
        if load is not None and load > 1.5 * QUIET and tried < 2 * rounds and quiet is not None and quiet.left > 0:
            result.rejected += 1
            continue
        done += 1
        for name, seconds in row.items():
            result.seconds[name].append(seconds)
        if load is not None:
            result.loads.append(load)
    return result


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def summary(samples: list[float]) -> dict[str, float]:
    """Median and quartiles of the samples, in microseconds."""
    low, median, high = quartiles(samples)
    return {"median_us": median * 1e6, "low_us": low * 1e6, "high_us": high * 1e6, "samples": len(samples)}


def ratio(baseline: list[float], ours: list[float]) -> dict[str, float]:
    """How many times faster we are.

    ``of_medians`` is the ratio of the medians. ``low`` and ``high`` are the quartiles of the ratios within a round,
    in which a slow moment of the machine cancels.
    """
    low, _, high = quartiles([theirs / mine for theirs, mine in zip(baseline, ours, strict=True)])
    return {"of_medians": statistics.median(baseline) / statistics.median(ours), "low": low, "high": high}


def contradicts(one: Mapping[str, float]) -> bool:
    """Whether a ratio's medians lie outside of what its rounds say: the machine changed its speed between rounds."""
    return not 0.95 * one["low"] <= one["of_medians"] <= 1.05 * one["high"]


def undecided(one: Mapping[str, float]) -> bool:
    """Whether the rounds do not say who is faster: their quartiles lie on both sides of 1."""
    return one["low"] < 1 < one["high"]


def geometric_mean(values: list[float]) -> float:
    """Geometric mean of positive numbers."""
    return statistics.geometric_mean(values)
