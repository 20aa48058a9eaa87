"""The rule by which a row is judged, fixed before looking."""

from typing import Any

import numpy as np

from lstm_numba.teaching.rerun_1997.row import FEWEST_TRIALS, Row
from lstm_numba.teaching.rerun_1997.rows import ROWS, trials_of


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval for a share of successes.

    Parameters
    ----------
    successes, n : int
        Successes among n > 0 trials.
    z : float
        1.96 for 95 per cent.

    Returns
    -------
    low, high : float

    Examples
    --------
    >>> from lstm_numba.teaching.rerun_1997 import wilson
    >>> [round(end, 2) for end in wilson(10, 10)]
    [0.72, 1.0]
    """
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Median, quartiles and counts of the trials of a row.

    Parameters
    ----------
    trials : list of dict
        From :func:`run_trial`.

    Returns
    -------
    dict
        ``trials``, ``solved``, ``censored``; ``median``, ``low``, ``high``: quartiles of the number of sequences over
        *all* trials, an unsolved one counting as infinite (None where that makes the quartile infinite); ``wrong``:
        median of wrong test sequences over solved trials; ``seconds``: median.

    Examples
    --------
    >>> from lstm_numba.teaching.rerun_1997 import summary
    >>> trials = [{"after": n, "seconds": 1.0} for n in (10, 20, 30, None)]
    >>> summary(trials)["solved"], summary(trials)["median"]
    (3, 25.0)
    """
    after = np.array([np.inf if trial["after"] is None else trial["after"] for trial in trials], float)
    solved = np.isfinite(after)
    low, median, high = (_quantile(after, share) for share in (0.25, 0.5, 0.75))
    wrong = [trial["wrong"] for trial in trials if trial.get("wrong") is not None and trial["after"] is not None]
    return {
        "trials": len(trials),
        "solved": int(solved.sum()),
        "censored": int((~solved).sum()),
        "median": median,
        "low": low,
        "high": high,
        "wrong": float(np.median(wrong)) if wrong else None,
        "seconds": float(np.median([trial["seconds"] for trial in trials])) if trials else None,
    }


def microseconds_per_step(trials: list[dict[str, Any]]) -> float | None:
    """Median processor time of a time step of training, everything included: drawing sequences, learning, testing.

    Parameters
    ----------
    trials : list of dict
        From :func:`run_trial`.

    Returns
    -------
    float or None
        None without trials that count their steps.

    Examples
    --------
    >>> from lstm_numba.teaching.rerun_1997 import microseconds_per_step
    >>> microseconds_per_step([{"seconds": 2.0, "steps": 10_000_000}])
    0.2
    """
    times = [1e6 * trial["seconds"] / trial["steps"] for trial in trials if trial.get("steps")]
    return float(np.median(times)) if times else None


def _quantile(values: np.ndarray, share: float) -> float | None:
    """Linear between order statistics; None if that meets infinity."""
    if len(values) == 0:
        return None
    values = np.sort(values)
    place = share * (len(values) - 1)
    below, weight = int(place), place - int(place)
    above = values[min(below + 1, len(values) - 1)]
    if not np.isfinite(values[below]) or (weight > 0 and not np.isfinite(above)):
        return None
    return float(values[below] if weight == 0 else (1 - weight) * values[below] + weight * above)


def verdict(row: Row, trials: list[dict[str, Any]]) -> str:
    """Judge one row by a fixed rule.

    Parameters
    ----------
    row : Row
        The row.
    trials : list of dict
        Its trials.

    Returns
    -------
    str
        ``"quoted"``: cannot be run. ``"no number published"``. ``"not run yet"``.
        ``"too few trials"``: fewer than 10. ``"reproduces"``:
        the published share of successful trials is not above the 95 per cent interval of ours (for a published share
        of 0: inside it), and our median is between half and twice the published mean, where one was published.
        ``"given up too early"``: the middle trial was given up before twice the published number.
        Otherwise ``"does not: fewer solved"``, ``"does not: more solved"``, ``"does not: slower"`` or
        ``"does not: faster"``.

    Examples
    --------
    >>> from lstm_numba.teaching.rerun_1997 import ROWS, verdict
    >>> verdict(ROWS["hs97-6a"], [{"after": 30_000, "seconds": 1.0}] * 10)
    'reproduces'
    >>> verdict(ROWS["hs97-6a"], [{"after": 300_000, "seconds": 1.0}] * 10)
    'does not: slower'
    >>> verdict(ROWS["hs97-1-rtrl-3"], [{"after": None, "seen": 60_000, "seconds": 1.0}] * 10)
    'given up too early'
    """
    if row.run is None:
        return "quoted"
    if "after" not in row.published and "share" not in row.published:
        return "no number published"
    if not trials:
        return "not run yet"
    if len(trials) < FEWEST_TRIALS:
        return "too few trials"
    found = summary(trials)
    low, high = wilson(found["solved"], found["trials"])
    share = row.published.get("share")
    if share is not None and share > high + 1e-9:
        return "does not: fewer solved"
    if share == 0 and low > 0.05:
        return "does not: more solved"
    if "after" in row.published:
        if found["median"] is None and max(trial["seen"] for trial in trials) < 2 * row.published["after"]:
            return "given up too early"
        if found["median"] is None or found["median"] > 2 * row.published["after"]:
            return "does not: slower"
        if found["median"] < row.published["after"] / 2:
            return "does not: faster"
    return "reproduces"


def verdicts(stored: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Judge all rows; a main row whose readings contradict each other is ambiguous.

    Parameters
    ----------
    stored : dict
        Row name to trials.

    Returns
    -------
    dict
        Row name to verdict, see :func:`verdict`; ``"ambiguous"`` where one reading reproduces and another, also with
        enough trials, does not.

    Examples
    --------
    >>> from lstm_numba.teaching.rerun_1997 import verdicts
    >>> good, bad = ([{"after": n, "seconds": 1.0}] * 10 for n in (30_000, 300_000))
    >>> verdicts({"hs97-6a": good, "hs97-6a@factor-2": bad})["hs97-6a"]
    'ambiguous'
    """
    single = {name: verdict(row, trials_of(row, stored)) for name, row in ROWS.items()}
    result = dict(single)
    for name, row in ROWS.items():
        if row.of:
            continue
        readings = [other.name for other in ROWS.values() if other.of == name and other.reading != "control"]
        found = {single[reading].split(":")[0] for reading in [name, *readings]}
        if {"reproduces", "does not"} <= found:
            result[name] = "ambiguous"
    return result
