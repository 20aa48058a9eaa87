"""Text that looks like Python, from a small grammar."""

import numpy as np

_NAMES = (
    "data",
    "name",
    "value",
    "items",
    "result",
    "line",
    "text",
    "index",
    "node",
    "path",
    "parser",
    "size",
    "count",
    "key",
    "flags",
    "buffer",
    "table",
)
_WORDS = (
    "the",
    "a",
    "file",
    "of",
    "list",
    "return",
    "value",
    "if",
    "is",
    "not",
    "name",
    "default",
    "set",
    "line",
    "by",
    "this",
    "and",
    "for",
    "given",
    "error",
)


def generated_source(rng: np.random.Generator, length: int) -> str:
    """Text that looks like Python, from a small grammar: the same for the same seed, whatever Python is installed.

    Parameters
    ----------
    rng : np.random.Generator
        Source of the choices.
    length : int
        Number of characters; the text is cut there.

    Returns
    -------
    str
        Functions with docstrings, comments, nested blocks, calls, and strings in both kinds of quotes.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.looking_inside import generated_source
    >>> text = generated_source(np.random.default_rng(0), 2000)
    >>> len(text), text.startswith("def ")
    (2000, True)
    """
    parts: list[str] = []
    written = 0
    while written < length:
        part = _function(rng)
        parts.append(part)
        written += len(part)
    return "".join(parts)[:length]


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def generated_words(rng: np.random.Generator, most: int) -> str:
    """A few common words, none of them with a quotation mark.

    Parameters
    ----------
    rng : np.random.Generator
        Source of the choices.
    most : int
        At most so many words, at least one.

    Returns
    -------
    str
        The words with single spaces between.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.looking_inside import generated_words
    >>> 1 <= len(generated_words(np.random.default_rng(0), 4).split()) <= 4
    True
    """
    return " ".join(_pick(rng, _WORDS) for _ in range(int(rng.integers(1, most + 1))))


def _expression(rng: np.random.Generator, nesting: int = 0) -> str:
    kind = int(rng.integers(6 if nesting < 2 else 4))
    if kind == 0:
        return _pick(rng, _NAMES)
    if kind == 1:
        return str(int(rng.integers(100)))
    if kind in (2, 3):
        quote = _pick(rng, "'\"")
        return quote + generated_words(rng, 6) + quote
    arguments = ", ".join(_expression(rng, nesting + 1) for _ in range(int(rng.integers(1, 4))))
    return f"[{arguments}]" if kind == 4 else f"self.{_pick(rng, _NAMES)}({arguments})"


def _block(rng: np.random.Generator, indent: int) -> str:
    pad, text = " " * indent, ""
    for _ in range(int(rng.integers(1, 4))):
        kind = int(rng.integers(6))
        if kind == 0:
            text += f"{pad}# {generated_words(rng, 9)}\n"
        if kind <= 3 or indent >= 16:
            text += f"{pad}{_pick(rng, _NAMES)} = {_expression(rng)}\n"
        elif kind == 4:
            text += f"{pad}if {_pick(rng, _NAMES)} is not None:\n" + _block(rng, indent + 4)
        else:
            text += f"{pad}for {_pick(rng, _NAMES)} in {_pick(rng, _NAMES)}:\n" + _block(rng, indent + 4)
    return text


def _function(rng: np.random.Generator) -> str:
    head = f"def {_pick(rng, _NAMES)}(self, {_pick(rng, _NAMES)}={_expression(rng, 2)}):\n"
    about = f'    """{generated_words(rng, 8).capitalize()}.\n\n    {generated_words(rng, 12).capitalize()}.\n    """\n'
    return head + (about if rng.random() < 0.6 else "") + _block(rng, 4) + f"    return {_pick(rng, _NAMES)}\n\n"
