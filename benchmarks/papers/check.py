"""Run stored trials of Tables 1 to 9 again and compare them with what is stored: all fields but the time."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.papers.study import trial

#: Files with trials of 1997. Where two have a seed of a row, the later one counts: its limit was larger.
FILES = ("papers_1997.json", "reber_1997.json", "papers_1997_more.json", "papers_1997_longer.json")


def stored_trials(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Trials of every row from all files, each seed once, ordered by seed."""
    rows: dict[str, dict[int, dict]] = {}
    for file in FILES:
        for name, trials in json.loads((folder / file).read_text(encoding="utf-8"))["rows"].items():
            rows.setdefault(name, {}).update({stored["seed"]: stored for stored in trials})
    return {name: [trials[seed] for seed in sorted(trials)] for name, trials in rows.items()}


def differing(stored: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """Names of fields, the time aside, that are not the same number for number, or that only one of the two has."""
    before, after = ({key: json.dumps(value) for key, value in result.items()} for result in (stored, again))
    return [key for key in {**before, **after} if key != "seconds" and before.get(key) != after.get(key)]


def check(names: Iterable[str], folder: Path, trials: int, minutes: float) -> bool:
    """Run the first stored trials of each row again, cheap ones first, and print a line for each.

    Returns
    -------
    bool
        Whether no trial differs. What the time does not suffice for is listed and is no difference.
    """
    stored, end = stored_trials(folder), time.monotonic() + 60 * minutes
    counts = {"equal": 0, "different": 0, "not reached": 0}
    chosen = []
    for name in names:
        if not stored.get(name):
            counts["different"] += 1
            print(f"{name:24} differs: nothing is stored")
        chosen += stored.get(name, [])[:trials]
    for first in sorted(chosen, key=lambda one: one["seconds"]):
        said, fields = "not reached", []
        if time.monotonic() < end:
            fields = differing(first, trial(first["row"], first["seed"]))
            said = "different" if fields else "equal"
        counts[said] += 1
        what = f"differs: {', '.join(fields)}" if fields else said
        print(f"{first['row']:24} seed {first['seed']:3} after {first['after']} {what}", flush=True)
    print(", ".join(f"{number} {said}" for said, number in counts.items()))
    return counts["different"] == 0
