"""Long lags between a symbol and the moment it matters: Experiments 2a, 2b and 2c."""

import numpy as np

from lstm_numba.tasks.batch import (
    Batch,
    check_at_least,
    check_choice,
    check_generator,
    last_steps,
    one_hot,
    valid_steps,
)

TOLERANCE = {"2a": 0.25, "2b": 0.25, "2c": 0.2}
#: After the q distractors of 2c, the chance that one more follows.
_GO_ON = 0.9


def long_lag(
    rng: np.random.Generator,
    B: int,
    p: int = 100,
    *,
    variant: str = "2a",
    q: int | None = None,
    dtype: str | np.dtype = "float32",
) -> Batch:
    """Remember one symbol (x or y) over a long lag.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of sequences.
    p : int
        Length in 2a and 2b, at least 2; number of distractor symbols in 2c, at least 1.
    variant : {"2a", "2b", "2c"}
        ``"2a"``: two sequences, (y, a_1, ..., a_{p-1}, y) and (x, a_1, ..., a_{p-1}, x); predict the next symbol at
        every step. ``"2b"``: as 2a, but the p - 1 symbols in between are drawn at random each time.
        ``"2c"``: b, then x or y, then at least ``q`` random distractors, then a trigger e; after it the answer is due,
        once. Each further distractor follows with chance 0.9, so the expected length of the input is q + 12.
    q : int, optional
        Smallest number of distractors in 2c (default ``p``).
    dtype : dtype
        Of ``x``.

    Returns
    -------
    Batch
        2a and 2b: ``x`` (p, B, p + 1), columns a_1 ... a_{p-1}, x, y; ``y`` (p, B) number of the next symbol.
        2c: ``x`` (T_max, B, p + 4), columns a_1 ... a_p, e, b, x, y; ``y`` (B,) 0 for x, 1 for y.

    References
    ----------
    Hochreiter and Schmidhuber (1997), Section 5.2. Their symbol after the trigger is the target, not an input.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.long_lag(np.random.default_rng(0), B=4, p=10)
    >>> batch.x.shape, bool((batch.y[-1] == batch.x[0].argmax(axis=1)).all())
    ((10, 4, 11), True)
    """
    check_generator(rng)
    check_choice("variant", variant, tuple(TOLERANCE))
    B = check_at_least("B", B, 1)
    which = rng.integers(0, 2, B)
    if variant == "2c":
        p = check_at_least("p", p, 1)
        q = p if q is None else check_at_least("q", q, 0)
        lengths = 3 + q + rng.geometric(1 - _GO_ON, B) - 1
        longest = int(lengths.max())
        symbols = rng.integers(0, p, (longest, B))
        symbols[0], symbols[1] = p + 1, p + 2 + which
        symbols[lengths - 1, np.arange(B)] = p
        symbols[~valid_steps(lengths, longest)] = -1
        return Batch(one_hot(symbols, p + 4, dtype), which, lengths, last_steps(lengths, longest))
    if q is not None:
        raise ValueError(f"q: expected None for variant {variant!r}, got {q}")
    p = check_at_least("p", p, 2)
    symbols = np.empty((p + 1, B), np.int64)
    symbols[0] = symbols[p] = p - 1 + which
    symbols[1:p] = np.arange(p - 1)[:, None] if variant == "2a" else rng.integers(0, p - 1, (p - 1, B))
    lengths = np.full(B, p)
    return Batch(one_hot(symbols[:-1], p + 1, dtype), symbols[1:].copy(), lengths, valid_steps(lengths, p))


def long_lag_baseline_loss(p: int = 100, *, variant: str = "2a") -> float:
    """Mean cross-entropy of an answer that knows everything but the symbol to remember.

    Parameters
    ----------
    p, variant
        As in :func:`long_lag`.

    Returns
    -------
    float
        ln 2 at the last step; in 2b also ln (p - 1) at the others, which nobody can know.

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> round(100 * tasks.long_lag_baseline_loss(100), 4)
    0.6931
    """
    check_choice("variant", variant, tuple(TOLERANCE))
    if variant == "2c":
        return float(np.log(2))
    p = check_at_least("p", p, 2)
    return float((np.log(2) + (p - 1) * (np.log(p - 1) if variant == "2b" else 0)) / p)


def long_lag_solved(prediction: np.ndarray, batch: Batch, *, variant: str = "2a") -> np.ndarray:
    """Whether the outputs of each sequence are close to the one-hot targets, the criterion of 1997.

    Parameters
    ----------
    prediction : ndarray (p, B, p + 1), or (B, 2) for 2c
        Outputs between 0 and 1.
    batch : Batch
        From :func:`long_lag` of the same variant.
    variant : {"2a", "2b", "2c"}
        2a: all errors at all steps below 0.25. 2b: all errors at the last step below 0.25. 2c: both below 0.2.

    Returns
    -------
    ndarray (B,) of bool
        The paper stops when 10,000 sequences in a row are right.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.long_lag(np.random.default_rng(0), B=2, p=5)
    >>> tasks.long_lag_solved(np.eye(6)[batch.y], batch)
    array([ True,  True])
    """
    check_choice("variant", variant, tuple(TOLERANCE))
    right = np.abs(prediction - np.eye(prediction.shape[-1])[batch.y]) < TOLERANCE[variant]
    if variant == "2a":
        return right.all(axis=(0, 2))
    return right[-1].all(axis=-1) if variant == "2b" else right.all(axis=-1)
