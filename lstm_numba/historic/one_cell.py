"""Experiments 2a and 2b: one memory cell without output gate beside direct connections from inputs to outputs.

The cell differs from the others: its input is squashed to [0, 1], its state is shown as it is. Cell and input gate
see the inputs only, so nothing is truncated. The same function trains the recurrent network that the paper sets beside
it: one logistic unit in place of the cell, by real-time recurrent learning, which is exact.
"""

import numpy as np

from lstm_numba.elementary import sigmoid
from lstm_numba.historic.random_numbers import below
from lstm_numba.jit import kernel

CELL, LOGISTIC_UNIT = 0, 1
_BLOCK = 100  # sequences over which the error is averaged to see whether it still decreases


@kernel()
def sequence_gradient(symbols, direct, gate, unit, kind, trace, gradients, wrong):
    """Run one sequence and add minus the gradient of half the squared error, summed over steps, to ``gradients``.

    ``symbols`` (p + 1,) includes the last target. ``direct`` (S + 1, S): weights from inputs and, the last row, from
    the hidden unit to the outputs. ``gate`` (S + 1,), ``unit`` (S + 1,): weights from inputs into input gate and
    cell; the last number of ``unit`` is the recurrent weight of the logistic unit. ``trace`` (2, S + 1) is a work
    array. ``wrong`` (2,) receives the largest error at any step and at the last one. Returns the squared error.
    """
    S = direct.shape[1]
    d_direct, d_gate, d_unit = gradients
    trace[:] = 0.0
    s = 0.0
    total = 0.0
    wrong[0] = 0.0
    for t in range(len(symbols) - 1):
        a = symbols[t]
        if kind == CELL:
            i, g = sigmoid(gate[a]), sigmoid(unit[a])
            s += i * g
            trace[0, a] += g * (i - i * i)
            trace[1, a] += i * (g - g * g)
        else:
            before = s
            s = sigmoid(unit[a] + unit[S] * before)
            slope = s - s * s
            for m in range(S + 1):
                trace[1, m] *= slope * unit[S]
            trace[1, a] += slope
            trace[1, S] += slope * before
        back, worst = 0.0, 0.0
        for k in range(S):
            y = sigmoid(direct[a, k] + direct[S, k] * s)
            difference = (1.0 if k == symbols[t + 1] else 0.0) - y
            e = difference * (y - y * y)
            d_direct[a, k] += e
            d_direct[S, k] += e * s
            back += e * direct[S, k]
            total += difference * difference
            worst = max(worst, abs(difference))
        for m in range(S + 1):
            d_gate[m] += back * trace[0, m]
            d_unit[m] += back * trace[1, m]
        wrong[1] = worst
        wrong[0] = max(wrong[0], worst)
    return total


@kernel()
def train(direct, gate, unit, kind, seed, p, random_middle, rate, enough, most, record):
    """Train online until ``enough`` sequences in a row are right, or ``most`` have been seen.

    Right means errors below 0.25 at all steps, or with ``random_middle`` (2b) at the last one. The cell is added when
    the squared error of the last 100 sequences is no more than 1 per cent below that of the 100 before. ``record``
    (3,) gets the first sequence of the successful run (NaN without success), the sequence at which the cell was
    added, and the steps.
    """
    S = p + 1
    symbols = np.empty(p + 1, np.int64)
    gradients = (np.zeros_like(direct), np.zeros_like(gate), np.zeros_like(unit))
    trace, wrong = np.zeros((2, S + 1)), np.zeros(2)
    hidden_row = direct[S].copy()
    with_unit = kind == LOGISTIC_UNIT
    if not with_unit:
        direct[S] = 0.0  # an absent cell: it shows nothing and no error comes back to it
    run, error, error_before = 0, 0.0, np.inf
    record[:] = np.nan
    n = 0
    while n < most:
        n += 1
        symbols[0] = p - 1 + below(seed, 2)
        symbols[p] = symbols[0]
        for t in range(1, p):
            symbols[t] = below(seed, p - 1) if random_middle else t - 1
        gradients[0][:] = 0.0
        gradients[1][:] = 0.0
        gradients[2][:] = 0.0
        error += sequence_gradient(symbols, direct, gate, unit, kind, trace, gradients, wrong)
        direct[:S] += rate * gradients[0][:S]
        if with_unit:
            direct[S] += rate * gradients[0][S]
            gate += rate * gradients[1]
            unit += rate * gradients[2]
        elif n % _BLOCK == 0:
            if error > 0.99 * error_before:
                with_unit = True
                direct[S] = hidden_row
                record[1] = n
            error_before, error = error, 0.0
        run = run + 1 if wrong[1 if random_middle else 0] < 0.25 else 0
        if run >= enough:
            record[0] = n - enough
            break
    record[2] = n * p
