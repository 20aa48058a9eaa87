"""LSTM variants compared: a small random search with the same draws for every model, then fresh seeds for the best.

Results are lines of JSON, one for each trained network, written as they come; a run that was stopped goes on where it
was, and a larger ``--draws`` or ``--seeds`` adds to what is there: ``python -m benchmarks.variants``.
"""

import argparse
import json
import time
from pathlib import Path

from benchmarks.provenance import provenance
from lstm_numba.teaching.variants_study import MODELS, TASKS, best_setting, draw_setting, final_scores, run_once

OUT = Path(__file__).parent / "results" / "variants.jsonl"
FIRST_SEED = 1000  # of the final runs; the search uses the numbers of its draws


def run(out: Path, models: tuple[str, ...], tasks: tuple[str, ...], draws: int, seeds: int, **options) -> list[dict]:
    """Train what is missing in ``out`` and return all its runs.

    Parameters
    ----------
    out
        File of JSON lines. A line with ``"provenance"`` says where the lines after it come from.
    models, tasks
        Names of the study's models and tasks.
    draws
        Settings of the random search, for every model and task.
    seeds
        Networks with the setting that was best on the validation data; they are scored on the test data.
    **options
        Passed on to ``run_once``.
    """
    runs = read(out)
    writer = _Writer(out, {_key(entry) for entry in runs})
    cells = [(task, model) for task in tasks for model in models]
    for draw in range(draws):  # the outer loop: what is stopped early has few draws, but for all models
        for task, model in cells:
            entry = {"phase": "search", "task": task, "model": model, "number": draw} | draw_setting(draw)
            writer.add(entry, lambda e=entry: _trained(e, "validation", e["number"], options))
    best = {cell: best_setting(read(out), *cell, draws) for cell in cells}
    for seed in range(seeds):
        for task, model in cells:
            entry = {"phase": "final", "task": task, "model": model, "number": seed} | best[task, model]
            writer.add(entry, lambda e=entry: _trained(e, "test", FIRST_SEED + e["number"], options))
    return read(out)


def read(path: Path) -> list[dict]:
    """Return the runs of a results file, without the lines that say where they come from.

    Parameters
    ----------
    path
        The file; it need not exist.
    """
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "provenance" not in line]


def _key(entry: dict) -> tuple:
    return tuple(entry[name] for name in ("phase", "task", "model", "number", "lr", "hidden"))


def _trained(entry: dict, part: str, seed: int, options: dict) -> dict:
    start = time.process_time()
    setting = {"lr": entry["lr"], "hidden": entry["hidden"]}
    result = run_once(entry["model"], TASKS[entry["task"]], seed=seed, part=part, **setting, **options)
    return result | {"cpu_seconds": round(time.process_time() - start, 2)}


class _Writer:
    """Appends runs that are not there yet; where they come from is written once, before the first of them."""

    def __init__(self, out: Path, done: set[tuple]) -> None:
        self.out, self.done, self.fresh = out, done, True

    def add(self, entry: dict, compute) -> None:
        if _key(entry) in self.done:
            return
        result = compute()
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with self.out.open("a", encoding="utf-8") as file:
            if self.fresh:
                file.write(json.dumps({"provenance": provenance(seed=FIRST_SEED)}) + "\n")
                self.fresh = False
            rounded = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in result.items()}
            file.write(json.dumps(entry | rounded) + "\n")
        self.done.add(_key(entry))


def main() -> None:
    """Parse the arguments, run, and print the mean of the final scores."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.variants",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where to write the results")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="which models")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=tuple(TASKS), help="which tasks")
    parser.add_argument("--draws", type=int, default=6, help="settings of the random search")
    parser.add_argument("--seeds", type=int, default=5, help="networks with the best setting")
    options = parser.parse_args()
    runs = run(options.out, tuple(options.models), tuple(options.tasks), options.draws, options.seeds)
    print(f"{'':6}" + "".join(f"{task:>10}" for task in options.tasks))
    for model in options.models:
        line = f"{model:6}"
        for task in options.tasks:
            line += f"{final_scores(runs, task, model, options.draws).mean():10.4f}"
        print(line)


if __name__ == "__main__":
    main()
