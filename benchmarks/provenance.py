"""Where a stored result comes from: the commit, command, hardware and versions that made it."""

import datetime
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("lstm_numba", "numpy", "numba", "llvmlite", "torch", "onnxruntime", "scikit-learn", "sktime", "statsmodels")


_ROOT = Path(__file__).resolve().parents[1]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    """The processor's marketing name; `platform.processor` is empty on most Linux systems."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def provenance(seed: int) -> dict:
    """Return everything needed to run the same thing again, as plain JSON values.

    Parameters
    ----------
    seed
        Seed of the run's random numbers.
    """
    # The results themselves are written by the run and do not make its sources "modified".
    changed = [line for line in _git("status", "--porcelain").splitlines() if "benchmarks/results/" not in line]
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD") or None,
        "sources_modified": bool(changed),
        "command": "python -m " + " ".join([_module_name(), *sys.argv[1:]]),
        "seed": seed,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _module_name() -> str:
    """Name of the module that runs as ``__main__``, as ``python -m`` takes it."""
    path = Path(sys.argv[0]).resolve()
    parts = path.relative_to(_ROOT).parts if path.is_relative_to(_ROOT) else path.parts[-2:]
    names = [*parts[:-1], Path(parts[-1]).stem]
    return ".".join(names[:-1] if names[-1] == "__main__" else names)
