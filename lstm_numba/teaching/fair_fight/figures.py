"""Figures and tables of the fair fight, drawn from the stored study."""

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lstm_numba.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED
from lstm_numba.teaching.fair_fight.budgets import BUDGETS
from lstm_numba.teaching.fair_fight.models import MODELS, width_for
from lstm_numba.teaching.fair_fight.results import best_of, lengths_of, samples_of
from lstm_numba.teaching.fair_fight.study import FEWEST, NOT_RUN, Study, words
from lstm_numba.teaching.fair_fight.tasks import TASKS
from lstm_numba.teaching.small_cells import t_interval

#: Every model has the same look in every figure; a further one gets a look of the spare ones.
STYLES: dict[str, dict[str, Any]] = {
    "RNN": {"color": GREY, "linestyle": (0, (8, 2)), "marker": "x"},
    "GRU": {"color": GREEN, "linestyle": "-.", "marker": "^"},
    "LSTM": {"color": BLUE, "linestyle": "-", "marker": "o"},
    "minLSTM": {"color": PURPLE, "linestyle": ":", "marker": "D"},
    "Transformer": {"color": RED, "linestyle": "--", "marker": "s"},
}
_SPARE: dict[str, Any] = {"color": ORANGE, "linestyle": (0, (5, 1, 1, 1)), "marker": "v"}
_RULES = {"updates": (BLUE, "o"), "flops": (ORANGE, "^"), "seconds": (RED, "s")}
FRESH = "new"  # label of training on sequences that are never seen twice
Curve = dict[Any, np.ndarray]  # place on the axis -> scores, (seeds,)


def command(figure: str) -> str:
    """Return the command that runs what a figure needs.

    Parameters
    ----------
    figure : str
        As listed by ``python -m benchmarks.fair_fight list``.

    Examples
    --------
    >>> command("flops")
    'python -m benchmarks.fair_fight run flops'
    """
    return f"python -m benchmarks.fair_fight run {figure}"


# -- tables: rows for ``lstm_numba.teaching.table`` ----------------------------------------------------------------


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
    ('0.104 ± 0.014', 'not run yet')
    """
    if len(scores) < FEWEST:
        return NOT_RUN
    mean = scores.mean()
    digits = 4 if 0 < mean < 0.01 else 3
    text = f"{mean:.{digits}f} ± {mean - t_interval(scores)[0]:.{digits}f}"
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
    """For each model: where it is ahead and where it loses at equal updates, and where it loses at equal time."""
    rows = []
    for model in study.models:
        row = [model]
        for budget, places in (("updates", ("alone", "among", "behind")), ("seconds", ("behind",))):
            record = study.record(model, budget)
            run = any(record.values())
            row += [words(record[place]) if run else NOT_RUN for place in places]
        rows.append(row)
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


# -- figures: each returns the figure and its alternative text ------------------------------------------------------


def draw_scores(study: Study) -> tuple[Figure, str]:
    """All test scores: a panel for each task, a row for each model, a mark for each budget."""
    fig, panels = _grid(len(study.tasks), 0.34 * len(study.models) + 0.75)
    models = study.models[::-1]
    for number, (ax, task) in enumerate(zip(panels, study.tasks, strict=True)):
        lowest = np.inf
        for shift, (budget, (colour, mark)) in zip((0.24, 0, -0.24), _RULES.items(), strict=True):
            for place, model in enumerate(models):
                scores = study.final(task, model, budget)
                if len(scores) >= FEWEST:
                    low, high = t_interval(scores)
                    ax.plot([max(low, 0), high], [place + shift] * 2, color=colour, linestyle="-", marker="")
                    ax.plot([scores.mean()], [place + shift], color=colour, marker=mark, markevery=1)
                    lowest = min(lowest, low)
        if lowest < 0.3 * TASKS[task].chance:
            ax.set_xlim(left=-0.03 * ax.get_xlim()[1])
        ax.set_title(TASKS[task].title, fontsize=10.5)
        ax.set_xlabel(TASKS[task].unit, fontsize=10)
        ax.set_yticks(range(len(models)), models if number % 2 == 0 else [""] * len(models))
        ax.set_ylim(-0.6, len(models) - 0.4)
    handles = [
        plt.Line2D([], [], color=colour, marker=mark, linestyle="-", label=f"equal {_SHORT[budget]}")
        for budget, (colour, mark) in _RULES.items()
    ]
    fig.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=10)
    return fig, (
        f"{len(study.tasks)} panels, one for each task, with the test score of each model under each budget; smaller "
        f"is better. Best mean at equal updates: {_winners(study, 'updates')}."
    )


_SHORT = {"updates": "updates", "flops": "operations", "seconds": "time"}


def draw_lengths(study: Study) -> tuple[Figure, str]:
    """Test scores on longer sequences than those of the training, at equal updates."""

    def curve(task: str, model: str) -> Curve:
        return lengths_of(study.runs, task, model)

    fig, panels = _curves(study, curve, "length")
    for ax, task in zip(panels, study.tasks, strict=True):
        top = 1.25 * TASKS[task].chance
        ax.set_ylim(top=min(ax.get_ylim()[1], top))
    return fig, (
        f"{len(study.tasks)} panels: test score against the length of the sequences, a line for each model; the first "
        f"length is that of the training. Best at the largest length: {_best_ends(study, curve)}."
    )


def draw_samples(study: Study) -> tuple[Figure, str]:
    """Test scores by size of the training set, at equal updates."""

    def curve(task: str, model: str) -> Curve:
        sizes: Curve = dict(samples_of(study.runs, task, model))
        return sizes | ({FRESH: study.final(task, model, "updates")} if sizes else {})

    fig, _ = _curves(study, curve, "training sequences")
    return fig, (
        f"{len(study.tasks)} panels: test score against the number of training sequences, a line for each model; the "
        f"last place is training without repetition. Best with the fewest: {_best_ends(study, curve, 0)}."
    )


def draw_tuning(study: Study) -> tuple[Figure, str]:
    """Expected best validation score of k trials."""

    def curve(task: str, model: str) -> Curve:
        trials = study.chosen(phase="search", task=task, model=model, budget="updates")
        expected = best_of(np.array([run["score"] for run in trials])) if trials else np.empty(0)
        return {k: np.array([score]) for k, score in enumerate(expected, start=1)}

    fig, _ = _curves(study, curve, "trials")
    return fig, (
        f"{len(study.tasks)} panels: expected best validation score against the number of trials, a falling line for "
        f"each model. Best with one trial: {_best_ends(study, curve, 0)}."
    )


def draw_streaming(study: Study) -> tuple[Figure, str]:
    """Time and memory of one step by the number of steps before it."""
    steps = streaming(study)
    fig, axes = plt.subplots(2, 1, figsize=(5.6, 5.6), sharex=True)
    for ax, what, label in zip(axes, (0, 1), ("µs for one step", "bytes kept"), strict=True):
        for model, mine in steps.items():
            ax.plot(list(mine), [cost[what] for cost in mine.values()], markevery=1, label=model, **_style(model))
        ax.set(xscale="log", yscale="log", ylabel=label)
    axes[1].set_xlabel("steps before")
    contexts = sorted({context for mine in steps.values() for context in mine})
    if contexts:
        axes[1].set_xticks(contexts, [f"{context:,}" for context in contexts])
        axes[1].minorticks_off()
        axes[0].legend(ncols=3, fontsize=10, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    ends = ", ".join(f"{model} {mine[contexts[-1]][1]:,} bytes" for model, mine in steps.items()) or NOT_RUN
    return fig, (
        "Two panels on logarithmic axes: microseconds of one step, and bytes that are kept for the next one, against "
        f"the number of steps before it, a line for each model. After the largest number of steps: {ends}."
    )


# -- parts ---------------------------------------------------------------------------------------------------------


def _style(model: str) -> dict[str, Any]:
    return STYLES.get(model, _SPARE)


def _grid(panels: int, height: float) -> tuple[Figure, list[Axes]]:
    """Panels in two columns; what is left over is not drawn."""
    rows = max((panels + 1) // 2, 1)
    fig, axes = plt.subplots(rows, 2, figsize=(6.4, height * rows + 0.35), squeeze=False)
    for ax in axes.flat[panels:]:
        ax.axis("off")
    return fig, list(axes.flat[:panels])


def _curves(study: Study, curve: Callable[[str, str], Curve], label: str) -> tuple[Figure, list[Axes]]:
    """A panel for each task with a line for each model; bars are 95 % intervals, where there are seeds."""
    fig, panels = _grid(len(study.tasks), 1.95)
    for ax, task in zip(panels, study.tasks, strict=True):
        for number, model in enumerate(study.models):
            points = {place: scores for place, scores in curve(task, model).items() if len(scores)}
            where = np.arange(len(points)) + 0.05 * (number - len(study.models) / 2)
            look = _style(model)
            ax.plot(where, [scores.mean() for scores in points.values()], markevery=1, label=model, **look)
            for x, scores in zip(where, points.values(), strict=True):
                if len(scores) >= FEWEST:
                    low, high = t_interval(scores)
                    ax.plot([x, x], [max(low, 0), high], color=look["color"], linestyle="-", linewidth=1.2, marker="")
            if points:
                ax.set_xticks(range(len(points)), [str(place) for place in points])
        ax.set_title(TASKS[task].title, fontsize=10.5)
    for ax in panels[-2:]:
        ax.set_xlabel(label)
    if panels:
        handles, labels = panels[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper left", ncols=3, fontsize=10)
    return fig, panels


def _winners(study: Study, budget: str) -> str:
    return "; ".join(f"{task} {study.best(task, budget) or NOT_RUN}" for task in study.tasks)


def _best_ends(study: Study, curve: Callable[[str, str], Curve], end: int = -1) -> str:
    """The model with the best mean at one end of the curves of each task."""
    found = []
    for task in study.tasks:
        curves = {
            model: [scores.mean() for scores in curve(task, model).values() if len(scores)] for model in study.models
        }
        ends = {model: means[end] for model, means in curves.items() if means}
        complete = len({len(means) for means in curves.values()}) == 1 and ends
        found.append(f"{task} {min(ends, key=lambda model: ends[model]) if complete else NOT_RUN}")
    return ", ".join(found)
