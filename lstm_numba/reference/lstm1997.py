"""The network of 1997 in NumPy, straight from the appendix of the paper: slow, and written without the kernel.

One input gate and one output gate per block; all hidden units (gates and cells) feed back into all. ``W`` (H, U) has a
row for each hidden unit (input gates, output gates, cells) and a column for each source (inputs, hidden units, bias).
"""

from typing import NamedTuple

import numpy as np


def logistic(z):
    """Logistic function; complex arguments work too."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z))


class Run(NamedTuple):
    """What a run leaves behind: sources u (T, U), then (T, C) each, then answers (T, K)."""

    u: np.ndarray
    s: np.ndarray
    i: np.ndarray
    o: np.ndarray
    g: np.ndarray
    y_c: np.ndarray
    answers: np.ndarray


def run(x, W, V, blocks, frozen=None, ranges=(2, 1)):
    """Run one sequence.

    Parameters
    ----------
    x : ndarray (T, I)
        Inputs.
    W : ndarray (H, I + H + 1)
        Weights into the hidden units.
    V : ndarray (K, C + 1)
        Weights from cells and bias to the outputs.
    blocks : int
        Memory cell blocks.
    frozen : ndarray (T, U), optional
        Use these sources instead of what the weights would make of them: the truncation as a function. The gradient
        with respect to W of a run with frozen sources is exactly what the learning rule of 1997 computes.
    ranges : tuple of float
        Largest values of the squashing functions g and h.

    Returns
    -------
    Run
    """
    T, H = len(x), len(W)
    C = H - 2 * blocks
    block_of = np.arange(C) // (C // blocks)
    y, s = np.zeros(H), np.zeros(C)
    kept = []
    for t in range(T):
        u = np.concatenate([x[t], y, [1]]) if frozen is None else frozen[t]
        z = W @ u
        i, o = logistic(z[:blocks])[block_of], logistic(z[blocks : 2 * blocks])[block_of]
        g = ranges[0] * (2 * logistic(z[2 * blocks :]) - 1)
        s = s + i * g
        y_c = o * ranges[1] * (2 * logistic(s) - 1)
        y = np.concatenate([logistic(z[: 2 * blocks]), y_c])
        kept.append((u, s, i, o, g, y_c, logistic(V @ np.concatenate([y_c, [1]]))))
    return Run(*map(np.array, zip(*kept, strict=True)))


def truncated_gradient(x, targets, W, V, blocks, every_step):
    """Minus the gradient of half the squared error, truncated as in 1997.

    Parameters
    ----------
    x : ndarray (T, I)
        Inputs.
    targets : ndarray (T, K)
        Targets; only the last row counts unless ``every_step``.
    W, V, blocks
        As in :func:`run`.
    every_step : bool
        Whether the error is taken at every step.

    Returns
    -------
    dW, dV : ndarray
        Shapes of ``W`` and ``V``.
    """
    done = run(x, W, V, blocks)
    T, H = len(x), len(W)
    C = H - 2 * blocks
    block_of = np.arange(C) // (C // blocks)
    dW, dV = np.zeros_like(W), np.zeros_like(V)
    ds_din = np.zeros((C, W.shape[1]))  # state of each cell by the weights into its block's input gate
    ds_dc = np.zeros((C, W.shape[1]))  # and by the weights into the cell
    for t in range(T):
        i, o, g, u = done.i[t], done.o[t], done.g[t], done.u[t]
        q = (g + 2) / 4
        ds_din += np.outer(g * i * (1 - i), u)
        ds_dc += np.outer(i * 4 * q * (1 - q), u)
        if t < T - 1 and not every_step:
            continue
        y = done.answers[t]
        e = y * (1 - y) * (targets[t] - y)
        dV += np.outer(e, np.concatenate([done.y_c[t], [1]]))
        back = V[:, :C].T @ e
        h = 2 * logistic(done.s[t]) - 1
        e_state = o * (1 - h**2) / 2 * back
        for c in range(C):
            b = block_of[c]
            dW[blocks + b] += o[c] * (1 - o[c]) * h[c] * back[c] * u
            dW[b] += e_state[c] * ds_din[c]
            dW[2 * blocks + c] += e_state[c] * ds_dc[c]
    return dW, dV
