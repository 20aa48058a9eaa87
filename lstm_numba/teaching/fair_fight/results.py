"""What is made of stored runs: settings, scores, curves.

A run is a dictionary with ``phase`` (``"search"``, ``"final"`` or ``"samples"``), ``task``, ``model``, ``budget``,
``number`` (of the trial, or of the seed), ``lr``, ``clip``, ``sequences`` and what
:func:`lstm_numba.teaching.fair_fight.training.run_once` returns.
"""

import math
from typing import Any

import numpy as np

Run = dict[str, Any]


def _chosen(runs: list[Run], **wanted: Any) -> list[Run]:
    mine = [run for run in runs if all(run.get(name) == value for name, value in wanted.items())]
    return sorted(mine, key=lambda run: run["number"])


def best_setting(runs: list[Run], task: str, model: str, budget: str, trials: int | None = None) -> dict[str, float]:
    """Setting of the trial with the best validation score; of equals, the one with less training loss.

    Parameters
    ----------
    runs : list of dict
        Stored runs.
    task, model, budget : str
        Which search.
    trials : int, optional
        How many trials count; all by default.

    Returns
    -------
    dict
        ``lr`` and ``clip``.

    Raises
    ------
    ValueError
        If there is no such trial.
    """
    mine = _chosen(runs, phase="search", task=task, model=model, budget=budget)[:trials]
    if not mine:
        raise ValueError(f"runs: expected trials of {model!r} on {task!r} at equal {budget}, got none")
    best = min(mine, key=lambda run: (run["score"], *run["curve"][-1:]))
    return {name: best[name] for name in ("lr", "clip")}


def final_scores(runs: list[Run], task: str, model: str, budget: str) -> np.ndarray:
    """Test scores in the order of the seeds, (seeds,).

    Parameters
    ----------
    runs, task, model, budget
        As in :func:`best_setting`.
    """
    return np.array([run["score"] for run in _chosen(runs, phase="final", task=task, model=model, budget=budget)])


def lengths_of(runs: list[Run], task: str, model: str, budget: str = "updates") -> dict[int, np.ndarray]:
    """Test scores by length, each (seeds,).

    Parameters
    ----------
    runs, task, model, budget
        As in :func:`best_setting`.
    """
    mine = _chosen(runs, phase="final", task=task, model=model, budget=budget)
    lengths = sorted({int(T) for run in mine for T in run["by_length"]})
    return {T: np.array([run["by_length"][str(T)] for run in mine]) for T in lengths}


def samples_of(runs: list[Run], task: str, model: str) -> dict[int, np.ndarray]:
    """Test scores by size of the training set, each (seeds,).

    Parameters
    ----------
    runs, task, model
        As in :func:`best_setting`.
    """
    mine = _chosen(runs, phase="samples", task=task, model=model)
    sizes = sorted({run["sequences"] for run in mine})
    return {n: np.array([run["score"] for run in mine if run["sequences"] == n]) for n in sizes}


def best_of(scores: np.ndarray) -> np.ndarray:
    """Expected best score of k random trials, for k from 1 to all of them.

    Parameters
    ----------
    scores : ndarray (n,)
        Validation scores of the trials; smaller is better.

    Returns
    -------
    ndarray (n,)
        Averages over all choices of k trials, exact.

    References
    ----------
    J. Dodge et al., "Show Your Work: Improved Reporting of Experimental Results", EMNLP, 2019.

    Examples
    --------
    >>> best_of(np.array([3.0, 1.0, 2.0])).round(3)
    array([2.   , 1.333, 1.   ])
    """
    ordered = np.sort(np.asarray(scores, float))
    n = len(ordered)
    # Of all choices of k trials, those whose best is the trial of rank r have their other k - 1 among the worse ones.
    return np.array(
        [sum(math.comb(n - 1 - r, k - 1) * s for r, s in enumerate(ordered)) / math.comb(n, k) for k in range(1, n + 1)]
    )
