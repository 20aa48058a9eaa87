"""Temporal order: which symbols came, and in which order, far apart in a noisy sequence."""

import numpy as np

from lstm_numba.tasks.batch import (
    Batch,
    check_at_least,
    check_choice,
    check_generator,
    last_steps,
    one_hot,
    random_lengths,
)

#: Columns of the input. E starts and B ends a sequence, X and Y matter, the small letters distract.
SYMBOLS = "EBabcdXY"
#: Where the informative symbols fall, as a share of T: Experiments 6a and 6b, whose T is 100.
PLACES = {2: ((0.10, 0.20), (0.50, 0.60)), 3: ((0.10, 0.20), (0.33, 0.43), (0.66, 0.76))}
TOLERANCE = 0.3


def temporal_order(
    rng: np.random.Generator, B: int, T: int = 100, *, marks: int = 2, dtype: str | np.dtype = "float32"
) -> Batch:
    """Temporal order problem: two (or three) far-apart symbols, X or Y each; the class is their order.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of sequences.
    T : int
        Shortest length, at least 20; lengths are uniform in [T, T + T // 10].
    marks : {2, 3}
        2 is Experiment 6a with 4 classes, 3 is Experiment 6b with 8.
    dtype : dtype
        Of ``x``.

    Returns
    -------
    Batch
        ``x`` (T_max, B, 8) one-hot over ``EBabcdXY``, ``y`` (B,) class number: X counts 0, Y counts 1, the first
        symbol is the highest binary digit (XX, XY, YX, YY are 0, 1, 2, 3).

    References
    ----------
    Hochreiter and Schmidhuber (1997), Section 5.6. For T = 100 the places are exactly theirs: 10 to 20 and 50 to 60,
    or 10 to 20, 33 to 43 and 66 to 76; other T scale them.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.temporal_order(np.random.default_rng(0), B=4, T=100)
    >>> batch.x.shape[2], batch.y.shape
    (8, (4,))
    """
    check_generator(rng)
    check_choice("marks", marks, tuple(PLACES))
    B, T = check_at_least("B", B, 1), check_at_least("T", T, 20)
    lengths = random_lengths(rng, B, T)
    longest, b = int(lengths.max()), np.arange(B)
    symbols = rng.integers(2, 6, (longest, B))
    which = rng.integers(0, 2, (marks, B))
    for mark, (low, high) in enumerate(PLACES[marks]):
        place = rng.integers(round(low * T), round(high * T), B, endpoint=True)
        symbols[place, b] = 6 + which[mark]
    symbols[0] = 0
    symbols[lengths - 1, b] = 1
    symbols[np.arange(longest)[:, None] >= lengths] = -1
    y = (which * 2 ** np.arange(marks)[::-1, None]).sum(axis=0)
    return Batch(one_hot(symbols, len(SYMBOLS), dtype), y, lengths, last_steps(lengths, longest))


def temporal_order_baseline_loss(*, marks: int = 2) -> float:
    """Cross-entropy of the best constant answer: the logarithm of the number of classes.

    Parameters
    ----------
    marks : {2, 3}
        As in :func:`temporal_order`.

    Returns
    -------
    float

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> round(tasks.temporal_order_baseline_loss(marks=3), 4)
    2.0794
    """
    check_choice("marks", marks, tuple(PLACES))
    return float(marks * np.log(2))


def temporal_order_solved(prediction: np.ndarray, batch: Batch, tolerance: float = TOLERANCE) -> np.ndarray:
    """Whether all outputs of each sequence are within 0.3 of the one-hot target, the criterion of 1997.

    Parameters
    ----------
    prediction : ndarray (B, K)
        Outputs between 0 and 1.
    batch : Batch
        From :func:`temporal_order`.
    tolerance : float
        Largest error, exclusive.

    Returns
    -------
    ndarray (B,) of bool
        The paper stops when 2000 sequences in a row are right and the mean training error is below 0.1.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.temporal_order(np.random.default_rng(0), B=2)
    >>> tasks.temporal_order_solved(np.eye(4)[batch.y], batch)
    array([ True,  True])
    """
    return (np.abs(prediction - np.eye(prediction.shape[-1])[batch.y]) < tolerance).all(axis=-1)
