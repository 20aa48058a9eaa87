"""Counting languages: a^n b^n and a^n b^n c^n."""

import numpy as np

from lstm_numba.tasks.batch import Batch, check_at_least, check_choice, check_generator, one_hot, valid_steps


def counting(
    rng: np.random.Generator,
    B: int,
    longest: int = 10,
    *,
    shortest: int = 1,
    letters: int = 2,
    dtype: str | np.dtype = "float32",
) -> Batch:
    """Strings a^n b^n (or a^n b^n c^n): predict at every step which symbols may come next.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of strings.
    longest, shortest : int
        n is uniform between them, both included.
    letters : {2, 3}
        3 for a^n b^n c^n, which no automaton with one counter that is never read again can accept.
    dtype : dtype
        Of ``x`` and ``y``.

    Returns
    -------
    Batch
        Columns: start, a, b, (c), end. ``x`` (T_max, B, letters + 2) is the start symbol and the string; ``y`` of the
        same shape has a 1 for each symbol that may come next: a after the start, a or b after an a, then what the
        count demands.

    References
    ----------
    Gers and Schmidhuber (2001), LSTM recurrent networks learn simple context-free and context-sensitive languages.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.counting(np.random.default_rng(0), B=1, longest=2, shortest=2)
    >>> "".join("Sab."[s] for s in batch.x[:, 0].argmax(axis=1))
    'Saabb'
    >>> ["".join("Sab."[s] for s in np.flatnonzero(row)) for row in batch.y[:, 0]]
    ['a', 'ab', 'ab', 'b', '.']
    """
    check_generator(rng)
    check_choice("letters", letters, (2, 3))
    B, shortest = check_at_least("B", B, 1), check_at_least("shortest", shortest, 1)
    longest = check_at_least("longest", longest, shortest)
    n = rng.integers(shortest, longest, B, endpoint=True)
    lengths = 1 + letters * n
    T = int(lengths.max())
    position = np.arange(T)[:, None] - 1  # of the letter read at step t; the start symbol is at -1
    symbols = np.where(position < 0, 0, position // n + 1)
    mask = valid_steps(lengths, T)
    following = np.minimum((position + 1) // n + 1, letters + 1)
    y = one_hot(np.where(mask, following, -1), letters + 2, "bool")
    reading_a = (symbols == 1) & mask
    y[reading_a, 1] = y[reading_a, 2] = True  # the number of a is free: another a, or the first b
    return Batch(one_hot(np.where(mask, symbols, -1), letters + 2, dtype), y.astype(dtype), lengths, mask)


def counting_baseline_loss(longest: int = 10, *, shortest: int = 1, letters: int = 2) -> float:
    """Mean squared error, over steps and outputs, of an answer that sees the current symbol and cannot count.

    Parameters
    ----------
    longest, shortest, letters
        As in :func:`counting`; lengths are weighted by their number of steps.

    Returns
    -------
    float

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> round(tasks.counting_baseline_loss(), 4)
    0.0341
    """
    n = np.arange(shortest, longest + 1)
    steps = (1 + letters * n).sum()
    # Only the end of a block is in doubt: after a b the next is b or (once in n) what follows. Two outputs are wrong.
    chance = len(n) / n.sum()
    doubtful = (letters - 1) * n.sum()
    return float(doubtful * 2 * chance * (1 - chance) / (steps * (letters + 2)))


def counting_solved(prediction: np.ndarray, batch: Batch) -> np.ndarray:
    """Whether all outputs, cut at one half, name exactly the legal symbols at every step.

    Parameters
    ----------
    prediction : ndarray (T, B, K)
        Outputs between 0 and 1.
    batch : Batch
        From :func:`counting`.

    Returns
    -------
    ndarray (B,) of bool
        The paper asks how far beyond the longest training string all strings are accepted.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.counting(np.random.default_rng(0), B=2)
    >>> tasks.counting_solved(batch.y, batch)
    array([ True,  True])
    """
    right = ((prediction > 0.5) == (batch.y > 0.5)).all(axis=-1)
    return (right | ~batch.mask).all(axis=0)
