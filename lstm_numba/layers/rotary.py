"""Rotary positions: queries and keys are turned by an angle that grows with their position."""

import numpy as np


def rotary_tables(first: int, T: int, D: int, dtype: np.dtype, base: float = 10000.0) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin, each (T, 1, 1, D / 2), of positions ``first ... first + T - 1``."""
    frequency = base ** (-np.arange(0, D, 2) / D)
    angle = (np.arange(first, first + T)[:, None] * frequency)[:, None, None, :]
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> None:
    """Turn the pairs (x[2k], x[2k + 1]) of the last axis, in place; ``-sin`` turns them back."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = even * cos - odd * sin
    odd[...] = even * sin + odd * cos
    even[...] = turned
