"""Verdicts from the stored study: intervals, who is ahead, where the winner depends on the rule."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations
from typing import Any, NamedTuple

import numpy as np

from lstm_numba.teaching.fair_fight.budgets import BUDGETS
from lstm_numba.teaching.fair_fight.models import MODELS
from lstm_numba.teaching.fair_fight.results import Run, final_scores, lengths_of
from lstm_numba.teaching.fair_fight.tasks import TASKS
from lstm_numba.teaching.small_cells import t_interval

#: The budgets in a word or two.
RULES = {"updates": "equal updates", "flops": "equal operations", "seconds": "equal time"}
NOT_RUN = "not run yet"
FEWEST = 3  # seeds, for an interval
SOLVED = 0.05  # of what chance scores


class Reversal(NamedTuple):
    """Two models, one task, two rules, and the winner changes.

    Attributes
    ----------
    task : str
        On what.
    first, second : str
        The model that is ahead under the first rule, and the one that is ahead under the second.
    rules : tuple of str
        The two rules.
    scores : tuple of tuple of float
        Under each rule, the score of ``first`` and that of ``second``.
    sure : bool
        Whether both differences have a 95 % interval that excludes zero.
    """

    task: str
    first: str
    second: str
    rules: tuple[str, str]
    scores: tuple[tuple[float, float], tuple[float, float]]
    sure: bool

    def __str__(self) -> str:
        """As a part of a sentence."""
        (a, b), (c, d) = self.scores
        p, q = (RULES.get(rule, f"rate {rule}") for rule in self.rules)
        return (
            f"on {self.task}, {self.first} is ahead of {self.second} at {p} ({a:.3g} against {b:.3g}), and behind "
            f"it at {q} ({c:.3g} against {d:.3g})"
        )


@dataclass(frozen=True)
class Study:
    """Stored runs at full budgets, and where they come from.

    Attributes
    ----------
    runs : list of dict
        As described in :mod:`lstm_numba.teaching.fair_fight.results`.
    sources : list of dict
        Their provenance.
    """

    runs: list[Run]
    sources: list[dict[str, Any]]

    @classmethod
    def from_text(cls, text: str) -> "Study":
        """Read JSON lines.

        Parameters
        ----------
        text : str
            The stored file; may be empty.

        Returns
        -------
        Study

        Examples
        --------
        >>> Study.from_text("").tasks
        []
        """
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        runs = [line for line in lines if "provenance" not in line and line["scale"] == 1.0]
        return cls(runs, [line["provenance"] for line in lines if "provenance" in line])

    @cached_property
    def tasks(self) -> list[str]:
        """Tasks that occur, in the order of the list of tasks."""
        return [name for name in TASKS if any(run["task"] == name for run in self.runs)]

    @cached_property
    def sampled(self) -> list[str]:
        """Tasks with runs on training sets of fixed size."""
        return [name for name in self.tasks if self.chosen(phase="samples", task=name)]

    @cached_property
    def models(self) -> list[str]:
        """Models that occur, in the order of the list of models."""
        return [name for name in MODELS if any(run["model"] == name for run in self.runs)]

    @cached_property
    def budgets(self) -> list[str]:
        """Budgets under which every task that was begun has enough final networks of every model."""
        return [budget for budget in BUDGETS if self.begun(budget) and self.missing(budget) == 0]

    def begun(self, budget: str) -> list[str]:
        """Tasks with at least one final network under a budget."""
        return [task for task in self.tasks if any(len(self.final(task, model, budget)) for model in self.models)]

    def missing(self, budget: str, seeds: int = 5) -> int:
        """Count the final networks that a budget still lacks, of ``seeds`` for each model and each task begun."""
        return sum(
            max(seeds - len(self.final(task, model, budget)), 0) for task in self.begun(budget) for model in self.models
        )

    @cached_property
    def _of_model(self) -> dict[tuple[str, str], list[Run]]:
        """Runs by task and model: the tables ask for them thousands of times."""
        found: dict[tuple[str, str], list[Run]] = {}
        for run in self.runs:
            found.setdefault((run["task"], run["model"]), []).append(run)
        return found

    def chosen(self, **wanted: Any) -> list[Run]:
        """Runs whose entries have these values, in the order of the store."""
        runs = self.runs
        if "task" in wanted and "model" in wanted:
            runs = self._of_model.get((wanted["task"], wanted["model"]), [])
        return [run for run in runs if all(run.get(name) == value for name, value in wanted.items())]

    def final(self, task: str, model: str, budget: str) -> np.ndarray:
        """Test scores of the fresh seeds, (seeds,); empty if they were not run."""
        return final_scores(self._of_model.get((task, model), []), task, model, budget)

    def best(self, task: str, budget: str) -> str | None:
        """Model with the best mean, or None if a model or one of its seeds is missing."""
        scores = {model: self.final(task, model, budget) for model in self.models}
        numbers = {len(values) for values in scores.values()}
        if len(numbers) != 1 or min(numbers) < FEWEST:
            return None
        return min(scores, key=lambda model: scores[model].mean())

    def ahead(self, task: str, budget: str) -> list[str]:
        """Models that cannot be told from the best one of a task; the best one is the first.

        Parameters
        ----------
        task, budget : str
            Where.

        Returns
        -------
        list of str
            Empty if a model was not run.
        """
        best = self.best(task, budget)
        if best is None:
            return []
        scores = self.final(task, best, budget)
        others = [model for model in self.models if model != best]
        return [best, *(m for m in others if compare(self.final(task, m, budget), scores) == "undecided")]

    def solved(self, task: str, model: str, budget: str = "updates") -> int:
        """Count the final networks that solve a task: less than 5 % of what chance scores."""
        return int((self.final(task, model, budget) < SOLVED * TASKS[task].chance).sum())

    def far(self, task: str, model: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores at the training length and at the largest one, each (seeds,); empty if they were not run."""
        lengths = list(lengths_of(self._of_model.get((task, model), []), task, model).values())
        return (lengths[0], lengths[-1]) if lengths else (np.empty(0), np.empty(0))

    def far_ahead(self, task: str) -> list[str]:
        """As :meth:`ahead` at equal updates, at the largest length."""
        scores = {model: self.far(task, model)[1] for model in self.models}
        if self.best(task, "updates") is None:
            return []
        best = min(scores, key=lambda model: scores[model].mean())
        others = [model for model in self.models if model != best]
        return [best, *(m for m in others if compare(scores[m], scores[best]) == "undecided")]

    def ranks(self, budget: str) -> dict[str, float]:
        """Mean rank of each model over the tasks, 1 is best; models with equal means share their ranks."""
        tasks = [task for task in self.tasks if self.best(task, budget)]
        if not tasks:
            return {}
        per_task = [ranked([self.final(task, model, budget).mean() for model in self.models]) for task in tasks]
        return dict(zip(self.models, np.mean(per_task, axis=0).tolist(), strict=True))

    def record(self, model: str, budget: str) -> dict[str, list[str]]:
        """Tasks on which a model leads alone, is among those ahead, and is behind.

        Parameters
        ----------
        model, budget : str
            Which.

        Returns
        -------
        dict
            ``"alone"``, ``"among"`` and ``"behind"``, each a list of tasks.
        """
        found: dict[str, list[str]] = {"alone": [], "among": [], "behind": []}
        for task in self.tasks:
            ahead = self.ahead(task, budget)
            if ahead:
                found["behind" if model not in ahead else "alone" if len(ahead) == 1 else "among"].append(task)
        return found

    def trials(self, budget: str) -> int:
        """Trials of the search under a budget: the fewest that a model had on a task; 0 without tasks."""
        counts = (
            len(self.chosen(phase="search", task=task, model=model, budget=budget))
            for task in self.begun(budget)
            for model in self.models
        )
        return min(counts, default=0)

    def reversals(self) -> list[Reversal]:
        """Pairs of models whose order changes from one budget to another; the clearest ones first.

        Budgets are compared if their searches had the same number of trials: else the trials could be the reason.
        """
        found = []
        pairs_of_budgets = [(p, q) for p, q in combinations(BUDGETS, 2) if self.trials(p) == self.trials(q)]
        for task in self.tasks:
            for p, q in pairs_of_budgets:
                for first, second in permutations(self.models, 2):
                    pairs = [(self.final(task, first, rule), self.final(task, second, rule)) for rule in (p, q)]
                    if self.best(task, p) is None or self.best(task, q) is None:
                        continue
                    (a, b), (c, d) = ((float(x.mean()), float(y.mean())) for x, y in pairs)
                    if a < b and c > d:
                        sure = all(compare(x, y) != "undecided" for x, y in pairs)
                        found.append(Reversal(task, first, second, (p, q), ((a, b), (c, d)), sure))
        return sorted(found, key=lambda reversal: (not reversal.sure, -_clarity(reversal)))

    def setting_reversals(self) -> list[Reversal]:
        """Pairs of models whose order changes from one learning rate to another; one network each, clearest first."""
        found = []
        for task in self.tasks:
            trials = {
                model: {
                    run["number"]: run for run in self.chosen(phase="search", task=task, model=model, budget="updates")
                }
                for model in self.models
            }
            for first, second in permutations(self.models, 2):
                both = sorted(trials[first].keys() & trials[second].keys())
                for p, q in combinations(both, 2):
                    a, b, c, d = (float(trials[m][n]["score"]) for n in (p, q) for m in (first, second))
                    if a < b and c > d:
                        rules = f"{trials[first][p]['lr']:g}", f"{trials[first][q]['lr']:g}"
                        found.append(Reversal(task, first, second, rules, ((a, b), (c, d)), sure=False))
        return sorted(found, key=lambda reversal: -_clarity(reversal))

    def settings(self, budget: str = "updates") -> dict[tuple[str, str], float]:
        """Learning rates that the search chose, by task and model."""
        found = {}
        for task in self.tasks:
            for model in self.models:
                mine = self.chosen(phase="final", task=task, model=model, budget=budget)
                if mine:
                    found[task, model] = float(mine[0]["lr"])
        return found

    def per_update(self, task: str, model: str) -> tuple[float, float]:
        """Operations of one update, and milliseconds of one core (median over the runs).

        Parameters
        ----------
        task, model : str
            Which.

        Returns
        -------
        tuple of float
        """
        mine = [run for run in self.chosen(task=task, model=model) if run.get("updates") and not run["diverged"]]
        flops = float(np.median([run["flops"] / run["updates"] for run in mine]))
        return flops, float(np.median([1e3 * run["seconds"] / run["updates"] for run in mine]))


def compare(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Say whether scores are better than others.

    Parameters
    ----------
    ours, theirs : ndarray (seeds,)
        Test scores with the same seeds, smaller is better.

    Returns
    -------
    {"better", "worse", "undecided"}
        Decided if the 95 % interval of the mean of the paired differences excludes zero, or if all of one are better
        than all of the other. The second rule is for networks of which some learn a task and others do not: their
        spread is large whatever they are compared with. By chance, five are better than five others once in 126.

    Examples
    --------
    >>> ours = np.array([0.10, 0.12, 0.09, 0.11, 0.10])
    >>> compare(ours, ours + 0.05 + 0.1 * ours), compare(ours, ours[::-1])
    ('better', 'undecided')
    >>> compare(ours, np.array([0.2, 0.2, 0.2, 0.2, 90.0]))
    'better'
    """
    low, high = t_interval(ours - theirs)
    if high < 0 or ours.max() < theirs.min():
        return "better"
    return "worse" if low > 0 or ours.min() > theirs.max() else "undecided"


def ranked(values: Iterable[float]) -> np.ndarray:
    """Ranks, 1 for the smallest; equals share the mean of their ranks.

    Parameters
    ----------
    values : iterable of float
        What to rank.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> ranked([0.3, 0.0, 0.0])
    array([3. , 1.5, 1.5])
    """
    x = np.asarray(list(values), float)
    return np.array([(x < value).sum() + ((x == value).sum() + 1) / 2 for value in x])


def words(names: Iterable[str]) -> str:
    """Join names as one does in a sentence; ``"none"`` if there are none.

    Parameters
    ----------
    names : iterable of str
        The names.

    Returns
    -------
    str

    Examples
    --------
    >>> words(["RNN", "GRU", "LSTM"]), words([])
    ('RNN, GRU and LSTM', 'none')
    """
    names = list(names)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "none"


def _clarity(reversal: Reversal) -> float:
    """The smaller one of the two gaps, as a share of what chance scores."""
    return min(abs(x - y) for x, y in reversal.scores) / TASKS[reversal.task].chance
