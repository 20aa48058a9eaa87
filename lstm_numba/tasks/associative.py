"""Multi-query associative recall: look up the value that came after a key."""

import numpy as np

from lstm_numba.tasks.batch import Batch, check_at_least, check_generator, one_hot
from lstm_numba.tasks.copying import copy_memory_solved


def associative_recall(
    rng: np.random.Generator,
    B: int,
    T: int = 64,
    *,
    pairs: int = 4,
    vocabulary: int = 64,
    power: float = 0.01,
    dtype: str | np.dtype = "float32",
) -> Batch:
    """Multi-query associative recall: key, value, key, value, ..., then every key once more; answer with its value.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of sequences.
    T : int
        Steps, even and at least ``4 * pairs``.
    pairs : int
        Keys to remember, each with its own random value.
    vocabulary : int
        Even; keys are 1 ... vocabulary / 2 - 1, values vocabulary / 2 ... vocabulary - 1, 0 fills.
    power : float
        Queries prefer early places: the gap g after the pairs has a weight of ``(g + 1) ** (power - 1)``.
    dtype : dtype
        Of ``x``.

    Returns
    -------
    Batch
        ``x`` (T, B, vocabulary) one-hot, ``y`` (T, B) the value at a query, 0 elsewhere; only queries count.

    References
    ----------
    Arora et al. (2023), Zoology: measuring and improving recall in efficient language models.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.associative_recall(np.random.default_rng(0), B=3, T=32, pairs=4)
    >>> batch.x.shape, batch.mask.sum(axis=0).tolist()
    ((32, 3, 64), [4, 4, 4])
    """
    check_generator(rng)
    B, pairs = check_at_least("B", B, 1), check_at_least("pairs", pairs, 1)
    T, vocabulary = check_at_least("T", T, 4 * pairs), check_at_least("vocabulary", vocabulary, 2 * pairs + 2)
    for name, value in (("T", T), ("vocabulary", vocabulary)):
        if value % 2:
            raise ValueError(f"{name}: expected an even number, got {value}")
    half, b = vocabulary // 2, np.arange(B)
    keys = 1 + rng.permuted(np.tile(np.arange(half - 1)[:, None], B), axis=0)[:pairs]
    values = rng.integers(half, vocabulary, (pairs, B))
    symbols, y = np.zeros((T, B), np.int64), np.zeros((T, B), np.int64)
    symbols[0 : 2 * pairs : 2], symbols[1 : 2 * pairs : 2] = keys, values
    gaps = (T - 2 * pairs) // 2
    weight = (np.arange(gaps) + 1.0) ** (power - 1)
    # Gumbel's trick: the largest of log-weights plus Gumbel noise are a weighted draw without replacement.
    score = np.log(weight)[:, None] + rng.gumbel(size=(gaps, B))
    chosen = np.argsort(-score, axis=0)[:pairs]
    for pair in range(pairs):
        place = 2 * pairs + 2 * chosen[pair]
        symbols[place, b], y[place, b] = keys[pair], values[pair]
    return Batch(one_hot(symbols, vocabulary, dtype), y, np.full(B, T), y > 0)


def associative_recall_baseline_loss(*, vocabulary: int = 64) -> float:
    """Mean cross-entropy, over the queries, of an answer without memory: the logarithm of the number of values.

    Parameters
    ----------
    vocabulary
        As in :func:`associative_recall`.

    Returns
    -------
    float

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> round(tasks.associative_recall_baseline_loss(), 4)
    3.4657
    """
    return float(np.log(vocabulary // 2))


associative_recall_solved = copy_memory_solved
