"""One time step, one update, one training run of the network of 1997, compiled.

The learning rule is real-time recurrent learning with a truncated gradient. The derivative of the state ``s`` of a
cell with respect to a weight ``w`` is carried forward in time,

    ds(t)/dw = ds(t-1)/dw + [what s(t) = s(t-1) + i(t) g(t) adds when w is changed now],

and what a change of ``w`` did to the gates and cells of *earlier* steps, through the recurrent connections, is left
out. So nothing has to be remembered but one trace per weight, and the error inside a cell can neither grow nor fade.

Layout. ``W`` is (U, P): rows are sources (hidden units, bias, inputs), columns are hidden units (input gates,
output gates, cells). The traces ``D`` are (U, Q): for each source first the C traces of the weights into the cells'
input gates (those of the first cells of all blocks, of the second cells, and so on, so that a row of gates is updated
as one vector), then at LANES the C traces of the weights into the cells. A weight into an input gate has one trace for
each cell of its block, because each cell has its own state.
"""

import numpy as np
from numba import njit

from lstm_numba.cells import lstm1997_errors, lstm1997_step, lstm1997_trace
from lstm_numba.elementary import sigmoid
from lstm_numba.historic import sequences
from lstm_numba.historic.lanes import LANES, add_products, add_rows, add_scaled
from lstm_numba.historic.random_numbers import below
from lstm_numba.jit import kernel

_inline = njit(error_model="numpy", fastmath={"contract"}, forceinline=True)


@_inline
def step(W, sizes, x_row, symbol, y, y_prev, z, cell, D, learning):
    """Advance all units by one time step, and the traces if the run is learning.

    ``y`` (P,) holds gates and cell outputs, ``y_prev`` receives those of the step before. ``cell`` (6, LANES) holds
    i, o, g, s, h, y of the cells. The input is ``x_row`` if ``symbol`` is negative, otherwise the one-hot vector with
    a 1 at ``symbol``.
    """
    inputs, blocks, per_block, hidden = sizes[0], sizes[1], sizes[2], sizes[3]
    cells, first_input = blocks * per_block, hidden + 1
    width, lanes = W.shape[1], cell.shape[1]  # known at run time only, so that LLVM vectorises instead of unrolling
    for k in range(width):
        y_prev[k] = y[k]
        z[k] = W[hidden, k]
    for first in range(0, width, LANES):
        add_rows(z, first, y_prev, W, first, width, hidden)
        if symbol >= 0:
            add_scaled(z, first, W, (first_input + symbol) * width + first, 1.0)
        else:
            add_rows(z, first, x_row, W, first_input * width + first, width, inputs)

    for k in range(lanes):  # at most 4 blocks: all gates are among the first 8 units
        y[k] = sigmoid(z[k])
    i, o, g, s, h, out = cell[0], cell[1], cell[2], cell[3], cell[4], cell[5]
    for b in range(blocks):
        for c in range(b * per_block, (b + 1) * per_block):
            i[c] = y[b]
            o[c] = y[blocks + b]
            g[c] = z[2 * blocks + c]
    for c in range(lanes):
        g[c], s[c], h[c], out[c] = lstm1997_step(i[c], g[c], o[c], s[c])
    for c in range(cells):
        y[2 * blocks + c] = out[c]
    if learning:
        for c in range(lanes):
            z[c], z[lanes + c] = lstm1997_trace(i[c], g[c])  # z has done its work; it is long enough
        if per_block > 1:
            for b in range(blocks):
                for m in range(per_block):
                    c = b * per_block + m
                    z[m * blocks + b], _ = lstm1997_trace(i[c], g[c])
        for first in range(0, 2 * LANES, LANES):
            for j in range(hidden):
                add_scaled(D, j * 2 * LANES + first, z, first, y_prev[j])
            add_scaled(D, hidden * 2 * LANES + first, z, first, 1.0)
            if symbol >= 0:
                add_scaled(D, (first_input + symbol) * 2 * LANES + first, z, first, 1.0)
            else:
                for j in range(inputs):
                    add_scaled(D, (first_input + j) * 2 * LANES + first, z, first, x_row[j])


@_inline
def output(V, sizes, cell, answer):
    """Outputs from the cell outputs of the same time step; those beyond the last are padding."""
    cells, width = sizes[1] * sizes[2], V.shape[1]
    for k in range(width):
        answer[k] = V[cells, k]
    for first in range(0, width, LANES):
        add_rows(answer, first, cell[5], V, first, width, cells)
    for k in range(width):
        answer[k] = sigmoid(answer[k])


@_inline
def gradient(V, sizes, x_row, symbol, y, y_prev, cell, D, answer, target, rate, scratch, dW, dV):
    """Add the changes of all weights that the error at this step asks for, times ``rate``, to ``dW`` and ``dV``.

    ``dW`` and ``dV`` may be the weights themselves.
    """
    inputs, blocks, per_block, hidden, outputs, output_bias = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
    cells = blocks * per_block
    first_input = hidden + 1
    o, h, out = cell[1], cell[4], cell[5]
    e, es, eo = scratch[0], scratch[1], scratch[2]
    # es again, a row for each place in a block. What is beyond what exists stays zero everywhere.
    by_place = scratch[3:]
    for k in range(outputs):
        e[k] = answer[k] * (1.0 - answer[k]) * (target[k] - answer[k])
    for b in range(blocks):
        eo[blocks + b] = 0.0
        for m in range(per_block):
            c = b * per_block + m
            back = 0.0
            for k in range(outputs):
                back += V[c, k] * e[k]
            to_gate, to_state = lstm1997_errors(o[c], h[c], back)
            eo[blocks + b] += rate * to_gate
            es[c] = rate * to_state
            by_place[m, b] = es[c]
    if output_bias:
        for first in range(0, V.shape[1], LANES):
            add_scaled(dV, cells * V.shape[1] + first, e, first, rate)
    for k in range(outputs):
        e[k] *= rate
    for first in range(0, V.shape[1], LANES):
        for c in range(cells):
            add_scaled(dV, c * V.shape[1] + first, e, first, out[c])

    rows, width = first_input + inputs, dW.shape[1]
    if width >= 2 * blocks + LANES:
        for j in range(rows):
            add_products(dW, j * width + 2 * blocks, es, 0, D, j * 2 * LANES + LANES)
    else:
        for j in range(rows):
            for c in range(cells):
                dW[j, 2 * blocks + c] += es[c] * D[j, LANES + c]
    for m in range(per_block):
        for j in range(rows):
            add_products(dW, j * width, by_place[m], 0, D, j * 2 * LANES + m * blocks)
    for j in range(hidden):
        add_scaled(dW, j * width, eo, 0, y_prev[j])
    add_scaled(dW, hidden * width, eo, 0, 1.0)
    if symbol >= 0:
        add_scaled(dW, (first_input + symbol) * width, eo, 0, 1.0)
    else:
        for j in range(inputs):
            add_scaled(dW, (first_input + j) * width, eo, 0, x_row[j])


@_inline
def _keep_missing_biases(W, biased, hidden):
    for k in range(W.shape[1]):
        W[hidden, k] *= biased[k]


@_inline
def _clear(a):
    a[:] = 0.0


@_inline
def run_sequence(W, V, sizes, x, symbols, length, state, learning):
    """Run one sequence from the zero state; the outputs of its last step are in the answer."""
    y, y_prev, z, cell, D, answer, _ = state
    _clear(y)
    _clear(cell)
    if learning:
        _clear(D)
    has_symbols = len(x) == 1
    for t in range(length):
        symbol = symbols[t] if has_symbols else -1
        step(W, sizes, x[0 if has_symbols else t], symbol, y, y_prev, z, cell, D, learning)
    output(V, sizes, cell, answer)


@kernel()
def workspace(W, V):
    """Arrays of a run: y, y_prev, z, cell, traces, answer, scratch."""
    P = W.shape[1]
    return (
        np.zeros(P),
        np.zeros(P),
        np.zeros(max(P, 2 * LANES)),
        np.zeros((6, LANES)),
        np.zeros((len(W), 2 * LANES)),
        np.zeros(V.shape[1]),
        np.zeros((3 + LANES, max(V.shape[1], LANES))),
    )


@kernel()
def last_step_update(W, V, biased, sizes, x, symbols, length, target, rate):
    """Run one sequence and apply its update, the error being at the end; returns the outputs before the update."""
    state = workspace(W, V)
    run_sequence(W, V, sizes, x, symbols, length, state, True)
    y, y_prev, _, cell, D, answer, scratch = state
    symbol = symbols[length - 1] if len(x) == 1 else -1
    gradient(
        V, sizes, x[0 if symbol >= 0 else length - 1], symbol, y, y_prev, cell, D, answer, target, rate, scratch, W, V
    )
    _keep_missing_biases(W, biased, sizes[3])
    return answer[: sizes[4]].copy()


@kernel()
def count_wrong(W, V, sizes, rng, task, numbers, n, tolerance, x, symbols, target, clean, state):
    """Errors on ``n`` fresh sequences: number wrong, mean squared and mean absolute error over all outputs."""
    outputs = sizes[4]
    answer = state[5]
    wrong, squares, absolutes = 0, 0.0, 0.0
    for _ in range(n):
        length = sequences.draw(rng, task, numbers, x, symbols, target, clean)
        run_sequence(W, V, sizes, x, symbols, length, state, False)
        worst = 0.0
        for k in range(outputs):
            d = abs(clean[k] - answer[k])
            squares += d * d
            absolutes += d
            worst = max(worst, d)
        if worst >= tolerance:
            wrong += 1
    return wrong, squares / (n * outputs), absolutes / (n * outputs)


@kernel()
def train(
    W,
    V,
    biased,
    sizes,
    seeds,
    task,
    numbers,
    buffers,
    rate,
    tolerance,
    window,
    most_wrong,
    check_every,
    limits,
    most,
    record,
):
    """Train online, the error being at the end of each sequence, until the last goal is reached or ``most`` are seen.

    Goals are reached one after the other. With ``check_every == 0``, goal n is at most ``most_wrong[n]`` wrong among
    the last ``window`` training sequences. Otherwise 256 test sequences are looked at after each ``check_every``
    training sequences, and goal n is at most ``most_wrong[n]`` of them wrong and a mean absolute error below
    ``limits[n]``.

    ``seeds`` (3, 4) are the states of the random numbers of the training sequences, of the test set that is looked at
    during training, and of the final test sequences. ``record`` (goals + 1, 5) gets for each goal: sequences seen (NaN
    if it was not reached), then on 2560 fresh sequences the number wrong, the mean squared error and the mean absolute
    error, then the time steps of training so far; the last row is the state at the end.
    """
    state = workspace(W, V)
    y, y_prev, _, cell, D, answer, scratch = state
    x, symbols, target, clean = buffers
    hidden, outputs, has_symbols = sizes[3], sizes[4], len(x) == 1
    recent = np.zeros(max(window, 1), np.uint8)
    right, steps, goal, n = 0, 0, 0, 0
    record[:] = np.nan
    while n < most and goal < len(most_wrong):
        n += 1
        length = sequences.draw(seeds[0], task, numbers, x, symbols, target, clean)
        steps += length
        run_sequence(W, V, sizes, x, symbols, length, state, True)
        worst = 0.0
        for k in range(outputs):
            worst = max(worst, abs(clean[k] - answer[k]))
        symbol = symbols[length - 1] if has_symbols else -1
        last = 0 if has_symbols else length - 1
        gradient(V, sizes, x[last], symbol, y, y_prev, cell, D, answer, target, rate, scratch, W, V)
        _keep_missing_biases(W, biased, hidden)
        if window > 0:
            ok = np.uint8(worst < tolerance)
            place = n % window
            right += int(ok) - int(recent[place])
            recent[place] = ok
        while goal < len(most_wrong):
            if check_every == 0:
                if window - right > most_wrong[goal]:
                    break
            else:
                if n % check_every != 0:
                    break
                wrong, _, mae = count_wrong(
                    W,
                    V,
                    sizes,
                    seeds[1].copy(),
                    task,
                    numbers,
                    256,
                    tolerance,
                    x,
                    symbols,
                    target,
                    clean,
                    state,
                )
                if wrong > most_wrong[goal] or mae >= limits[goal]:
                    break
            _test(W, V, sizes, seeds[2], task, numbers, tolerance, buffers, state, record[goal])
            record[goal, 0] = n
            record[goal, 4] = steps
            goal += 1
    _test(W, V, sizes, seeds[2], task, numbers, tolerance, buffers, state, record[-1])
    record[-1, 0] = n
    record[-1, 4] = steps


@_inline
def _test(W, V, sizes, seed, task, numbers, tolerance, buffers, state, row):
    x, symbols, target, clean = buffers
    wrong, mse, mae = count_wrong(
        W, V, sizes, seed.copy(), task, numbers, 2560, tolerance, x, symbols, target, clean, state
    )
    row[1], row[2], row[3] = wrong, mse, mae


@kernel()
def reber_right(W, V, sizes, strings, lengths, legal, enough, state):
    """Number of strings whose legal next symbols have the largest outputs at every step.

    The rest is not looked at once ``enough`` cannot be reached; then the number is smaller than that.
    """
    y, y_prev, z, cell, D, answer, _ = state
    outputs, x_row = sizes[4], np.zeros(1)
    right = 0
    for n in range(len(strings)):
        if right + len(strings) - n < enough:
            break
        _clear(y)
        _clear(cell)
        good = True
        for t in range(lengths[n]):
            step(W, sizes, x_row, strings[n, t], y, y_prev, z, cell, D, False)
            output(V, sizes, cell, answer)
            lowest, highest = 2.0, -1.0
            for k in range(outputs):
                if legal[n, t, k]:
                    lowest = min(lowest, answer[k])
                else:
                    highest = max(highest, answer[k])
            if lowest <= highest:
                good = False
                break
        right += good
    return right


@kernel()
def train_reber(
    W, V, biased, sizes, seed, strings, lengths, legal, half, rate, at_once, no_output_gate, check_every, most, record
):
    """Train on strings drawn from the first ``half``, the error being at every step, until all strings are right.

    ``strings`` (n, T) are symbols and the one that follows the last, ``lengths`` (n,) the steps, ``legal`` (n, T, 7)
    what may follow. With ``at_once`` weights change at every step, otherwise once after each string.
    ``no_output_gate`` holds the output gates open. ``record`` (2, 2) gets the sequences and steps when 90 per cent of
    all strings were right for the first time, and when all were; NaN if that did not happen.
    """
    state = workspace(W, V)
    y, y_prev, z, cell, D, answer, scratch = state
    x_row, target = np.zeros(1), np.zeros(V.shape[1])
    dW, dV = np.zeros_like(W), np.zeros_like(V)
    hidden, blocks = sizes[3], sizes[1]
    record[:] = np.nan
    steps, n = 0, 0
    while n < most:
        n += 1
        pick = below(seed, half)
        _clear(y)
        _clear(cell)
        _clear(D)
        if not at_once:
            _clear(dW)
            _clear(dV)
        for t in range(lengths[pick]):
            symbol = strings[pick, t]
            if no_output_gate:
                W[hidden, blocks : 2 * blocks] = 1e3  # a gate of exactly 1 with a derivative of exactly 0
            step(W, sizes, x_row, symbol, y, y_prev, z, cell, D, True)
            output(V, sizes, cell, answer)
            _clear(target)
            target[strings[pick, t + 1]] = 1.0
            if at_once:
                gradient(V, sizes, x_row, symbol, y, y_prev, cell, D, answer, target, rate, scratch, W, V)
                _keep_missing_biases(W, biased, hidden)
            else:
                gradient(V, sizes, x_row, symbol, y, y_prev, cell, D, answer, target, rate, scratch, dW, dV)
        steps += lengths[pick]
        if not at_once:
            W += dW
            V += dV
            _keep_missing_biases(W, biased, hidden)
        if n % check_every == 0:
            first_time = np.isnan(record[0, 0])
            enough = 0.9 * len(strings) if first_time else len(strings)
            right = reber_right(W, V, sizes, strings, lengths, legal, enough, state)
            if first_time and right >= enough:
                record[0] = n, steps
            if right == len(strings):
                record[1] = n, steps
                return
    record[1, 1] = steps
