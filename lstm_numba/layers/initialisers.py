"""How parameters start."""

import numpy as np


def uniform_fan(shape: tuple[int, ...], fan: int, rng: np.random.Generator) -> np.ndarray:
    """Draw from U(-1/sqrt(fan), 1/sqrt(fan)), the default of PyTorch's recurrent and linear layers."""
    bound = 1 / np.sqrt(fan)
    return rng.uniform(-bound, bound, shape)
