"""Famous tests after 1997 as tables and figures, from the stored trials of ``python -m benchmarks.papers study``.

A result is the stored file: ``rows`` maps a row's name to its trials, ``about`` says what each row is, also for rows
that have no trial yet. Every verdict follows a rule that is written here; a row with fewer than five trials gets none.
"""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_numba.teaching.rerun_1997 import summary, wilson
from lstm_numba.teaching.tables import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "WATCHED",
    "claims",
    "continual_rows",
    "copy_figure",
    "counted",
    "judge",
    "judge_continual",
    "outcome",
    "show_claims",
    "show_continual",
    "show_tests",
    "smallest_loss",
    "state_figure",
    "states",
    "test_rows",
]

#: Symbols of a stream after which the stored trials note the mean size of the states.
WATCHED = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
#: Fewer trials than this are shown, but not judged.
FEWEST_TRIALS = 5
#: A test loss below this share of the trivial loss has beaten it.
BEATEN = 0.9
GOOD = 1000  # symbols without a mistake, in the mean of ten streams, that the paper calls good
_OPEN = "open"
_LAGS = (100, 200, 500)
_POWERS = re.compile(r"(a\^n b\^n(?: c\^n)?)")  # maths in a label
#: Updates of copy memory in Arjovsky et al. (2016). A claim about shorter runs that longer ones may overturn says so.
PAPER_UPDATES = 20_000
Result = dict[str, Any]
Trials = list[dict[str, Any]]


def _trials(result: Result, name: str) -> Trials:
    return result["rows"].get(name, [])


def _count(result: Result, name: str) -> str:
    return f"{len(_trials(result, name))} of {result['about'][name]['trials']}"


# ---------------------------------------------------------------- the continual Reber grammar


def outcome(trial: dict[str, Any]) -> str:
    """Sort a trial on the continual Reber grammar as Gers et al. (2000) do.

    Parameters
    ----------
    trial : dict
        With ``after`` (training streams until perfect, or None) and ``best``, the largest mean number of right symbols
        in a test of ten streams.

    Returns
    -------
    {"perfect", "good", "rest"}

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import outcome
    >>> outcome({"after": None, "best": 1500.0})
    'good'
    """
    if trial["after"] is not None:
        return "perfect"
    return "good" if trial["best"] > GOOD else "rest"


def judge_continual(published: float, trials: Trials) -> str:
    """Judge a row of Table 2 of Gers et al. (2000) by its share of perfect networks.

    Parameters
    ----------
    published : float
        Share of perfect networks in the paper.
    trials : list of dict
        Ours.

    Returns
    -------
    str
        ``"not run yet"``; ``"too few trials"`` with fewer than five; ``"reproduces"`` if the published share lies in
        the 95 per cent interval of ours (Wilson); otherwise ``"more perfect"`` or ``"fewer perfect"``.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import judge_continual
    >>> judge_continual(0.18, [{"after": 9000}] * 5)
    'more perfect'
    """
    if not trials:
        return "not run yet"
    if len(trials) < FEWEST_TRIALS:
        return "too few trials"
    low, high = wilson(sum(trial["after"] is not None for trial in trials), len(trials))
    if published < low - 1e-9:
        return "more perfect"
    return "fewer perfect" if published > high + 1e-9 else "reproduces"


def continual_rows(result: Result) -> list[list[str]]:
    """Cells of the table of the continual Reber grammar as text.

    Parameters
    ----------
    result : dict
        Stored file.

    Returns
    -------
    list of list of str
        Row, published, trials, perfect, streams until perfect, good, rest, verdict.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import continual_rows
    >>> about = {"gers-forget": {"label": "Forget gates", "published": {"share": 0.18, "after": 18889}, "trials": 10}}
    >>> continual_rows({"rows": {}, "about": about})
    [['Forget gates', '18% (18,889)', '0 of 10', '-', '-', '-', '-', 'not run yet']]
    """
    lines = []
    for name, about in result["about"].items():
        if not name.startswith("gers-"):
            continue
        trials, share = _trials(result, name), about["published"]["share"]
        published = f"{share:.0%}" + (f" ({about['published']['after']:,.0f})" if "after" in about["published"] else "")
        perfect = streams = good = rest = "-"
        if trials:
            kinds = [outcome(trial) for trial in trials]
            perfect, good, rest = (str(kinds.count(kind)) for kind in ("perfect", "good", "rest"))
            after = [trial["after"] for trial in trials if trial["after"] is not None]
            streams = f"{np.median(after):,.0f}" if after else "-"
        verdict = judge_continual(share, trials)
        lines.append([about["label"], published, _count(result, name), perfect, streams, good, rest, verdict])
    return lines


def show_continual(result: Result) -> None:
    """Show the table of the continual Reber grammar.

    Parameters
    ----------
    result : dict
        Stored file.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import show_continual
    >>> show_continual({"rows": {}, "about": {}})  # doctest: +SKIP
    """
    table(
        continual_rows(result),
        header=["row", "published perfect (streams)", "trials", "perfect", "streams", "good", "rest", "verdict"],
        caption="Continual embedded Reber grammar, Table 2 of Gers, Schmidhuber and Cummins (2000)",
        wrap=True,
    )


def states(result: Result, name: str) -> np.ndarray:
    """Mean size of the states along a stream, one line for each trial.

    Parameters
    ----------
    result : dict
        Stored file.
    name : str
        A row of the continual Reber grammar.

    Returns
    -------
    ndarray (trials, 9)
        After :data:`WATCHED` symbols.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import states
    >>> states({"rows": {"gers-forget": [{"states": [1.0] * 9}]}}, "gers-forget").shape
    (1, 9)
    """
    return np.array([trial["states"] for trial in _trials(result, name)], float).reshape(-1, len(WATCHED))


def state_figure(result: Result) -> tuple["Figure", str]:
    """Draw how large the states get in trained networks with and without forget gates.

    Parameters
    ----------
    result : dict
        Stored file.

    Returns
    -------
    fig : Figure
    alt : str
        What it shows, in words and numbers.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import state_figure
    >>> fig, alt = state_figure({"rows": {"gers-forget": [{"states": [1.0] * 9}]}})
    >>> alt.endswith("with forget gates 1.0.")
    True
    """
    from matplotlib import pyplot as plt

    fig, ax = plt.subplots(figsize=(5.6, 3.6))
    ends = []
    for name, label in (
        ("gers-standard", "cell of 1997"),
        ("gers-decay", "state decays by 0.9"),
        ("gers-reset", "told where strings end"),
        ("gers-forget", "with forget gates"),
    ):
        sizes = states(result, name)
        if len(sizes):
            low, middle, high = np.quantile(sizes, [0.25, 0.5, 0.75], axis=0)
            (line,) = ax.plot(WATCHED, middle, label=label)
            ax.fill_between(WATCHED, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
            ends.append(f"{label} {middle[-1]:.1f}")
    ax.set(xscale="log", yscale="log", xlabel="symbols read", ylabel="mean size of a state $|s|$")
    ax.legend()
    return fig, (
        "Mean size of the states of trained networks against the symbols they have read, both on logarithmic axes; "
        f"medians over trials, after {WATCHED[-1]:,} symbols: {', '.join(ends)}."
    )


# ---------------------------------------------------------------- everything else


def judge(trials: Trials) -> str:
    """Judge a row that has a criterion of success but no published share.

    Parameters
    ----------
    trials : list of dict
        With ``after``: training sequences until success, or None.

    Returns
    -------
    str
        ``"not run yet"``; ``"too few trials"`` with fewer than five; ``"solved"`` if all trials succeed, ``"mostly"``
        for more than half, ``"sometimes"`` for fewer, ``"not in this budget"`` for none.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import judge
    >>> judge([{"after": 100}] * 4 + [{"after": None}])
    'mostly'
    """
    if not trials:
        return "not run yet"
    if len(trials) < FEWEST_TRIALS:
        return "too few trials"
    solved = sum(trial["after"] is not None for trial in trials)
    if solved == len(trials):
        return "solved"
    return "mostly" if 2 * solved > len(trials) else "sometimes" if solved else "not in this budget"


def _sequences(trials: Trials) -> str:
    found = summary(trials)
    limit = f"> {max(trial['seen'] for trial in trials):,}"
    low, middle, high = (limit if found[k] is None else f"{found[k]:,.0f}" for k in ("low", "median", "high"))
    return middle if low == high else f"{middle} [{low} to {high}]"


def _beyond(trials: Trials) -> str:
    """What a row was asked for beyond training: longer strings, or images it has not seen."""
    if "lengths" in trials[0]:
        right = {n: np.median([trial["lengths"][n] for trial in trials]) for n in trials[0]["lengths"]}
        return ", ".join(f"{share:.0%} at {n}" for n, share in right.items())
    if "accepted_up_to" in trials[0]:
        up_to = [trial["accepted_up_to"] for trial in trials]
        return f"n up to {np.median(up_to):g} [{min(up_to)} to {max(up_to)}]"
    if trials[0]["row"].startswith("digits-"):
        return f"{np.median([trial['last_share'] for trial in trials]):.1%} of new images"
    return "-"


def test_rows(result: Result, *starts: str) -> list[list[str]]:
    """Cells of a table of tests as text.

    Parameters
    ----------
    result : dict
        Stored file.
    *starts : str
        Rows whose name starts with one of these.

    Returns
    -------
    list of list of str
        Test, trials, solved, sequences until success (median and quartiles; a failure counts as longer than the
        limit), smallest loss as a share of the trivial one (median), beyond training, time of a trial, verdict.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import test_rows
    >>> about = {"copy-100": {"label": "Copy memory, T = 100", "trials": 5, "baseline": 0.17}}
    >>> test_rows({"rows": {}, "about": about}, "copy-")
    [['Copy memory, T = 100', '0 of 5', '-', '-', '-', '-', '-', 'not run yet']]
    """
    lines = []
    for name, about in result["about"].items():
        if not name.startswith(starts):
            continue
        trials = _trials(result, name)
        solved = after = loss = beyond = seconds = "-"
        if trials:
            solved = f"{sum(trial['after'] is not None for trial in trials)}"
            after, beyond = _sequences(trials), _beyond(trials)
            if about["baseline"]:
                loss = f"{_best(trials) / about['baseline']:.2g}"
            seconds = f"{np.median([trial['seconds'] for trial in trials]):.0f} s"
        label = _POWERS.sub(r"$\1$", about["label"])
        shown = [_count(result, name), solved, after, loss, beyond, seconds, judge(trials)]
        lines.append([label, *shown])
    return lines


test_rows.__test__ = False  # type: ignore[attr-defined]  # pytest: a table, not a test


def show_tests(result: Result, caption: str, *starts: str) -> None:
    """Show a table of tests.

    Parameters
    ----------
    result : dict
        Stored file.
    caption : str
        Its title.
    *starts : str
        Rows whose name starts with one of these.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import show_tests
    >>> show_tests({"rows": {}, "about": {}}, "Copy memory", "copy-")  # doctest: +SKIP
    """
    table(
        test_rows(result, *starts),
        header=[
            "test",
            "trials",
            "solved",
            "sequences, median [quartiles]",
            "loss / trivial loss",
            "beyond training",
            "time",
            "verdict",
        ],
        caption=caption,
        wrap=True,
    )


def _best(trials: Trials) -> float:
    return float(np.median([trial["best_loss"] for trial in trials]))


def copy_figure(result: Result) -> tuple["Figure", str]:
    """Draw the test loss of copy memory against training, for two ways to start.

    Parameters
    ----------
    result : dict
        Stored file.

    Returns
    -------
    fig : Figure
        One panel for each lag; every trial is a line, as a share of the trivial loss.
    alt : str
        What it shows, in words and numbers.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import copy_figure
    >>> fig, alt = copy_figure({"rows": {}, "about": {}})
    >>> alt.endswith("No trial is stored.")
    True
    """
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(len(_LAGS), 1, figsize=(5.6, 7.2), sharey=True)
    ends = []
    for T, ax in zip(_LAGS, axes, strict=True):
        ax.axhline(1, color="C5", linestyle="--", marker="", linewidth=1)
        for number, (name, start) in enumerate(((f"copy-{T}", "forget bias 1"), (f"copy-{T}-chrono", "chrono"))):
            trials = _trials(result, name)
            for k, trial in enumerate(trials):
                updates, loss, _ = np.array(trial["curve"]).T
                label = start if k == 0 else None
                ax.plot(updates, loss / result["about"][name]["baseline"], color=f"C{number}", marker="", label=label)
            if trials:
                share = _best(trials) / result["about"][name]["baseline"]
                ends.append(f"T = {T}, {start}: {share:.2f} in {len(trials)} trials")
        ax.set(title=f"T = {T}", yscale="log", ylabel="test / trivial loss")
    axes[-1].set_xlabel("updates")
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend()
    told = f"Median of the smallest: {'; '.join(ends)}." if ends else "No trial is stored."
    return fig, (
        "Three panels, lags 100, 200 and 500 of copy memory: test loss as a share of the loss of an answer without "
        f"memory, against updates, on a logarithmic axis. {told}"
    )


def smallest_loss(result: Result, name: str) -> str:
    """Put the smallest test loss of a row into words.

    Parameters
    ----------
    result : dict
        Stored file.
    name : str
        A row with a trivial loss.

    Returns
    -------
    str
        Median over trials, as a share of the trivial loss, with the number of trials.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import smallest_loss
    >>> result = {"rows": {"copy-100": [{"best_loss": 0.1}]}, "about": {"copy-100": {"baseline": 0.2}}}
    >>> smallest_loss(result, "copy-100"), smallest_loss(result, "copy-200")
    ('0.50 (1 run)', 'not run yet')
    """
    trials = _trials(result, name)
    if not trials:
        return "not run yet"
    runs = "1 run" if len(trials) == 1 else f"{len(trials)} runs"
    return f"{_best(trials) / result['about'][name]['baseline']:.2f} ({runs})"


def counted(result: Result) -> dict[str, int]:
    """Count rows by how far they have got.

    Parameters
    ----------
    result : dict
        Stored file.

    Returns
    -------
    dict
        ``"complete"``, ``"judged"`` (five trials or more, not complete), ``"started"`` and ``"not run"``.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import counted
    >>> counted({"rows": {"a": [{}]}, "about": {"a": {"trials": 1}, "b": {"trials": 5}}})
    {'complete': 1, 'judged': 0, 'started': 0, 'not run': 1}
    """
    counts = {"complete": 0, "judged": 0, "started": 0, "not run": 0}
    for name, about in result["about"].items():
        n = len(_trials(result, name))
        if n >= about["trials"]:
            counts["complete"] += 1
        elif n >= FEWEST_TRIALS:
            counts["judged"] += 1
        else:
            counts["started" if n else "not run"] += 1
    return counts


# ---------------------------------------------------------------- claims


def claims(result: Result) -> list[list[str]]:
    """Judge what the papers say, each sentence by a fixed rule.

    Parameters
    ----------
    result : dict
        Stored file.

    Returns
    -------
    list of list of str
        Claim, rule, verdict: ``"holds"``, ``"does not hold"``, or ``"open"`` while one of its rows has fewer than five
        trials. Copy memory runs for fewer updates than in the paper. Where more of them could change the verdict, it
        ends in ``"in our budget"``: that a loss stays high, or how far one is below another. A loss that has fallen
        below a level has fallen below it.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import claims
    >>> {verdict for *_, verdict in claims({"rows": {}, "about": {}})}
    {'open'}
    """
    rows = result["rows"]

    def perfect(name: str) -> int:
        return sum(trial["after"] is not None for trial in rows[name])

    def beats(name: str) -> bool:
        return bool(_best(rows[name]) < BEATEN * result["about"][name]["baseline"])

    def cut_short(claim: str, names: list[str]) -> bool:
        """Whether longer training, as in the paper, could change the verdict."""
        if not names[0].startswith("copy-") or ("beat" in claim and beats(names[0])):
            return False
        return any(trial["updates"] < PAPER_UPDATES for name in names for trial in rows[name] if trial["after"] is None)

    def growth() -> bool:
        kept, grown = (np.median(states(result, name)[:, -1]) for name in ("gers-forget", "gers-standard"))
        return bool(grown > 10 * kept)

    def right(name: str, n: str) -> float:
        return float(np.median([trial["lengths"][n] for trial in rows[name]]))

    listed = [
        (
            "Without forget gates and unaided, no network reads the stream without mistakes",
            "no perfect network",
            ["gers-standard"],
            lambda: perfect("gers-standard") == 0,
        ),
        (
            "With forget gates some do",
            "at least one perfect network",
            ["gers-forget"],
            lambda: perfect("gers-forget") > 0,
        ),
        (
            "Without forget gates the states blow up",
            f"after {WATCHED[-1]:,} symbols the median state is ten times that with forget gates",
            ["gers-standard", "gers-forget"],
            growth,
        ),
        *(
            (
                f"Copy memory at T = {T}: the LSTM with forget bias 1 {'beats' if T == 100 else 'does not beat'} "
                "an answer without memory",
                f"median smallest test loss {'below' if T == 100 else 'not below'} {BEATEN:g} of the trivial loss",
                [f"copy-{T}"],
                lambda T=T: beats(f"copy-{T}") == (T == 100),
            )
            for T in _LAGS
        ),
        *(
            (
                f"Copy memory at T = {T}: chrono initialisation gets lower",
                "median smallest test loss at most half of that with forget bias 1",
                [f"copy-{T}", f"copy-{T}-chrono"],
                lambda T=T: _best(rows[f"copy-{T}-chrono"]) <= 0.5 * _best(rows[f"copy-{T}"]),
            )
            for T in _LAGS
        ),
        (
            "An LSTM that has learned parity on 3 to 40 bits computes it at any length",
            "in the median trial at least 99 % right at 400 bits",
            ["parity-longer"],
            lambda: right("parity-longer", "400") >= 0.99,
        ),
        (
            "An LSTM that has learned $a^n b^n$ up to $n = 10$ counts further",
            "in the median trial all strings up to n = 20 accepted",
            ["counting-ab"],
            lambda: np.median([trial["accepted_up_to"] for trial in rows["counting-ab"]]) >= 20,
        ),
    ]
    lines = []
    for claim, rule, needed, holds in listed:
        verdict = _OPEN
        if all(len(_trials(result, name)) >= FEWEST_TRIALS for name in needed):
            verdict = ("holds" if holds() else "does not hold") + (" in our budget" if cut_short(claim, needed) else "")
        lines.append([claim, rule, verdict])
    return lines


def show_claims(result: Result) -> None:
    """Show the claims with their rules and verdicts.

    Parameters
    ----------
    result : dict
        Stored file.

    Examples
    --------
    >>> from lstm_numba.teaching.after_1997 import show_claims
    >>> show_claims({"rows": {}, "about": {}})  # doctest: +SKIP
    """
    table(claims(result), header=["claim", "rule", "verdict"], caption="What the papers say, and ours", wrap=True)
