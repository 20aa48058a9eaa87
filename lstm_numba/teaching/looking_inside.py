"""Characters of Python source, what is true at each of them, and how to ask the units of a network about it.

The protocol of chapter 2.7 and of ``benchmarks.looking_inside``, which trains the networks that the chapter opens.
Text comes from the installed Python's own standard library, so it differs a little from one Python to the next;
:func:`digest` says which text it was, and :func:`generated_source` makes text that is the same everywhere.
"""

import hashlib
import sysconfig
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from lstm_numba.layers import LSTM, RNN, Dense, Sequential
from lstm_numba.layers.layer import Layer
from lstm_numba.reference.lstm import lstm_forward

__all__ = [
    "HELD_OUT",
    "PROPERTIES",
    "SYMBOLS",
    "TRAINING",
    "auc",
    "auc_of_ranks",
    "cell_states",
    "character_model",
    "connectivity",
    "cut_out",
    "decode",
    "digest",
    "encode",
    "excerpt",
    "generated_source",
    "generated_words",
    "marks",
    "one_hot",
    "parameter_count",
    "ranks",
    "read_modules",
    "run",
    "traces",
    "untrained",
]

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


def character_model(recurrent: Layer, *, seed: int) -> Sequential:
    """Put a linear read-out of 96 scores, one for each possible next character, on a recurrent layer.

    Parameters
    ----------
    recurrent : Layer
        An LSTM or RNN with 96 inputs, time-major. The forget gates of an LSTM start with a bias of 1.
    seed : int
        For the read-out.

    Returns
    -------
    Sequential
        The model.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import character_model
    >>> model = character_model(ln.LSTM(96, 8, seed=0), seed=1)
    >>> list(model.parameters)[-1], float(model.parameters["0.bias_ih_l0"][8])
    ('1.bias', 1.0)
    """
    H = recurrent.hidden_size  # type: ignore[attr-defined]
    if recurrent.parameters["weight_hh_l0"].shape[0] == 4 * H:
        for name, bias in (("bias_ih_l0", 1.0), ("bias_hh_l0", 0.0)):
            recurrent.parameters[name][H : 2 * H] = bias
    return Sequential(recurrent, Dense(H, len(SYMBOLS), seed=seed))


def untrained(kind: str, hidden: int, seed: int) -> Sequential:
    """Make one of the chapter's networks as it is before the first update.

    Parameters
    ----------
    kind : str
        ``"LSTM"`` or ``"RNN"``.
    hidden : int
        Hidden units.
    seed : int
        Seed of the initial weights.

    Returns
    -------
    Sequential
        The network.

    Examples
    --------
    >>> from lstm_numba.teaching.looking_inside import parameter_count, untrained
    >>> parameter_count(untrained("LSTM", 128, seed=0)), parameter_count(untrained("RNN", 273, seed=0))
    (128096, 127587)
    """
    if kind == "LSTM":
        layer: Layer = LSTM(len(SYMBOLS), hidden, seed=seed)
    elif kind == "RNN":  # its step is one matrix product, which NumPy already does at full speed
        layer = RNN(len(SYMBOLS), hidden, seed=seed)
    else:
        raise ValueError(f"kind: expected 'LSTM' or 'RNN', got {kind!r}")
    return character_model(layer, seed=seed + 1000)


def run(model: Sequential, codes: np.ndarray, state=None):
    """Run a model over text and hand the state back, so that the next call can go on from there.

    Parameters
    ----------
    model : Sequential
        From :func:`character_model`.
    codes : ndarray of integers (T, B)
        The characters read.
    state : optional
        As the recurrent layer returns it. Zero by default.

    Returns
    -------
    scores : ndarray (T, B, 96)
        Logits of the next character.
    state
        After the last character.

    Examples
    --------
    >>> import numpy as np
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import character_model, encode, run
    >>> model = character_model(ln.LSTM(96, 8, seed=0), seed=1)
    >>> scores, _ = run(model, encode("def f(")[:, None])
    >>> scores.shape
    (6, 1, 96)
    """
    recurrent, readout = model.layers
    y, state = recurrent(one_hot(codes), state)
    return readout(y), state


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


def traces(model: Sequential, codes: np.ndarray) -> dict[str, np.ndarray]:
    """Everything inside an LSTM while it reads: gates, candidate, cell state and hidden state.

    The layer returns hidden states only. Here its weights run through the NumPy reference, which keeps everything.

    Parameters
    ----------
    model : Sequential
        A character model with an LSTM of one layer.
    codes : ndarray of integers (T, B)
        The characters read, from the zero state.

    Returns
    -------
    dict of str to ndarray of float32 (T, B, H)
        Keys ``i f g o c h``.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import character_model, encode, traces
    >>> inside = traces(character_model(ln.LSTM(96, 8, seed=0), seed=1), encode("x = 1")[:, None])
    >>> sorted(inside), inside["f"].shape
    (['c', 'f', 'g', 'h', 'i', 'o'], (5, 1, 8))
    """
    lstm: Any = model.layers[0]
    weights: list[Any] = [lstm.parameters[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    zero = np.zeros((codes.shape[1], lstm.hidden_size), np.float32)
    _, _, _, cache = lstm_forward(one_hot(codes), zero, zero, *weights, True)  # type: ignore[call-arg]
    gates = dict(zip("ifgo", np.split(cache.gates, 4, axis=2), strict=True))
    return gates | {"c": cache.c[1:], "h": cache.h[1:]}


def cell_states(model: Sequential, text: str, *, pieces: int = 16, warm_up: int = 200) -> np.ndarray:
    """The cell state of every unit after every character.

    To read faster, the text is cut into pieces that are read side by side. Each starts from zero, some characters
    early, so that its state has settled when it counts.

    Parameters
    ----------
    model : Sequential
        A character model with an LSTM of one layer.
    text : str
        In the alphabet of :data:`SYMBOLS`.
    pieces : int
        How many pieces.
    warm_up : int
        Characters read before a piece; before the start of the text these are newlines.

    Returns
    -------
    ndarray of float32 (T, H)
        The cell states.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import cell_states, character_model
    >>> model = character_model(ln.LSTM(96, 8, seed=0), seed=1)
    >>> cell_states(model, "x = [1, 2]", pieces=3).shape
    (10, 8)
    """
    size = -(-len(text) // pieces)
    padded = "\n" * warm_up + text + "\n" * (size * pieces - len(text))
    codes = encode(padded)
    side_by_side = np.stack([codes[k * size : (k + 1) * size + warm_up] for k in range(pieces)], axis=1)
    c = traces(model, side_by_side)["c"][warm_up:]  # (size, pieces, H)
    return c.transpose(1, 0, 2).reshape(size * pieces, -1)[: len(text)]


def connectivity(model: Sequential, codes: np.ndarray) -> np.ndarray:
    """How much each prediction depends on each character read: the size of a gradient.

    Every column of the batch reads the same text, and column ``t`` is asked about the prediction after character
    ``t`` only, so one backward pass answers for all pairs.

    Parameters
    ----------
    model : Sequential
        From :func:`character_model`; left in inference mode.
    codes : ndarray of integers (T + 1,)
        The text; the last character is only predicted.

    Returns
    -------
    ndarray (T, T)
        Row ``t``, column ``s``: norm of the gradient of ``log p(codes[t + 1])`` with respect to input ``s``. Zero for
        ``s > t``.

    Examples
    --------
    >>> import numpy as np
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import character_model, connectivity, encode
    >>> G = connectivity(character_model(ln.LSTM(96, 8, seed=0), seed=1), encode("x = [1, 2]"))
    >>> G.shape, bool(np.all(G[np.triu_indices(9, 1)] == 0)), bool(np.all(np.diag(G) > 0))
    ((9, 9), True, True)
    """
    T = len(codes) - 1
    model.train()
    scores = model(one_hot(np.repeat(codes[:-1, None], T, axis=1)).astype(model.dtype))  # (T, T, 96)
    gradient = np.zeros_like(scores)
    for t in range(T):
        p = np.exp(scores[t, t] - scores[t, t].max())
        gradient[t, t] = -p / p.sum()
        gradient[t, t, codes[t + 1]] += 1  # d log p / d scores = one_hot(next character) - p
    dx = model.backward(gradient)  # (T inputs, T questions, 96)
    model.zero_grad()
    model.eval()
    return np.linalg.norm(dx, axis=2).T


def cut_out(model: Sequential, unit: int, value: float) -> Sequential:
    """A copy of a model in which one unit says the same at every step, whatever happens.

    What a unit says, ``h[unit]``, is read in two places: by the gates at the next step and by the read-out. In both,
    its column of weights times the constant moves into the bias.

    Parameters
    ----------
    model : Sequential
        From :func:`character_model`.
    unit : int
        Which hidden unit.
    value : float
        What it says, usually its mean.

    Returns
    -------
    Sequential
        The copy, in inference mode.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import character_model, cut_out
    >>> model = character_model(ln.LSTM(96, 8, seed=0), seed=1)
    >>> bool((cut_out(model, 3, 0.0).parameters["1.weight"][:, 3] == 0).all())
    True
    """
    copy = deepcopy(model)
    recurrent, readout = (layer.parameters for layer in copy.layers)
    for weight, bias in (
        (recurrent["weight_hh_l0"], recurrent["bias_hh_l0"]),
        (readout["weight"], readout["bias"]),
    ):
        bias += weight[:, unit] * weight.dtype.type(value)
        weight[:, unit] = 0
    return copy.eval()


def auc(values: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each column: how well its value alone tells the labelled rows from the others.

    It is the probability that a random labelled row has a larger value than a random other row, ties counting one
    half (the statistic of Mann and Whitney). 0.5 is chance; 1 and 0 are perfect, with opposite signs.

    Parameters
    ----------
    values : ndarray (N, H)
        One column for each unit.
    label : ndarray of bool (N,)
        Both values must occur.

    Returns
    -------
    ndarray (H,)
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the shapes do not fit or all labels are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.looking_inside import auc
    >>> auc(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]), np.array([False, False, True]))
    array([1., 0.])
    """
    return auc_of_ranks(ranks(values), label)


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value within its column, 1 for the smallest, ties sharing their mean rank.

    Parameters
    ----------
    values : ndarray (N, H)
        One column for each unit.

    Returns
    -------
    ndarray (N, H)
        The ranks; sort once, then ask about many labels with :func:`auc_of_ranks`.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.looking_inside import ranks
    >>> ranks(np.array([[5.0], [7.0], [5.0]]))[:, 0]
    array([1.5, 3. , 1.5])
    """
    if values.ndim != 2:
        raise ValueError(f"values: expected shape (N, H), got {values.shape}")
    result = np.empty(values.shape)
    for k in range(values.shape[1]):
        _, where, counts = np.unique(values[:, k], return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        result[:, k] = (last - (counts - 1) / 2)[where]
    return result


def auc_of_ranks(rank: np.ndarray, label: np.ndarray) -> np.ndarray:
    """:func:`auc` from :func:`ranks` of the same values.

    Parameters
    ----------
    rank : ndarray (N, H)
        From :func:`ranks`.
    label : ndarray of bool (N,)
        Both values must occur.

    Returns
    -------
    ndarray (H,)
        Between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.looking_inside import auc_of_ranks
    >>> auc_of_ranks(np.array([[1.0], [2.0], [3.0]]), np.array([True, False, True]))
    array([0.5])
    """
    label = np.asarray(label, dtype=bool)
    if label.shape != rank.shape[:1]:
        raise ValueError(f"label: expected shape ({len(rank)},) like the rows of values, got {label.shape}")
    positive = int(label.sum())
    negative = len(label) - positive
    if positive == 0 or negative == 0:
        raise ValueError(f"label: expected both True and False, got {positive} True among {len(label)}")
    return (label @ rank - positive * (positive + 1) / 2) / (positive * negative)


def parameter_count(model: Layer) -> int:
    """Count the numbers that training may change.

    Parameters
    ----------
    model : Layer
        Any layer or model.

    Returns
    -------
    int
        The count.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import parameter_count
    >>> parameter_count(ln.Dense(3, 2, seed=0))
    8
    """
    parameters: Mapping[str, np.ndarray] = model.parameters
    return sum(value.size for value in parameters.values())
