"""A modern LSTM on the tasks of 1997: forget gate, Adam, batches, full backpropagation through time."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import lstm_numba as ln
from lstm_numba import tasks

BATCH, EVERY, TEST = 32, 50, 512


@dataclass(frozen=True)
class ModernRow:
    """A task and when it counts as solved; the fields are those of :class:`lstm_numba.teaching.rerun_1997.Row`."""

    name: str
    label: str
    draw: Callable[[np.random.Generator, int], tasks.Batch]
    solved: Callable[[np.ndarray, tasks.Batch], np.ndarray]
    inputs: int
    outputs: int
    needed: float = 1.0
    hidden: int = 16
    rate: float = 5e-3
    cap: int = 100_000
    cost: float = 10.0
    trials: int = 5
    forget_bias: float = float(np.log(100))  # the lag of most tasks (Tallec and Ollivier, 2018)
    published: dict[str, float] = field(default_factory=dict)
    reading: str = "modern LSTM"

    @property
    def run(self) -> Callable[[int], dict[str, Any]]:
        """Trials of the row."""
        return lambda seed: run_trial(self.name, seed)


def _due_at_end(batch):
    """Whether there is one answer for each sequence: class numbers (B,) or values (B, K)."""
    return batch.y.ndim == 1 or (batch.y.ndim == 2 and batch.y.dtype.kind == "f")


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def run_trial(name: str, seed: int) -> dict[str, Any]:
    """Train until the share of fresh test sequences that are solved is large enough, looking every 50 updates."""
    row = ROWS[name]
    start = time.process_time()
    rng, test_rng = (np.random.default_rng([seed, stream]) for stream in range(2))
    lstm = ln.LSTM(row.inputs, row.hidden, seed=seed)
    lstm.parameters["bias_ih_l0"][row.hidden : 2 * row.hidden] = row.forget_bias
    lstm.parameters["bias_hh_l0"][row.hidden : 2 * row.hidden] = 0
    dense = ln.Dense(row.hidden, row.outputs, seed=seed + 1)
    optimisers = [ln.Adam(layer, lr=row.rate) for layer in (lstm, dense)]
    seen, steps, after, best, wrong = 0, 0, None, 0.0, TEST
    while seen < row.cap and after is None:
        batch = row.draw(rng, BATCH)
        at_end = _due_at_end(batch)
        y, _ = lstm(batch.x)
        places = np.nonzero(batch.mask)
        order = np.argsort(places[1], kind="stable") if at_end else np.arange(len(places[0]))
        t, b = places[0][order], places[1][order]
        z = dense(y[t, b])
        target = batch.y if at_end else batch.y[t, b]
        if target.dtype.kind == "f":
            loss, dz = _bernoulli(z, target) if "reber" in name else ln.mse_loss(z, target)
        else:
            loss, dz = ln.cross_entropy_loss(z, target)
        for layer in (lstm, dense):
            layer.zero_grad()
        dy = np.zeros_like(y)
        dy[t, b] = dense.backward(dz)
        lstm.backward(dy)
        ln.clip_grad_norm({**{f"l{k}": v for k, v in lstm.grads.items()}, **dense.grads}, 1.0)
        for optimiser in optimisers:
            optimiser.step()
        seen += BATCH
        steps += int(batch.lengths.sum())
        if seen // BATCH % EVERY == 0:
            right = _test(row, lstm, dense, test_rng)
            best, wrong = max(best, right.mean()), int((~right).sum())
            if right.mean() >= row.needed:
                after = seen
    return {
        "row": name,
        "seed": seed,
        "after": after,
        "seen": seen,
        "steps": steps,
        "wrong": wrong,
        "best_share": float(best),
        "loss": float(loss),
        "seconds": round(time.process_time() - start, 3),
    }


def _bernoulli(z, target):
    """Cross-entropy of independent yes/no outputs, and its gradient."""
    p = _sigmoid(z)
    loss = float(np.mean(np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z)))))
    return loss, ((p - target) / z.size).astype(z.dtype)


def _test(row, lstm, dense, rng):
    lstm.eval()
    dense.eval()
    batch = row.draw(rng, TEST)
    y, _ = lstm(batch.x)
    at_end = _due_at_end(batch)
    z = dense(y[batch.lengths - 1, np.arange(TEST)] if at_end else y)
    lstm.train()
    dense.train()
    return row.solved(z, batch)


def _classes(z, batch):
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    return tasks.temporal_order_solved(p / p.sum(axis=-1, keepdims=True), batch)


_LIST = [
    ModernRow(
        "modern-6a",
        "Temporal order, 4 classes",
        lambda rng, B: tasks.temporal_order(rng, B),
        _classes,
        8,
        4,
        needed=0.999,
    ),
    ModernRow(
        "modern-6b",
        "Temporal order, 8 classes",
        lambda rng, B: tasks.temporal_order(rng, B, marks=3),
        _classes,
        8,
        8,
        needed=0.999,
    ),
    ModernRow(
        "modern-4-100",
        "Adding of 1997, T = 100",
        lambda rng, B: tasks.adding(rng, B, first_pair="never"),
        tasks.adding_solved,
        2,
        1,
        needed=0.999,
    ),
    ModernRow(
        "modern-5",
        "Multiplication of 1997, T = 100",
        lambda rng, B: tasks.multiplication(rng, B, first_pair="never"),
        tasks.multiplication_solved,
        2,
        1,
        needed=0.93,
    ),
    ModernRow(
        "modern-3a",
        "Two sequences, T = 100, N = 3",
        lambda rng, B: tasks.two_sequences(rng, B),
        tasks.two_sequences_solved,
        1,
        1,
    ),
    ModernRow(
        "modern-3b",
        "Two sequences with noise, T = 100, N = 3",
        lambda rng, B: tasks.two_sequences(rng, B, variant="3b"),
        lambda z, batch: tasks.two_sequences_solved(z, batch, variant="3b"),
        1,
        1,
        needed=0.98,
    ),
    ModernRow(
        "modern-3c",
        "Two sequences with target noise, T = 100, N = 3",
        lambda rng, B: tasks.two_sequences(rng, B, variant="3c"),
        lambda z, batch: tasks.two_sequences_solved(z, batch, variant="3c"),
        1,
        1,
    ),
    ModernRow(
        "modern-2a",
        "Noise-free lag, p = 100",
        lambda rng, B: tasks.long_lag(rng, B, 100),
        lambda z, batch: (z.argmax(axis=-1) == batch.y).all(axis=0),
        101,
        101,
        cap=30_000,
    ),
    ModernRow(
        "modern-2b",
        "Noisy lag, p = 100",
        lambda rng, B: tasks.long_lag(rng, B, 100, variant="2b"),
        lambda z, batch: z[-1].argmax(axis=-1) == batch.y[-1],
        101,
        101,
        cap=30_000,
    ),
    ModernRow(
        "modern-2c",
        "Many distractors, q = p = 50",
        lambda rng, B: tasks.long_lag(rng, B, 50, variant="2c"),
        lambda z, batch: z.argmax(axis=-1) == batch.y,
        54,
        2,
    ),
    ModernRow(
        "modern-1-reber",
        "Embedded Reber grammar",
        tasks.embedded_reber,
        tasks.reber_solved,
        7,
        7,
        cap=60_000,
        cost=8,
    ),
    ModernRow(
        "continual-reber",
        "Continual Reber, streams of 200, forget gate",
        lambda rng, B: tasks.continual_reber(rng, B, 200),
        tasks.reber_solved,
        7,
        7,
        needed=0.95,
        cap=40_000,
        reading="modern LSTM; Gers et al. (2000) train online with a truncated gradient",
    ),
]
for _row in [row for row in _LIST if row.name in ("modern-6a", "modern-3a")]:
    _LIST.append(replace(_row, name=f"{_row.name}@bias-1", label=f"{_row.label}, forget bias 1", forget_bias=1.0))
ROWS = {row.name: row for row in _LIST}
