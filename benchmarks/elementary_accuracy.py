"""Errors of exp, sigmoid and tanh over every float32 number, and over samples of float64.

Run with ``python -m benchmarks.elementary_accuracy``; it takes some tens of minutes.

An error is counted in units in the last place (ulp): |computed - exact| over the spacing of floats at the exact result.
"Exact" is float64 for float32 inputs and the 80-bit long double for float64 inputs, whose own errors are below a
thousandth of the unit. Each function has a range in which its accuracy is promised (:data:`RANGES`); inputs beyond
it, where the exact result is near underflow or overflow, are counted apart, with what is returned there.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np

from benchmarks.provenance import provenance
from lstm_numba import elementary

RESULT = Path(__file__).parent / "results" / "elementary_accuracy.json"
EXACT: dict[str, Callable] = {"exp": np.exp, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh}
# Inputs for which the accuracy is promised, by function and dtype. Beyond them exp gives 0 or Inf.
RANGES = {
    "exp": {"float32": (-87.0, 88.0), "float64": (-708.0, 709.0)},
    "sigmoid": {"float32": (-87.0, math.inf), "float64": (-708.0, math.inf)},
    "tanh": {"float32": (-math.inf, math.inf), "float64": (-math.inf, math.inf)},
}
CHUNK = 1 << 14  # numbers at a time: a few arrays of them fit into the cache


def compiled(name: str) -> Callable:
    """The function over an array, compiled as kernels compile it."""
    function = getattr(elementary, name)

    @numba.njit(error_model="numpy", fastmath={"contract"})
    def over_an_array(x, y):
        for n in range(x.size):
            y[n] = function(x[n])

    return over_an_array


class Tally:
    """Errors of one function in one dtype, collected chunk by chunk."""

    def __init__(self, name: str, dtype: str) -> None:
        self.name, self.dtype = name, np.dtype(dtype)
        self.wide = np.float64 if dtype == "float32" else np.longdouble
        self.low, self.high = RANGES[name][dtype]
        self.function = compiled(name)
        self.inputs = self.inside = self.wrongly_rounded = 0
        self.max_ulp, self.worst = 0.0, 0.0
        self.nan_inputs = self.nan_lost = self.nan_made = 0
        empty = {"inputs": 0, "zero_for_more": 0, "inf_for_finite": 0, "largest_returned": 0.0}
        self.beyond: dict[str, dict] = {"below": dict(empty), "above": dict(empty)}

    def add(self, x: np.ndarray) -> None:
        """Count the inputs ``x``."""
        y = np.empty_like(x)
        self.function(x, y)
        self.inputs += x.size
        is_nan = np.isnan(x)
        self.nan_inputs += int(is_nan.sum())
        self.nan_lost += int((is_nan & ~np.isnan(y)).sum())
        self.nan_made += int((~is_nan & np.isnan(y)).sum())
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            exact = EXACT[self.name](x.astype(self.wide))
            rounded = exact.astype(self.dtype)
            ulp = np.abs(y.astype(self.wide) - exact) / np.spacing(np.abs(rounded)).astype(self.wide)
        # NaN fails both comparisons and so is neither inside nor beyond
        inside = (x >= self.low) & (x <= self.high)
        ulp = np.where(inside, ulp, 0)
        self.inside += int(inside.sum())
        self.wrongly_rounded += int((inside & (y != rounded)).sum())
        at = int(np.argmax(ulp))
        if self.max_ulp >= 0 and not ulp[at] <= self.max_ulp:  # a NaN error is the largest, and stays
            self.max_ulp, self.worst = float(ulp[at]), float(x[at])
        for side, there in (("below", x < self.low), ("above", x > self.high)):
            if there.any():
                entry = self.beyond[side]
                entry["inputs"] += int(there.sum())
                entry["zero_for_more"] += int((there & (y == 0) & (rounded != 0)).sum())
                entry["inf_for_finite"] += int((there & np.isinf(y) & np.isfinite(rounded)).sum())
                entry["largest_returned"] = max(entry["largest_returned"], float(y[there].max()))

    def result(self) -> dict:
        """Everything counted, as plain JSON values."""
        return {
            "range": [str(self.low), str(self.high)],
            "inputs": self.inputs,
            "inputs_in_range": self.inside,
            "max_ulp": self.max_ulp,
            "worst_input": self.worst.hex(),
            "share_not_correctly_rounded": self.wrongly_rounded / max(1, self.inside),
            "nan_inputs": self.nan_inputs,
            "nan_lost": self.nan_lost,
            "nan_made": self.nan_made,
            "beyond_the_range": {
                side: entry | {"largest_returned": str(entry["largest_returned"])}
                for side, entry in self.beyond.items()
                if entry["inputs"]
            },
        }


def special_values(name: str, dtype: str) -> dict[str, str]:
    """What the function returns for the numbers that need care."""
    tiny = np.finfo(dtype).smallest_subnormal
    inputs = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "0": 0.0, "-0": -0.0}
    inputs |= {"smallest denormal": tiny, "-smallest denormal": -tiny, "largest": np.finfo(dtype).max}
    x = np.array(list(inputs.values()), dtype)
    y = np.empty_like(x)
    compiled(name)(x, y)
    return {label: str(value) for label, value in zip(inputs, y.tolist(), strict=True)}


def all_float32(first: int = 0, last: int = 1 << 32):
    """Every bit pattern from ``first`` up to ``last``, in chunks."""
    for start in range(first, last, CHUNK):
        yield np.arange(start, min(start + CHUNK, last), dtype=np.uint32).view(np.float32)


def sampled_float64(seed: int, samples: int):
    """Random bit patterns of all magnitudes, and dense samples where the functions bend."""
    rng = np.random.default_rng(seed)
    for start in range(0, samples, CHUNK):
        count = min(CHUNK, samples - start)
        yield rng.integers(0, 1 << 64, count, dtype=np.uint64).view(np.float64)
        for limit in (1e-8, 1e-2, 1.0, 20.0, 800.0):
            yield rng.uniform(-limit, limit, count)


def run(out: Path, *, seed: int, samples: int, first: int = 0, last: int = 1 << 32) -> dict:
    """Measure, write the results after each function, and return them.

    Parameters
    ----------
    out
        JSON file to write.
    seed
        Seed of the float64 samples.
    samples
        Number of float64 samples of each kind.
    first, last
        Bit patterns of float32 to go through; all by default.
    """
    if np.finfo(np.longdouble).nmant < 63:
        raise RuntimeError("np.longdouble is no wider than float64 here; errors of float64 cannot be measured with it")
    features = llvmlite.binding.get_host_cpu_features()
    result: dict = {
        "about": "Errors of lstm_numba.elementary in units in the last place",
        "provenance": provenance(seed),
        "fused_multiply_add": bool(features.get("fma") or features.get("neon")),
        "float32_bit_patterns": [first, last],
        "float64_samples_of_each_kind": samples,
        "functions": {},
    }
    for name in EXACT:
        tallies = {"float32": Tally(name, "float32"), "float64": Tally(name, "float64")}
        for x in all_float32(first, last):
            tallies["float32"].add(x)
        for x in sampled_float64(seed, samples):
            tallies["float64"].add(x)
        result["functions"][name] = {
            dtype: tally.result() | {"special_values": special_values(name, dtype)} for dtype, tally in tallies.items()
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")
        for dtype, tally in tallies.items():
            print(f"{name:<8} {dtype}  {tally.inputs:>11} inputs  at most {tally.max_ulp:.3f} ulp", flush=True)
    return result


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.elementary_accuracy",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=RESULT, help="where to write the results")
    parser.add_argument("--seed", type=int, default=0, help="seed of the float64 samples")
    parser.add_argument("--samples", type=int, default=2_000_000, help="float64 samples of each kind")
    run(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
