"""One line of a table of the paper, as data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: What each table of the paper shows.
TABLES = {
    1: "Embedded Reber grammar",
    2: "Noise-free and noisy sequences with long time lags",
    3: "Very long time lags with many distractors",
    4: "Two-sequence problem",
    5: "Two-sequence problem with noise on the informative elements",
    6: "Two-sequence problem with noise on the targets",
    7: "Adding",
    8: "Multiplication",
    9: "Temporal order",
}
#: Fewer trials than this are shown, but not judged.
FEWEST_TRIALS = 10


@dataclass(frozen=True)
class Row:
    """One line of a table, or a control that the tables lack.

    Attributes
    ----------
    name : str
        As on the command line, for example ``hs97-6a``.
    table : int
        1 to 9.
    label : str
        What differs from the other rows of the table.
    run : callable or None
        ``run(seed)`` returns the results of one trial; None if the row is only quoted.
    published : dict
        ``after``: mean number of training sequences until success; ``share``: successful trials, 0 to 1;
        ``wrong``: wrong among the 2560 test sequences; ``mae``: mean absolute error. Missing where the paper is silent.
    trials : int
        Number of trials of the paper.
    cap : int
        Training sequences after which a trial is given up.
    cost : float
        Rough seconds of a trial on one core, for planning.
    reading : str
        Which reading of an ambiguous text this row follows; empty for the main one.
    of : str
        Name of the main row that this is a reading of or a control to; empty for a main row.
    deviations : tuple of str
        What is different from the paper, or was not to be found in it.
    trials_of, goal : str
        The trials of another row, of which this row counts an earlier goal; empty for a row with trials of its own.
    """

    name: str
    table: int
    label: str
    run: Callable[[int], dict[str, Any]] | None
    published: dict[str, float] = field(default_factory=dict)
    trials: int = 10
    cap: int = 0
    cost: float = 1.0
    reading: str = ""
    of: str = ""
    deviations: tuple[str, ...] = ()
    trials_of: str = ""
    goal: str = ""
