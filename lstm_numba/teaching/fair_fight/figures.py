"""Figures of the fair fight, drawn from the stored study; each function returns a figure and its alternative text."""

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lstm_numba.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED
from lstm_numba.teaching.fair_fight.models import MODELS, width_for
from lstm_numba.teaching.fair_fight.results import best_of, lengths_of, samples_of
from lstm_numba.teaching.fair_fight.study import FEWEST, NOT_RUN, RULES, Study
from lstm_numba.teaching.fair_fight.tables import streaming
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
_MARKS = {"updates": (BLUE, "o"), "flops": (ORANGE, "^"), "seconds": (RED, "s")}
FRESH = "new"  # label of training on sequences that are never seen twice
Curve = dict[Any, np.ndarray]  # place on the axis -> scores, (seeds,)


def draw_what_is_equal(study: Study, name: str = "adding", reference: str = "LSTM") -> tuple[Figure, str]:
    """Parameters, operations and time of an update relative to the reference, at equal width and equal parameters."""
    task = TASKS[name]
    sizes = task.inputs, task.outputs
    width = width_for(MODELS[reference], task.parameters, *sizes)
    models = study.models[::-1]
    ratios: dict[str, dict[str, list[float]]] = {"parameters": {}, "operations": {}, "time": {}}

    for label in ("equal width", "equal parameters"):
        equal = label == "equal width"
        widths = {m: width if equal else width_for(MODELS[m], task.parameters, *sizes) for m in models}
        counts = {m: MODELS[m].parameters(sizes[0], widths[m], sizes[1]) for m in models}
        flops = {m: MODELS[m].training_flops(sizes[0], widths[m], sizes[1], task.steps) for m in models}
        ratios["parameters"][label] = [counts[m] / counts[reference] for m in models]
        ratios["operations"][label] = [flops[m] / flops[reference] for m in models]
    times = {m: study.per_update(name, m)[1] for m in models}
    ratios["time"]["equal parameters"] = [times[m] / times[reference] for m in models]
    fig, axes = plt.subplots(3, 1, figsize=(5.6, 7.4), sharex=True)
    looks = {"equal width": (ORANGE, "//", 0.2), "equal parameters": (BLUE, "", -0.2)}
    for ax, (what, bars) in zip(axes, ratios.items(), strict=True):
        for label, values in bars.items():
            colour, hatch, shift = looks[label]
            where = np.arange(len(models)) + shift
            ax.barh(where, values, 0.36, facecolor=colour, hatch=hatch, linewidth=0.6, label=label)
            for x, y in zip(values, where, strict=True):
                ax.text(x + 0.05, y, f"{x:.2f}", va="center", fontsize=10)
        ax.axvline(1, color=GREY, linestyle=":", marker="")
        ax.set_yticks(range(len(models)), models)
        ax.set_title(f"{what} of one update" if what != "parameters" else what)
    axes[0].legend(loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1.12))
    axes[-1].set_xlabel(f"times the {reference}'s")
    slowest = max(zip(ratios["time"]["equal parameters"], models, strict=True))
    return fig, (
        f"Three panels of bars, relative to the {reference}. At equal width {width} the models have "
        f"{min(ratios['parameters']['equal width']):.2f} to {max(ratios['parameters']['equal width']):.2f} times its "
        "parameters; at equal parameters their operations differ by "
        f"{max(ratios['operations']['equal parameters']) - 1:.0%} at most. The time of an update then still differs: "
        f"{slowest[1]} takes {slowest[0]:.1f} times as long."
    )


def draw_scores(study: Study) -> tuple[Figure, str]:
    """All test scores: a panel for each task, a row for each model, a mark for each budget."""
    fig, panels = _grid(len(study.tasks), 0.34 * len(study.models) + 0.75)
    models = study.models[::-1]
    for number, (ax, task) in enumerate(zip(panels, study.tasks, strict=True)):
        lowest = np.inf
        for shift, (budget, (colour, mark)) in zip((0.24, 0, -0.24), _MARKS.items(), strict=True):
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
        plt.Line2D([], [], color=colour, marker=mark, linestyle="-", label=RULES[budget])
        for budget, (colour, mark) in _MARKS.items()
    ]
    fig.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=10)
    return fig, (
        f"{len(study.tasks)} panels, one for each task, with the test score of each model under each budget; smaller "
        f"is better. Best mean at equal updates: {_winners(study, 'updates')}."
    )


def draw_lengths(study: Study) -> tuple[Figure, str]:
    """Test scores on longer sequences than those of the training, at equal updates."""

    def curve(task: str, model: str) -> Curve:
        return lengths_of(study.runs, task, model)

    fig, panels = _curves(study, curve, "length", study.tasks)
    for ax, task in zip(panels, study.tasks, strict=True):
        top = 1.25 * TASKS[task].chance
        ax.set_ylim(top=min(ax.get_ylim()[1], top))
    return fig, (
        f"{len(study.tasks)} panels: test score against the length of the sequences, a line for each model; the first "
        f"length is that of the training. Best at the largest length: {_best_ends(study, curve, study.tasks)}."
    )


def draw_samples(study: Study) -> tuple[Figure, str]:
    """Test scores by size of the training set, at equal updates."""

    def curve(task: str, model: str) -> Curve:
        sizes: Curve = dict(samples_of(study.runs, task, model))
        return sizes | ({FRESH: study.final(task, model, "updates")} if sizes else {})

    fig, _ = _curves(study, curve, "training sequences", study.sampled)
    return fig, (
        f"{len(study.sampled)} panels: test score against the number of training sequences, a line for each model; the "
        f"last place is training without repetition. Best with fewest: {_best_ends(study, curve, study.sampled, 0)}."
    )


def draw_tuning(study: Study) -> tuple[Figure, str]:
    """Expected best validation score of k trials."""

    def curve(task: str, model: str) -> Curve:
        trials = study.chosen(phase="search", task=task, model=model, budget="updates")
        expected = best_of(np.array([run["score"] for run in trials])) if trials else np.empty(0)
        return {k: np.array([score]) for k, score in enumerate(expected, start=1)}

    fig, _ = _curves(study, curve, "trials", study.tasks)
    return fig, (
        f"{len(study.tasks)} panels: expected best validation score against the number of trials, a falling line for "
        f"each model. Best with one trial: {_best_ends(study, curve, study.tasks, 0)}."
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


def _curves(
    study: Study, curve: Callable[[str, str], Curve], label: str, tasks: list[str]
) -> tuple[Figure, list[Axes]]:
    """A panel for each task with a line for each model; bars are 95 % intervals, where there are seeds."""
    fig, panels = _grid(len(tasks), 1.95)
    for ax, task in zip(panels, tasks, strict=True):
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


def _best_ends(study: Study, curve: Callable[[str, str], Curve], tasks: list[str], end: int = -1) -> str:
    """The model with the best mean at one end of the curves of each task."""
    found = []
    for task in tasks:
        curves = {
            model: [scores.mean() for scores in curve(task, model).values() if len(scores)] for model in study.models
        }
        ends = {model: means[end] for model, means in curves.items() if means}
        complete = len({len(means) for means in curves.values()}) == 1 and ends
        found.append(f"{task} {min(ends, key=lambda model: ends[model]) if complete else NOT_RUN}")
    return ", ".join(found) or NOT_RUN
