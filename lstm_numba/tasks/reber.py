"""Reber's grammar: an automaton that writes strings. Embedded in itself it asks for memory, endless for forgetting."""

import numpy as np

from lstm_numba.tasks.batch import Batch, check_at_least, check_generator, one_hot, valid_steps

SYMBOLS = "BTPSXVE"
#: Reber's automaton: state to ((symbol, next state), ...). Both ways out of a state are equally likely; 7 is the end.
GRAMMAR = {
    0: (("B", 1),),
    1: (("T", 2), ("P", 3)),
    2: (("S", 2), ("X", 4)),
    3: (("T", 3), ("V", 5)),
    4: (("X", 3), ("S", 6)),
    5: (("P", 4), ("V", 6)),
    6: (("E", 7),),
}
#: Errors must stay below this in the continual task (Gers, Schmidhuber and Cummins, 2000).
TOLERANCE = 0.49


def _embedded_grammar() -> dict[int, tuple[tuple[str, int], ...]]:
    """B, then T or P, a whole Reber string, the same T or P again, E: the automaton twice, once for each letter."""
    states: dict[int, tuple[tuple[str, int], ...]] = {0: (("B", 1),), 1: (("T", 2), ("P", 10)), 18: (("E", 19),)}
    for letter, first in (("T", 2), ("P", 10)):
        for state, ways in GRAMMAR.items():
            states[first + state] = tuple((symbol, first + target) for symbol, target in ways)
        states[first + 7] = ((letter, 18),)
    return states


#: The embedded grammar as an automaton of 19 states; 19 is the end.
EMBEDDED_GRAMMAR = _embedded_grammar()


def grammar_tables(grammar: dict = EMBEDDED_GRAMMAR) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write an automaton as arrays, for a loop that draws symbol after symbol.

    Parameters
    ----------
    grammar : dict
        State to ways out; the embedded grammar by default.

    Returns
    -------
    target : ndarray (S, 2) of int
        Next state; S is the end. A state with one way out has it twice.
    symbol : ndarray (S, 2) of int
        The symbol on that way.
    legal : ndarray (S, 7) of bool
        Symbols that may come in a state.

    Examples
    --------
    >>> from lstm_numba.tasks.reber import grammar_tables
    >>> [table.shape for table in grammar_tables()]
    [(19, 2), (19, 2), (19, 7)]
    """
    ways = [grammar[state] for state in range(len(grammar))]
    target = np.array([[options[0][1], options[-1][1]] for options in ways])
    symbol = np.array([[SYMBOLS.index(options[0][0]), SYMBOLS.index(options[-1][0])] for options in ways])
    legal = np.zeros((len(ways), len(SYMBOLS)), bool)
    np.put_along_axis(legal, symbol, True, axis=1)
    return target, symbol, legal


def reber_strings(rng: np.random.Generator, n: int, *, embedded: bool = True) -> list[str]:
    """Draw strings of the (embedded) Reber grammar.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    n : int
        Number of strings.
    embedded : bool
        ``B c <Reber string> c E`` with c = T or P, instead of the bare Reber string.

    Returns
    -------
    list of str
        Over the letters ``BTPSXVE``; an embedded string has at least 9 letters, 12 on average.

    References
    ----------
    Reber (1967); Hochreiter and Schmidhuber (1997), Section 5.1.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> all(s[1] == s[-2] for s in tasks.reber_strings(np.random.default_rng(0), 100))
    True
    """
    check_generator(rng)
    symbols, _ = _walk(rng, check_at_least("n", n, 1), EMBEDDED_GRAMMAR if embedded else GRAMMAR)
    return ["".join(SYMBOLS[s] for s in column if s >= 0) for column in symbols.T]


def embedded_reber(rng: np.random.Generator, B: int, *, dtype: str | np.dtype = "float32") -> Batch:
    """Embedded Reber grammar: predict the legal next symbols at every step.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of strings.
    dtype : dtype
        Of ``x`` and ``y``.

    Returns
    -------
    Batch
        ``x`` (T_max, B, 7) the string without its last letter; ``y`` (T_max, B, 7) with a 1 for each symbol that may
        come next; the symbol that does come next is the next row of ``x`` (after the last row it is E).

    References
    ----------
    Hochreiter and Schmidhuber (1997), Section 5.1. They train on the symbol that comes, and score on the legal ones.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.embedded_reber(np.random.default_rng(0), B=4)
    >>> tasks.reber_solved(batch.y, batch)
    array([ True,  True,  True,  True])
    """
    check_generator(rng)
    symbols, legal = _walk(rng, check_at_least("B", B, 1), EMBEDDED_GRAMMAR)
    lengths = (symbols >= 0).sum(axis=0) - 1
    longest = len(symbols) - 1
    mask = valid_steps(lengths, longest)
    x = one_hot(np.where(mask, symbols[:-1], -1), len(SYMBOLS), dtype)
    y = (legal[1:] & mask[..., None]).astype(dtype)
    return Batch(x, y, lengths, mask)


def continual_reber(rng: np.random.Generator, B: int, T: int, *, dtype: str | np.dtype = "float32") -> Batch:
    """Continual embedded Reber grammar: embedded strings one after the other, cut after T steps, never reset.

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B : int
        Number of streams; each starts with a new string.
    T : int
        Steps.
    dtype : dtype
        Of ``x`` and ``y``.

    Returns
    -------
    Batch
        ``x`` (T, B, 7); ``y`` (T, B, 7) with a 1 for each symbol that may come next (B after E).

    References
    ----------
    Gers, Schmidhuber and Cummins (2000), Section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> tasks.continual_reber(np.random.default_rng(0), B=2, T=30).x.shape
    (30, 2, 7)
    """
    check_generator(rng)
    B, T = check_at_least("B", B, 1), check_at_least("T", T, 1)
    target, symbol, legal = grammar_tables()
    symbols = np.empty((T, B), np.int64)
    y = np.empty((T, B, len(SYMBOLS)), dtype)
    state, b = np.zeros(B, np.int64), np.arange(B)
    coins = rng.integers(0, 2, (T, B))
    for t in range(T):
        symbols[t] = symbol[state, coins[t]]
        state = target[state, coins[t]]
        state[state == len(target)] = 0
        y[t] = legal[state[b]]
    return Batch(one_hot(symbols, len(SYMBOLS), dtype), y, np.full(B, T), np.ones((T, B), bool))


def reber_baseline_loss(*, continual: bool = False) -> float:
    """Mean squared error, over steps and outputs, of the best constant answer.

    Parameters
    ----------
    continual : bool
        For :func:`continual_reber` in the long run instead of :func:`embedded_reber`.

    Returns
    -------
    float
        Computed from how often the automaton visits each state.

    Examples
    --------
    >>> from lstm_numba import tasks
    >>> round(tasks.reber_baseline_loss(), 3)
    0.169
    """
    target, _, legal = grammar_tables()
    states = len(target)
    step = np.zeros((states, states))
    for state, ways in enumerate(target):
        for way in ways[ways < states]:
            step[state, way] += 0.5
    start = np.zeros(states)
    start[0] = 1
    visits = np.linalg.solve(np.eye(states) - step.T, start)  # expected visits in one string
    if not continual:
        visits[0] = 0  # nothing has been read in the first state, and B is not predicted
    share = (visits @ legal) / visits.sum()
    return float((share * (1 - share)).mean())


def reber_solved(prediction: np.ndarray, batch: Batch) -> np.ndarray:
    """Whether at every step the legal next symbols have the largest outputs, the criterion of 1997.

    Parameters
    ----------
    prediction : ndarray (T, B, 7)
        Outputs.
    batch : Batch
        From :func:`embedded_reber` or :func:`continual_reber`.

    Returns
    -------
    ndarray (B,) of bool
        The paper counts a network as successful when all 256 training and all 256 test strings are right. In the
        continual task a prediction is right when all errors are below 0.49, see :func:`continual_reber_run`.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.embedded_reber(np.random.default_rng(0), B=2)
    >>> tasks.reber_solved(1 - batch.y, batch)
    array([False, False])
    """
    legal = batch.y > 0.5
    lowest_legal = np.where(legal, prediction, np.inf).min(axis=-1)
    highest_illegal = np.where(legal, -np.inf, prediction).max(axis=-1)
    return ((lowest_legal > highest_illegal) | ~batch.mask).all(axis=0)


def continual_reber_run(prediction: np.ndarray, batch: Batch, tolerance: float = TOLERANCE) -> np.ndarray:
    """Count the right predictions before the first wrong one in each stream, the score of Gers et al.

    Parameters
    ----------
    prediction : ndarray (T, B, 7)
        Outputs between 0 and 1.
    batch : Batch
        From :func:`continual_reber`.
    tolerance : float
        All errors of a right prediction are smaller.

    Returns
    -------
    ndarray (B,) of int
        T if no prediction is wrong. The paper calls 10^6 symbols without an error perfect.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba import tasks
    >>> batch = tasks.continual_reber(np.random.default_rng(0), B=2, T=30)
    >>> tasks.continual_reber_run(batch.y, batch)
    array([30, 30])
    """
    wrong = (np.abs(prediction - batch.y) >= tolerance).any(axis=-1)
    return np.where(wrong.any(axis=0), wrong.argmax(axis=0), len(wrong))


def _walk(rng: np.random.Generator, B: int, grammar: dict) -> tuple[np.ndarray, np.ndarray]:
    """Symbols (T, B), -1 after the end, and which symbols were legal at each step (T, B, 7)."""
    target, symbol, legal = grammar_tables(grammar)
    end = len(target)
    target, symbol = np.vstack([target, [end, end]]), np.vstack([symbol, [-1, -1]])
    legal = np.vstack([legal, np.zeros((1, len(SYMBOLS)), bool)])
    state, symbols, allowed = np.zeros(B, np.int64), [], []
    while (state < end).any():
        coin = rng.integers(0, 2, B)
        symbols.append(symbol[state, coin])
        allowed.append(legal[state])
        state = target[state, coin]
    return np.array(symbols), np.array(allowed)
