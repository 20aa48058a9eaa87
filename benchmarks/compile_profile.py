"""Where the seconds of a first call go when the kernel cache is empty: by phase of the compiler and by function.

Numba reports when each of its passes begins and ends, and when LLVM works. A listener adds up the processor time of
each without what is nested in it. A process of its own does one call with a temporary, empty cache. Processor time,
because that hardly depends on what else the machine does; the wall clock's targets are in ``cold_start.json``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import store
from benchmarks.provenance import provenance

LLVM = "LLVM: optimising, machine code"
LOWERING = "Numba: writing LLVM's input"
TYPES = "Numba: inferring types"
OTHER = "Numba: everything else"
OUTSIDE = "outside the compiler"
_PASS, _LLVM_LOCK = "numba:run_pass", "numba:llvm_lock"


def phase_of(kind: str, name: str) -> str:
    """The phase that an event of Numba belongs to.

    Parameters
    ----------
    kind
        Of the event.
    name
        Of the pass; empty for other events.
    """
    if kind == _LLVM_LOCK:
        return LLVM
    if "lowering" in name or "backend" in name:
        return LOWERING
    return TYPES if "type_inference" in name else OTHER


class Stopwatch:
    """Adds up times of nested intervals; each second belongs to the innermost one.

    Parameters
    ----------
    clock
        Function that returns seconds.
    """

    def __init__(self, clock=time.process_time) -> None:
        self._clock = clock
        self._running: list[tuple[str, str]] = []  # (phase, function)
        self._since = clock()
        self.phases: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()

    def _account(self) -> None:
        now = self._clock()
        phase, function = self._running[-1] if self._running else (OUTSIDE, "")
        self.phases[phase] += now - self._since
        if function:
            self.functions[function] += now - self._since
        self._since = now

    def start(self, phase: str, function: str) -> None:
        """Begin an interval; without a function it belongs to the function around it."""
        self._account()
        around = self._running[-1][1] if self._running else ""
        self._running.append((phase, function or around))

    def stop(self) -> None:
        """End the innermost interval."""
        self._account()
        self._running.pop()

    def finish(self) -> None:
        """Account for the time since the last event."""
        self._account()


def _function_of(data: dict[str, Any]) -> tuple[str, str]:
    """Names of the pass and of the function of a ``run_pass`` event, whose name is ``"pass [function]"``."""
    name, _, function = str(data.get("name", "")).partition(" [")
    function = function.rstrip("]")
    return name, "the parallel loop" if function.startswith("__numba_parfor") else function  # whose name has an address


def profile(training: bool) -> dict:
    """Make one call in this process and say where the processor's time went.

    Parameters
    ----------
    training
        Forward and backward, else forward alone.
    """
    import numpy as np
    from numba.core import event

    watch, compiled = Stopwatch(), set()

    class Listener(event.Listener):
        def on_start(self, e):
            name, function = _function_of(e.data or {}) if e.kind == _PASS else ("", "")
            if function:
                compiled.add(function)
            watch.start(phase_of(e.kind, name), function)

        def on_end(self, e):
            watch.stop()

    import lstm_numba as ln

    listener = Listener()
    for kind in (_PASS, _LLVM_LOCK):
        event.register(kind, listener)
    start = time.process_time()
    watch._since = start
    layer = ln.LSTM(64, 64, seed=0)
    x = np.zeros((32, 16, 64), np.float32)
    if training:
        layer(x)
        layer.backward(np.ones((32, 16, 64), np.float32))
    else:
        layer.eval()
        layer(x)
    watch.finish()
    for kind in (_PASS, _LLVM_LOCK):
        event.unregister(kind, listener)
    seconds = time.process_time() - start
    return {
        "mode": "training" if training else "inference",
        "seconds": seconds,
        "compiled": len(compiled),
        "phases": {name: value / seconds for name, value in watch.phases.most_common()},
        "functions": {name: value / seconds for name, value in watch.functions.most_common(20)},
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="inference only")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/compile_profile.json")


def main(options: argparse.Namespace) -> int:
    """Profile each mode in a process of its own, write and print."""
    rows = []
    for training in (False,) if options.quick else (False, True):
        with tempfile.TemporaryDirectory() as cache:
            process = subprocess.run(
                store.python_command("-m", "benchmarks.compile_profile"),
                input=json.dumps({"training": training}),
                env=store.process_environment(2, NUMBA_CACHE_DIR=cache),
                cwd=store.ROOT,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        rows.append(json.loads(process.stdout.splitlines()[-1]))
    out = options.out or (store.SCRATCH if options.quick else store.RESULTS) / "compile_profile.json"
    store.write_json(out, {"about": __doc__.splitlines()[0], "provenance": provenance(0), "rows": rows})
    for row in rows:
        print(f"{row['mode']}: {row['seconds']:.1f} s of processor time, {row['compiled']} functions")
        for kind in ("phases", "functions"):
            for name, share in list(row[kind].items())[:8]:
                print(f"    {share:6.1%}  {name}")
    return 0


if __name__ == "__main__":
    print(json.dumps(profile(**json.load(sys.stdin))))
