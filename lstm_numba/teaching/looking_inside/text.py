"""Characters of Python source, and what is true at each of them."""

import hashlib
import sysconfig
from pathlib import Path

import numpy as np

#: The alphabet: newline and printable ASCII. Anything else is read as ``?``.
SYMBOLS = "\n" + "".join(map(chr, range(32, 127)))

#: Modules to train on, all of them present from Python 3.11 to 3.13.
TRAINING = tuple(
    """argparse ast bdb bz2 cmd codecs contextlib csv dataclasses difflib dis doctest enum fileinput ftplib functools
    gettext gzip http/client http/cookiejar http/server imaplib inspect ipaddress json/__init__ json/decoder locale
    logging/__init__ logging/handlers mailbox optparse os pdb pickle pickletools platform plistlib poplib pprint profile
    pstats pydoc queue random re/_compiler re/_parser selectors shutil site smtplib socket socketserver ssl statistics
    string subprocess tarfile tempfile threading tokenize traceback types typing unittest/case unittest/loader
    unittest/mock unittest/suite urllib/parse urllib/request uuid warnings wave weakref webbrowser
    xml/dom/minidom xml/etree/ElementTree xmlrpc/client xmlrpc/server _collections_abc _pydecimal _pyio
    asyncio/base_events asyncio/events asyncio/locks asyncio/selector_events asyncio/streams asyncio/tasks
    asyncio/unix_events collections/__init__ concurrent/futures/_base concurrent/futures/process
    email/_header_value_parser email/_parseaddr email/feedparser email/generator email/header email/message
    importlib/_bootstrap importlib/_bootstrap_external multiprocessing/connection multiprocessing/managers
    multiprocessing/pool ntpath posixpath turtle""".split()  # noqa: SIM905
)

#: Modules that no network is trained on: units are chosen on one part and judged on the other.
HELD_OUT = {
    "choose": ("calendar", "shlex", "logging/config", "trace"),
    "judge": ("configparser", "fractions", "html/parser", "timeit"),
}

#: What can be true after a character has been read. Each is decided by :func:`marks`.
PROPERTIES = {
    "string": "inside a one-line string",
    "docstring": "inside a triple-quoted string",
    "comment": "inside a comment",
    "bracket": "at least one bracket is open",
    "deep": "line indented by 8 or more",
    "late": "column 60 or later",
}


def read_modules(names: tuple[str, ...]) -> str:
    """Read modules of the installed standard library, one after another.

    Parameters
    ----------
    names : tuple of str
        Paths below the library without ``.py``: ``"json/decoder"``.

    Returns
    -------
    str
        The text, in the alphabet of :data:`SYMBOLS`: tabs become spaces, foreign characters ``?``.

    Raises
    ------
    FileNotFoundError
        If this Python has no such module.

    Examples
    --------
    >>> from lstm_numba.teaching.looking_inside import SYMBOLS, read_modules
    >>> text = read_modules(("shlex", "calendar"))
    >>> "class shlex" in text and "class Calendar" in text and set(text) <= set(SYMBOLS)
    True
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    texts = [(library / f"{name}.py").read_text(encoding="utf-8").expandtabs() for name in names]
    known = frozenset(SYMBOLS)
    return "".join(c if c in known else "?" for c in "\n".join(texts))


def digest(text: str) -> str:
    """Fingerprint of a text: the SHA-256 of its UTF-8 bytes.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> from lstm_numba.teaching.looking_inside import digest
    >>> digest("memory")[:12]
    'c064fbca9d9d'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def encode(text: str) -> np.ndarray:
    """Characters to numbers.

    Parameters
    ----------
    text : str
        In the alphabet of :data:`SYMBOLS`.

    Returns
    -------
    ndarray of int64 (T,)
        Positions in the alphabet.

    Raises
    ------
    ValueError
        If a character is not in the alphabet.

    Examples
    --------
    >>> from lstm_numba.teaching.looking_inside import encode
    >>> encode("a b")
    array([66,  1, 67])
    """
    table = {symbol: k for k, symbol in enumerate(SYMBOLS)}
    foreign = sorted(set(text) - set(table))
    if foreign:
        raise ValueError(f"text: expected newline and printable ASCII only, got {foreign[:5]}")
    return np.array([table[c] for c in text], dtype=np.int64)


def decode(codes: np.ndarray) -> str:
    """Numbers back to characters.

    Parameters
    ----------
    codes : ndarray of integers (T,)
        Positions in the alphabet.

    Returns
    -------
    str
        The text.

    Examples
    --------
    >>> from lstm_numba.teaching.looking_inside import decode, encode
    >>> decode(encode("f = 0.9"))
    'f = 0.9'
    """
    return "".join(SYMBOLS[k] for k in codes)


def one_hot(codes: np.ndarray) -> np.ndarray:
    """Each number as a row of zeros with a single one, the input of the networks.

    Parameters
    ----------
    codes : ndarray of integers (...)
        Positions in the alphabet.

    Returns
    -------
    ndarray of float32 (..., 96)
        The inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.looking_inside import one_hot
    >>> one_hot(np.array([[0, 3]])).shape
    (1, 2, 96)
    """
    return np.eye(len(SYMBOLS), dtype=np.float32)[codes]


def marks(text: str) -> dict[str, np.ndarray]:
    """Read Python source from left to right and note what is true after each character.

    A small scanner of its own, not :mod:`tokenize`, so that the answer does not depend on the version of Python and
    exists for text that is cut anywhere.

    Parameters
    ----------
    text : str
        Python source.

    Returns
    -------
    dict of str to ndarray (T,)
        Booleans for each of :data:`PROPERTIES`, and the numbers behind them: ``"depth"`` (open brackets), ``"indent"``
        (leading spaces of the line so far), ``"column"``, and ``"quote"`` (the quote character that is open in a
        one-line string, as its code point, or 0).

    Examples
    --------
    >>> from lstm_numba.teaching.looking_inside import marks
    >>> m = marks("f('a')  # b")
    >>> "".join("s" if s else "(" if b else "#" if c else "." for s, b, c in
    ...         zip(m["string"], m["bracket"], m["comment"]))
    '.(ss(...###'
    """
    T = len(text)
    names = ("string", "docstring", "comment", "depth", "indent", "column", "quote")
    seen = {name: np.zeros(T, dtype=np.int64) for name in names}
    closing, comment, skip = "", False, 0  # the quote that would end the open string; characters already dealt with
    depth, indent, column, leading = 0, 0, 0, True
    for t, c in enumerate(text):
        column += 1
        if c == "\n":
            comment, column, indent, leading = False, 0, 0, True
            if len(closing) == 1 and not skip:  # a one-line string ends with its line, closed or not
                closing = ""
        elif leading:
            leading = c == " "
            indent += leading
        if skip:
            skip -= 1
            if not skip and closing == "end":
                closing = ""
        elif closing:
            if c == "\\":
                skip = 1
            elif text.startswith(closing, t):
                closing, skip = ("end", 2) if len(closing) == 3 else ("", 0)
        elif not comment:
            if c in "'\"":
                triple = text.startswith(3 * c, t)
                closing, skip = (3 * c, 2) if triple else (c, 0)
            elif c == "#":
                comment = True
            elif c in "([{":
                depth += 1
            elif c in ")]}":
                depth = max(0, depth - 1)
        values = (len(closing) == 1, len(closing) == 3, comment, depth, indent, column)
        for name, value in zip(names, values, strict=False):
            seen[name][t] = value
        seen["quote"][t] = ord(closing) if len(closing) == 1 else 0
    for name in ("string", "docstring", "comment"):
        seen[name] = seen[name].astype(bool)
    return seen | {"bracket": seen["depth"] > 0, "deep": seen["indent"] >= 8, "late": seen["column"] >= 60}


def excerpt(names: tuple[str, ...], length: int) -> tuple[str, dict[str, np.ndarray]]:
    """From the middle of each module a piece of text, with :func:`marks` that know what stands before it.

    Parameters
    ----------
    names : tuple of str
        As for :func:`read_modules`.
    length : int
        Characters from each module.

    Returns
    -------
    text : str
        The pieces, one after another.
    marks : dict of str to ndarray (T,)
        As :func:`marks` finds them when it reads the whole modules.

    Examples
    --------
    >>> from lstm_numba.teaching.looking_inside import excerpt
    >>> text, seen = excerpt(("shlex", "calendar"), 500)
    >>> len(text), seen["depth"].shape
    (1000, (1000,))
    """
    pieces, seen = [], []
    for name in names:
        whole = read_modules((name,))
        if len(whole) < length:
            raise ValueError(f"length: expected at most {len(whole)}, the characters of {name}, got {length}")
        first = (len(whole) - length) // 2
        part = slice(first, first + length)
        pieces.append(whole[part])
        seen.append({key: value[part] for key, value in marks(whole).items()})
    return "".join(pieces), {key: np.concatenate([piece[key] for piece in seen]) for key in seen[0]}
