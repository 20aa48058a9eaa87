"""Experiment 1 of 1997, the embedded Reber grammar, in several readings, and what an unsolved network gets wrong.

A string of the grammar has one *far* symbol, the last but one: it repeats the second, and everything in between says
nothing about it. All other symbols follow from the last few.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_numba import tasks
from lstm_numba.historic import Architecture, Network, kernel, reber
from lstm_numba.historic.random_numbers import seeded
from lstm_numba.teaching.tables import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "READINGS",
    "Reading",
    "Trained",
    "diagnose",
    "far_figure",
    "reading_rows",
    "show_readings",
    "string_sets",
    "train",
    "trial",
]

_END = "BTPSXVE".index("E")  # follows the last input of every string
_INIT = 0.2
Sets = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Reading:
    """How the text of the paper is read; by default as the chapter reads it.

    Attributes
    ----------
    at_once : bool
        Weights change at every step and not after each string.
    open_gates : bool
        Output gates are held open.
    swapped : bool
        The ranges of the squashing functions as the caption of the paper's Table 10 has them: g in [-1, 1], h in
        [-2, 2].
    different : bool
        No two of the 512 strings are the same.
    in_order : bool
        The training strings come one after the other, again and again, and are not drawn.
    whole : bool
        The whole gradient, with the paths that the rule of 1997 cuts.
    shortcuts : bool
        Weights from inputs to outputs, as in the network of Gers et al. (2000).
    """

    at_once: bool = False
    open_gates: bool = False
    swapped: bool = False
    different: bool = False
    in_order: bool = False
    whole: bool = False
    shortcuts: bool = False

    def __post_init__(self) -> None:
        others = (self.swapped, self.in_order, self.whole, self.shortcuts)
        if (self.at_once or self.open_gates) and any(others):
            raise ValueError("at_once and open_gates can be combined with each other and with different only")


#: What the rows of Table 1 try, by the end of their names.
READINGS = {
    "": "as printed",
    "@at-once": "changes at every step",
    "@factor-2": "factor 2",
    "@swapped": "ranges of g and h swapped",
    "@different": "512 different strings",
    "@in-order": "strings in a fixed order",
    "@shortcuts": "inputs wired to outputs",
    "@whole": "the whole gradient",
}


@cache
def string_sets(pair: int, different: bool = False) -> Sets:
    """Draw 256 training strings and 256 test strings that are none of them.

    Parameters
    ----------
    pair : int
        Which of the paper's three pairs of sets.
    different : bool
        All 512 are different. By default a training string may occur again among the training strings, as short ones
        often do, and a test string among the test strings.

    Returns
    -------
    strings : ndarray (512, T + 1) of int
        Symbols, the training strings first; what follows the last input is E.
    lengths : ndarray (512,) of int
        Inputs of each string.
    legal : ndarray (512, T, 7) of bool
        Symbols that may come next.

    Examples
    --------
    >>> from lstm_numba.teaching.reber_1997 import string_sets
    >>> strings, lengths, legal = string_sets(0)
    >>> strings.shape[0], int(lengths.min()), int(legal[0, 0].sum())
    (512, 8, 2)
    """
    rng = np.random.default_rng([1997, pair])
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    taken: set[bytes] = set()
    while len(rows) < 512:
        batch = tasks.embedded_reber(rng, 64)
        for b in range(64):
            length = batch.lengths[b]
            symbols = batch.x[:length, b].argmax(axis=1)
            if (different or len(rows) >= 256) and symbols.tobytes() in taken:
                continue
            if different or len(rows) < 256:
                taken.add(symbols.tobytes())
            if len(rows) < 512:
                rows.append((symbols, batch.y[:length, b] > 0.5))
    if different:  # short strings come first: deal them out to both sets
        rows = [rows[n] for n in rng.permutation(512)]
    lengths = np.array([len(symbols) for symbols, _ in rows])
    strings = np.full((512, lengths.max() + 1), _END)
    legal = np.zeros((512, lengths.max(), 7), bool)
    for n, (symbols, allowed) in enumerate(rows):
        strings[n, : len(symbols)] = symbols
        legal[n, : len(symbols)] = allowed
    return strings, lengths, legal


@dataclass(frozen=True)
class Trained:
    """A network after training.

    Attributes
    ----------
    network : Network
        Weights in the layout of the kernels.
    shortcuts : ndarray (7, K)
        Weights from inputs to outputs, zero unless the reading has them.
    ranges : ndarray (2,)
        Largest values of g and h.
    sets : tuple
        The strings, see :func:`string_sets`.
    record : ndarray (2, 2)
        Sequences and steps when 90 per cent of the strings, and all, were right for the first time; else NaN.
    """

    network: Network
    shortcuts: np.ndarray
    ranges: np.ndarray
    sets: Sets
    record: np.ndarray

    def wrong_and_states(self) -> tuple[np.ndarray, np.ndarray]:
        """Run all strings; return which steps are wrong (512, T) and the states of the cells (512, T, C)."""
        network, (strings, _, legal) = self.network, self.sets
        cells = network.architecture.blocks * network.architecture.cells
        wrong, states = np.zeros(legal.shape[:2], bool), np.zeros((*legal.shape[:2], cells))
        reber.examine(
            network.W,
            network.V,
            self.shortcuts,
            network.sizes,
            self.ranges,
            strings,
            self.sets[1],
            legal,
            wrong,
            states,
        )
        return wrong, states


def train(
    blocks: int,
    cells: int,
    out_gates: tuple[float, ...],
    rate: float,
    reading: Reading,
    seed: int,
    *,
    cap: int,
    check_every: int = 100,
) -> Trained:
    """Train one network until all strings are right.

    Parameters
    ----------
    blocks, cells : int
        Blocks, and cells in each.
    out_gates : tuple of float
        First biases of the output gates.
    rate : float
        Learning rate.
    reading : Reading
        Reading of the paper.
    seed : int
        Of weights and order; ten seeds share a pair of sets.
    cap : int
        Sequences after which it is given up.
    check_every : int
        Sequences between two looks at all strings.

    Returns
    -------
    Trained

    Examples
    --------
    >>> from lstm_numba.teaching.reber_1997 import Reading, train
    >>> trained = train(3, 2, (-1, -2, -3), 0.5, Reading(), 0, cap=10)
    >>> bool(trained.wrong_and_states()[0].any())
    True
    """
    network = Network(Architecture(7, 7, blocks, cells, "gates"), np.random.default_rng(seed), _INIT, None, out_gates)
    shortcuts = np.zeros((7, network.V.shape[1]))
    if reading.shortcuts:
        shortcuts[:, :7] = np.random.default_rng([seed, 1]).uniform(-_INIT, _INIT, (7, 7))
    ranges = np.array([1.0, 2.0] if reading.swapped else [2.0, 1.0])
    sets, record = string_sets(seed // 10 % 3, reading.different), np.zeros((2, 2))
    weights = (network.W, network.V)
    task = (seeded(seed), *sets, 256, rate)
    if reading.swapped or reading.in_order or reading.whole or reading.shortcuts:
        options = (ranges, reading.whole, reading.shortcuts, reading.in_order)
        reber.train(*weights, shortcuts, network.biased, network.sizes, *options, *task, check_every, cap, record)
    else:
        when = (reading.at_once, reading.open_gates)
        kernel.train_reber(*weights, network.biased, network.sizes, *task, *when, check_every, cap, record)
    return Trained(network, shortcuts, ranges, sets, record)


def diagnose(trained: Trained) -> dict[str, float]:
    """Say which symbols a network gets right, and whether its states let an error through.

    Parameters
    ----------
    trained : Trained
        From :func:`train`.

    Returns
    -------
    dict
        ``far``: share of the strings whose far symbol is right; ``inner``: share whose other symbols are all right;
        ``slope``: derivative of h at the states when the far symbol is asked for, as a share of its largest value,
        mean over strings and cells.

    Examples
    --------
    >>> from lstm_numba.teaching.reber_1997 import Reading, diagnose, train
    >>> found = diagnose(train(3, 2, (-1, -2, -3), 0.5, Reading(), 0, cap=10))
    >>> found["inner"], 0 < found["slope"] < 1
    (0.0, True)
    """
    wrong, states = trained.wrong_and_states()
    strings, asked = np.arange(len(wrong)), trained.sets[1] - 2
    far = wrong[strings, asked]
    wrong[strings, asked] = False
    slope = 1 - np.tanh(states[strings, asked] / 2) ** 2
    return {"far": float(1 - far.mean()), "inner": float(1 - wrong.any(axis=1).mean()), "slope": float(slope.mean())}


def trial(
    blocks: int, cells: int, out_gates: tuple[float, ...], rate: float, reading: Reading, seed: int, *, cap: int
) -> dict[str, Any]:
    """Train one network and diagnose it.

    Parameters
    ----------
    blocks, cells, out_gates, rate, reading, seed, cap
        As for :func:`train`.

    Returns
    -------
    dict
        As of :func:`lstm_numba.teaching.rerun_1997.run_trial`, and what :func:`diagnose` finds.

    Examples
    --------
    >>> from lstm_numba.teaching.reber_1997 import Reading, trial
    >>> trial(3, 2, (-1, -2, -3), 0.5, Reading(whole=True), 3, cap=100)["after"] is None
    True
    """
    trained = train(blocks, cells, out_gates, rate, reading, seed, cap=cap)
    record = trained.record
    goals = {name: None if np.isnan(n) else int(n) for name, n in zip(("90 %", "all"), record[:, 0], strict=True)}
    found = {name: round(share, 4) for name, share in diagnose(trained).items()}
    return {"after": goals["all"], "goals": goals, "seen": goals["all"] or cap, "steps": int(record[1, 1]), **found}


def reading_rows(stored: dict[str, list[dict[str, Any]]], row: str = "hs97-1-5") -> list[list[str]]:
    """Cells of a table of the readings of one row.

    Parameters
    ----------
    stored : dict
        Row name to trials.
    row : str
        Name of the row.

    Returns
    -------
    list of list of str
        Reading; trials solved; median sequences of the solved ones; then medians over all trials of the share of
        strings with everything but the far symbol right, of the share with a right far symbol, and of the slope.

    Examples
    --------
    >>> from lstm_numba.teaching.reber_1997 import reading_rows
    >>> found = {"far": 0.5, "inner": 1.0, "slope": 0.125, "after": None}
    >>> reading_rows({"hs97-1-5": [found] * 10})
    [['as printed', '0 of 10', '-', '100%', '50%', '0.12']]
    """
    lines = []
    for end, words in READINGS.items():
        trials = stored.get(row + end, [])
        if trials:
            solved = [trial["after"] for trial in trials if trial["after"] is not None]
            inner, far, slope = (float(np.median([t[key] for t in trials])) for key in ("inner", "far", "slope"))
            after = f"{np.median(solved):,.0f}" if solved else "-"
            shown = [after, f"{inner:.0%}", f"{far:.0%}", f"{slope:.2f}"]
            lines.append([words, f"{len(solved)} of {len(trials)}", *shown])
    return lines


def show_readings(stored: dict[str, list[dict[str, Any]]], row: str = "hs97-1-5") -> None:
    """Show the table of the readings of one row; arguments as in :func:`reading_rows`.

    Parameters
    ----------
    stored : dict
        Row name to trials.
    row : str
        Name of the row.

    Examples
    --------
    >>> from lstm_numba.teaching.reber_1997 import show_readings
    >>> show_readings({})  # doctest: +SKIP
    """
    table(
        reading_rows(stored, row),
        header=["reading", "solved", "sequences", "others right", "far right", "slope of h"],
        caption="Embedded Reber grammar: one row of Table 1 in several readings",
        wrap=True,
    )


def far_figure(stored: dict[str, list[dict[str, Any]]], row: str = "hs97-1-5") -> tuple["Figure", str]:
    """Draw how many far symbols each trained network gets right, in every reading.

    Parameters
    ----------
    stored : dict
        Row name to trials.
    row : str
        Name of the row.

    Returns
    -------
    fig : Figure
    alt : str
        What it shows, in words and numbers.

    Examples
    --------
    >>> from lstm_numba.teaching.reber_1997 import far_figure
    >>> fig, alt = far_figure({"hs97-1-5": [{"far": 0.5, "after": None}]})
    >>> "as printed 0 of 1" in alt
    True
    """
    from matplotlib import pyplot as plt

    shown = {words: stored[row + end] for end, words in READINGS.items() if stored.get(row + end)}
    fig, ax = plt.subplots(figsize=(5.8, 0.9 + 0.42 * len(shown)))
    ax.axvline(0.5, color="C5", linestyle=":", marker="")
    counts = []
    for place, (words, trials) in enumerate(reversed(shown.items())):
        heights = place + np.linspace(-0.25, 0.25, len(trials))
        far = np.array([trial["far"] for trial in trials])
        solved = np.array([trial["after"] is not None for trial in trials])
        ax.scatter(far[~solved], heights[~solved], s=26, color="C5", marker="x")
        ax.scatter(far[solved], heights[solved], s=26, color="C0")
        counts.append(f"{words} {solved.sum()} of {len(trials)}")
    ax.set_yticks(range(len(shown)), list(reversed(shown)))
    ax.set(xlabel="share of strings whose far symbol is right", xlim=(0.3, 1.03))
    ax.scatter([], [], color="C0", label="solved")
    ax.scatter([], [], color="C5", marker="x", label="given up")
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.4, 1.0))
    return fig, (
        "One line for each reading of the setup, a mark for each trained network, against the share of strings whose "
        f"far symbol it gets right; a dotted line marks guessing, one half. Solved: {', '.join(reversed(counts))}."
    )
