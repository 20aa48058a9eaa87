"""Showing things in a notebook, or as plain text where there is no notebook."""

from collections.abc import Mapping
from typing import Any

__all__ = ["show"]


def show(bundle: Mapping[str, str], metadata: Mapping[str, Any] | None = None) -> None:
    """Publish one output in several formats; in a plain Python process, print its ``text/plain``.

    Parameters
    ----------
    bundle : mapping of str to str
        Mime type to content.
    metadata : mapping, optional
        Metadata of the output.

    Examples
    --------
    >>> from lstm_numba.teaching.display import show
    >>> show({"text/html": "<b>bold</b>", "text/plain": "bold"})
    bold
    """
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.display import display

    if InteractiveShell.initialized():
        display(dict(bundle), raw=True, metadata=dict(metadata or {}))
    elif "text/plain" in bundle:
        print(bundle["text/plain"])
