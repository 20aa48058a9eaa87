"""Random numbers inside kernels: xoshiro256++ (Blackman and Vigna, 2021), its state an array that is passed along."""

import math

import numpy as np
from numba import njit

_inline = njit(error_model="numpy", fastmath={"contract"}, forceinline=True)


def seeded(seed: int, stream: int = 0) -> np.ndarray:
    """State of a generator, (4,) of uint64, by way of NumPy's SeedSequence.

    Parameters
    ----------
    seed, stream : int
        Different pairs give independent generators.
    """
    return np.random.SeedSequence([seed, stream]).generate_state(4, np.uint64)


@_inline
def _rotate(x, k):
    return (x << np.uint64(k)) | (x >> np.uint64(64 - k))


@_inline
def next_bits(state):
    """64 random bits."""
    result = _rotate(state[0] + state[3], 23) + state[0]
    t = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= t
    state[3] = _rotate(state[3], 45)
    return result


@_inline
def uniform(state):
    """A float64 in [0, 1)."""
    return (next_bits(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@_inline
def below(state, n):
    """An integer in [0, n); the bias of the multiplication is below n / 2^53."""
    return np.intp(uniform(state) * n)


@_inline
def normal_pair(state):
    """Two independent standard normal numbers (Marsaglia's polar method)."""
    while True:
        a = 2.0 * uniform(state) - 1.0
        b = 2.0 * uniform(state) - 1.0
        r = a * a + b * b
        if 0.0 < r < 1.0:
            scale = math.sqrt(-2.0 * math.log(r) / r)
            return a * scale, b * scale
