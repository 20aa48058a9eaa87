"""The network of Gers, Schmidhuber and Cummins (2000) in NumPy: slow, and written without the kernel.

It differs from that of 1997 in three ways: forget gates, if it has them; only the cells feed back, not the gates; and
the inputs reach the outputs directly as well. ``W`` (H, U) has a row for each hidden unit (input gates, output gates,
forget gates, cells) and a column for each source (inputs, cells of the step before, bias).
"""

from typing import NamedTuple

import numpy as np


def logistic(z):
    """Logistic function; complex arguments work too."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z))


class Run(NamedTuple):
    """What a run leaves behind: sources u (T, U), states s and forget factors f (T, C), answers (T, K)."""

    u: np.ndarray
    s: np.ndarray
    f: np.ndarray
    answers: np.ndarray


def run(x, W, V, blocks, decay=None, frozen=None):
    """Run one stream from the zero state.

    Parameters
    ----------
    x : ndarray (T, I)
        Inputs.
    W : ndarray (H, I + C + 1)
        Weights into the hidden units.
    V : ndarray (K, C + I + 1)
        Weights from cells, inputs and bias to the outputs.
    blocks : int
        Memory cell blocks; the cells of a block share its gates.
    decay : float, optional
        A constant in place of the forget gates, which ``W`` then has no rows for; 1 is the cell of 1997.
    frozen : ndarray (T, U), optional
        Use these sources instead of what the weights would make of them: the truncation as a function. The gradient
        with respect to W of a run with frozen sources is exactly what the truncated learning rule computes.

    Returns
    -------
    Run

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.reference import lstm2000
    >>> run = lstm2000.run(np.eye(3), np.zeros((8, 3 + 2 + 1)), np.zeros((3, 2 + 3 + 1)), blocks=2)
    >>> run.s.shape, float(run.f[0, 0])
    ((3, 2), 0.5)
    """
    gates = (2 if decay is not None else 3) * blocks
    C = len(W) - gates
    block_of = np.arange(C) // (C // blocks)
    y, s = np.zeros(C), np.zeros(C)
    kept = []
    for t in range(len(x)):
        u = np.concatenate([x[t], y, [1]]) if frozen is None else frozen[t]
        z = W @ u
        i, o = logistic(z[:blocks])[block_of], logistic(z[blocks : 2 * blocks])[block_of]
        f = np.full(C, decay) if decay is not None else logistic(z[2 * blocks : gates])[block_of]
        s = f * s + i * (4 * logistic(z[gates:]) - 2)
        y = o * (2 * logistic(s) - 1)
        kept.append((u, s, f, logistic(V @ np.concatenate([y, x[t], [1]]))))
    return Run(*map(np.array, zip(*kept, strict=True)))
