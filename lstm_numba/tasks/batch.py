"""What every generator returns, and the small steps they share."""

from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Sequences with their targets.

    Attributes
    ----------
    x : ndarray (T, B, I)
        Inputs, time-major. Sequences shorter than T are followed by zeros.
    y : ndarray
        Targets. ``(B,)`` class numbers or ``(B, K)`` values when the answer is due at the end of a sequence;
        ``(T, B)`` class numbers or ``(T, B, K)`` values when it is due at every step.
    lengths : ndarray (B,) of int
        Number of steps of each sequence.
    mask : ndarray (T, B) of bool
        True at the steps whose target counts. The answer at the end counts at step ``lengths - 1`` only.
    clean : ndarray or None
        Targets without noise, where a task adds noise to ``y``.
    """

    x: np.ndarray
    y: np.ndarray
    lengths: np.ndarray
    mask: np.ndarray
    clean: np.ndarray | None = None


def last_steps(lengths: np.ndarray, T: int) -> np.ndarray:
    """Mark the last step of each sequence, (T, B) of bool."""
    return np.arange(T)[:, None] == lengths - 1


def valid_steps(lengths: np.ndarray, T: int) -> np.ndarray:
    """Mark the steps that belong to a sequence, (T, B) of bool."""
    return np.arange(T)[:, None] < lengths


def one_hot(symbols: np.ndarray, size: int, dtype: str | np.dtype) -> np.ndarray:
    """Add an axis of ``size`` with a single 1; a negative symbol is padding and becomes zeros."""
    return (symbols[..., None] == np.arange(size)).astype(dtype)


def largest_is_right(prediction: np.ndarray, batch: Batch) -> np.ndarray:
    """Whether the largest of K outputs (T, B, K) is right at every step that counts, for each sequence (B,)."""
    return ((prediction.argmax(axis=-1) == batch.y) | ~batch.mask).all(axis=0)


def random_lengths(rng: np.random.Generator, B: int, T: int) -> np.ndarray:
    """Lengths between T and T + T // 10, both included, as in Hochreiter and Schmidhuber's Experiments 3 to 6."""
    return rng.integers(T, T + T // 10, size=B, endpoint=True)


def check_at_least(name: str, value: int, smallest: int) -> int:
    """Return ``value`` if it is an integer that is large enough."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}")
    if value < smallest:
        raise ValueError(f"{name}: expected at least {smallest}, got {value}")
    return int(value)


def check_choice(name: str, value: object, choices: tuple) -> None:
    """Raise if ``value`` is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def check_generator(rng: np.random.Generator) -> None:
    """Raise unless ``rng`` is a Generator; a seed or the global state is refused."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy Generator (np.random.default_rng(seed)), got {type(rng).__name__}")


def constant_mse(values: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared error of the best constant for a discrete distribution: its variance."""
    mean = np.sum(values * probabilities)
    return float(np.sum((values - mean) ** 2 * probabilities))
