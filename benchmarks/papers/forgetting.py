"""Gers, Schmidhuber and Cummins (2000), Table 2: the continual embedded Reber grammar, learned online.

Streams of embedded Reber strings without end; the learning rule is truncated and works at every symbol, see
:mod:`lstm_numba.historic.forgetting`. Five rows: the cell of 1997, alone, told where strings end, and with a constant
decay of its state; the forget gate, alone and with a learning rate that falls within a stream.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstm_numba.historic import forgetting
from lstm_numba.historic.forgetting import ForgettingArchitecture, ForgettingNetwork
from lstm_numba.historic.random_numbers import seeded
from lstm_numba.tasks.reber import grammar_tables
from lstm_numba.teaching.after_1997 import WATCHED

LONGEST = 100_000  # symbols of a stream; 10^6 in the paper
CHECK_EVERY, TEST_STREAMS = 100, 10


@dataclass(frozen=True)
class ContinualRow:
    """One row of the table; a trial is solved when ten test streams of full length have no mistake."""

    name: str
    label: str
    forget_gates: bool
    published: dict[str, float] = field(default_factory=dict)
    reset: bool = False
    decay: float = 1.0
    keep: float = 1.0
    cap: int = 30_000
    most_symbols: int = 40_000_000
    trials: int = 10
    cost: float = 30.0
    reading: str = "online, truncated gradient, 424 weights"
    deviations: tuple[str, ...] = (
        "a stream ends after 10^5 symbols (10^6 in the paper), for training and test alike",
        "the test of 10 streams follows every 100th training stream instead of every one",
        "training also ends after 4 * 10^7 symbols",
        "the target is the set of legal symbols: with the drawn symbol no error could stay below 0.49 at a branch",
    )

    def run(self, seed: int) -> dict[str, Any]:
        """Train one network."""
        start = time.process_time()
        architecture = ForgettingArchitecture(7, 7, 4, 2, self.forget_gates)
        biases = (0.5, 1.0, 1.5, 2.0)
        network = ForgettingNetwork(architecture, np.random.default_rng(seed), 0.2, biases, self.decay)
        target, symbol, legal = grammar_tables()
        grammar = (target, symbol, legal.astype(float))
        record, lengths = np.zeros(6), np.zeros(TEST_STREAMS, np.int64)
        weights = (network.W, network.V, network.sizes, self.decay, grammar, self.reset)
        seeds = np.stack([seeded(seed, stream) for stream in range(2)])
        limits = (self.cap, self.most_symbols)
        forgetting.train(*weights, seeds, 0.5, self.keep, LONGEST, limits, CHECK_EVERY, lengths, record)
        states, forgets = np.zeros((WATCHED[-1], 8)), np.zeros((WATCHED[-1], 8))
        right = np.zeros(WATCHED[-1], bool)
        forgetting.watch(*weights, seeded(seed, 2), states, forgets, right)
        size = np.abs(states).mean(axis=1)
        return {
            "row": self.name,
            "seed": seed,
            "after": None if np.isnan(record[0]) else int(record[0]),
            "seen": int(record[1]),
            "steps": int(record[2]),
            "best": float(record[3]),
            "best_after": int(record[4]),
            "last": float(lengths.mean()),
            "training_length": float(record[5]),
            "states": [round(float(size[t - 1]), 4) for t in WATCHED],
            "right": float(right.mean()),
            "forget": [round(float(share), 4) for share in np.quantile(forgets, [0.0, 0.05, 0.5, 0.95, 1.0])],
            "seconds": round(time.process_time() - start, 3),
        }


_LIST = [
    ContinualRow(
        "gers-reset", "Cell of 1997, told where strings end", False, {"after": 7_441, "share": 0.74}, reset=True
    ),
    ContinualRow("gers-standard", "Cell of 1997", False, {"share": 0.0}, cost=10),
    ContinualRow("gers-decay", "Cell of 1997 whose state decays by 0.9", False, {"share": 0.0}, decay=0.9, cost=10),
    ContinualRow("gers-forget", "Forget gates", True, {"after": 18_889, "share": 0.18}),
    ContinualRow(
        "gers-forget-rate",
        "Forget gates, learning rate times 0.99 after each symbol of a stream",
        True,
        {"after": 14_087, "share": 0.62},
        keep=0.99,
    ),
]
ROWS = {row.name: row for row in _LIST}
