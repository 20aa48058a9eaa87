"""Short texts in HTML: escaped, with inline code and inline maths."""

import html
import re

__all__ = ["inline_html"]

_PIECE = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|(?<!\\)\$(?=\S)(?P<math>[^$]+?)(?<![\\\s])\$(?!\d)"
    r"|\*\*(?=\S)(?P<strong>[^*]+)(?<!\s)\*\*"
    r"|(?<![*\w])\*(?=\S)(?P<em>[^*]+)(?<!\s)\*(?![*\w])"
)


def inline_html(text: str) -> str:
    r"""Turn a short text into HTML.

    Everything is escaped. Four marks are understood: code in back-ticks, ``**strong**``, ``*emphasis*`` and maths
    as ``$...$``, which becomes ``\(...\)`` for MathJax. A literal dollar sign is written ``\$``.

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    str
        HTML without block elements.

    Examples
    --------
    >>> from lstm_numba.teaching.text import inline_html
    >>> print(inline_html("`f` < 1, so $f^{25}$ is *small*"))
    <code>f</code> &lt; 1, so \(f^{25}\) is <em>small</em>
    """

    pieces: list[str] = []
    end = 0
    for match in _PIECE.finditer(text):
        pieces.append(_plain(text[end : match.start()]))
        kind = str(match.lastgroup)
        content = html.escape(match.group(kind), quote=False)
        pieces.append(rf"\({content}\)" if kind == "math" else f"<{kind}>{content}</{kind}>")
        end = match.end()
    pieces.append(_plain(text[end:]))
    return "".join(pieces)


def _plain(text: str) -> str:
    return html.escape(text.replace(r"\$", "$"), quote=False)
