"""How a trial of each experiment runs: functions that take the settings of a row and return ``run(seed)``."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lstm_numba.historic import Architecture, Network, kernel, one_cell, recurrent_network, sequences
from lstm_numba.historic.random_numbers import seeded
from lstm_numba.teaching import reber_1997

# ---------------------------------------------------------------- error at the end of a sequence


def three_numbers(*values: int) -> np.ndarray:
    """Pad the numbers that describe a task with zeros, as the kernels take them."""
    return np.array([*values, 0, 0, 0][:3])


def end_of_sequence(
    architecture: Architecture,
    task: int,
    numbers: np.ndarray,
    *,
    rate: float,
    init: float,
    tolerance: float,
    cap: int,
    goals: dict[str, int],
    window: int = 2000,
    in_gates: tuple[float, ...] | None = None,
    out_gates: tuple[float, ...] | None = None,
    check_every: int = 0,
    limits: tuple[float, ...] | None = None,
    after: str = "",
    minus_window: bool = False,
) -> Callable[[int], dict[str, Any]]:
    """Trials of Experiments 2c, 3, 4, 5 and 6; the success of a row is its goal ``after`` (default: the last)."""
    names = list(goals)
    decisive = names.index(after) if after else len(names) - 1

    def run(seed: int) -> dict[str, Any]:
        network = Network(architecture, np.random.default_rng(seed), init, in_gates, out_gates)
        seeds = np.stack([seeded(seed, stream) for stream in range(3)])
        record = np.zeros((len(goals) + 1, 5))
        kernel.train(
            network.W,
            network.V,
            network.biased,
            network.sizes,
            seeds,
            task,
            numbers,
            sequences.buffers(task, numbers, architecture.outputs),
            rate,
            tolerance,
            window if check_every == 0 else 0,
            np.array(list(goals.values())),
            check_every,
            np.array(limits or [np.inf] * len(goals)),
            cap,
            record,
        )
        reached = {name: None if np.isnan(n) else int(n) for name, n in zip(names, record[:-1, 0], strict=True)}
        success = reached[names[decisive]]
        judged = record[decisive] if success is not None else record[-1]
        return {
            "after": success - window if success is not None and minus_window else success,
            "goals": reached,
            "seen": int(record[-1, 0]),
            "steps": int(record[-1, 4]),
            "wrong": int(judged[1]),
            "mse": float(judged[2]),
            "mae": float(judged[3]),
        }

    return run


def recurrent(task, numbers, inputs, outputs, hidden, *, rate, tolerance, cap, window=2000, most_wrong=0, clip=1.0):
    """A tanh network with full backpropagation through time on the same sequences."""

    def run(seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        W = rng.uniform(-0.3, 0.3, (hidden, hidden + 1 + inputs))
        V = rng.uniform(-0.3, 0.3, (outputs, hidden + 1))
        record, buffers = np.zeros(3), sequences.buffers(task, numbers, outputs)
        recurrent_network.train(
            W, V, inputs, seeded(seed), task, numbers, buffers, rate, clip, tolerance, window, most_wrong, cap, record
        )
        after = None if np.isnan(record[0]) else int(record[0])
        return {"after": after, "seen": after or cap, "steps": int(record[2]), "best_share": float(record[1])}

    return run


def guessing(task, numbers, tolerance, *, cap, hidden=5, reach=100.0):
    """Weights drawn at random until 256 sequences in a row are right."""

    def run(seed: int) -> dict[str, Any]:
        record, buffers = np.zeros(3), sequences.buffers(task, numbers, 1)
        recurrent_network.guess(
            hidden, reach, seeded(seed), seeded(seed, 2), task, numbers, buffers, tolerance, 256, cap, record
        )
        after = None if np.isnan(record[0]) else int(record[0])
        wrong = None if after is None else int(record[1])
        return {"after": after, "seen": after or cap, "steps": int(record[2]), "wrong": wrong}

    return run


# ---------------------------------------------------------------- Experiment 1


def reber(blocks, cells, out_gates, rate, *, cap, **reading):
    """Trials of Experiment 1, the LSTM, in one reading of the text."""

    def run(seed: int) -> dict[str, Any]:
        return reber_1997.trial(blocks, cells, out_gates, rate, reber_1997.Reading(**reading), seed, cap=cap)

    return run


def reber_recurrent(hidden, rate, *, cap):
    """Trials of Experiment 1 with a tanh network and full backpropagation through time."""

    def run(seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        W, V = rng.uniform(-0.3, 0.3, (hidden, hidden + 8)), rng.uniform(-0.3, 0.3, (7, hidden + 1))
        record = np.zeros(3)
        recurrent_network.train_reber(
            W, V, seeded(seed), *reber_1997.string_sets(seed // 10 % 3), 256, rate, 1.0, 500, cap, record
        )
        after = None if np.isnan(record[0]) else int(record[0])
        return {"after": after, "seen": after or cap, "steps": int(record[2]), "best_share": float(record[1])}

    return run


# ---------------------------------------------------------------- Experiments 2a and 2b


def single_cell(p, *, rate, cap, kind=one_cell.CELL, random_middle=False, enough=10_000):
    """Trials of Experiments 2a and 2b: one cell that is added late, or one logistic unit."""

    def run(seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        direct, gate, unit = (rng.uniform(-0.2, 0.2, shape) for shape in ((p + 2, p + 1), p + 2, p + 2))
        record = np.zeros(3)
        one_cell.train(direct, gate, unit, kind, seeded(seed), p, random_middle, rate, enough, cap, record)
        after = None if np.isnan(record[0]) else int(record[0])
        added = None if np.isnan(record[1]) else int(record[1])
        return {"after": after, "seen": int(record[2]) // p, "steps": int(record[2]), "cell_added_at": added}

    return run


def trained_temporal_order(seed: int) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Train the network of Experiment 6a and return its weights in the layout of the NumPy version.

    Parameters
    ----------
    seed : int
        As in :func:`run_trial`.

    Returns
    -------
    W : ndarray (8, 17), V : ndarray (4, 5)
        For :func:`lstm_numba.reference.lstm1997.run` with two blocks.
    after : int or None
        Training sequences until success.
    """
    architecture = Architecture(8, 4, 2, 2, "all")
    network = Network(architecture, np.random.default_rng(seed), 0.1, (-2, -4))
    numbers, record = three_numbers(2), np.zeros((2, 5))
    kernel.train(
        network.W,
        network.V,
        network.biased,
        network.sizes,
        np.stack([seeded(seed, stream) for stream in range(3)]),
        sequences.TEMPORAL_ORDER,
        numbers,
        sequences.buffers(sequences.TEMPORAL_ORDER, numbers, 4),
        0.5,
        0.3,
        2000,
        np.array([0]),
        0,
        np.array([np.inf]),
        150_000,
        record,
    )
    H = architecture.hidden
    W = network.W[:, :H].T
    return (
        np.hstack([W[:, H + 1 :], W[:, : H + 1]]),
        network.V[:, :4].T.copy(),
        None if np.isnan(record[0, 0]) else int(record[0, 0]),
    )
