"""Results on disk: JSON with provenance, and a journal that lets an interrupted run go on."""

import json
import os
import sys
from pathlib import Path

from benchmarks.provenance import provenance

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SCRATCH = ROOT / "_build" / "benchmarks"  # journals, and results of partial runs, which must not replace complete ones

_SAME_RUN = ("commit", "versions", "processor", "python")


def write_json(path: Path, result: dict) -> None:
    """Write a result so that a run that is killed meanwhile does not spoil what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> dict:
    """Read a result."""
    return json.loads(path.read_text(encoding="utf-8"))


class Journal:
    """A file of JSON lines. The first says which run it belongs to; a run of other sources or settings starts anew.

    Parameters
    ----------
    path
        The file.
    settings
        What a run must have in common with the journal's, besides commit, versions and processor.
    seed
        Seed of the run.
    fresh
        Start anew in any case.
    """

    def __init__(self, path: Path, settings: dict, seed: int, *, fresh: bool = False) -> None:
        self.path = path
        header = {"provenance": provenance(seed), "settings": json.loads(json.dumps(settings))}
        lines = self.lines() if path.is_file() and not fresh else []
        if lines and self._continues(lines[0], header):
            self.header = lines[0]
            return
        self.header = header
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(header) + "\n", encoding="utf-8")

    @staticmethod
    def _continues(old: dict, new: dict) -> bool:
        # With uncommitted changes nobody knows whether the sources are the same.
        if "provenance" not in old or old["provenance"]["sources_modified"] or new["provenance"]["sources_modified"]:
            return False
        same = all(old["provenance"][key] == new["provenance"][key] for key in _SAME_RUN)
        return same and old["settings"] == new["settings"]

    def lines(self) -> list[dict]:
        """Everything written so far; a last line that was cut off by a crash is left out."""
        return read_lines(self.path)

    def append(self, entry: dict) -> None:
        """Add one line."""
        append_line(self.path, entry)

    def remove(self) -> None:
        """The run is complete and its results are stored."""
        self.path.unlink(missing_ok=True)


def read_lines(path: Path) -> list[dict]:
    """Read JSON lines; a line that a crash cut off is left out."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries


def append_line(path: Path, entry: dict) -> None:
    """Append one JSON line and see that it reaches the file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def process_environment(threads: int, **extra: str) -> dict[str, str]:
    """Environment of a process in which every library has this many threads; OpenBLAS always has one.

    OpenBLAS serves the NumPy reference only, and its waiting threads would slow down everybody else.
    """
    count = str(threads)
    chosen = {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "NUMBA_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": "1",
    }
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, **chosen, **extra}


def python_command(*arguments: str) -> list[str]:
    """Command line of a Python process like this one."""
    return [sys.executable, *arguments]
