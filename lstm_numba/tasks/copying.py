"""Copy memory and selective copy: store symbols, wait, repeat them."""

import numpy as np

from lstm_numba.tasks.batch import Batch, check_at_least, check_generator, largest_is_right, one_hot


def copy_memory(
    rng: np.random.Generator,
    B: int,
    T: int = 100,
    *,
    tokens: int = 10,
    vocabulary: int = 8,
    dtype: str | np.dtype = "float32",
) -> Batch:
    """Copy memory: read ten symbols, wait T steps, repeat them in order.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of sequences.
    T : int
        Lag between a symbol and its repetition, less ``tokens``; at least 1.
    tokens : int
        Symbols to remember.
    vocabulary : int
        Number of different symbols.
    dtype : dtype
        Of ``x``.

    Returns
    -------
    Batch
        ``x`` (T + 2 tokens, B, vocabulary + 2): ``tokens`` random symbols, T - 1 blanks, a delimiter, ``tokens``
        blanks. ``y`` (T + 2 tokens, B): blanks, and the symbols in the last ``tokens`` steps. The blank is number
        ``vocabulary``, the delimiter ``vocabulary + 1``. All steps count.

    References
    ----------
    Arjovsky, Shah and Bengio (2016), Section 5.1; Hochreiter and Schmidhuber (1997) for the idea.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.copy_memory(np.random.default_rng(0), B=2, T=100)
    >>> batch.x.shape, batch.y.shape
    ((120, 2, 10), (120, 2))
    """
    check_generator(rng)
    B, T = check_at_least("B", B, 1), check_at_least("T", T, 1)
    tokens, vocabulary = check_at_least("tokens", tokens, 1), check_at_least("vocabulary", vocabulary, 2)
    steps, blank = T + 2 * tokens, vocabulary
    symbols = np.full((steps, B), blank)
    symbols[:tokens] = rng.integers(0, vocabulary, (tokens, B))
    symbols[tokens + T - 1] = vocabulary + 1
    y = np.full((steps, B), blank)
    y[-tokens:] = symbols[:tokens]
    return Batch(one_hot(symbols, vocabulary + 2, dtype), y, np.full(B, steps), np.ones((steps, B), bool))


def copy_memory_baseline_loss(T: int = 100, *, tokens: int = 10, vocabulary: int = 8) -> float:
    """Mean cross-entropy of an answer without memory: blanks while waiting, then any symbol.

    Parameters
    ----------
    T, tokens, vocabulary
        As in :func:`copy_memory`.

    Returns
    -------
    float
        ``tokens * ln(vocabulary) / (T + 2 tokens)``; with the sizes of 2016 this is 10 ln 8 / (T + 20).

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> round(tasks.copy_memory_baseline_loss(100), 4)
    0.1733
    """
    return float(tokens * np.log(vocabulary) / (T + 2 * tokens))


def copy_memory_solved(prediction: np.ndarray, batch: Batch) -> np.ndarray:
    """Whether every step has its largest output at the right symbol.

    Parameters
    ----------
    prediction : ndarray (T, B, K)
        Outputs or logits.
    batch : Batch
        From :func:`copy_memory`, :func:`selective_copy` or :func:`associative_recall`; only steps in its mask count.

    Returns
    -------
    ndarray (B,) of bool
        A strict criterion; the paper shows the cross-entropy beside the baseline.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.copy_memory(np.random.default_rng(0), B=2, T=5)
    >>> tasks.copy_memory_solved(np.eye(10)[batch.y], batch)
    array([ True,  True])
    """
    return largest_is_right(prediction, batch)


def selective_copy(
    rng: np.random.Generator,
    B: int,
    T: int = 64,
    *,
    tokens: int = 8,
    vocabulary: int = 14,
    dtype: str | np.dtype = "float32",
) -> Batch:
    """Selective copy: repeat the symbols that stood at random places among blanks.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of sequences.
    T : int
        Steps of the first part, at least ``tokens``.
    tokens : int
        Symbols to remember.
    vocabulary : int
        Number of different symbols.
    dtype : dtype
        Of ``x``.

    Returns
    -------
    Batch
        ``x`` (T + tokens, B, vocabulary + 2): T steps of blanks with ``tokens`` symbols among them, then ``tokens``
        times the recall marker. ``y`` (T + tokens, B): the symbols in order in the last ``tokens`` steps, the only
        steps that count. The blank is number ``vocabulary``, the marker ``vocabulary + 1``.

    References
    ----------
    Gu and Dao (2023), Section 4.1.1; a copy with fixed places is solved by counting alone, this one is not.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.selective_copy(np.random.default_rng(0), B=2, T=20, tokens=3)
    >>> batch.x.shape, int(batch.mask.sum())
    ((23, 2, 16), 6)
    """
    check_generator(rng)
    B, tokens = check_at_least("B", B, 1), check_at_least("tokens", tokens, 1)
    T, vocabulary = check_at_least("T", T, tokens), check_at_least("vocabulary", vocabulary, 2)
    places = np.sort(rng.permuted(np.tile(np.arange(T)[:, None], B), axis=0)[:tokens], axis=0)
    values = rng.integers(0, vocabulary, (tokens, B))
    symbols = np.full((T + tokens, B), vocabulary)
    np.put_along_axis(symbols, places, values, axis=0)
    symbols[T:] = vocabulary + 1
    y = np.full((T + tokens, B), vocabulary)
    y[T:] = values
    mask = np.zeros((T + tokens, B), bool)
    mask[T:] = True
    return Batch(one_hot(symbols, vocabulary + 2, dtype), y, np.full(B, T + tokens), mask)


def selective_copy_baseline_loss(*, vocabulary: int = 14) -> float:
    """Mean cross-entropy, over the steps that count, of an answer without memory: ln(vocabulary).

    Parameters
    ----------
    vocabulary
        As in :func:`selective_copy`.

    Returns
    -------
    float

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> round(tasks.selective_copy_baseline_loss(), 4)
    2.6391
    """
    return float(np.log(vocabulary))


selective_copy_solved = copy_memory_solved
