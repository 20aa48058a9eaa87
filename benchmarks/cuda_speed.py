"""Our GPU kernels against ``torch.nn.LSTM`` (cuDNN) on one NVIDIA GPU, in under eight minutes.

    make bench-gpu                                # or: python -m benchmarks.cuda_speed
    python -m benchmarks.cuda_speed --minutes 2   # the most important shapes only

Writes benchmarks/results/cuda.json; chapter 5.4 of the book shows it when it is there. Times are CUDA events on the
default stream, medians over rounds in which all candidates take turns. Nothing is timed before its output is right.
Written on a machine without a GPU: the flow has been tested with the emulator, the numbers are for you to make.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cuda_targets import describe, verdicts
from benchmarks.provenance import provenance
from lstm_numba.contract import Weights
from lstm_numba.gpu import vendor
from lstm_numba.gpu.binding import Kernel
from lstm_numba.gpu.device import CudaMissing, Device, GpuDevice, require_gpu, use_device
from lstm_numba.gpu.layer import layer_forward, layer_gradients
from lstm_numba.gpu.plan import PRECISIONS, plan, precision

RESULT = Path(__file__).parent / "results" / "cuda.json"

# T, B, H with I = H. The anchor of the literature first, then the rest such that a run that is cut short has the best
# part. 192 and 384 are either side of where PyTorch stops to get cuDNN's kernels for small H.
UNITS, BATCHES, STEPS = (32, 64, 128, 256, 512, 1024), (1, 8, 32, 64, 256), (64, 256, 1024)
_FIRST = [
    (1024, 16, 768),
    *((256, B, H) for H in UNITS for B in (1, 8, 32, 64)),
    *((256, 32, H) for H in (192, 384, 768)),
    *((T, 16, H) for T in (64, 1024) for H in (64, 256, 512)),
    *((64, 256, H) for H in UNITS),
]
SHAPES = list(dict.fromkeys([*_FIRST, *((T, B, H) for T in (256, 64, 1024) for B in BATCHES for H in UNITS)]))
# Where PyTorch gets none of cuDNN's persistent kernels, whatever the size; through lstm_numba.torch.
KINDS: dict[str, dict[str, Any]] = {
    "two layers": {"num_layers": 2}, "bidirectional": {"bidirectional": True}, "lengths": {}
}  # fmt: skip
STACKS = [(256, 32, H, kind) for H in (128, 512) for kind in KINDS]
WORK: list[tuple] = [*SHAPES[:10], *STACKS, *SHAPES[10:]]
ROUNDS = 9
# Largest difference from cuDNN in float32, over the largest number. With factors rounded in NumPy it is 6e-4 for
# bfloat16, there and back, at T = 256 and up to 512 units.
TOLERANCE = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 1e-2}


def _timed_launches(base: type) -> type:
    """A device that also takes the time of the recurrent kernels alone."""

    class Timed(base):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.clock: Callable[[], Any] | None = None
            self.marks: list[tuple[Any, Any]] = []

        def launch(self, kernel: Kernel, blocks: int, *arguments: Any) -> None:
            with self._timed(self.clock if kernel.stand_in is None else None):
                super().launch(kernel, blocks, *arguments)

        def record(self, launches: Callable[[], None]) -> Any:
            with self._timed(None):  # nothing runs
                return super().record(launches)

        def replay(self, graph: Any) -> None:
            with self._timed(self.clock):
                super().replay(graph)

        @contextmanager
        def _timed(self, clock: Callable[[], Any] | None) -> Iterator[None]:
            before, self.clock = self.clock, None
            start = clock() if clock else None
            try:
                yield
            finally:
                self.clock = before
            if clock:
                self.marks.append((start, clock()))

    return Timed


class CudaEvents:
    """Marks on the GPU's default stream."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def mark(self) -> Any:
        event = self._torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def microseconds(self, start: Any, end: Any) -> float:
        end.synchronize()
        return start.elapsed_time(end) * 1e3


class WallClock:
    """The same for arrays on the host, to test this program without a GPU."""

    def mark(self) -> float:
        return time.perf_counter()

    def microseconds(self, start: float, end: float) -> float:
        return (end - start) * 1e6


def _candidates(torch: Any, where: str, T: int, B: int, H: int, seed: int) -> dict[str, dict[str, Callable[[], Any]]]:
    """Calls by name: forward for inference, and forward with backward; they return y, and with backward dx too."""
    rng = np.random.default_rng(seed)
    x = torch.as_tensor(rng.normal(size=(T, B, H)).astype(np.float32), device=where)
    dy = torch.as_tensor(rng.normal(size=(T, B, H)).astype(np.float32), device=where)
    module = torch.nn.LSTM(H, H).to(where)
    give = (lambda part: part) if where == "cuda" else (lambda part: part.numpy())
    weights = (Weights(*(give(parameter.detach().clone()) for parameter in module.parameters()), None),)
    zeros = give(torch.zeros(1, B, H, device=where))
    ours_x, ours_dy = give(x), give(dy)

    def ours_forward(name: str) -> Any:
        with precision(name):
            return layer_forward("lstm", ours_x, (zeros, zeros), weights, None, False)[:1]

    def ours_training(name: str) -> Any:
        with precision(name):
            y, _, cache = layer_forward("lstm", ours_x, (zeros, zeros), weights, None, True)
            dx, _, _ = layer_gradients("lstm", ours_dy, (zeros, zeros), cache, weights)
        return y, dx

    def torch_forward(layer: Any, given: Any, tf32: bool) -> Any:
        torch.backends.cudnn.allow_tf32 = tf32
        with torch.no_grad():
            return layer(given)[:1]

    def torch_training(layer: Any, given: Any, gradient: Any, tf32: bool) -> Any:
        torch.backends.cudnn.allow_tf32 = tf32
        layer.zero_grad()
        leaf = given.detach().requires_grad_()
        y, _ = layer(leaf)
        y.backward(gradient)
        return y.detach(), leaf.grad

    calls: dict[str, dict[str, Callable[[], Any]]] = {}
    for name in PRECISIONS:
        calls[f"ours {name}"] = {
            "forward": lambda name=name: ours_forward(name),
            "training": lambda name=name: ours_training(name),
        }
    for name, tf32 in (("float32", False), ("tf32", True)):
        calls[f"cudnn {name}"] = {
            "forward": lambda tf32=tf32: torch_forward(module, x, tf32),
            "training": lambda tf32=tf32: torch_training(module, x, dy, tf32),
        }
    if where == "cuda":
        for name in ("float16", "bfloat16"):
            kind = getattr(torch, name)
            half = torch.nn.LSTM(H, H).to(where).to(kind)
            half.load_state_dict(module.state_dict())
            half.flatten_parameters()
            half_x, half_dy = x.to(kind), dy.to(kind)
            calls[f"cudnn {name}"] = {
                "forward": lambda half=half, half_x=half_x: torch_forward(half, half_x, True),
                "training": lambda half=half, a=half_x, b=half_dy: torch_training(half, a, b, True),
            }
    return calls


def _stack_candidates(
    torch: Any, where: str, T: int, B: int, H: int, kind: str, seed: int
) -> dict[str, dict[str, Callable[[], Any]]]:
    """The same calls for modules with more than one layer or direction, or on packed sequences."""
    import lstm_numba.torch as lt

    rng = np.random.default_rng(seed)
    theirs = torch.nn.LSTM(H, H, **KINDS[kind]).to(where)
    features = H * (2 if theirs.bidirectional else 1)
    x = torch.as_tensor(rng.normal(size=(T, B, H)).astype(np.float32), device=where)
    dy = torch.as_tensor(rng.normal(size=(T, B, features)).astype(np.float32), device=where)
    lengths = [T - n * (T // 2) // B for n in range(B)]  # from T down to about half of it

    def packed(numbers: Any) -> Any:
        return torch.nn.utils.rnn.pack_padded_sequence(numbers, lengths) if kind == "lengths" else numbers

    def plain(numbers: Any) -> Any:
        return numbers.data if kind == "lengths" else numbers

    def pair(layer: Any, given: Any, gradient: Any, setting: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
        ready, gradient = packed(given), plain(packed(gradient))

        def forward() -> Any:
            with setting(), torch.no_grad():
                return (plain(layer(ready)[0]),)

        def training() -> Any:
            layer.zero_grad()
            leaf = given.detach().requires_grad_()
            with setting():
                y = plain(layer(packed(leaf))[0])
                y.backward(gradient)
            return y.detach(), leaf.grad

        return {"forward": forward, "training": training}

    ours = lt.accelerate(theirs, copy=True)
    calls = {f"ours {name}": pair(ours, x, dy, lambda name=name: precision(name)) for name in PRECISIONS}
    for name, tf32 in (("float32", False), ("tf32", True)):
        calls[f"cudnn {name}"] = pair(theirs, x, dy, lambda tf32=tf32: _allow_tf32(torch, tf32))
    if where == "cuda":
        for name in ("float16", "bfloat16"):
            dtype = getattr(torch, name)
            half = torch.nn.LSTM(H, H, **KINDS[kind]).to(where).to(dtype)
            half.load_state_dict(theirs.state_dict())
            half.flatten_parameters()
            calls[f"cudnn {name}"] = pair(half, x.to(dtype), dy.to(dtype), lambda: _allow_tf32(torch, True))
    return calls


@contextmanager
def _allow_tf32(torch: Any, allowed: bool) -> Iterator[None]:
    torch.backends.cudnn.allow_tf32 = allowed
    yield


def _check(torch: Any, where: str, calls: dict[str, dict[str, Callable[[], Any]]]) -> None:
    expected = calls["cudnn float32"]["training"]()
    for name in PRECISIONS:
        for way in ("forward", "training"):
            for what, ours, theirs in zip(("y", "dx"), calls[f"ours {name}"][way](), expected, strict=False):
                difference = (torch.as_tensor(ours, device=where) - theirs).abs().max()
                worst = float(difference / theirs.abs().max())
                if not worst < TOLERANCE[name]:
                    raise AssertionError(f"ours {name}, {way}: {what} differs from cuDNN by {worst:.1e}")


def measure(torch: Any, where: str, device: Any, clock: Any, shape: tuple, rounds: int, seed: int) -> dict:
    """Time one shape; microseconds per call and, for our recurrent kernels alone, per step.

    A shape is ``(T, B, H)``, or ``(T, B, H, kind)`` with a name from ``KINDS``.
    """
    T, B, H, *kinds = shape
    calls = (_stack_candidates if kinds else _candidates)(torch, where, T, B, H, *kinds, seed)
    _check(torch, where, calls)
    row: dict[str, Any] = {"T": T, "B": B, "I": H, "H": H, "us": {}, "kernel_us_per_step": {}}
    row |= {"kind": kinds[0]} if kinds else {}
    row["family"] = plan("lstm", H, B, "float32", device.chip).family
    for way in ("forward", "training"):
        samples: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, ways in calls.items():
                start = clock.mark()
                ways[way]()
                samples[name].append(clock.microseconds(start, clock.mark()))
        for name, taken in samples.items():
            row["us"].setdefault(name, {})[way] = statistics.median(taken)
        for name in PRECISIONS:  # apart from the rounds above: the marks in between cost time
            alone = []
            for _ in range(rounds):
                device.clock, device.marks = clock.mark, []
                calls[f"ours {name}"][way]()
                device.clock = None
                alone.append(sum(clock.microseconds(*pair) for pair in device.marks) / T)
            row["kernel_us_per_step"].setdefault(name, {})[way] = statistics.median(alone)
    return row


def run(
    out: Path, torch: Any, where: str, device: Device, clock: Any, shapes: list[tuple], seconds: float,
    rounds: int = ROUNDS, seed: int = 0, hardware: str = "",
) -> dict:  # fmt: skip
    """Measure shapes until the time is over, and write what there is after each of them."""
    end = time.monotonic() + seconds
    result: dict[str, Any] = {
        "provenance": provenance(seed)
        | {"gpu": hardware, "products": getattr(vendor.find(), "__name__", "own kernel")},
        "rows": [],
        "failed": [],
        "not_reached": [list(shape) for shape in shapes],
    }
    with use_device(device):
        for shape in shapes:
            if time.monotonic() > end:
                break
            result["not_reached"].remove(list(shape))
            try:
                row = measure(torch, where, device, clock, shape, rounds, seed)
            except Exception as problem:  # one bad shape must not cost the rest of somebody's ten minutes
                result["failed"].append({"shape": list(shape), "error": f"{type(problem).__name__}: {problem}"[:500]})
                print(shape, result["failed"][-1]["error"], flush=True)
            else:
                result["rows"].append(row)
                _print(row)
            result["targets"] = verdicts(result["rows"])
            out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _print(row: dict) -> None:
    kind = f", {row['kind']}" if "kind" in row else ""
    print(f"T={row['T']} B={row['B']} H={row['H']}{kind} ({row['family']})")
    for name, ways in row["us"].items():
        per_step = {way: taken / row["T"] for way, taken in ways.items()}
        alone = row["kernel_us_per_step"].get(name.removeprefix("ours "), {})
        kernel = f"   kernels alone {alone['forward']:.2f} / {alone['training']:.2f}" if alone else ""
        print(f"  {name:<16} us/step {per_step['forward']:8.2f} / {per_step['training']:8.2f}{kernel}", flush=True)


def main() -> None:
    """Measure on the current GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=7.0, help="when to stop starting new shapes")
    arguments = parser.parse_args()
    try:
        require_gpu()
    except CudaMissing as missing:
        raise SystemExit(str(missing)) from None
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU: install a CUDA build of it")
    device = _timed_launches(GpuDevice)()
    hardware = torch.cuda.get_device_name()
    print(f"{hardware}, cuDNN {torch.backends.cudnn.version()}, PyTorch {torch.__version__}")
    result = run(RESULT, torch, "cuda", device, CudaEvents(torch), WORK, 60 * arguments.minutes, hardware=hardware)
    for entry in result.get("targets", []):
        print(describe(entry))
    print(f"stored in {RESULT}")


if __name__ == "__main__":
    main()
