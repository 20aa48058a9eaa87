"""Which targets a result of `benchmarks.cuda_speed` meets, row by row; what is missed is named with its factor.

Times are whole calls with everything around the recurrence, in microseconds per step. The way back is the difference
between training and forward.
"""

from collections.abc import Iterator
from typing import Any

ANCHOR = {"T": 1024, "B": 16, "H": 768}
PRECISIONS = ("float32", "tf32", "bfloat16")


def _per_step(row: dict, name: str, way: str) -> float | None:
    """Microseconds per step, or None where nobody measured; ``way`` may be "backward" too."""
    taken = row["us"].get(name, {})
    if "forward" not in taken or "training" not in taken:
        return None
    us = taken["training"] - taken["forward"] if way == "backward" else taken[way]
    return us / row["T"]


def _ratios(row: dict) -> Iterator[tuple[str, str, float | None, float | None]]:
    """Target, what it is about, time and allowed time, for every target that a row is for."""
    if row.get("kind") is not None or row["H"] > 192:  # where PyTorch gets none of cuDNN's persistent kernels
        for name in PRECISIONS:
            for way in ("forward", "backward"):
                cudnn = _per_step(row, f"cudnn {name}", way)
                ours = _per_step(row, f"ours {name}", way)
                target = "1.5 times as fast as cuDNN's standard algorithm"
                yield target, f"{name}, {way}", ours, None if cudnn is None else cudnn / 1.5
    if row.get("kind") is None and all(row[key] == value for key, value in ANCHOR.items()):
        for way, published in (("forward", 4.76), ("training", 13.3)):
            ours = _per_step(row, "ours bfloat16", way)
            yield "faster than FlashRNN", f"bfloat16, {way}", ours, published
            cudnn = _per_step(row, "cudnn float16", way)
            allowed = None if cudnn is None else 1.3 * cudnn
            yield "within 1.3 times cuDNN in 16 bits", f"bfloat16, {way}", ours, allowed
    if row.get("kind") is None and row["H"] <= 256 and row["B"] <= 64:
        for way, allowed in (("forward", 1.5), ("backward", 2.5)):
            yield "small layers: 1.5 µs forward, 2.5 µs back", f"tf32, {way}", _per_step(row, "ours tf32", way), allowed


def verdicts(rows: list[dict]) -> list[dict[str, Any]]:
    """Return one entry per target: how many comparisons, how many met, and those that were missed, worst first."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        for target, what, ours, allowed in _ratios(row):
            if ours is None or allowed is None:
                continue
            entry = found.setdefault(target, {"target": target, "compared": 0, "met": 0, "missed": []})
            entry["compared"] += 1
            if ours <= allowed:
                entry["met"] += 1
                continue
            shape = {key: row[key] for key in ("T", "B", "H", "kind") if row.get(key) is not None}
            entry["missed"].append(shape | {"what": what, "us_per_step": ours, "allowed": allowed})
    for entry in found.values():
        entry["missed"].sort(key=lambda miss: miss["allowed"] / miss["us_per_step"])
    return list(found.values())


def describe(entry: dict[str, Any]) -> str:
    """One line about a target."""
    line = f"{entry['target']}: {entry['met']} of {entry['compared']}"
    if not entry["missed"]:
        return line
    worst = entry["missed"][0]
    shape = ", ".join(f"{key}={worst[key]}" for key in ("T", "B", "H", "kind") if key in worst)
    times = f"{worst['us_per_step']:.2f} µs per step, {worst['allowed']:.2f} allowed"
    return f"{line}; furthest off {worst['what']} at {shape}: {times}"
