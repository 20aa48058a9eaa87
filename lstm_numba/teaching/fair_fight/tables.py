"""Tables of the fair fight, made from the stored study: rows for :func:`lstm_numba.teaching.table`."""

import numpy as np

from lstm_numba.teaching.fair_fight.budgets import BUDGETS
from lstm_numba.teaching.fair_fight.models import MODELS, width_for
from lstm_numba.teaching.fair_fight.study import FEWEST, NOT_RUN, Study, words
from lstm_numba.teaching.fair_fight.tasks import TASKS
from lstm_numba.teaching.small_cells import t_interval


def command(figure: str, trials: int | None = None) -> str:
    """Return the command that runs what a figure needs.

    Parameters
    ----------
    figure : str
        As listed by ``python -m benchmarks.fair_fight list``.
    trials : int, optional
        Of the search, if it is not the command's default.

    Examples
    --------
    >>> command("flops", trials=4)
    'python -m benchmarks.fair_fight run flops --trials 4'
    """
    return f"python -m benchmarks.fair_fight run {figure}" + (f" --trials {trials}" if trials else "")


def entry(scores: np.ndarray, *, bold: bool = False) -> str:
    """Mean and half of the 95 % interval.

    Parameters
    ----------
    scores : ndarray (seeds,)
        Test scores; too few of them make the entry "not run yet".
    bold : bool
        Whether to set it in bold.

    Examples
    --------
    >>> entry(np.array([0.10, 0.12, 0.09, 0.11, 0.10])), entry(np.array([]))
    ('0.104 ±\\xa00.014', 'not run yet')
    """
    if len(scores) < FEWEST:
        return NOT_RUN
    mean = scores.mean()
    digits = 4 if 0 < mean < 0.01 else 3
    text = f"{mean:.{digits}f} ±\N{NO-BREAK SPACE}{mean - t_interval(scores)[0]:.{digits}f}"
    return f"**{text}**" if bold else text


def size_rows(study: Study) -> list[list[str]]:
    """Width, with the number of parameters, of each model on each task."""
    rows = []
    for name in study.tasks:
        task = TASKS[name]
        row = [name]
        for model in study.models:
            width = width_for(MODELS[model], task.parameters, task.inputs, task.outputs)
            row.append(f"{width} ({MODELS[model].parameters(task.inputs, width, task.outputs):,})")
        rows.append(row)
    return rows


def score_rows(study: Study, budget: str) -> list[list[str]]:
    """Test scores of each model on each task; the best one and those that cannot be told from it in bold."""
    rows = []
    for task in study.tasks:
        ahead = study.ahead(task, budget)
        scores = (entry(study.final(task, model, budget), bold=model in ahead) for model in study.models)
        rows.append([task, *scores])
    return rows


def rank_rows(study: Study) -> list[list[str]]:
    """Mean rank of each model under each budget."""
    ranks = {budget: study.ranks(budget) for budget in BUDGETS}
    return [
        [model, *(f"{ranks[budget][model]:.1f}" if ranks[budget] else NOT_RUN for budget in BUDGETS)]
        for model in study.models
    ]


def cost_rows(study: Study, reference: str = "LSTM") -> list[list[str]]:
    """Operations and time of one update, relative to the reference: smallest and largest ratio over the tasks."""
    rows = []
    for model in study.models:
        ratios = np.array([np.divide(study.per_update(t, model), study.per_update(t, reference)) for t in study.tasks])
        (low_flops, low_time), (flops, time) = ratios.min(axis=0), ratios.max(axis=0)
        rows.append([model, f"{low_flops:.2f} to {flops:.2f}", f"{low_time:.1f} to {time:.1f}"])
    return rows


def setting_rows(study: Study, budget: str = "updates") -> list[list[str]]:
    """Learning rates that the search chose."""
    chosen = study.settings(budget)
    return [
        [
            task,
            *(f"{chosen[task, model]:g}" if (task, model) in chosen else NOT_RUN for model in study.models),
        ]
        for task in study.tasks
    ]


def task_rows(study: Study) -> list[list[str]]:
    """For each task: who is ahead under each budget, and who is last at equal updates."""
    rows = []
    for task in study.tasks:
        ahead = [words(study.ahead(task, budget)) if study.best(task, budget) else NOT_RUN for budget in BUDGETS]
        rows.append([task, *ahead, last(study, task)])
    return rows


def last(study: Study, task: str, budget: str = "updates") -> str:
    """Model with the worst mean; "nobody" if all are alike, "not run yet" if one is missing."""
    if study.best(task, budget) is None:
        return NOT_RUN
    means = {model: study.final(task, model, budget).mean() for model in study.models}
    worst = max(means, key=lambda model: means[model])
    return worst if worst not in study.ahead(task, budget) else "nobody"


def model_rows(study: Study) -> list[list[str]]:
    """For each model: where it is ahead, and where it loses at equal updates, at longer sequences and at equal time."""
    rows = []
    for model in study.models:
        record, timed = study.record(model, "updates"), study.record(model, "seconds")
        far = [task for task in study.tasks if study.far_ahead(task) and model not in study.far_ahead(task)]
        run = any(record.values())
        row = [
            model,
            *(words(tasks) if run else NOT_RUN for tasks in (record["alone"] + record["among"], record["behind"], far)),
        ]
        rows.append([*row, words(timed["behind"]) if any(timed.values()) else NOT_RUN])
    return rows


def solved_rows(study: Study, budget: str = "updates") -> list[list[str]]:
    """How many networks solve each task; tasks that none solves are left out."""
    rows = []
    for task in study.tasks:
        counts = [study.solved(task, model, budget) for model in study.models]
        if any(counts):
            rows.append([task, *map(str, counts)])
    return rows


def streaming_rows(study: Study) -> list[list[str]]:
    """Microseconds and bytes of one step, by model and number of steps before it."""
    steps = streaming(study)
    contexts = sorted({context for mine in steps.values() for context in mine})
    rows = []
    for model in study.models:
        for what, unit in ((0, "µs"), (1, "bytes")):
            numbers = [f"{steps[model][c][what]:,.{1 - what}f}" if model in steps else NOT_RUN for c in contexts]
            rows.append([f"{model}, {unit}", *numbers])
    return rows


def streaming(study: Study) -> dict[str, dict[int, tuple[float, int]]]:
    """Cost of one step: by model and context the median of the microseconds, and the bytes."""
    found: dict[str, dict[int, tuple[float, int]]] = {}
    for model in study.models:
        runs = [run["steps"] for run in study.chosen(phase="streaming", model=model)]
        for steps in zip(*runs, strict=True):
            micro = float(np.median([step["microseconds"] for step in steps]))
            found.setdefault(model, {})[steps[0]["context"]] = micro, steps[0]["bytes"]
    return found
