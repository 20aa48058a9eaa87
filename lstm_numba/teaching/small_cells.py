"""The comparison of small recurrent cells: what chapter 3.1 trains, and how it measures it.

All cells are trained in the same way, at (nearly) the same number of parameters. Every task asks for an answer at some
steps of a sequence; the mask of its :class:`lstm_numba.tasks.Batch` says at which.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import lstm_numba as ln
from lstm_numba import tasks
from lstm_numba.tasks import Batch

__all__ = [
    "CELLS",
    "TASKS",
    "CellTask",
    "accepted",
    "causal_bound",
    "masked_cross_entropy",
    "network",
    "parameter_count",
    "recurrent",
    "score",
    "seen_again",
    "t_interval",
    "train",
    "units_for",
]

#: Blocks of weights of each cell. The two GRUs differ in where the reset gate acts.
CELLS = {"RNN": 1, "GRU after": 3, "GRU before": 3, "LSTM": 4}
B = 32  # sequences in a batch
CLIP = 1.0  # largest global gradient norm
RETENTION = 1.0  # added to the bias of the gate that keeps the old state (Jozefowicz et al., 2015)

Loss = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[float, np.ndarray]]


class CellTask(NamedTuple):
    """A task, and how its answers are read.

    Attributes
    ----------
    inputs, outputs
        Features per step and width of the answer.
    samples
        ``samples(rng, B) -> Batch``; ``y`` has an entry for every step, or for every sequence.
    loss
        ``loss(answers, y, mask) -> (value, gradient)``, with answers (T, B, K).
    errors
        ``errors(answers, batch) -> float``, smaller is better.
    chance
        What the best answer without memory scores.
    """

    inputs: int
    outputs: int
    samples: Callable[[np.random.Generator, int], Batch]
    loss: Loss
    errors: Callable[[np.ndarray, Batch], float]
    chance: float


# -- losses --------------------------------------------------------------------------------------------------------


def _every_step(y: np.ndarray, mask: np.ndarray, axes: int) -> np.ndarray:
    """Give every step its target: one that is due at the end is repeated along time, where the mask hides it."""
    return y if y.ndim == mask.ndim + axes else np.broadcast_to(y, (len(mask), *y.shape))


def masked_cross_entropy(logits: np.ndarray, y: np.ndarray, mask: np.ndarray) -> tuple[float, np.ndarray]:
    """Softmax and mean cross-entropy over the steps that count.

    Parameters
    ----------
    logits : ndarray (T, B, K)
        Answers.
    y : ndarray (T, B) or (B,)
        Class numbers.
    mask : ndarray (T, B) of bool
        Steps that count; at least one.

    Returns
    -------
    float
        The loss.
    ndarray (T, B, K)
        Its gradient.

    Examples
    --------
    >>> import numpy as np
    >>> value, gradient = masked_cross_entropy(np.zeros((3, 2, 4)), np.zeros((3, 2), int), np.ones((3, 2), bool))
    >>> round(value, 4), gradient.shape
    (1.3863, (3, 2, 4))
    """
    y = _every_step(y, mask, 0)
    value, chosen = ln.cross_entropy_loss(np.ascontiguousarray(logits[mask]), np.ascontiguousarray(y[mask]))
    gradient = np.zeros_like(logits)
    gradient[mask] = chosen
    return value, gradient


def masked_mse(answers: np.ndarray, y: np.ndarray, mask: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean squared error over the steps that count; arguments as in :func:`masked_cross_entropy`, ``y`` with K."""
    y = _every_step(y, mask, 1)
    value, chosen = ln.mse_loss(np.ascontiguousarray(answers[mask]), np.ascontiguousarray(y[mask]))
    gradient = np.zeros_like(answers)
    gradient[mask] = chosen
    return value, gradient


def masked_yes_or_no(logits: np.ndarray, y: np.ndarray, mask: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean binary cross-entropy of K separate questions for each step that counts; ``y`` (T, B, K) of 0 and 1."""
    z, yes = logits[mask], y[mask]
    # log(1 + e^z) without overflow: max(z, 0) + log(1 + e^-|z|)
    value = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) - yes * z
    gradient = np.zeros_like(logits)
    gradient[mask] = (1 / (1 + np.exp(-z)) - yes) / z.size
    return float(value.mean()), gradient


# -- networks ------------------------------------------------------------------------------------------------------


def recurrent(
    cell: str, inputs: int, hidden: int, *, seed: int, num_layers: int = 1, bidirectional: bool = False
) -> ln.RNN | ln.GRU | ln.LSTM:
    """Make a recurrent layer whose memory starts biased towards keeping, if it has a gate for that.

    Parameters
    ----------
    cell : str
        One of :data:`CELLS`.
    inputs, hidden : int
        Sizes.
    seed : int
        Of the weights.
    num_layers, bidirectional
        As in ``ln.GRU``.

    Returns
    -------
    Layer

    Examples
    --------
    >>> recurrent("GRU before", 2, 3, seed=0)
    GRU(2, 3, reset_after=False, dtype='float32', backend='cpu')
    """
    if cell not in CELLS:
        raise ValueError(f"cell: expected one of {', '.join(CELLS)}, got {cell!r}")
    layer: ln.RNN | ln.GRU | ln.LSTM
    if cell == "RNN":
        layer = ln.RNN(inputs, hidden, num_layers, bidirectional=bidirectional, seed=seed)
    elif cell == "LSTM":
        layer = ln.LSTM(inputs, hidden, num_layers, bidirectional=bidirectional, seed=seed)
    else:
        layer = ln.GRU(
            inputs, hidden, num_layers, bidirectional=bidirectional, reset_after=cell == "GRU after", seed=seed
        )
    if cell != "RNN":  # block 1 is the LSTM's forget gate and the GRU's update gate
        for name, parameter in layer.parameters.items():
            if name.startswith("bias_ih"):
                parameter[hidden : 2 * hidden] += RETENTION
    return layer


def network(
    cell: str, inputs: int, hidden: int, outputs: int, *, seed: int, num_layers: int = 1, bidirectional: bool = False
) -> ln.Sequential:
    """Make a recurrent layer with a linear readout at every step; arguments as in :func:`recurrent`."""
    layer = recurrent(cell, inputs, hidden, seed=seed, num_layers=num_layers, bidirectional=bidirectional)
    return ln.Sequential(layer, ln.Dense(hidden * (1 + bidirectional), outputs, seed=seed + 10_000))


def parameter_count(
    cell: str, inputs: int, hidden: int, outputs: int = 0, *, num_layers: int = 1, bidirectional: bool = False
) -> int:
    """Count the parameters of a recurrent layer, and of its readout if ``outputs`` is not 0.

    Parameters
    ----------
    cell, inputs, hidden, num_layers, bidirectional
        As in :func:`recurrent`.
    outputs : int
        Width of the readout.

    Returns
    -------
    int

    Examples
    --------
    >>> parameter_count("GRU after", 2, 3)
    63
    """
    directions = 1 + bidirectional
    read = [inputs] + [directions * hidden] * (num_layers - 1)  # what each layer reads
    layers = sum(directions * CELLS[cell] * hidden * (I + hidden + 2) for I in read)
    return layers + (outputs * (directions * hidden + 1) if outputs else 0)


def units_for(
    parameters: int, cell: str, inputs: int, outputs: int = 0, *, num_layers: int = 1, bidirectional: bool = False
) -> int:
    """Return the number of units whose network comes closest to a number of parameters.

    Parameters
    ----------
    parameters : int
        The budget.
    cell, inputs, outputs, num_layers, bidirectional
        As in :func:`parameter_count`.

    Returns
    -------
    int

    Examples
    --------
    >>> [units_for(2000, cell, inputs=8, outputs=4) for cell in CELLS]
    [38, 21, 21, 17]
    """

    def count(hidden: int) -> int:
        return parameter_count(cell, inputs, hidden, outputs, num_layers=num_layers, bidirectional=bidirectional)

    hidden = 1
    while count(hidden + 1) <= parameters:
        hidden += 1
    below, above = parameters - count(hidden), count(hidden + 1) - parameters
    return hidden if abs(below) <= above else hidden + 1


# -- training ------------------------------------------------------------------------------------------------------


def train(model: ln.Sequential, task: CellTask, *, updates: int, lr: float, seed: int) -> list[float]:
    """Train in place with Adam and a learning rate that falls to zero in a straight line.

    Parameters
    ----------
    model : Sequential
        From :func:`network`; left in inference mode.
    task : CellTask
        One of :data:`TASKS`.
    updates : int
        Training steps, each on fresh sequences.
    lr : float
        Learning rate at the start.
    seed : int
        Of the data.

    Returns
    -------
    list of float
        The loss at each update.

    Examples
    --------
    >>> losses = train(network("RNN", 8, 4, 4, seed=0), TASKS["order"], updates=2, lr=0.01, seed=0)
    >>> len(losses)
    2
    """
    optimiser = ln.Adam(model, lr=lr)
    rng = np.random.default_rng([seed, 0])
    losses = []
    model.train()
    for update in range(updates):
        batch = task.samples(rng, B)
        model.zero_grad()
        value, gradient = task.loss(model(batch.x), batch.y, batch.mask)
        model.backward(gradient)
        ln.clip_grad_norm(model.grads, CLIP)
        optimiser.lr = lr * (1 - update / updates)
        optimiser.step()
        losses.append(value)
    model.eval()
    return losses


def score(model: Callable[[np.ndarray], np.ndarray], task: CellTask, *, seed: int, sequences: int = 256) -> float:
    """Errors on fresh sequences; the same for every model with the same seed.

    Parameters
    ----------
    model : callable
        x (T, B, I) to answers (T, B, K).
    task : CellTask
        One of :data:`TASKS`.
    seed : int
        Of the test data.
    sequences : int
        How many.

    Returns
    -------
    float

    Examples
    --------
    >>> model = network("RNN", 8, 4, 4, seed=0)
    >>> 0 <= score(model, TASKS["order"], seed=0) <= 1
    True
    """
    batch = task.samples(np.random.default_rng([seed, 1]), sequences)
    return float(task.errors(model(batch.x), batch))


def t_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of a mean from a few independent seeds, by Student's t.

    Parameters
    ----------
    values : ndarray (n,)
        Between 3 and 10 results.

    Returns
    -------
    tuple of float
        Lower and upper end.

    Examples
    --------
    >>> low, high = t_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    >>> round(low, 3), round(high, 3)
    (1.037, 4.963)
    """
    values = np.asarray(values, float)
    quantiles = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
    if len(values) not in quantiles:
        raise ValueError(f"values: expected 3 to 10 numbers, got {len(values)}")
    half = quantiles[len(values)] * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


# -- tasks ---------------------------------------------------------------------------------------------------------


def seen_again(rng: np.random.Generator, B: int, T: int = 10, vocabulary: int = 5) -> Batch:
    """Tag every symbol of a random sequence: will it come again?

    Parameters
    ----------
    rng : Generator
        Source of random numbers.
    B, T : int
        Number of sequences and of steps.
    vocabulary : int
        Number of different symbols.

    Returns
    -------
    Batch
        ``x`` (T, B, vocabulary) one-hot, ``y`` (T, B) 1 where the same symbol follows later, else 0; all steps count.

    Examples
    --------
    >>> batch = seen_again(np.random.default_rng(1), B=1, T=8, vocabulary=3)
    >>> batch.x[:, 0].argmax(axis=1).tolist(), batch.y[:, 0].tolist()
    ([1, 1, 2, 2, 0, 0, 2, 2], [1, 0, 1, 1, 1, 0, 1, 0])
    """
    symbols = rng.integers(0, vocabulary, (T, B))
    later = np.triu(np.ones((T, T), bool), 1)
    y = ((symbols[:, None] == symbols[None]) & later[..., None]).any(axis=1).astype(np.int64)
    x = (symbols[..., None] == np.arange(vocabulary)).astype(np.float32)
    return Batch(x, y, np.full(B, T), np.ones((T, B), bool))


def causal_bound(T: int = 10, vocabulary: int = 5) -> float:
    """Smallest error rate on :func:`seen_again` of anything that has not read the future.

    Parameters
    ----------
    T, vocabulary
        As in :func:`seen_again`.

    Returns
    -------
    float
        What is left of the sequence is independent of what was read. So the best answer at a step depends on the number
        of steps to come alone.

    Examples
    --------
    >>> causal_bound(T=2, vocabulary=2)
    0.25
    """
    again = 1 - (1 - 1 / vocabulary) ** np.arange(T)[::-1]
    return float(np.minimum(again, 1 - again).mean())


def accepted(model: Callable[[np.ndarray], np.ndarray], most: int) -> np.ndarray:
    """Which strings a^n b^n a network gets right at every step.

    Parameters
    ----------
    model : callable
        x (T, B, 4) to logits (T, B, 4), trained on ``TASKS["count"]``.
    most : int
        Largest n.

    Returns
    -------
    ndarray (most,) of bool
        For n = 1 ... ``most``.

    Examples
    --------
    >>> accepted(lambda x: -np.ones_like(x), most=3)
    array([False, False, False])
    """
    rng = np.random.default_rng(0)  # the strings of one length are all the same
    right = []
    for n in range(1, most + 1):
        batch = tasks.counting(rng, 1, longest=n, shortest=n)
        right.append(tasks.counting_solved(model(batch.x) + 0.5, batch)[0])  # a logit of 0 is a probability of one half
    return np.array(right)


def _wrong_class(answers: np.ndarray, batch: Batch) -> float:
    y = _every_step(batch.y, batch.mask, 0)
    return float(np.mean(answers.argmax(axis=-1)[batch.mask] != y[batch.mask]))


def _relative_mse(answers: np.ndarray, batch: Batch) -> float:
    return masked_mse(answers, batch.y, batch.mask)[0] / tasks.adding_baseline_loss(variant="2016")


def _not_solved(answers: np.ndarray, batch: Batch) -> float:
    return float(1 - tasks.counting_solved(answers + 0.5, batch).mean())


TASKS: dict[str, CellTask] = {
    "adding": CellTask(2, 1, lambda rng, B: tasks.adding(rng, B, T=20, variant="2016"), masked_mse, _relative_mse, 1.0),
    "order": CellTask(
        8, 4, lambda rng, B: tasks.temporal_order(rng, B, T=20), masked_cross_entropy, _wrong_class, 0.75
    ),
    "count": CellTask(4, 4, lambda rng, B: tasks.counting(rng, B, longest=20), masked_yes_or_no, _not_solved, 1.0),
    "again": CellTask(5, 2, seen_again, masked_cross_entropy, _wrong_class, causal_bound()),
}
