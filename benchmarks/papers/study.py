"""Trials of published experiments: run them, on one core or many, and store them with where they come from."""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.papers import forgetting, later, modern
from benchmarks.provenance import provenance
from lstm_numba.teaching.rerun_1997 import ROWS, run_trial

#: Everything that can be run: row name to a function of the seed.
OTHERS = modern.ROWS | forgetting.ROWS | later.ROWS
RUNNABLE = {name: row for name, row in ROWS.items() if row.run is not None and not row.trials_of} | OTHERS


def trial(name: str, seed: int) -> dict:
    """Run one trial of any row."""
    return run_trial(name, seed) if name in ROWS else OTHERS[name].run(seed)


def describe(row: Any) -> dict:
    """Say in plain values what a row runs: its label, source, published values, budget and deviations."""
    return {
        "label": row.label,
        "reading": row.reading,
        "published": row.published,
        "trials": row.trials,
        "cap": row.cap,
        "baseline": getattr(row, "baseline", None),
        "deviations": list(getattr(row, "deviations", ())),
    }


class Store:
    """Trials as JSON lines, one file of a run that can be stopped and go on; the first line says where they come from.

    Parameters
    ----------
    out
        The assembled JSON file; the lines lie beside it, with the suffix ``.jsonl``.
    command, seed
        What to write into the provenance.
    chosen
        Rows that are asked for: those whose description is no part of the package are described in the file, also
        if they have no trials yet.
    """

    def __init__(self, out: Path, command: str, seed: int, chosen: Iterable[str] = ()) -> None:
        self.out, self.lines = out, out.with_suffix(".jsonl")
        self.about = {name: describe(OTHERS[name]) for name in chosen if name in OTHERS}
        self.source = provenance(seed) | {"command": command}
        self.rows: dict[str, list[dict]] = {}
        if self.lines.is_file():
            first, *trials = [json.loads(line) for line in self.lines.read_text(encoding="utf-8").splitlines()]
            same = ("commit", "sources_modified", "versions", "processor")
            if all(first[key] == self.source[key] for key in same):
                self.source = first
                for result in trials:
                    self.rows.setdefault(result["row"], []).append(result)
                return
        out.parent.mkdir(parents=True, exist_ok=True)
        self.lines.write_text(json.dumps(self.source) + "\n", encoding="utf-8")

    def missing(self, name: str, seeds: range) -> list[int]:
        """Return seeds that have not been run."""
        done = {result["seed"] for result in self.rows.get(name, [])}
        return [seed for seed in seeds if seed not in done]

    def add(self, result: dict) -> None:
        """Keep a trial, on disk at once."""
        self.rows.setdefault(result["row"], []).append(result)
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")

    def assemble(self) -> dict:
        """Write all trials, ordered by seed, into one JSON file."""
        rows = {name: sorted(trials, key=lambda trial: trial["seed"]) for name, trials in sorted(self.rows.items())}
        result = {"provenance": self.source, "rows": rows} | ({"about": self.about} if self.about else {})
        temporary = self.out.with_suffix(".tmp")
        temporary.write_text(json.dumps(result, indent=None) + "\n", encoding="utf-8")
        temporary.replace(self.out)
        return result


def run_all(tasks: list[tuple[str, int]], jobs: int, dask: str | None) -> Iterator[dict]:
    """Run (row, seed) pairs and yield the results as they come.

    Parameters
    ----------
    tasks
        What to run.
    jobs
        Processes on this machine.
    dask
        Address of a Dask scheduler whose workers run the trials instead; needs the package ``distributed``.
    """
    if jobs == 1 and dask is None:
        for name, seed in tasks:
            yield trial(name, seed)
        return
    from joblib import Parallel, delayed, parallel_config

    calls = [delayed(trial)(name, seed) for name, seed in tasks]
    if dask is None:
        yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(calls)
        return
    from distributed import Client

    with Client(dask), parallel_config(backend="dask"):
        yield from Parallel()(calls)


def study(store: Store, rows: list[str], minutes: float, jobs: int, first_seed: int, most: int | None = None) -> None:
    """Run the given rows, always the one whose trials have cost least so far, until all are complete or time is up.

    So the cheap rows are finished first and the dear ones have some trials early. A row is complete with as many trials
    as the paper had, or ``most`` if that is fewer.
    """
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        waiting = []
        for name in rows:
            row = RUNNABLE[name]
            seeds = store.missing(name, range(first_seed, first_seed + min(row.trials, most or row.trials)))
            if seeds:
                done = store.rows.get(name, [])
                each = sum(t["seconds"] for t in done) / len(done) if done else row.cost
                waiting.append(((len(done) + 1) * each, name, seeds[0]))
        if not waiting:
            break
        batch = [(name, seed) for _, name, seed in sorted(waiting)[:jobs]]
        for result in run_all(batch, jobs, None):
            store.add(result)
            print(
                f"{result['row']:24} seed {result['seed']:3} after {result['after']} {result['seconds']} s", flush=True
            )
    store.assemble()
