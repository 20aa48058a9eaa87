"""``table``: small tables that scroll on phones, read well aloud and follow the dark mode."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

from lstm_numba.teaching.display import show
from lstm_numba.teaching.text import inline_html

__all__ = ["table", "table_markup"]

# What counts as a number: 12, -0.5, 1,024, 3e-8, 7·10⁻¹¹, 98 %, ±, "0.1 to 0.3"; also a dash for "none".
_NUMBER = re.compile(r"\s*[<>≈~±]?\s*[−+-]?\d[\d.,]*(e[+-]?\d+|·10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?\s*%?\s*|\s*[–—-]?\s*")

_ONLY_MATHS = re.compile(r"\s*(\$[^$]+\$[\s,]*)+")
_UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"


def table(
    rows: Iterable[Sequence[Any]],
    *,
    header: Sequence[Any],
    caption: str | None = None,
    label: str | None = None,
    wrap: bool = False,
) -> None:
    """Show a table, or print it where there is no notebook.

    Entries are turned into text with ``str``. They, the header and the caption may hold code in back-ticks,
    maths as ``$...$``, ``*emphasis*`` and ``**strong**``. The first entry of each row is the row's name and is
    marked up as such, so that a screen reader announces it with every other entry; columns of numbers are set
    flush right. A table that is too wide scrolls in a box of its own, which the keyboard can reach. The class
    ``dataframe`` is the one that the book's theme, JupyterLab and Colab all style in light and in dark mode.

    Parameters
    ----------
    rows : iterable of sequences
        The rows, each with one entry per column.
    header : sequence
        The names of the columns.
    caption : str, optional
        A title above the table, for everybody. Needed unless ``label`` is given.
    label : str, optional
        The name of the table for readers who do not see it, where the text around it serves as a title.
        By default the caption.
    wrap : bool, optional
        Whether long entries may be broken into lines. By default they stay on one line.

    Raises
    ------
    ValueError
        If neither caption nor label is given, or a row has more or fewer entries than the header.

    Examples
    --------
    >>> from lstm_numba.teaching import table
    >>> table([["RNN", 0.25], ["LSTM", 0.003]], header=["model", "loss"], caption="Final loss")
    Final loss
    model | loss
    RNN   | 0.25
    LSTM  | 0.003
    """
    lines = [[str(entry) for entry in row] for row in rows]
    head = [str(entry) for entry in header]
    show(
        {
            "text/html": table_markup(lines, header=head, caption=caption, label=label, wrap=wrap),
            "text/plain": _plain_table([head, *lines], caption or label or ""),
        }
    )


def table_markup(
    rows: Iterable[Sequence[Any]],
    *,
    header: Sequence[Any],
    caption: str | None = None,
    label: str | None = None,
    wrap: bool = False,
) -> str:
    """Return the HTML that :func:`table` shows; the parameters are the same.

    Parameters
    ----------
    rows : iterable of sequences
        The rows.
    header : sequence
        The names of the columns.
    caption, label : str, optional
        Title for everybody, or for screen readers only.
    wrap : bool, optional
        Whether long entries may be broken into lines.

    Returns
    -------
    str
        One ``div`` that holds one ``table``.

    Examples
    --------
    >>> from lstm_numba.teaching.tables import table_markup
    >>> "<th scope='row'" in table_markup([["$h_t$", 0.5]], header=["state", "value"], label="States").replace('"', "'")
    True
    """
    lines = [[str(entry) for entry in row] for row in rows]
    head = [str(entry) for entry in header]
    if not (caption or label):
        raise ValueError("a table needs a caption, or a label for readers who do not see it; got neither")
    for number, line in enumerate(lines):
        if len(line) != len(head):
            raise ValueError(f"row {number} has {len(line)} entries, the header has {len(head)}: {line}")
    flush = [
        "right" if column > 0 and lines and all(_NUMBER.fullmatch(line[column]) for line in lines) else "left"
        for column in range(len(head))
    ]
    spacing = "normal" if wrap else "nowrap"

    def cell(tag: str, column: int, text: str, extra: str = "") -> str:
        look = f"padding:.25rem .7rem;text-align:{flush[column]};vertical-align:top;white-space:{spacing}{extra}"
        inside = inline_html(text)
        if tag.startswith("th") and _ONLY_MATHS.fullmatch(text):
            # A typeset formula is a drawing; a header made of nothing else would have no name.
            name = html.escape(_spoken(text))
            inside = f'<span aria-hidden="true">{inside}</span><span style="{_UNSEEN}">{name}</span>'
        return f'<{tag} style="{look}">{inside}</{tag.split()[0]}>'

    # A header cell without a name would be announced as such: an empty corner is a plain cell.
    names = "".join(cell('th scope="col"' if text else "td", column, text) for column, text in enumerate(head))
    body = ""
    for name, *values in lines:
        entries = "".join(cell("td", column, text) for column, text in enumerate(values, start=1))
        row_name = cell('th scope="row"' if name else "td", 0, name, ";font-weight:normal")
        body += f"<tr>{row_name}{entries}</tr>"
    title = ""
    if caption:
        title = (
            '<caption style="caption-side:top;text-align:left;color:inherit;padding:.25rem .7rem">'
            f"{inline_html(caption)}</caption>"
        )
    # MyST leaves maths in raw HTML alone unless its class asks for it.
    return (
        f'<div role="region" aria-label="{html.escape(_spoken(label or caption or ""))}" tabindex="0" '
        'style="overflow-x:auto">'
        f'<table class="dataframe tex2jax_process">{title}<thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def _spoken(text: str) -> str:
    """Without the marks and the fonts of TeX, which would be read out."""
    return re.sub(r"\\(mathrm|mathbf|text|operatorname)\b|[`$*\\{}]", "", text)


def _plain_table(lines: list[list[str]], title: str) -> str:
    widths = [max(len(entry) for entry in column) for column in zip(*lines, strict=True)]
    padded = (
        " | ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    return "\n".join([title, *padded])
