"""The sequences of the 1997 experiments, drawn one by one inside a kernel.

They follow the same definitions as :mod:`lstm_numba.tasks`; ``tests/historic`` checks them against those. Sequences
of symbols are stored as numbers, not as one-hot vectors.
"""

import math

import numpy as np
from numba import njit

from lstm_numba.historic.random_numbers import below, normal_pair, uniform

_routine = njit(error_model="numpy", fastmath={"contract"}, nogil=True)

TEMPORAL_ORDER, MARKED_PAIRS, TWO_SEQUENCES, LONG_LAG = range(4)
#: How "the first pair is picked" is read, see :func:`lstm_numba.tasks.adding`.
KEPT, NEUTRAL, NEVER = range(3)


@_routine
def temporal_order(rng, marks, symbols, target):
    """Experiment 6: symbols E B a b c d X Y are 0 ... 7. Returns the length."""
    length = 100 + below(rng, 11)
    for t in range(length):
        symbols[t] = 2 + below(rng, 4)
    symbols[0] = 0
    symbols[length - 1] = 1
    answer = 0
    for mark in range(marks):
        low = 10 if mark == 0 else ((50 if marks == 2 else 33) if mark == 1 else 66)
        which = below(rng, 2)
        symbols[low + below(rng, 11)] = 6 + which
        answer = 2 * answer + which
    for k in range(2**marks):
        target[k] = 1.0 if k == answer else 0.0
    return length


@_routine
def marked_pairs(rng, T, multiply, first_pair, x, target):
    """Experiments 4 (adding) and 5 (multiplication)."""
    length = T + below(rng, T // 10 + 1)
    low, neutral = (0.0, 1.0) if multiply else (-1.0, 0.0)
    for t in range(length):
        x[t, 0] = low + (1.0 - low) * uniform(rng)
        x[t, 1] = 0.0
    start = 1 if first_pair == NEVER else 0
    one = start + below(rng, 10 - start)
    two = start + below(rng, T // 2 - 2 - start)
    if two >= one:
        two += 1
    first, second = x[one, 0], x[two, 0]
    x[one, 1] = 1.0
    x[two, 1] = 1.0
    if one == 0:
        first = neutral
    if two == 0:
        second = neutral
    if first_pair == NEUTRAL and (one == 0 or two == 0):
        x[0, 0] = neutral
    x[0, 1] = -1.0
    x[length - 1, 1] = -1.0
    target[0] = first * second if multiply else 0.5 + (first + second) / 4.0
    return length


@_routine
def two_sequences(rng, T, N, variant, x, target, clean):
    """Experiment 3; variant 0, 1, 2 for 3a, 3b, 3c. ``clean`` is the target without noise."""
    length = T + below(rng, T // 10 + 1)
    scale = math.sqrt(0.2)
    for t in range(0, length, 2):
        a, b = normal_pair(rng)
        x[t, 0] = scale * a
        x[t + 1, 0] = scale * b  # the buffer is longer than any sequence
    first_class = below(rng, 2) == 0
    sign = 1.0 if first_class else -1.0
    for t in range(N):
        x[t, 0] = sign if variant == 0 else x[t, 0] + sign
    if variant == 2:
        clean[0] = 0.2 if first_class else 0.8
        target[0] = clean[0] + math.sqrt(0.1) * normal_pair(rng)[0]
    else:
        clean[0] = 1.0 if first_class else 0.0
        target[0] = clean[0]
    return length


@_routine
def long_lag(rng, p, q, symbols, target):
    """Experiment 2c: symbols a_1 ... a_p, e, b, x, y are 0 ... p + 3. A sequence that would not fit is drawn again."""
    while True:
        extra = 0
        while uniform(rng) < 0.9:
            extra += 1
        length = 3 + q + extra
        if length <= len(symbols):
            break
    which = below(rng, 2)
    symbols[0] = p + 1
    symbols[1] = p + 2 + which
    for t in range(2, length - 1):
        symbols[t] = below(rng, p)
    symbols[length - 1] = p
    target[0] = 1.0 - which
    target[1] = 1.0 * which
    return length


@_routine
def draw(rng, task, numbers, x, symbols, target, clean):
    """One sequence of a task; ``numbers`` are its integer parameters. Returns the length."""
    if task == TEMPORAL_ORDER:
        length = temporal_order(rng, numbers[0], symbols, target)
    elif task == MARKED_PAIRS:
        length = marked_pairs(rng, numbers[0], numbers[1] == 1, numbers[2], x, target)
    elif task == TWO_SEQUENCES:
        return two_sequences(rng, numbers[0], numbers[1], numbers[2], x, target, clean)
    else:
        length = long_lag(rng, numbers[0], numbers[1], symbols, target)
    for k in range(len(target)):
        clean[k] = target[k]
    return length


def buffers(task: int, numbers: np.ndarray, outputs: int) -> tuple[np.ndarray, ...]:
    """Arrays that :func:`draw` writes into: inputs, symbols, target and target without noise."""
    T = {TEMPORAL_ORDER: 100, MARKED_PAIRS: numbers[0], TWO_SEQUENCES: numbers[0], LONG_LAG: numbers[1]}[task]
    longest = int(T) + int(T) // 10 + 2 + (400 if task == LONG_LAG else 0)  # 0.9^400 is 5e-19
    symbols = task in (TEMPORAL_ORDER, LONG_LAG)
    x = np.zeros((1 if symbols else longest, 2))  # a single row says that the inputs are symbols
    return x, np.zeros(longest, np.int64), np.zeros(outputs), np.zeros(outputs)
