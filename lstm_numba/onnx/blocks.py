"""How ONNX stacks the blocks of weights, and how we do."""

from collections.abc import Sequence

import numpy as np

# For each of ONNX's blocks, our block: i o f c out of i f g o; z r h out of r z n.
TO_ONNX = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
PEEPHOLES_TO_ONNX = (0, 2, 1)  # i o f out of i f o


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The order that undoes an order.

    Examples
    --------
    >>> inverse((0, 3, 1, 2))
    (0, 2, 3, 1)
    """
    return tuple(int(position) for position in np.argsort(order))


def reorder(value: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Put the blocks of rows of ``value`` into another order: block n of the result is block ``order[n]``.

    Examples
    --------
    >>> reorder(np.arange(8), (0, 3, 1, 2))
    array([0, 1, 6, 7, 2, 3, 4, 5])
    """
    blocks = np.split(value, len(order))
    return np.concatenate([blocks[position] for position in order])
