"""Positions in NumPy: the sinusoidal table, and rotary positions as multiplication of complex numbers."""

import numpy as np


def sinusoidal(T, E, first=0):
    """Table (T, E) of Vaswani et al. (2017): sin in the even columns, cos in the odd ones, one frequency a pair."""
    table = np.empty((T, E))
    for t in range(T):
        for column in range(E):
            angle = (first + t) / 10000 ** (2 * (column // 2) / E)
            table[t, column] = np.sin(angle) if column % 2 == 0 else np.cos(angle)
    return table


def rotary(x, first=0):
    """Turn the pairs of the last axis of ``x (T, ..., D)``: pair k at position t by the angle t / 10000^(2k / D)."""
    T, D = len(x), x.shape[-1]
    z = x[..., 0::2] + 1j * x[..., 1::2]
    position = np.arange(first, first + T).reshape(T, *[1] * (x.ndim - 1))
    z = z * np.exp(1j * position / 10000 ** (np.arange(0, D, 2) / D))
    return np.stack([z.real, z.imag], axis=-1).reshape(x.shape)
