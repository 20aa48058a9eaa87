"""The tables of the paper with our numbers beside the published ones."""

import html
from typing import Any

from lstm_numba.teaching.display import show
from lstm_numba.teaching.rerun_1997.judging import summary, verdicts
from lstm_numba.teaching.rerun_1997.row import TABLES
from lstm_numba.teaching.rerun_1997.rows import ROWS, trials_of


def table_rows(table: int, stored: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """Cells of one table as text: row, published, ours, solved, wrong, time, verdict.

    Parameters
    ----------
    table : int
        1 to 9.
    stored : dict
        Row name to trials.

    Returns
    -------
    list of list of str

    Examples
    --------
    >>> from lstm_numba.teaching.rerun_1997 import table_rows
    >>> len(table_rows(9, {})[0])
    7
    """
    judged = verdicts(stored)
    lines = []
    for row in ROWS.values():
        if row.table != table:
            continue
        published = f"{row.published['after']:,.0f}" if "after" in row.published else "-"
        if row.published.get("share", 1.0) < 1:
            published += f" ({row.published['share']:.0%} solved)"
        trials = trials_of(row, stored)
        ours = solved = wrong = seconds = "-"
        if trials:
            found = summary(trials)
            limit = f"> {max(trial['seen'] for trial in trials):,}"
            low, median, high = (limit if found[k] is None else f"{found[k]:,.0f}" for k in ("low", "median", "high"))
            ours = median if len(trials) == 1 or low == high else f"{median} [{low} to {high}]"
            solved = f"{found['solved']} of {found['trials']}"
            seconds = f"{found['seconds']:.1f} s"
            if found["wrong"] is not None:
                wrong = f"{found['wrong']:g}"
                wrong += f" ({row.published['wrong']:.3g})" if "wrong" in row.published else ""
        label = row.label + (f" ({row.reading})" if row.reading else "")
        lines.append([label, published, ours, solved, wrong, seconds, judged[row.name]])
    return lines


def deviations(table: int) -> dict[str, list[str]]:
    """What is different from the paper in the rows of a table, or was not to be found in it.

    Parameters
    ----------
    table : int
        1 to 9.

    Returns
    -------
    dict
        Each text, and the names of the rows it holds for.

    Examples
    --------
    >>> from lstm_numba.teaching.rerun_1997 import deviations
    >>> [len(names) for names in deviations(6).values()]
    [2]
    """
    found: dict[str, list[str]] = {}
    for row in ROWS.values():
        if row.table == table:
            for text in row.deviations:
                found.setdefault(text, []).append(row.name)
    return found


def show_table(table: int, stored: dict[str, list[dict[str, Any]]]) -> None:
    """Show one table of the paper with our numbers beside it, and what is different from the paper.

    Parameters
    ----------
    table : int
        1 to 9.
    stored : dict
        Row name to trials.

    Examples
    --------
    >>> from lstm_numba.teaching.rerun_1997 import show_table
    >>> show_table(9, {})  # doctest: +SKIP
    """
    head = ["row", "published", "ours, median [quartiles]", "solved", "wrong of 2560 (published)", "time", "verdict"]
    title = f"Table {table}. {TABLES[table]}"
    lines = table_rows(table, stored)
    space = "padding:.25rem .45rem;vertical-align:top"
    number = f"{space};text-align:right"
    short = f"{number};white-space:nowrap"
    looks = (number, number, short, short, short)
    name = f"{space};text-align:left;font-weight:normal;min-width:9em"
    cells = "".join(
        f'<tr><th scope="row" style="{name}">{html.escape(first)}</th>'
        + "".join(f'<td style="{look}">{html.escape(cell)}</td>' for look, cell in zip(looks, middle, strict=True))
        + f'<td style="{space};text-align:left"><strong>{html.escape(last)}</strong></td></tr>'
        for first, *middle, last in lines
    )
    heading = "".join(f'<th scope="col" style="{space};text-align:left">{column}</th>' for column in head)
    differences = {text: ", ".join(name.removeprefix("hs97-") for name in of) for text, of in deviations(table).items()}
    text = "\n".join(
        [title, *(" | ".join(line) for line in lines), *(f"- {text} ({of})" for text, of in differences.items())]
    )
    notes = "".join(f"<li>{html.escape(text)} <em>({html.escape(of)})</em></li>" for text, of in differences.items())
    if notes:
        notes = (
            f"<details><summary>Table {table}: what differs from the paper, or is not in it</summary>"
            f"<ul>{notes}</ul></details>"
        )
    show(
        {
            "text/html": f'<div style="overflow-x:auto" tabindex="0" role="region" aria-label="{title}">'
            f'<table class="dataframe" style="font-size:0.85em"><caption style="text-align:left">{title}</caption>'
            f"<thead><tr>{heading}</tr></thead><tbody>{cells}</tbody></table></div>{notes}",
            "text/plain": text,
        }
    )
