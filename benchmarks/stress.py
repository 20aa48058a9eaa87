"""Random layers, shapes, strides, thread counts and callers for minutes: no crash, no leak, no wrong result.

Every trial builds a layer of random kind and size, calls it forward and backward, sometimes while other Python threads
call other layers, sometimes on strided or reversed input, and compares everything with the NumPy reference. Resident
memory is recorded all along: ``python -m benchmarks stress --minutes 10``.
"""

import argparse
import inspect
import statistics
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import lstm_numba as ln
from benchmarks import store
from benchmarks.machine import give_arrays_their_own_pages, resident_bytes, torch_state
from benchmarks.provenance import provenance

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
CELLS = [name for name in ("LSTM", "GRU", "RNN") if hasattr(ln, name)]
LEAK_LIMIT = 16 * 2**20  # growth of resident memory that counts as a leak, see `_growth`


def random_layer_options(rng: np.random.Generator) -> dict:
    """Class name and arguments of a layer, as many features as the package has."""
    cell = str(rng.choice(CELLS))
    signature = inspect.signature(getattr(ln, cell)).parameters
    options = {
        "cell": cell,
        "input_size": int(rng.integers(1, 70)),
        "hidden_size": int(rng.integers(1, 70) if rng.random() < 0.8 else rng.integers(70, 300)),
        "num_layers": int(rng.choice([1, 1, 1, 2, 3])),
        "bias": bool(rng.random() < 0.8),
        "batch_first": bool(rng.random() < 0.3),
        "bidirectional": bool(rng.random() < 0.3),
        "dtype": str(rng.choice(["float32", "float32", "float64"])),
        "seed": int(rng.integers(2**31)),
    }
    if "proj_size" in signature and options["hidden_size"] > 1 and rng.random() < 0.2:
        options["proj_size"] = int(rng.integers(1, options["hidden_size"]))
    if "reset_after" in signature:
        options["reset_after"] = bool(rng.random() < 0.7)
    if "nonlinearity" in signature:
        options["nonlinearity"] = str(rng.choice(["tanh", "relu"]))
        if options["nonlinearity"] == "relu":
            # The slope jumps where a pre-activation is 0. Rounding in float32 puts one unit in some ten million on the
            # other side, and its gradient is then another one, right as well but not comparable.
            options["dtype"] = "float64"
    return options


def make(options: dict, backend: str):
    """The layer of these options on one backend."""
    arguments = {key: value for key, value in options.items() if key != "cell"}
    return getattr(ln, options["cell"])(**arguments, backend=backend)


def strange_view(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same numbers behind other strides: in every second place, in reverse, transposed, or as they are."""
    kind = rng.integers(4)
    if kind == 0:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if kind == 1:
        return np.ascontiguousarray(array[::-1])[::-1]
    if kind == 2:
        return np.asfortranarray(array)
    return array


class Trial:
    """One layer with its inputs and the reference's answers."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.options = random_layer_options(rng)
        self.layer = make(self.options, "cpu")
        dtype = self.layer.dtype
        T, B = int(rng.choice([1, 2, 5, 17, 60])), int(rng.choice([1, 2, 3, 6, 7, 13, 33, 80]))
        self.shape = (T, B)
        batch_shape = (B, T) if self.options["batch_first"] else (T, B)
        self.x = strange_view(rng.normal(size=(*batch_shape, self.options["input_size"])).astype(dtype), rng)
        self.keywords = {}
        if "lengths" in inspect.signature(type(self.layer).__call__).parameters and rng.random() < 0.4:
            self.keywords["lengths"] = rng.integers(1, T + 1, size=B)
        reference = make(self.options, "reference")
        reference.load_state_dict(self.layer.state_dict())
        y, _ = reference(self.x, **self.keywords)
        self.dy = strange_view(rng.normal(size=y.shape).astype(dtype), rng)
        self.expected = self.results(reference)

    def results(self, layer) -> list[np.ndarray]:
        """Outputs, states and all gradients of a forward and backward pass."""
        layer.train()
        layer.zero_grad()
        y, state = layer(self.x, **self.keywords)
        dx, dstate = layer.backward(self.dy)
        flat = [y, dx]
        for part in (state, dstate):
            flat += list(part) if isinstance(part, tuple) else [part]
        # A second, interleaved inference call must neither disturb nor be disturbed.
        layer.eval()
        flat.append(layer(self.x, **self.keywords)[0])
        return [np.array(value) for value in flat] + [grad.copy() for grad in layer.grads.values()]

    def check(self) -> str | None:
        """Run once more; returns what is wrong, or None."""
        got = self.results(self.layer)
        for number, (value, expected) in enumerate(zip(got, self.expected, strict=True)):
            scale = max(1.0, float(np.abs(expected).max(initial=0)))
            error = float(np.abs(value - expected).max(initial=0)) / scale
            if not error <= TOLERANCE[self.options["dtype"]]:
                return f"array {number} is off by {error:.1e}: {self.options}, (T, B)={self.shape}, {self.keywords}"
        return None


def run(minutes: float, seed: int, progress: float = 30.0, sample: float = 2.0) -> dict:
    """Try until the time is up; returns counts, failures and the course of the memory."""
    rng = np.random.default_rng(seed)
    limit = ln.get_num_threads()
    torch_before = torch_state()
    for cell in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        ln.warmup([cell], ["float32", "float64"])  # compiled code takes memory too, and is no leak
    start = shown = sampled = time.monotonic()
    result: dict = {"seed": seed, "minutes": minutes, "trials": 0, "concurrent": 0, "failures": [], "memory": []}
    kept: list[Trial] = []  # layers that live on and are called again between others
    while time.monotonic() - start < 60 * minutes:
        try:
            trials = [Trial(rng) for _ in range(int(rng.choice([1, 1, 1, 3])))]
            kept = [*kept[-4:], trials[0]]
            threads = int(rng.integers(1, limit + 1))
            ln.set_num_threads(threads)
            if len(trials) > 1:
                with ThreadPoolExecutor(len(trials)) as pool:
                    found = list(pool.map(Trial.check, trials))
                result["concurrent"] += 1
            else:
                found = [trial.check() for trial in [*trials, kept[int(rng.integers(len(kept)))]]]
            result["trials"] += len(trials)
            result["failures"] += [f"{threads} threads: {text}" for text in found if text]
        except Exception:  # a crash is a finding
            result["failures"].append(traceback.format_exc(limit=5))
        if len(result["failures"]) >= 20:
            break
        if not result["memory"] or time.monotonic() - sampled > min(sample, minutes):
            sampled = time.monotonic()
            result["memory"].append([round(sampled - start, 1), resident_bytes()])
        if time.monotonic() - shown > progress:
            shown = time.monotonic()
            print(
                f"{shown - start:6.0f} s  {result['trials']} trials  {result['failures'][-1:] or 'all right'}",
                flush=True,
            )
    ln.set_num_threads(limit)
    result["memory"].append([round(time.monotonic() - start, 1), resident_bytes()])
    result["memory_growth"] = _growth(result["memory"])
    if result["memory_growth"] is not None and result["memory_growth"] > LEAK_LIMIT:
        result["failures"].append(
            f"resident memory grew by {result['memory_growth'] / 2**20:.0f} MiB from the middle third to the last"
        )
    if torch_state() != torch_before:
        result["failures"].append(f"PyTorch's state changed from {torch_before} to {torch_state()}")
    return result


def _growth(memory: list) -> float | None:
    """Bytes by which the median of the last third exceeds the median of the middle third.

    Layers of random sizes come and go, so the size at any one moment says more about the layers that live just then
    than about a leak. The first third is left out: there the allocator still finds its level.
    """
    sizes = [size for _, size in memory if size is not None]
    third = len(sizes) // 3
    if third < 2:
        return None
    return statistics.median(sizes[-third:]) - statistics.median(sizes[-2 * third : -third])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (0)")
    parser.add_argument(
        "--out", type=Path, help="where to write; runs of 10 minutes go to benchmarks/results/stress.json"
    )


def main(options: argparse.Namespace) -> int:
    """Run, write, and return the number of failures."""
    own_pages = give_arrays_their_own_pages()
    result = run(options.minutes, options.seed) | {"own_pages": own_pages}
    out = options.out or (store.RESULTS if options.minutes >= 10 else store.SCRATCH) / "stress.json"
    store.write_json(out, {"about": __doc__.splitlines()[0], "provenance": provenance(options.seed), **result})
    print(
        f"{result['trials']} trials, {result['concurrent']} with several Python threads, "
        f"{len(result['failures'])} failures"
    )
    for text in result["failures"]:
        print("FAILED", text)
    return len(result["failures"])
