"""The two-sequence problem of Bengio, Simard and Frasconi, as Experiment 3 poses it: a sign, then noise."""

import numpy as np

from lstm_numba.tasks.batch import Batch, check_at_least, check_choice, check_generator, last_steps, random_lengths

NOISE_VARIANCE = 0.2
TARGET_NOISE_VARIANCE = 0.1
#: Targets of class 1 (starts with +1) and of class 2 (starts with -1).
TARGETS = {"3a": (1.0, 0.0), "3b": (1.0, 0.0), "3c": (0.2, 0.8)}
TOLERANCE = {"3a": 0.2, "3b": 0.2, "3c": 0.1}


def two_sequences(
    rng: np.random.Generator,
    B: int,
    T: int = 100,
    N: int = 3,
    *,
    variant: str = "3a",
    dtype: str | np.dtype = "float32",
) -> Batch:
    """Two-sequence problem: tell from the first N elements which of two classes a noisy sequence belongs to.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of sequences.
    T : int
        Shortest length; lengths are uniform in [T, T + T // 10].
    N : int
        Number of informative elements at the start, 1 <= N <= T: +1 for class 1, -1 for class 2. All others are
        normal with mean 0 and *variance* 0.2.
    variant : {"3a", "3b", "3c"}
        ``"3a"``: targets 1 and 0. ``"3b"``: the same noise is added to the informative elements. ``"3c"``: as 3b with
        targets 0.2 and 0.8 and normal noise of variance 0.1 on the target.
    dtype : dtype
        Of ``x`` and ``y``.

    Returns
    -------
    Batch
        ``x`` (T_max, B, 1), ``y`` (B, 1), ``clean`` (B, 1) without target noise.

    References
    ----------
    Hochreiter and Schmidhuber (1997), Section 5.3.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.two_sequences(np.random.default_rng(0), B=5, T=100, N=3)
    >>> bool(((batch.x[0, :, 0] > 0) == (batch.y[:, 0] == 1)).all())
    True
    """
    check_generator(rng)
    check_choice("variant", variant, tuple(TARGETS))
    B, T, N = check_at_least("B", B, 1), check_at_least("T", T, 1), check_at_least("N", N, 1)
    if N > T:
        raise ValueError(f"N: expected at most T = {T}, got {N}")
    lengths = random_lengths(rng, B, T)
    longest = int(lengths.max())
    x = rng.normal(0, np.sqrt(NOISE_VARIANCE), (longest, B, 1))
    first_class = rng.integers(0, 2, B) == 0
    sign = np.where(first_class, 1.0, -1.0)[:, None]
    x[:N] = sign if variant == "3a" else x[:N] + sign
    x[np.arange(longest)[:, None] >= lengths] = 0
    clean = np.where(first_class, *TARGETS[variant])[:, None]
    y = clean + rng.normal(0, np.sqrt(TARGET_NOISE_VARIANCE), clean.shape) if variant == "3c" else clean
    return Batch(x.astype(dtype), y.astype(dtype), lengths, last_steps(lengths, longest), clean.astype(dtype))


def two_sequences_baseline_loss(*, variant: str = "3a") -> float:
    """Mean squared error, against the target without noise, of the best constant answer.

    Parameters
    ----------
    variant : {"3a", "3b", "3c"}
        As in :func:`two_sequences`.

    Returns
    -------
    float
        1/4, or 0.09 for 3c.

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> tasks.two_sequences_baseline_loss()
    0.25
    """
    check_choice("variant", variant, tuple(TARGETS))
    one, two = TARGETS[variant]
    return (one - two) ** 2 / 4


def two_sequences_solved(prediction: np.ndarray, batch: Batch, *, variant: str = "3a") -> np.ndarray:
    """Whether each answer is close to the target without noise, the criterion of 1997.

    Parameters
    ----------
    prediction : ndarray (B, 1)
        Answers.
    batch : Batch
        From :func:`two_sequences` of the same variant.
    variant : {"3a", "3b", "3c"}
        Error below 0.2, or for 3c at most 0.1.

    Returns
    -------
    ndarray (B,) of bool
        The paper stops on 256 test sequences: none wrong (3a, 3c) or fewer than 6 (3b), and a mean absolute error
        below 0.01 (3a), 0.04 (3b) or 0.015 (3c).

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.two_sequences(np.random.default_rng(0), B=2)
    >>> tasks.two_sequences_solved(batch.clean + 0.15, batch)
    array([ True,  True])
    """
    check_choice("variant", variant, tuple(TARGETS))
    return (np.abs(prediction - batch.clean) < TOLERANCE[variant]).all(axis=1)
