"""The network of 2000: the cell of 1997 with a forget gate, or without one, on streams that nobody cuts for it.

Gers, Schmidhuber and Cummins (2000) let embedded Reber strings follow each other without end and without a reset.
The state of a cell of 1997 can then only grow; a forget gate learns to multiply it by nearly zero between two strings.

The learning rule is that of ``lstm_numba.historic.kernel``, with one factor more. The derivative of the state ``s``
of a cell with respect to a weight ``w`` is carried forward in time,

    ds(t)/dw = f(t) ds(t-1)/dw + [what s(t) = f(t) s(t-1) + i(t) g(t) adds when w is changed now],

and what a change of ``w`` did through the recurrent connections of earlier steps is left out.

Layout. ``W`` is (U, P): rows are sources (cells of the step before, bias, inputs), columns are hidden units (input
gates, output gates, forget gates, cells), padded. Gates are no sources here. ``V`` (U, K): the same sources, but the
cells of the same step, into the outputs. The traces ``D`` are (U, 3 LANES): for each source those of the weights into
input gates, forget gates and cells, one for each cell.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from lstm_numba.cells import dsigmoid, lstm1997_errors, lstm1997_step, lstm1997_trace
from lstm_numba.elementary import sigmoid
from lstm_numba.historic.lanes import LANES, add_rows, add_scaled
from lstm_numba.historic.random_numbers import below
from lstm_numba.jit import kernel

#: A prediction is right when the errors of all outputs are below this.
TOLERANCE = 0.49
_inline = njit(error_model="numpy", fastmath={"contract"}, forceinline=True)


@dataclass(frozen=True)
class ForgettingArchitecture:
    """Sizes of a network of 2000.

    Attributes
    ----------
    inputs, outputs : int
        Input and output units.
    blocks : int
        Memory cell blocks, 1 to 4; each has an input gate, an output gate and, if wanted, a forget gate.
    cells : int
        Memory cells in a block; they share the gates. At most 8 cells in all.
    forget_gates : bool
        Without them it is the cell of 1997.

    Examples
    --------
    >>> from lstm_numba.historic.forgetting import ForgettingArchitecture
    >>> ForgettingArchitecture(inputs=7, outputs=7, blocks=4, cells=2).weights
    424
    """

    inputs: int
    outputs: int
    blocks: int
    cells: int
    forget_gates: bool = True

    def __post_init__(self) -> None:
        if not (1 <= self.blocks <= 4 and self.cells >= 1 and self.blocks * self.cells <= LANES):
            raise ValueError(
                f"expected 1 to 4 blocks and 1 to {LANES} cells in all, got {self.blocks} x {self.cells} cells"
            )

    @property
    def weights(self) -> int:
        """Number of adjustable weights. Cells feed back into all hidden units; gates and outputs have biases."""
        C, gates = self.blocks * self.cells, self.blocks * (3 if self.forget_gates else 2)
        sources = self.inputs + C
        return C * sources + (gates + self.outputs) * (sources + 1)


class ForgettingNetwork:
    """Weights of a network of 2000, in the layout of the kernel.

    Parameters
    ----------
    architecture : ForgettingArchitecture
        Sizes.
    rng : Generator
        Source of the initial weights.
    init : float
        Weights are uniform in [-init, init].
    gate_biases : tuple of float, optional
        One for each block: forget gates get these numbers, input and output gates their negatives.
    decay : float
        What the state is multiplied by at each step if there are no forget gates.

    Attributes
    ----------
    W : ndarray (U, P) of float64
        Weights into the hidden units, see the module.
    V : ndarray (U, K) of float64
        Weights into the outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.historic.forgetting import ForgettingArchitecture, ForgettingNetwork
    >>> network = ForgettingNetwork(ForgettingArchitecture(7, 7, 4, 2), np.random.default_rng(0), 0.2)
    >>> int(np.count_nonzero(network.W) + np.count_nonzero(network.V))
    424
    """

    def __init__(
        self,
        architecture: ForgettingArchitecture,
        rng: np.random.Generator,
        init: float,
        gate_biases: tuple[float, ...] | None = None,
        decay: float = 1.0,
    ) -> None:
        a = self.architecture = architecture
        B, C = a.blocks, a.blocks * a.cells
        if a.forget_gates and decay != 1.0:
            raise ValueError(f"decay: expected 1 with forget gates, which take its place, got {decay}")
        if gate_biases is not None and len(gate_biases) != B:
            raise ValueError(f"gate_biases: expected {B} for {B} blocks, got {gate_biases}")
        self.decay = float(decay)
        H = 3 * B + C
        self.W = np.zeros((C + 1 + a.inputs, -(-H // LANES) * LANES))
        self.W[:, :H] = rng.uniform(-init, init, (len(self.W), H))
        self.V = rng.uniform(-init, init, (C + 1 + a.inputs, a.outputs))
        self.W[C, 3 * B :] = 0
        if gate_biases is not None:
            values = np.array(gate_biases)
            self.W[C, : 3 * B] = np.concatenate([-values, -values, values])
        if not a.forget_gates:
            self.W[:, 2 * B : 3 * B] = 0

    @property
    def sizes(self) -> np.ndarray:
        """What the kernel wants to know: inputs, blocks, cells per block, outputs, whether there are forget gates."""
        a = self.architecture
        return np.array([a.inputs, a.blocks, a.cells, a.outputs, a.forget_gates])


@_inline
def _clear(a):
    a[:] = 0.0


@kernel()
def workspace(W, V):
    """Arrays of a run: outputs of the cells now and before, z, cells, traces, their changes, answer, scratch."""
    return (
        np.zeros(LANES),
        np.zeros(LANES),
        np.zeros(W.shape[1]),
        np.zeros((7, LANES)),
        np.zeros((len(W), 3 * LANES)),
        np.zeros((2, 3 * LANES)),
        np.zeros(V.shape[1]),
        np.zeros((4, max(V.shape[1], LANES))),
    )


@_inline
def step(W, V, sizes, decay, symbol, state, learning):
    """Read one symbol: advance cells and outputs, and the traces if the run is learning."""
    y, y_prev, z, cell, D, change, answer, _ = state
    blocks, per_block, outputs, has_forget_gates = sizes[1], sizes[2], sizes[3], sizes[4]
    cells, width = blocks * per_block, W.shape[1]
    here = cells + 1 + symbol  # the row of the one input that is 1
    for c in range(LANES):
        y_prev[c] = y[c]
    for k in range(width):
        z[k] = W[cells, k]
    for first in range(0, width, LANES):
        add_rows(z, first, y_prev, W, first, width, cells)
        add_scaled(z, first, W, here * width + first, 1.0)
    for k in range(3 * blocks):
        z[k] = sigmoid(z[k])
    i, o, f, g, s, h, before = cell[0], cell[1], cell[2], cell[3], cell[4], cell[5], cell[6]
    for c in range(cells):
        b = c // per_block
        i[c], o[c] = z[b], z[blocks + b]
        f[c] = z[2 * blocks + b] if has_forget_gates else decay
        before[c] = s[c]
        g[c], s[c], h[c], y[c] = lstm1997_step(i[c], z[3 * blocks + c], o[c], f[c] * s[c])
    for k in range(outputs):
        net = V[cells, k] + V[here, k]
        for c in range(cells):
            net += V[c, k] * y[c]
        answer[k] = sigmoid(net)
    if learning:
        fading, added = change[0], change[1]
        for c in range(cells):
            added[c], added[2 * LANES + c] = lstm1997_trace(i[c], g[c])
            added[LANES + c] = before[c] * dsigmoid(f[c]) if has_forget_gates else 0.0
            fading[c] = fading[LANES + c] = fading[2 * LANES + c] = f[c]
        for j in range(len(D)):
            u = y_prev[j] if j < cells else (1.0 if j in (cells, here) else 0.0)
            for lane in range(D.shape[1]):
                D[j, lane] = fading[lane] * D[j, lane] + u * added[lane]


@_inline
def gradient(V, sizes, symbol, state, target, rate, dW, dV):
    """Add the changes of all weights that the error at this step asks for, times ``rate``.

    ``dW`` and ``dV`` may be the weights themselves.
    """
    y, y_prev, _, cell, D, _, answer, scratch = state
    blocks, per_block, outputs, has_forget_gates = sizes[1], sizes[2], sizes[3], sizes[4]
    cells = blocks * per_block
    here = cells + 1 + symbol
    o, h = cell[1], cell[5]
    e, back, es, eo = scratch[0], scratch[1], scratch[2], scratch[3]
    for k in range(outputs):
        e[k] = dsigmoid(answer[k]) * (target[k] - answer[k])
    for c in range(cells):
        back[c] = 0.0
        for k in range(outputs):
            back[c] += V[c, k] * e[k]
    for k in range(outputs):
        for c in range(cells):
            dV[c, k] += rate * e[k] * y[c]
        dV[cells, k] += rate * e[k]
        dV[here, k] += rate * e[k]
    for b in range(blocks):
        eo[b] = 0.0
    for c in range(cells):
        to_gate, to_state = lstm1997_errors(o[c], h[c], back[c])
        eo[c // per_block] += rate * to_gate
        es[c] = rate * to_state
    for j in range(len(D)):
        u = y_prev[j] if j < cells else (1.0 if j in (cells, here) else 0.0)
        if u != 0.0:
            for b in range(blocks):
                dW[j, blocks + b] += eo[b] * u
        for c in range(cells):
            dW[j, c // per_block] += es[c] * D[j, c]
            if has_forget_gates:
                dW[j, 2 * blocks + c // per_block] += es[c] * D[j, LANES + c]
            if j != cells:  # cells have no bias
                dW[j, 3 * blocks + c] += es[c] * D[j, 2 * LANES + c]


@_inline
def _restart(state):
    _clear(state[0])
    _clear(state[3])
    _clear(state[4])


@_inline
def _next(rng, grammar, place):
    """Draw the next symbol; returns it, the new place in the grammar, and whether a string has ended."""
    target, symbol = grammar[0], grammar[1]
    coin = below(rng, 2)
    drawn, place = symbol[place, coin], target[place, coin]
    if place == len(target):
        return drawn, 0, True
    return drawn, place, False


@_inline
def _right(answer, legal):
    worst = 0.0
    for k in range(len(answer)):
        worst = max(worst, abs(legal[k] - answer[k]))
    return worst < TOLERANCE


@kernel()
def stream_gradient(W, V, sizes, decay, symbols, targets):
    """Run a stream without changing the weights; answers (T, K) and minus the gradients of half the squared error."""
    state = workspace(W, V)
    answers, dW, dV = np.zeros(targets.shape), np.zeros_like(W), np.zeros_like(V)
    for t in range(len(symbols)):
        step(W, V, sizes, decay, symbols[t], state, True)
        answers[t] = state[6]
        gradient(V, sizes, symbols[t], state, targets[t], 1.0, dW, dV)
    return answers, dW, dV


@kernel()
def watch(W, V, sizes, decay, grammar, reset, seed, states, forgets, right):
    """Run one stream to its end, mistakes or not; notes states (T, C), forget factors (T, C), right or not (T,)."""
    state, rng, place = workspace(W, V), seed.copy(), 0
    for t in range(len(states)):
        symbol, place, ended = _next(rng, grammar, place)
        step(W, V, sizes, decay, symbol, state, False)
        right[t] = _right(state[6], grammar[2][place])
        for c in range(states.shape[1]):
            states[t, c] = state[3][4, c]
            forgets[t, c] = state[3][2, c]
        if reset and ended:
            _restart(state)


@kernel()
def count_right(W, V, sizes, decay, grammar, reset, rng, longest, state, lengths):
    """Count in each fresh stream the symbols that are predicted right before the first mistake."""
    for n in range(len(lengths)):
        _restart(state)
        place = 0
        lengths[n] = 0
        while lengths[n] < longest:
            symbol, place, ended = _next(rng, grammar, place)
            step(W, V, sizes, decay, symbol, state, False)
            if not _right(state[6], grammar[2][place]):
                break
            lengths[n] += 1
            if reset and ended:
                _restart(state)


@kernel()
def train(W, V, sizes, decay, grammar, reset, seeds, rate, keep, longest, limits, check_every, lengths, record):
    """Train on streams, each until its first mistake, until the test is perfect or the limits are reached.

    Weights change at every symbol. After each ``check_every`` training streams the network is frozen and reads
    ``len(lengths)`` fresh streams; it is perfect when none has a mistake in ``longest`` symbols.

    Parameters
    ----------
    W, V, sizes, decay
        Of a :class:`ForgettingNetwork`; the weights are changed.
    grammar : tuple
        Next place (S, 2), symbol (S, 2) and legal symbols (S, K) as 0.0 and 1.0; place S is the end of a string.
    reset : bool
        Tell the network where strings end, by setting it back there.
    seeds : ndarray (2, 4) of uint64
        States of the random numbers of training and test streams.
    rate, keep : float
        Learning rate at the start of a stream, and what it is multiplied by after every symbol.
    longest : int
        Symbols after which a stream ends in any case.
    limits : tuple of int
        Most training streams, most training symbols.
    check_every : int
        See above.
    lengths : ndarray (n,) of int64
        Receives the right symbols of the last test.
    record : ndarray (6,)
        Receives: streams until perfect (NaN if never), streams, training symbols, mean right symbols of the best test,
        streams at the best test, mean length of the last ``check_every`` training streams.
    """
    state = workspace(W, V)
    record[:] = np.nan
    record[3] = -1.0
    streams, symbols, recent = 0, 0, 0
    while streams < limits[0] and symbols < limits[1]:
        _restart(state)
        place, length, a = 0, 0, rate
        while length < longest:
            symbol, place, ended = _next(seeds[0], grammar, place)
            step(W, V, sizes, decay, symbol, state, True)
            good = _right(state[6], grammar[2][place])
            gradient(V, sizes, symbol, state, grammar[2][place], a, W, V)
            a *= keep
            symbols += 1
            if not good:
                break
            length += 1
            if reset and ended:
                _restart(state)
        streams += 1
        recent += length
        if streams % check_every == 0:
            record[5] = recent / check_every
            recent = 0
            count_right(W, V, sizes, decay, grammar, reset, seeds[1], longest, state, lengths)
            if lengths.mean() > record[3]:
                record[3], record[4] = lengths.mean(), streams
            if lengths.min() == longest:
                record[0] = streams
                break
    record[1], record[2] = streams, symbols
