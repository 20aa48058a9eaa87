"""Adding and multiplication: combine the two marked numbers of a long sequence."""

import numpy as np

from lstm_numba.tasks.batch import Batch, check_at_least, check_choice, check_generator, last_steps, random_lengths

VARIANTS = ("1997", "2016")
FIRST_PAIR = ("kept", "neutral", "never")
#: How far from the target an answer may be (Hochreiter and Schmidhuber, 1997, Experiments 4 and 5).
TOLERANCE = 0.04
_EARLY = 10  # the first mark falls on one of the first ten pairs


def adding(
    rng: np.random.Generator,
    B: int,
    T: int = 100,
    *,
    variant: str = "1997",
    first_pair: str = "kept",
    dtype: str | np.dtype = "float32",
) -> Batch:
    """Adding problem: after many pairs (value, marker), give the sum of the two marked values.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of sequences.
    T : int
        Shortest length. At least 24 for ``"1997"``, at least 2 for ``"2016"``.
    variant : {"1997", "2016"}
        ``"1997"``: Experiment 4. Values U[-1, 1], length uniform in [T, T + T // 10]. One of the first ten pairs is
        marked with 1, then one of the first T / 2 - 1 pairs that is still unmarked. The first and the last marker
        are -1, the others 0. Target ``0.5 + (X1 + X2) / 4``.
        ``"2016"``: the version that is common today. Values U[0, 1], length T, one mark in each half, the other
        markers 0. Target ``X1 + X2``.
    first_pair : {"kept", "neutral", "never"}
        The 1997 paper says what to do when the first pair is picked ("X1 is set to zero") in a way that can be read
        differently. Its marker stays -1 in all readings. ``"kept"``: it counts as 0 in the target, and the input
        keeps its value. ``"neutral"``: the input becomes 0 as well. ``"never"``: it is never picked.
    dtype : dtype
        Of ``x`` and ``y``.

    Returns
    -------
    Batch
        ``x`` (T_max, B, 2) with T_max the longest length, ``y`` (B, 1); the answer is due at the last step.

    References
    ----------
    Hochreiter and Schmidhuber (1997), Section 5.4; Arjovsky, Shah and Bengio (2016), Section 5 for ``"2016"``.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.adding(np.random.default_rng(0), B=3, T=50, variant="2016")
    >>> batch.x.shape, batch.y.shape
    ((50, 3, 2), (3, 1))
    >>> np.allclose((batch.x[..., 0] * batch.x[..., 1]).sum(axis=0), batch.y[:, 0])
    True
    """
    check_choice("variant", variant, VARIANTS)
    if variant == "1997":
        x, marked, lengths = _pairs_1997(rng, B, T, -1.0, 0.0, first_pair)
        y = 0.5 + marked.sum(axis=1) / 4
    else:
        check_generator(rng)
        B, T = check_at_least("B", B, 1), check_at_least("T", T, 2)
        x = np.zeros((T, B, 2))
        x[..., 0] = rng.random((T, B))
        x[rng.integers(0, T // 2, B), np.arange(B), 1] = 1
        x[rng.integers(T // 2, T, B), np.arange(B), 1] = 1
        y = (x[..., 0] * x[..., 1]).sum(axis=0)
        lengths = np.full(B, T)
    return Batch(x.astype(dtype), y[:, None].astype(dtype), lengths, last_steps(lengths, len(x)))


def multiplication(
    rng: np.random.Generator,
    B: int,
    T: int = 100,
    *,
    first_pair: str = "kept",
    dtype: str | np.dtype = "float32",
) -> Batch:
    """Multiplication problem: as :func:`adding` of 1997 with values U[0, 1] and the target ``X1 * X2``.

    Parameters
    ----------
    rng, B, T, first_pair, dtype
        As in :func:`adding`; the first pair counts as 1, which leaves a product alone.

    Returns
    -------
    Batch
        ``x`` (T_max, B, 2), ``y`` (B, 1).

    References
    ----------
    Hochreiter and Schmidhuber (1997), Section 5.5.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.multiplication(np.random.default_rng(0), B=1000, T=30)
    >>> bool((batch.y >= 0).all() and (batch.y <= 1).all())
    True
    """
    x, marked, lengths = _pairs_1997(rng, B, T, 0.0, 1.0, first_pair)
    y = marked.prod(axis=1)
    return Batch(x.astype(dtype), y[:, None].astype(dtype), lengths, last_steps(lengths, len(x)))


def adding_baseline_loss(T: int = 100, *, variant: str = "1997", first_pair: str = "kept") -> float:
    """Mean squared error of the best constant answer to :func:`adding`.

    Parameters
    ----------
    T, variant, first_pair
        As in :func:`adding`.

    Returns
    -------
    float
        1/6 for ``"2016"``. 1/24 for ``"1997"`` if the first pair is never picked, and a little less otherwise.

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> round(tasks.adding_baseline_loss(variant="2016"), 4)
    0.1667
    >>> round(24 * tasks.adding_baseline_loss(first_pair="never"), 4)
    1.0
    """
    check_choice("variant", variant, VARIANTS)
    if variant == "2016":
        return 1 / 6
    first, second = _chance_of_first_pair(T, first_pair)
    return (1 / 3) / 16 * (2 - first - second)  # values are uncorrelated with mean 0; a neutral 0 has no variance


def multiplication_baseline_loss(T: int = 100, *, first_pair: str = "kept") -> float:
    """Mean squared error of the best constant answer to :func:`multiplication`.

    Parameters
    ----------
    T, first_pair
        As in :func:`multiplication`.

    Returns
    -------
    float
        7/144 if the first pair is never picked, a little more otherwise.

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> round(144 * tasks.multiplication_baseline_loss(first_pair="never"), 4)
    7.0
    """
    one_left = sum(_chance_of_first_pair(T, first_pair))  # the product is then a single uniform number
    mean = (1 - one_left) / 4 + one_left / 2
    return (1 - one_left) / 9 + one_left / 3 - mean**2


def adding_solved(prediction: np.ndarray, batch: Batch, tolerance: float = TOLERANCE) -> np.ndarray:
    """Whether each answer is within 0.04 of its target, the criterion of 1997.

    Parameters
    ----------
    prediction : ndarray (B, 1)
        Answers.
    batch : Batch
        From :func:`adding` or :func:`multiplication`.
    tolerance : float
        Largest error, exclusive.

    Returns
    -------
    ndarray (B,) of bool
        The paper stops when 2000 sequences in a row are right and the mean training error is below 0.01 (Exp. 4), or
        when fewer than 140 or 13 of the last 2000 are wrong (Exp. 5).

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.adding(np.random.default_rng(0), B=2, T=30)
    >>> tasks.adding_solved(batch.y + np.array([[0.03], [0.05]]), batch)
    array([ True, False])
    """
    return (np.abs(prediction - batch.y) < tolerance).all(axis=1)


multiplication_solved = adding_solved


def _pairs_1997(rng, B, T, low, neutral, first_pair):
    """Pairs, the two values that count (B, 2), and lengths."""
    check_generator(rng)
    check_choice("first_pair", first_pair, FIRST_PAIR)
    B, T = check_at_least("B", B, 1), check_at_least("T", T, 2 * _EARLY + 4)
    lengths = random_lengths(rng, B, T)
    longest, b = int(lengths.max()), np.arange(B)
    start = 1 if first_pair == "never" else 0
    one = rng.integers(start, _EARLY, B)
    two = rng.integers(start, T // 2 - 2, B)  # one choice fewer than there are pairs: `one` is skipped
    two += two >= one
    x = np.zeros((longest, B, 2))
    x[..., 0] = rng.uniform(low, 1.0, (longest, B))
    marked = np.stack([x[one, b, 0], x[two, b, 0]], axis=1)
    for column, place in enumerate((one, two)):
        x[place, b, 1] = 1.0
        marked[place == 0, column] = neutral
    if first_pair == "neutral":
        x[0, (one == 0) | (two == 0), 0] = neutral
    x[0, :, 1] = -1.0
    x[lengths - 1, b, 1] = -1.0
    x[np.arange(longest)[:, None] >= lengths] = 0.0
    return x, marked, lengths


def _chance_of_first_pair(T: int, first_pair: str) -> tuple[float, float]:
    """Chance that the first and that the second mark falls on the first pair."""
    check_choice("first_pair", first_pair, FIRST_PAIR)
    T = check_at_least("T", T, 2 * _EARLY + 4)
    if first_pair == "never":
        return 0.0, 0.0
    return 1 / _EARLY, (1 - 1 / _EARLY) / (T // 2 - 2)
