"""``glue``: numbers that prose can quote, so that no result is ever typed by hand."""

import os
import re
from collections.abc import Callable
from typing import Any

from lstm_numba.teaching.display import show

__all__ = ["format_number", "glue"]

# The protocol that MyST-NB (and papermill before it) reads: an output whose mime types carry this prefix is
# stored under its name and not shown.
_PREFIX = "application/papermill.record/"


def glue(name: str, value: Any, fmt: str | Callable[[Any], str] | None = None) -> None:
    """Store a computed value under a name for the page's prose, and print it.

    In the book, write ``{glue:text}`` with the name in back-ticks to insert the value into a sentence. Outside
    the book the printed line tells the reader the same; while the book is built (``make book`` sets
    ``LSTM_NUMBA_BOOK=1``) nothing is printed.

    Parameters
    ----------
    name : str
        Lower case words joined by hyphens, unique on the page, such as ``"max-gradient-error"``.
    value : object
        The value; numbers are formatted by ``fmt``.
    fmt : str or callable, optional
        A format specification such as ``".3f"``, or a function from value to text. By default integers are
        written in full and floats with four significant digits.

    Raises
    ------
    ValueError
        If ``name`` has another form, or the formatted value is empty or has several lines.

    Examples
    --------
    >>> from lstm_numba.teaching.numbers import format_number
    >>> format_number(0.000123456), format_number(1200), format_number(0.5, ".0%")
    ('0.0001235', '1200', '50%')
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"name must be lower-case words joined by hyphens, got {name!r}")
    text = format_number(value, fmt)
    if not text.strip() or "\n" in text:
        raise ValueError(f"value of {name!r} must be one line of text once formatted, got {text!r}")
    if os.environ.get("LSTM_NUMBA_BOOK") != "1":
        print(f"{name} = {text}")
    show({_PREFIX + "text/plain": repr(text)}, metadata={"scrapbook": {"name": name, "mime_prefix": _PREFIX}})


def format_number(value: Any, fmt: str | Callable[[Any], str] | None = None) -> str:
    """Format a value for prose: see :func:`glue`.

    Parameters
    ----------
    value : object
        A number, a zero-dimensional array or text.
    fmt : str or callable, optional
        Format specification or function.

    Returns
    -------
    str
        The formatted value.

    Examples
    --------
    >>> from lstm_numba.teaching.numbers import format_number
    >>> format_number(2.0 / 3.0)
    '0.6667'
    """
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if callable(fmt):
        return fmt(value)
    if fmt is not None:
        return format(value, fmt)
    return format(value, ".4g") if isinstance(value, float) else str(value)
