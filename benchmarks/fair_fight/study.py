"""What each figure needs, and a file of JSON lines that a stopped run goes on with."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.provenance import provenance
from benchmarks.store import append_line, read_lines
from lstm_numba.teaching.fair_fight import (
    BUDGETS,
    MODELS,
    TASKS,
    best_setting,
    budget_for,
    draw_setting,
    run_once,
    streaming_cost,
)

FIRST_SEED = 1000  # of the final runs; the search uses the numbers of its trials
SIZES = (32, 128, 512)  # training sequences of the figure on sample efficiency
KEY = ("phase", "task", "model", "budget", "number", "sequences", "scale")


@dataclass(frozen=True)
class Effort:
    """How much is run.

    Attributes
    ----------
    models, tasks : tuple of str
        Names.
    trials : int
        Settings of the random search, for every model, task and budget.
    seeds : int
        Networks with the best setting.
    scale : float
        Factor on all budgets; 1 for the study, less to try things out.
    """

    models: tuple[str, ...] = tuple(MODELS)
    tasks: tuple[str, ...] = tuple(TASKS)
    trials: int = 8
    seeds: int = 5
    scale: float = 1.0


class OutOfTimeError(Exception):
    """The minutes are over; what is missing is added by the next call."""


class Store:
    """Runs as JSON lines; before the first run of each sitting, a line says where the lines after it come from.

    Parameters
    ----------
    out : Path
        The file; it need not exist.
    minutes : float, optional
        Start no run after this time.
    command : str
        What to write into the provenance.
    """

    def __init__(
        self, out: Path, minutes: float | None = None, command: str = "python -m benchmarks.fair_fight"
    ) -> None:
        self.out, self.command = out, command
        self.runs = [line for line in read_lines(out) if "provenance" not in line] if out.is_file() else []
        self._done = {_key(run) for run in self.runs}
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        self._fresh = True

    def add(self, entry: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> None:
        """Run what is not there yet and write it down at once.

        Parameters
        ----------
        entry
            What identifies the run.
        compute
            Returns what it found.

        Raises
        ------
        OutOfTimeError
            If the minutes are over.
        """
        if _key(entry) in self._done:
            return
        if self._end is not None and time.monotonic() >= self._end:
            raise OutOfTimeError
        run = entry | _rounded(compute())
        self.out.parent.mkdir(parents=True, exist_ok=True)
        if self._fresh:
            append_line(self.out, {"provenance": provenance(FIRST_SEED) | {"command": self.command}})
            self._fresh = False
        append_line(self.out, run)
        self.runs.append(run)
        self._done.add(_key(run))


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(name) for name in KEY)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return value


def _train(entry: dict[str, Any], part: str, seed: int) -> dict[str, Any]:
    task = TASKS[entry["task"]]
    return run_once(
        MODELS[entry["model"]],
        task,
        budget_for(entry["budget"], task, scale=entry["scale"]),
        lr=entry["lr"],
        clip=entry["clip"],
        seed=seed,
        part=part,
        sequences=entry["sequences"],
    )


def _pairs(effort: Effort) -> Iterator[tuple[str, str]]:
    return ((task, model) for task in effort.tasks for model in effort.models)


def _search(store: Store, effort: Effort, budget: str) -> None:
    """Random search with the same trials for all; what is stopped early has few trials, but for all models."""
    for trial in range(effort.trials):
        for task, model in _pairs(effort):
            entry = _entry("search", task, model, budget, trial, effort) | draw_setting(trial)
            store.add(entry, lambda e=entry: _train(e, "validation", e["number"]))


def _final(store: Store, effort: Effort, budget: str) -> None:
    """Fresh seeds with the best setting, scored on the test data at all lengths."""
    _search(store, effort, budget)
    for seed in range(effort.seeds):
        for task, model in _pairs(effort):
            setting = best_setting(_at(store, effort), task, model, budget, effort.trials)
            entry = _entry("final", task, model, budget, seed, effort) | setting
            store.add(entry, lambda e=entry: _train(e, "test", FIRST_SEED + e["number"]))


def _samples(store: Store, effort: Effort) -> None:
    """As the final runs at equal updates, from training sets of fixed sizes."""
    _search(store, effort, "updates")
    for seed in range(effort.seeds):
        for task, model in _pairs(effort):
            setting = best_setting(_at(store, effort), task, model, "updates", effort.trials)
            for sequences in SIZES:
                entry = _entry("samples", task, model, "updates", seed, effort) | setting | {"sequences": sequences}
                store.add(entry, lambda e=entry: _train(e, "test", FIRST_SEED + e["number"]))


def _streaming(store: Store, effort: Effort) -> None:
    """Time and memory of one step; the models take turns, so that a busy moment hits all of them."""
    task = effort.tasks[0]
    for number in range(effort.seeds):
        for model in effort.models:
            entry = _entry("streaming", task, model, None, number, effort)
            store.add(entry, lambda m=model: {"steps": streaming_cost(MODELS[m], TASKS[task])})


def _entry(phase: str, task: str, model: str, budget: str | None, number: int, effort: Effort) -> dict[str, Any]:
    names = {"phase": phase, "task": task, "model": model, "budget": budget, "number": number}
    return names | {"sequences": None, "scale": effort.scale}


def _at(store: Store, effort: Effort) -> list[dict[str, Any]]:
    """Runs at this scale: a quick try in the same file must not choose the settings of the study."""
    return [run for run in store.runs if run["scale"] == effort.scale]


@dataclass(frozen=True)
class Figure:
    """One figure: what it shows and what has to be run for it."""

    title: str
    run: Callable[[Store, Effort], None]
    budget: str | None = None


FIGURES: dict[str, Figure] = {
    "parameters": Figure(BUDGETS["updates"], lambda s, e: _final(s, e, "updates"), "updates"),
    "flops": Figure(BUDGETS["flops"], lambda s, e: _final(s, e, "flops"), "flops"),
    "seconds": Figure(BUDGETS["seconds"], lambda s, e: _final(s, e, "seconds"), "seconds"),
    "tuning": Figure("expected best of k trials of the search", lambda s, e: _search(s, e, "updates"), "updates"),
    "length": Figure(
        "networks of the first figure on longer sequences", lambda s, e: _final(s, e, "updates"), "updates"
    ),
    "samples": Figure("test score by size of the training set", _samples, "updates"),
    "streaming": Figure("microseconds and bytes of one step, by the number of steps before it", _streaming),
}


def missing(store: Store, effort: Effort, figure: str) -> int:
    """Count the runs that a figure still needs, as far as it is known: settings may change with more trials.

    Parameters
    ----------
    store, effort
        What there is, and what is wanted.
    figure : str
        One of :data:`FIGURES`.
    """
    budget = FIGURES[figure].budget
    pairs = list(_pairs(effort))
    wanted: list[tuple[str, int, int | None]] = []
    if budget is not None:
        wanted += [("search", number, None) for number in range(effort.trials)]
    if figure in ("parameters", "flops", "seconds", "length"):
        wanted += [("final", number, None) for number in range(effort.seeds)]
    if figure == "samples":
        wanted += [("samples", number, size) for number in range(effort.seeds) for size in SIZES]
    if figure == "streaming":
        wanted, pairs = (
            [("streaming", number, None) for number in range(effort.seeds)],
            [(effort.tasks[0], model) for model in effort.models],
        )
    done = {_key(run) for run in store.runs}
    entries = [
        _entry(phase, task, model, budget, number, effort) | {"sequences": size}
        for phase, number, size in wanted
        for task, model in pairs
    ]
    return sum(_key(entry) not in done for entry in entries)


def read(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the runs of a file, and where they come from.

    Parameters
    ----------
    path : Path
        A file of a :class:`Store`.
    """
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [x for x in lines if "provenance" not in x], [x["provenance"] for x in lines if "provenance" in x]
