"""Parity: one bit of state that every input can flip."""

import numpy as np

from lstm_numba.tasks.batch import (
    Batch,
    check_at_least,
    check_choice,
    check_generator,
    largest_is_right,
    last_steps,
    valid_steps,
)


def parity(
    rng: np.random.Generator,
    B: int,
    longest: int = 40,
    *,
    shortest: int | None = None,
    every_step: bool = False,
    dtype: str | np.dtype = "float32",
) -> Batch:
    """Parity: is the number of ones so far odd?

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of sequences.
    longest : int
        Largest length.
    shortest : int, optional
        Smallest length (default ``longest``: all have one length).
    every_step : bool
        Count every step instead of the last one only.
    dtype : dtype
        Of ``x``.

    Returns
    -------
    Batch
        ``x`` (T_max, B, 1) of 0 and 1, ``y`` (T_max, B) parity of what was read so far; the mask says which steps
        count.

    References
    ----------
    Bengio, Simard and Frasconi (1994); Beck et al. (2024) train on lengths 3 to 40 and test up to 256.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.parity(np.random.default_rng(0), B=3, longest=8)
    >>> bool((batch.x.sum(axis=0)[:, 0] % 2 == batch.y[-1]).all())
    True
    """
    check_generator(rng)
    check_choice("every_step", every_step, (True, False))
    B, longest = check_at_least("B", B, 1), check_at_least("longest", longest, 1)
    shortest = longest if shortest is None else check_at_least("shortest", shortest, 1)
    if shortest > longest:
        raise ValueError(f"shortest: expected at most longest = {longest}, got {shortest}")
    lengths = rng.integers(shortest, longest, B, endpoint=True)
    T = int(lengths.max())
    inside = valid_steps(lengths, T)
    bits = rng.integers(0, 2, (T, B)) * inside
    y = np.where(inside, np.cumsum(bits, axis=0) % 2, 0)
    return Batch(bits[..., None].astype(dtype), y, lengths, inside if every_step else last_steps(lengths, T))


def parity_baseline_loss() -> float:
    """Cross-entropy of the best constant answer: ln 2.

    Returns
    -------
    float

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> round(tasks.parity_baseline_loss(), 4)
    0.6931
    """
    return float(np.log(2))


def parity_solved(prediction: np.ndarray, batch: Batch) -> np.ndarray:
    """Whether the larger of two outputs is the right one at every step that counts.

    Parameters
    ----------
    prediction : ndarray (T, B, 2)
        Outputs or logits.
    batch : Batch
        From :func:`parity`.

    Returns
    -------
    ndarray (B,) of bool

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.parity(np.random.default_rng(0), B=2, longest=5)
    >>> tasks.parity_solved(np.eye(2)[batch.y], batch)
    array([ True,  True])
    """
    return largest_is_right(prediction, batch)
