"""What the LSTM is compared with: a plain recurrent network trained by full backpropagation, and guessed weights."""

import math

import numpy as np
from numba import njit

from lstm_numba.elementary import sigmoid, tanh
from lstm_numba.historic import sequences
from lstm_numba.historic.random_numbers import below, uniform
from lstm_numba.jit import kernel

_inline = njit(error_model="numpy", fastmath={"contract"}, forceinline=True)


@_inline
def _net(W, j, hidden, h, x_row, symbol, inputs):
    net = W[j, hidden]
    for m in range(hidden):
        net += W[j, m] * h[m]
    if symbol >= 0:
        return net + W[j, hidden + 1 + symbol]
    for m in range(inputs):
        net += W[j, hidden + 1 + m] * x_row[m]
    return net


@kernel()
def sequence_gradient(W, V, inputs, x, symbols, length, targets, every_step, h, delta, dW, dV, answer):
    """Run one sequence and add minus the gradient of half the squared error to ``dW`` and ``dV``.

    ``W`` (H, H + 1 + inputs): hidden units, bias, inputs; tanh. ``V`` (K, H + 1): logistic outputs, the last column
    is the bias. ``h`` (T + 1, H) and ``delta`` (H,) are work arrays. ``targets`` are one vector (1, K) for the last
    step, or with ``every_step`` the class numbers are the next symbols. ``answer`` (T, K) receives the outputs.
    """
    hidden, outputs = W.shape[0], V.shape[0]
    has_symbols = len(x) == 1
    h[0] = 0.0
    first = 0 if every_step else length - 1
    for t in range(length):
        symbol = symbols[t] if has_symbols else -1
        x_row = x[0 if has_symbols else t]
        for j in range(hidden):
            h[t + 1, j] = tanh(_net(W, j, hidden, h[t], x_row, symbol, inputs))
        if t >= first:
            for k in range(outputs):
                net = V[k, hidden]
                for j in range(hidden):
                    net += V[k, j] * h[t + 1, j]
                answer[t, k] = sigmoid(net)
    dh, dz = delta[0], delta[1]
    dh[:] = 0.0
    for t in range(length - 1, -1, -1):
        if t >= first:
            for k in range(outputs):
                y = answer[t, k]
                goal = (1.0 if symbols[t + 1] == k else 0.0) if every_step else targets[0, k]
                e = (goal - y) * y * (1.0 - y)
                for j in range(hidden):
                    dV[k, j] += e * h[t + 1, j]
                    dh[j] += e * V[k, j]
                dV[k, hidden] += e
        for j in range(hidden):
            dz[j] = dh[j] * (1.0 - h[t + 1, j] * h[t + 1, j])
            dh[j] = 0.0
        for j in range(hidden):
            for m in range(hidden):
                dW[j, m] += dz[j] * h[t, m]
                dh[m] += dz[j] * W[j, m]
            dW[j, hidden] += dz[j]
            if has_symbols:
                dW[j, hidden + 1 + symbols[t]] += dz[j]
            else:
                for m in range(inputs):
                    dW[j, hidden + 1 + m] += dz[j] * x[t, m]


@kernel()
def train(W, V, inputs, seed, task, numbers, buffers, rate, clip, tolerance, window, most_wrong, most, record):
    """Online training on one of the tasks whose error comes at the end; as :func:`lstm_numba.historic.kernel.train`.

    ``clip`` bounds the norm of an update before it is scaled by ``rate``; without it long sequences explode.
    ``record`` (3,): sequences until at most ``most_wrong`` of the last ``window`` were wrong (NaN if never), the
    largest share of right answers seen over a window, steps.
    """
    x, symbols, target, clean = buffers
    hidden, outputs = W.shape[0], V.shape[0]
    T = len(symbols)
    h, delta, answer = np.zeros((T + 1, hidden)), np.zeros((2, hidden)), np.zeros((T, outputs))
    dW, dV = np.zeros_like(W), np.zeros_like(V)
    recent = np.zeros(window, np.uint8)
    right, steps, n, best = 0, 0, 0, 0
    record[:] = np.nan
    while n < most:
        n += 1
        length = sequences.draw(seed, task, numbers, x, symbols, target, clean)
        steps += length
        dW[:] = 0.0
        dV[:] = 0.0
        goal = target.reshape((1, outputs))
        sequence_gradient(W, V, inputs, x, symbols, length, goal, False, h, delta, dW, dV, answer)
        _update(W, V, dW, dV, rate, clip)
        worst = 0.0
        for k in range(outputs):
            worst = max(worst, abs(clean[k] - answer[length - 1, k]))
        ok = np.uint8(worst < tolerance)
        right += int(ok) - int(recent[n % window])
        recent[n % window] = ok
        if n >= window:
            best = max(best, right)
        if window - right <= most_wrong:
            record[0] = n
            break
    record[1] = best / window
    record[2] = steps


@_inline
def _update(W, V, dW, dV, rate, clip):
    norm = math.sqrt((dW * dW).sum() + (dV * dV).sum())
    scale = rate * min(1.0, clip / (norm + 1e-300))
    W += scale * dW
    V += scale * dV


@kernel()
def train_reber(W, V, seed, strings, lengths, legal, half, rate, clip, check_every, most, record):
    """Train on Reber strings; arguments as in :func:`lstm_numba.historic.kernel.train_reber`.

    ``record`` (3,): sequences until all strings were right (NaN if never), the largest share of right strings, steps.
    """
    hidden, outputs = W.shape[0], V.shape[0]
    T = strings.shape[1]
    h, delta, answer = np.zeros((T + 1, hidden)), np.zeros((2, hidden)), np.zeros((T, outputs))
    dW, dV, x, none = np.zeros_like(W), np.zeros_like(V), np.zeros((1, 1)), np.zeros((1, outputs))
    record[:] = np.nan
    steps, n, best = 0, 0, 0
    while n < most:
        n += 1
        pick = below(seed, half)
        dW[:] = 0.0
        dV[:] = 0.0
        sequence_gradient(W, V, outputs, x, strings[pick], lengths[pick], none, True, h, delta, dW, dV, answer)
        _update(W, V, dW, dV, rate, clip)
        steps += lengths[pick]
        if n % check_every == 0:
            right = 0
            for m in range(len(strings)):
                h[0] = 0.0
                good = True
                for t in range(lengths[m]):
                    for j in range(hidden):
                        h[t + 1, j] = tanh(_net(W, j, hidden, h[t], x[0], strings[m, t], outputs))
                    lowest, highest = np.inf, -np.inf
                    for k in range(outputs):
                        net = V[k, hidden]
                        for j in range(hidden):
                            net += V[k, j] * h[t + 1, j]
                        if legal[m, t, k]:
                            lowest = min(lowest, net)
                        else:
                            highest = max(highest, net)
                    if lowest <= highest:
                        good = False
                        break
                right += good
            best = max(best, right)
            if right == len(strings):
                record[0] = n
                break
    record[1] = best / len(strings)
    record[2] = steps


@kernel()
def guess(hidden, reach, seed, test_seed, task, numbers, buffers, tolerance, in_a_row, most, record):
    """Draw the weights of a tanh network uniformly from [-reach, reach] until ``in_a_row`` sequences are right.

    ``record`` (3,): networks drawn (NaN without success), wrong among 2560 fresh sequences, steps.
    """
    x, symbols, target, clean = buffers
    outputs, inputs = len(target), x.shape[1] if task == sequences.MARKED_PAIRS else 1
    W, V = np.empty((hidden, hidden + 1 + inputs)), np.empty((outputs, hidden + 1))
    h, after = np.zeros(hidden), np.zeros(hidden)
    record[:] = np.nan
    steps = 0
    for trial in range(1, most + 1):
        for weights in (W, V):
            for j in range(weights.shape[0]):
                for m in range(weights.shape[1]):
                    weights[j, m] = reach * (2.0 * uniform(seed) - 1.0)
        solved = True
        for _ in range(in_a_row):
            length = sequences.draw(seed, task, numbers, x, symbols, target, clean)
            steps += length
            if not _right(W, V, inputs, x, length, clean, tolerance, h, after):
                solved = False
                break
        if solved:
            record[0] = trial
            wrong = 0
            for _ in range(2560):
                length = sequences.draw(test_seed, task, numbers, x, symbols, target, clean)
                wrong += not _right(W, V, inputs, x, length, clean, tolerance, h, after)
            record[1] = wrong
            break
    record[2] = steps


@_inline
def _right(W, V, inputs, x, length, clean, tolerance, h, after):
    hidden = W.shape[0]
    h[:] = 0.0
    for t in range(length):
        for j in range(hidden):
            after[j] = tanh(_net(W, j, hidden, h, x[t], -1, inputs))
        h[:] = after
    worst = 0.0
    for k in range(V.shape[0]):
        net = V[k, hidden]
        for j in range(hidden):
            net += V[k, j] * h[j]
        worst = max(worst, abs(clean[k] - sigmoid(net)))
    return worst < tolerance
