"""Text as numbers: Python's own reference, every paragraph once, cut into parts for training and scores."""

import pydoc_data.topics
from functools import cache

import numpy as np

__all__ = ["ALPHABET", "PARTS", "SYMBOLS", "documentation", "numbers", "parts"]

ALPHABET = "abcdefghijklmnopqrstuvwxyz \n.,_"  # everything else is one more symbol
SYMBOLS = len(ALPHABET) + 1
PARTS = ("train", "validation", "test")


def numbers(text: str) -> np.ndarray:
    """Write a text as symbol numbers, capital letters as small ones.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    ndarray (len(text),) of int
        Places in :data:`ALPHABET`; ``SYMBOLS - 1`` for everything that is not in it.

    Examples
    --------
    >>> from lstm_numba.teaching.letters import numbers
    >>> numbers("A cab!").tolist()
    [0, 26, 2, 0, 1, 31]
    """
    return np.array([ALPHABET.find(letter) % SYMBOLS for letter in text.lower()])


def parts(symbols: np.ndarray) -> dict[str, np.ndarray]:
    """Cut a text: nine tenths for training, one twentieth each for validation and test.

    Parameters
    ----------
    symbols : ndarray (n,)
        From :func:`numbers`.

    Returns
    -------
    dict
        The pieces by the names in :data:`PARTS`.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.letters import parts
    >>> {name: len(piece) for name, piece in parts(np.zeros(100)).items()}
    {'train': 90, 'validation': 5, 'test': 5}
    """
    cuts = [len(symbols) * 18 // 20, len(symbols) * 19 // 20]
    return dict(zip(PARTS, np.split(symbols, cuts), strict=True))


@cache
def documentation() -> dict[str, np.ndarray]:
    """Return Python's own reference in three parts.

    Many topics repeat paragraphs of others. Only the first of each is kept: else a sixth of the test text is in the
    training text.

    Returns
    -------
    dict
        As in :func:`parts`.

    Examples
    --------
    >>> from lstm_numba.teaching.letters import documentation
    >>> list(documentation())
    ['train', 'validation', 'test']
    """
    paragraphs = dict.fromkeys("\n\n".join(pydoc_data.topics.topics.values()).split("\n\n"))
    return parts(numbers("\n\n".join(paragraphs)))
