"""``show_source``: the page shows the code that runs, because it is read from the package at that moment."""

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

from lstm_numba.teaching.display import show

__all__ = ["show_source", "source_markdown"]

_REPOSITORY = "https://github.com/lstm-numba/lstm_numba/blob/main"
_PACKAGE = Path(__file__).resolve().parents[1]


def show_source(*objects: Any, docstring: bool = True) -> None:
    """Show the source of functions, methods, classes or compiled kernels.

    Parameters
    ----------
    *objects
        Functions, classes, methods or Numba dispatchers.
    docstring : bool
        False leaves docstrings out, where the page's own prose says it better.

    Raises
    ------
    TypeError
        If no object is given or an object has no Python source.

    Examples
    --------
    >>> from lstm_numba.teaching.source import source_markdown
    >>> from lstm_numba.teaching.text import inline_html
    >>> print(source_markdown(inline_html).splitlines()[0][:60])
    [`lstm_numba.teaching.text.inline_html`](https://github.com/
    """
    if not objects:
        raise TypeError("show_source needs at least one function, class or method")
    for thing in objects:
        markdown = source_markdown(thing, docstring=docstring)
        show({"text/markdown": markdown, "text/plain": markdown})


def source_markdown(thing: Any, *, docstring: bool = True) -> str:
    """Return the Markdown that :func:`show_source` shows for one object.

    Parameters
    ----------
    thing : object
        Function, class, method or Numba dispatcher.
    docstring : bool
        Whether to keep docstrings.

    Returns
    -------
    str
        A line that names and links the place, then a fenced block of Python.

    Raises
    ------
    TypeError
        If ``thing`` has no Python source.

    Examples
    --------
    >>> from lstm_numba import cells
    >>> from lstm_numba.teaching.source import source_markdown
    >>> "c = f * c_prev + i * g" in source_markdown(cells.lstm_step, docstring=False)
    True
    """
    python = inspect.unwrap(getattr(thing, "py_func", thing))  # a Numba dispatcher keeps its function there
    try:
        lines, first = inspect.getsourcelines(python)
        path = Path(inspect.getsourcefile(python) or "")
    except (TypeError, OSError) as error:
        raise TypeError(f"show_source found no Python source for {thing!r}: {error}") from error
    code = textwrap.dedent("".join(lines)).rstrip()
    last = first + len(lines) - 1
    if not docstring:
        code = _without_docstrings(code)
    name = getattr(python, "__qualname__", type(python).__name__)
    return f"{_place(python, name, path, first, last)}\n\n```python\n{code}\n```"


def _place(python: Any, name: str, path: Path, first: int, last: int) -> str:
    module = getattr(python, "__module__", "")
    if not path.is_relative_to(_PACKAGE):
        return f"`{name}`, defined on this page" if module == "__main__" else f"`{module}.{name}`"
    file = path.relative_to(_PACKAGE.parent).as_posix()
    return f"[`{module}.{name}`]({_REPOSITORY}/{file}#L{first}-L{last}) (`{file}`, lines {first} to {last})"


def _without_docstrings(code: str) -> str:
    lines = code.splitlines()
    documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    spans = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None and len(node.body) > 1:
            text = node.body[0]
            following = node.body[1].lineno
            spans.append((text.lineno - 1, text.end_lineno or text.lineno, following))
    for start, stop, following in sorted(spans, reverse=True):
        # a blank line between docstring and body would look odd without the docstring
        while stop < following - 1 and not lines[stop].strip():
            stop += 1
        del lines[start:stop]
    return "\n".join(lines)
