"""Command line: ``python -m benchmarks.fair_fight list``, ``... run parameters --out FILE``, ``... study``."""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.fair_fight.study import FIGURES, Effort, OutOfTimeError, Store, missing
from lstm_numba.teaching.fair_fight import MODELS, TASKS, best_of, final_scores, lengths_of, samples_of, width_for
from lstm_numba.teaching.small_cells import t_interval

OUT = Path(__file__).parents[1] / "results" / "fair_fight.jsonl"


def list_all() -> None:
    """Print figures, models and tasks."""
    for name, figure in FIGURES.items():
        print(f"figure {name:12} {figure.title}")
    for name, model in MODELS.items():
        print(f"model  {name:12} {model.title}")
    for name, task in TASKS.items():
        widths = ", ".join(
            f"{model} {width_for(entry, task.parameters, task.inputs, task.outputs)}" for model, entry in MODELS.items()
        )
        print(f"task   {name:12} {task.title}; score: {task.unit}; {task.parameters} parameters: {widths}")


def show(figure: str, store: Store, effort: Effort) -> None:
    """Print what a figure shows, as lines of text."""
    runs = [run for run in store.runs if run["scale"] == effort.scale]
    print(f"{figure}: {FIGURES[figure].title}")
    if figure == "streaming":
        for model in effort.models:
            mine = [run["steps"] for run in runs if run["phase"] == "streaming" and run["model"] == model]
            for steps in zip(*mine, strict=True):
                micro = np.median([step["microseconds"] for step in steps])
                print(f"  {model:12} after {steps[0]['context']:5} steps {micro:8.1f} us {steps[0]['bytes']:8} bytes")
        return
    for task in effort.tasks:
        for model in effort.models:
            print(f"  {task:12} {model:12} {_numbers(figure, runs, task, model)}")


def _numbers(figure: str, runs: list[dict], task: str, model: str) -> str:
    if figure == "tuning":
        scores = [
            r["score"]
            for r in runs
            if (r["phase"], r["budget"], r["task"], r["model"]) == ("search", "updates", task, model)
        ]
        return " ".join(f"{score:.4f}" for score in best_of(np.array(scores)))
    if figure == "length":
        return " ".join(f"{T}: {_mean(scores)}" for T, scores in lengths_of(runs, task, model).items())
    if figure == "samples":
        return " ".join(f"{n}: {_mean(scores)}" for n, scores in samples_of(runs, task, model).items())
    return _mean(final_scores(runs, task, model, str(FIGURES[figure].budget)))


def _mean(scores: np.ndarray) -> str:
    if not 3 <= len(scores) <= 10:
        return f"{scores.mean():.4f} (n = {len(scores)})" if len(scores) else "none"
    low, high = t_interval(scores)
    return f"{scores.mean():.4f} [{low:.4f}, {high:.4f}]"


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fair_fight", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print figures, models and tasks")
    one = commands.add_parser("run", help="run what one figure needs")
    one.add_argument("figure", choices=tuple(FIGURES))
    every = commands.add_parser("study", help="run what all figures need")
    for command in (one, every):
        command.add_argument("--out", type=Path, default=OUT, help="file of JSON lines; what is there is not run again")
        command.add_argument("--models", nargs="+", choices=tuple(MODELS), default=tuple(MODELS))
        command.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
        command.add_argument("--trials", type=int, default=8, help="of the random search, the same for every model")
        command.add_argument("--seeds", type=int, default=5, help="networks with the best setting")
        command.add_argument("--scale", type=float, default=1.0, help="factor on all budgets")
        command.add_argument("--minutes", type=float, help="start no run after this time")
    options = parser.parse_args(arguments)
    if options.command == "list":
        list_all()
        return
    effort = Effort(tuple(options.models), tuple(options.tasks), options.trials, options.seeds, options.scale)
    command = "python -m benchmarks.fair_fight " + " ".join(sys.argv[1:] if arguments is None else arguments)
    store = Store(options.out, options.minutes, command)
    figures = [options.figure] if options.command == "run" else list(FIGURES)
    try:
        for name in figures:
            FIGURES[name].run(store, effort)
    except OutOfTimeError:
        print("out of time; the same command goes on")
    for name in figures:
        left = missing(store, effort, name)
        if left:
            print(f"{name}: {left} runs are missing")
        else:
            show(name, store, effort)


if __name__ == "__main__":
    main()
