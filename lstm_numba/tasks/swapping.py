"""Swapped cups: a state that many inputs change, and whose changes do not commute."""

import numpy as np

from lstm_numba.tasks.batch import Batch, check_at_least, check_generator, largest_is_right, one_hot


def swapped_cups(
    rng: np.random.Generator, B: int, T: int = 16, *, cups: int = 5, dtype: str | np.dtype = "float32"
) -> Batch:
    """Swapped cups: under which cup is the ball?

    The first step shows the ball. Each later step swaps two neighbouring cups, or lets them stand. The swaps do not
    commute, and from five cups on they generate a group that is not solvable. A fixed number of layers whose states are
    changed by sums and elementwise products only cannot follow them at every length, if the class TC0 is smaller than
    NC1, as is believed.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of sequences.
    T : int
        Time steps, the first included.
    cups : int
        Number of cups, at least 2.
    dtype : dtype
        Of ``x``.

    Returns
    -------
    Batch
        ``x`` (T, B, 2 cups), one-hot: symbol k < cups shows the ball under cup k, symbol cups + k swaps cups k and
        k + 1, the last symbol is a rest; ``y`` (T, B) position of the ball after each step. All steps count but the
        first, where the answer is to be seen.

    References
    ----------
    W. Merrill, J. Petty and A. Sabharwal, "The Illusion of State in State-Space Models", ICML, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.swapped_cups(np.random.default_rng(0), B=3, T=6)
    >>> batch.x.shape, bool((batch.x.argmax(axis=-1)[0] == batch.y[0]).all())
    ((6, 3, 10), True)
    """
    check_generator(rng)
    B, T, cups = check_at_least("B", B, 1), check_at_least("T", T, 2), check_at_least("cups", cups, 2)
    first = rng.integers(0, cups, (1, B))
    swaps = rng.integers(0, cups, (T - 1, B))  # swap number cups - 1 would need one more cup: a rest
    y = np.empty((T, B), int)
    y[0] = first
    for t, swap in enumerate(swaps, start=1):
        rest = swap == cups - 1
        y[t] = y[t - 1] + (~rest & (y[t - 1] == swap)) - (~rest & (y[t - 1] == swap + 1))
    mask = np.ones((T, B), bool)
    mask[0] = False
    return Batch(one_hot(np.concatenate([first, cups + swaps]), 2 * cups, dtype), y, np.full(B, T), mask)


def swapped_cups_baseline_loss(*, cups: int = 5) -> float:
    """Cross-entropy of the best constant answer: all positions are equally likely at all times.

    Parameters
    ----------
    cups : int
        As for :func:`swapped_cups`.

    Returns
    -------
    float

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> round(tasks.swapped_cups_baseline_loss(), 4)
    1.6094
    """
    return float(np.log(check_at_least("cups", cups, 2)))


def swapped_cups_solved(prediction: np.ndarray, batch: Batch) -> np.ndarray:
    """Whether the largest output is the right one at every step that counts.

    Parameters
    ----------
    prediction : ndarray (T, B, cups)
        Outputs or logits.
    batch : Batch
        From :func:`swapped_cups`.

    Returns
    -------
    ndarray (B,) of bool

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.swapped_cups(np.random.default_rng(0), B=2)
    >>> tasks.swapped_cups_solved(np.eye(5)[batch.y], batch)
    array([ True,  True])
    """
    return largest_is_right(prediction, batch)
