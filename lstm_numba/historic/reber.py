"""Experiment 1 of 1997 taken apart: other readings of its setup, and the gradient with nothing left out.

:mod:`lstm_numba.historic.kernel` carries traces forward and keeps nothing of a string. That is the paper's rule, and
it can compute no other. Here the activations of a string are kept and the errors go back through them, with or
without the paths that the rule of 1997 cuts. With the cut, both compute the same numbers in different ways.
"""

import numpy as np

from lstm_numba.elementary import sigmoid
from lstm_numba.historic.random_numbers import below
from lstm_numba.jit import kernel


@kernel()
def _rows(W, V, steps, sizes):
    """Arrays for what a string leaves behind: sources, gates, g, s, h, cell outputs, answers; a row for each step.

    The last array is scratch space.
    """
    cells, width = sizes[1] * sizes[2], W.shape[1]
    return (
        np.zeros((steps, len(W))),
        np.zeros((steps, width)),
        np.zeros((steps, cells)),
        np.zeros((steps, cells)),
        np.zeros((steps, cells)),
        np.zeros((steps, cells)),
        np.zeros((steps, V.shape[1])),
        np.zeros((4, max(width, V.shape[1]))),
    )


@kernel()
def _forward(W, V, S, sizes, ranges, symbols, length, kept):
    """Run one string from the zero state and keep everything."""
    u, gates, g, s, h, out, answer, scratch = kept
    blocks, per_block, hidden = sizes[1], sizes[2], sizes[3]
    cells, first_input, width = blocks * per_block, hidden + 1, W.shape[1]
    z = scratch[0]
    u[:length] = 0.0
    for t in range(length):
        symbol = symbols[t]
        u[t, hidden] = 1.0
        u[t, first_input + symbol] = 1.0
        for k in range(width):  # columns beyond the hidden units are zero
            z[k] = W[hidden, k] + W[first_input + symbol, k]
        for j in range(hidden):
            for k in range(width):
                z[k] += u[t, j] * W[j, k]
        for k in range(2 * blocks):
            gates[t, k] = sigmoid(z[k])
        for c in range(cells):
            b = c // per_block
            g[t, c] = ranges[0] * (2.0 * sigmoid(z[2 * blocks + c]) - 1.0)
            s[t, c] = gates[t, b] * g[t, c] + (s[t - 1, c] if t > 0 else 0.0)
            h[t, c] = ranges[1] * (2.0 * sigmoid(s[t, c]) - 1.0)
            out[t, c] = gates[t, blocks + b] * h[t, c]
        for k in range(V.shape[1]):
            answer[t, k] = V[cells, k] + S[symbol, k]
        for c in range(cells):
            for k in range(V.shape[1]):
                answer[t, k] += V[c, k] * out[t, c]
        for k in range(V.shape[1]):
            answer[t, k] = sigmoid(answer[t, k])
        if t < length - 1:
            for k in range(2 * blocks):
                u[t + 1, k] = gates[t, k]
            for c in range(cells):
                u[t + 1, 2 * blocks + c] = out[t, c]


@kernel()
def _backward(W, V, sizes, ranges, whole, symbols, length, kept, dW, dV, dS):
    """Add minus the gradient of half the squared error of all steps to ``dW``, ``dV`` and ``dS``."""
    u, gates, g, _, h, out, answer, scratch = kept
    blocks, per_block, hidden, outputs = sizes[1], sizes[2], sizes[3], sizes[4]
    cells, first_input, width = blocks * per_block, hidden + 1, W.shape[1]
    ds, dz, du, e = scratch[0], scratch[1], scratch[2], scratch[3]
    scratch[:] = 0.0
    for t in range(length - 1, -1, -1):
        for k in range(outputs):
            target = 1.0 if symbols[t + 1] == k else 0.0
            e[k] = answer[t, k] * (1.0 - answer[t, k]) * (target - answer[t, k])
            for c in range(cells):
                dV[c, k] += e[k] * out[t, c]
            dV[cells, k] += e[k]
            dS[symbols[t], k] += e[k]
        for k in range(2 * blocks):
            dz[k] = du[k]  # zero unless the gradient is whole
        for c in range(cells):
            b = c // per_block
            back = du[2 * blocks + c]
            for k in range(outputs):
                back += V[c, k] * e[k]
            dz[blocks + b] += back * h[t, c]
            ds[c] += back * gates[t, blocks + b] * 0.5 * (ranges[1] - h[t, c] * h[t, c] / ranges[1])
            dz[b] += ds[c] * g[t, c]
            dz[2 * blocks + c] = ds[c] * gates[t, b] * 0.5 * (ranges[0] - g[t, c] * g[t, c] / ranges[0])
        for k in range(2 * blocks):
            dz[k] *= gates[t, k] * (1.0 - gates[t, k])
        for j in range(first_input):
            for k in range(width):
                dW[j, k] += u[t, j] * dz[k]
        for k in range(width):
            dW[first_input + symbols[t], k] += dz[k]
        if whole:
            for j in range(hidden):
                total = 0.0
                for k in range(width):
                    total += W[j, k] * dz[k]
                du[j] = total


@kernel()
def gradient(W, V, S, sizes, ranges, whole, symbols, length):
    """Minus the gradient of half the squared error of one string, all steps together.

    ``ranges`` (2,) are the largest values of g and h; ``whole`` includes the paths through earlier gates and cell
    outputs; ``symbols`` (length + 1,) ends with the symbol to be predicted last. Returns ``dW``, ``dV``, ``dS``.
    """
    kept = _rows(W, V, length, sizes)
    dW, dV, dS = np.zeros_like(W), np.zeros_like(V), np.zeros_like(S)
    _forward(W, V, S, sizes, ranges, symbols, length, kept)
    _backward(W, V, sizes, ranges, whole, symbols, length, kept, dW, dV, dS)
    return dW, dV, dS


@kernel()
def _mark_wrong(wrong, answer, legal, length, outputs):
    """Mark the steps at which a legal symbol does not have a larger output than all others; returns their number."""
    marked = 0
    for t in range(length):
        lowest, highest = 2.0, -1.0
        for k in range(outputs):
            if legal[t, k]:
                lowest = min(lowest, answer[t, k])
            else:
                highest = max(highest, answer[t, k])
        wrong[t] = lowest <= highest
        marked += wrong[t]
    return marked


@kernel()
def examine(W, V, S, sizes, ranges, strings, lengths, legal, wrong, states):
    """Run all strings; mark wrong steps in ``wrong`` (n, T) and write the states to ``states`` (n, T, C)."""
    kept = _rows(W, V, strings.shape[1], sizes)
    wrong[:] = False
    states[:] = 0.0
    for n in range(len(strings)):
        _forward(W, V, S, sizes, ranges, strings[n], lengths[n], kept)
        _mark_wrong(wrong[n], kept[6], legal[n], lengths[n], sizes[4])
        states[n, : lengths[n]] = kept[3][: lengths[n]]


@kernel()
def train(
    W,
    V,
    S,
    biased,
    sizes,
    ranges,
    whole,
    shortcuts,
    in_order,
    seed,
    strings,
    lengths,
    legal,
    half,
    rate,
    check_every,
    most,
    record,
):
    """Train as :func:`lstm_numba.historic.kernel.train_reber` does, changes being applied after each string.

    ``S`` (inputs, P) are weights from inputs to outputs, which change only with ``shortcuts``; ``in_order`` goes
    through the training strings one after the other instead of drawing them; for the others see :func:`gradient`.
    """
    kept = _rows(W, V, strings.shape[1], sizes)
    dW, dV, dS = np.zeros_like(W), np.zeros_like(V), np.zeros_like(S)
    wrong = np.zeros(strings.shape[1], np.bool_)
    hidden, cells, outputs = sizes[3], sizes[1] * sizes[2], sizes[4]
    enough = 0.9 * len(strings)
    record[:] = np.nan
    steps, n = 0, 0
    while n < most:
        n += 1
        pick = (n - 1) % half if in_order else below(seed, half)
        dW[:] = 0.0
        dV[:] = 0.0
        dS[:] = 0.0
        _forward(W, V, S, sizes, ranges, strings[pick], lengths[pick], kept)
        _backward(W, V, sizes, ranges, whole, strings[pick], lengths[pick], kept, dW, dV, dS)
        steps += lengths[pick]
        for k in range(W.shape[1]):
            dW[hidden, k] *= biased[k]
        if not sizes[5]:
            dV[cells] = 0.0
        W += rate * dW
        V += rate * dV
        if shortcuts:
            S += rate * dS
        if n % check_every == 0:
            right = len(strings)
            for m in range(len(strings)):
                _forward(W, V, S, sizes, ranges, strings[m], lengths[m], kept)
                right -= _mark_wrong(wrong, kept[6], legal[m], lengths[m], outputs) > 0
                if right < enough:
                    break  # neither goal is reached: the rest need not be looked at
            if np.isnan(record[0, 0]) and right >= enough:
                record[0] = n, steps
            if right == len(strings):
                record[1] = n, steps
                return
    record[1, 1] = steps
