"""Famous tests after 1997, with today's LSTM and Adam: copy memory and chrono, adding, parity, counting, digits.

Each row trains one layer of :class:`lstm_numba.LSTM` with full backpropagation through time on fresh batches (the
digits: on a fixed training set) until a fixed criterion holds on test sequences, or its updates are used up. The loss
on test sequences is kept as a curve. Some rows then ask for more than they trained: longer strings.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np

import lstm_numba as ln
from lstm_numba import tasks
from lstm_numba.teaching.learning import chrono, set_forget_bias

TEST = 200
LENGTHS = (40, 100, 200, 400)  # of parity; trained up to 40
COUNTS = 200  # a^n b^n is asked for n up to this; trained up to 10
Score = tuple[float, float]  # loss, share of sequences that are solved


@dataclass(frozen=True)
class LaterRow:
    """A task, a network, and a budget; the fields beside them are those of :class:`benchmarks.papers.modern.ModernRow`.

    ``cap`` counts training sequences, ``start`` is a forget bias or "chrono", ``enough`` says from the loss and the
    share of solved test sequences whether a trial has succeeded. ``to_the_end`` trains on after success. ``extra``
    measures what goes beyond training.
    """

    name: str
    label: str
    draw: Callable[[np.random.Generator, int], tasks.Batch]
    test: Callable[["Model", np.random.Generator], Score]
    enough: Callable[[float, float], bool]
    inputs: int
    outputs: int
    hidden: int
    cap: int
    batch: int = 32
    rate: float = 1e-3
    start: str | float = 1.0
    span: int = 0
    binary: bool = False
    to_the_end: bool = False
    check_every: int = 100
    baseline: float | None = None
    extra: Callable[["Model", np.random.Generator], dict[str, Any]] = lambda model, rng: {}
    cost: float = 60.0
    trials: int = 5
    published: dict[str, float] = field(default_factory=dict)
    reading: str = "modern LSTM"
    deviations: tuple[str, ...] = ()

    def run(self, seed: int) -> dict[str, Any]:
        """Train one network."""
        start = time.process_time()
        rng, test_rng, start_rng = (np.random.default_rng([seed, stream]) for stream in range(3))
        model = Model(self, seed, start_rng)
        updates, after, curve = 0, None, []
        best = (np.inf, 0.0)
        while updates * self.batch < self.cap and (after is None or self.to_the_end):
            model.update(self.draw(rng, self.batch))
            updates += 1
            if updates % self.check_every == 0:
                score = self.test(model, test_rng)
                best = min(best[0], score[0]), max(best[1], score[1])
                curve.append([updates, *(float(f"{value:.4g}") for value in score)])
                if after is None and self.enough(*score):
                    after = updates * self.batch
        return {
            "row": self.name,
            "seed": seed,
            "after": after,
            "seen": updates * self.batch,
            "updates": updates,
            "best_loss": float(best[0]),
            "best_share": float(best[1]),
            "last_loss": curve[-1][1] if curve else None,
            "last_share": curve[-1][2] if curve else None,
            "curve": _thinned(curve),
            **self.extra(model, test_rng),
            "seconds": round(time.process_time() - start, 3),
        }


def _thinned(curve: list, most: int = 60) -> list:
    """At most about ``most`` points of a curve, the last among them."""
    each = max(1, len(curve) // most)
    return curve[each - 1 :: each] + ([] if len(curve) % each == 0 else curve[-1:])


class Model:
    """An LSTM layer, a dense read-out at the steps that count, and one optimiser for both."""

    def __init__(self, row: LaterRow, seed: int, rng: np.random.Generator) -> None:
        self.binary = row.binary
        self.lstm = ln.LSTM(row.inputs, row.hidden, seed=seed)
        self.dense = ln.Dense(row.hidden, row.outputs, seed=seed + 1)
        if row.start == "chrono":
            chrono(self.lstm, row.span, rng)
        else:
            set_forget_bias(self.lstm, float(row.start))
        self.optimisers = [ln.Adam(layer, lr=row.rate) for layer in (self.lstm, self.dense)]

    def update(self, batch: tasks.Batch) -> None:
        """Make one step of training."""
        y, _ = self.lstm(batch.x)
        t, b, target = _what_counts(batch)
        _, dz = self._loss(z := self.dense(y[t, b]), target)
        for layer in (self.lstm, self.dense):
            layer.zero_grad()
        dy = np.zeros_like(y)
        dy[t, b] = self.dense.backward(dz.astype(z.dtype))
        self.lstm.backward(dy)
        ln.clip_grad_norm({f"{k}{name}": g for k, layer in enumerate((self.lstm, self.dense))
                           for name, g in layer.grads.items()}, 1.0)  # fmt: skip
        for optimiser in self.optimisers:
            optimiser.step()

    def predict(self, batch: tasks.Batch) -> np.ndarray:
        """Outputs (T, B, K) before any squashing."""
        for layer in (self.lstm, self.dense):
            layer.eval()
        z = self.dense(self.lstm(batch.x)[0])
        for layer in (self.lstm, self.dense):
            layer.train()
        return z

    def loss(self, z: np.ndarray, batch: tasks.Batch) -> float:
        """Mean loss over the steps that count."""
        t, b, target = _what_counts(batch)
        return self._loss(z[t, b], target)[0]

    def _loss(self, z, target):
        if self.binary:
            p = _sigmoid(z)
            value = np.mean(np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z))))
            return float(value), (p - target) / z.size
        return ln.mse_loss(z, target) if target.dtype.kind == "f" else ln.cross_entropy_loss(z, target)


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def _what_counts(batch: tasks.Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, columns and targets of the answers that are asked for."""
    if batch.y.ndim == 1 or (batch.y.ndim == 2 and batch.y.dtype.kind == "f"):  # one answer for each sequence
        return batch.lengths - 1, np.arange(len(batch.lengths)), batch.y
    t, b = np.nonzero(batch.mask)
    return t, b, batch.y[t, b]


# ---------------------------------------------------------------- copy memory


def _test_copy(model: Model, rng: np.random.Generator, T: int) -> Score:
    batch = tasks.copy_memory(rng, TEST, T)
    z = model.predict(batch)
    return model.loss(z, batch), float(tasks.copy_memory_solved(z, batch).mean())


def _copy_rows() -> list[LaterRow]:
    rows = []
    for T, cap, cost in ((100, 300_000, 70), (200, 160_000, 75), (500, 60_000, 75)):
        for start in (1.0, "chrono"):
            chrono_start = start == "chrono"
            baseline = tasks.copy_memory_baseline_loss(T)
            rows.append(
                LaterRow(
                    f"copy-{T}" + ("-chrono" if chrono_start else ""),
                    f"Copy memory, T = {T}, " + ("chrono initialisation" if chrono_start else "forget bias 1"),
                    partial(_draw_copy, T=T),
                    partial(_test_copy, T=T),
                    partial(_below, level=0.1 * baseline),
                    10,
                    10,
                    hidden=40,
                    cap=cap,
                    batch=20,
                    rate=5e-3,
                    start=start,
                    span=T + 20,
                    baseline=baseline,
                    cost=cost,
                    reading="Arjovsky et al. (2016), 40 units"
                    + ("; start of Tallec and Ollivier (2018)" if chrono_start else ""),
                    deviations=(
                        "Adam, rate 0.005, gradient norm at most 1, in place of RMSProp, rate 0.001, entries at most 1",
                        f"{cap // 20:,} updates instead of 20,000",
                        "fresh sequences instead of a fixed training set of 10^5",
                    ),
                )
            )
    return rows


def _draw_copy(rng, B, T):
    return tasks.copy_memory(rng, B, T)


def _below(loss: float, share: float, level: float) -> bool:
    return loss < level


def _nearly_all(loss: float, share: float, needed: float = 0.99) -> bool:
    return share >= needed


# ---------------------------------------------------------------- adding


def _test_adding(model: Model, rng: np.random.Generator, T: int) -> Score:
    batch = tasks.adding(rng, TEST, T, variant="2016")
    z = model.predict(batch)
    return model.loss(z, batch), float((np.abs(z[-1] - batch.y)[:, 0] < tasks.marked_pairs.TOLERANCE).mean())


def _draw_adding(rng, B, T):
    return tasks.adding(rng, B, T, variant="2016")


def _adding_rows() -> list[LaterRow]:
    rows = []
    for T, cap, cost in ((100, 150_000, 8), (500, 100_000, 40), (1000, 60_000, 50)):
        for start in (1.0, "chrono"):
            chrono_start = start == "chrono"
            rows.append(
                LaterRow(
                    f"adding-{T}" + ("-chrono" if chrono_start else ""),
                    f"Adding of 2016, T = {T}, " + ("chrono initialisation" if chrono_start else "forget bias 1"),
                    partial(_draw_adding, T=T),
                    partial(_test_adding, T=T),
                    partial(_below, level=0.01),
                    2,
                    1,
                    hidden=32,
                    cap=cap,
                    batch=20,
                    rate=3e-3,
                    start=start,
                    span=T,
                    baseline=1 / 6,
                    cost=cost,
                    reading="Arjovsky et al. (2016)",
                    deviations=(
                        "32 units instead of 128; Adam in place of RMSProp; at most "
                        f"{cap // 20:,} updates of 20 fresh sequences",
                        "T = 100, 500, 1000 instead of 100, 200, 400, 750",
                    ),
                )
            )
    return rows


# ---------------------------------------------------------------- parity and counting: longer than in training


def _draw_parity(rng, B):
    return tasks.parity(rng, B, 40, shortest=3, every_step=True)


def _test_parity(model: Model, rng: np.random.Generator) -> Score:
    batch = _draw_parity(rng, TEST)
    z = model.predict(batch)
    return model.loss(z, batch), float(tasks.parity_solved(z, batch).mean())


def _longer_parity(model: Model, rng: np.random.Generator) -> dict[str, Any]:
    """Share of right last bits at lengths beyond training; one half is guessing."""
    shares = {}
    for length in LENGTHS:
        batch = tasks.parity(rng, 500, length)
        shares[str(length)] = float(tasks.parity_solved(model.predict(batch), batch).mean())
    return {"lengths": shares}


def _draw_counting(rng, B, letters):
    return tasks.counting(rng, B, 10, letters=letters)


def _test_counting(model: Model, rng: np.random.Generator, letters: int) -> Score:
    batch = _draw_counting(rng, TEST, letters)
    z = model.predict(batch)
    return model.loss(z, batch), float(tasks.counting_solved(_sigmoid(z), batch).mean())


def _longer_counting(model: Model, rng: np.random.Generator, letters: int) -> dict[str, Any]:
    """The largest n up to which all strings are accepted, and all n that are."""
    accepted = []
    for n in range(1, COUNTS + 1):
        batch = tasks.counting(rng, 1, n, shortest=n, letters=letters)
        accepted.append(bool(tasks.counting_solved(_sigmoid(model.predict(batch)), batch)[0]))
    up_to = accepted.index(False) if False in accepted else COUNTS
    return {"accepted_up_to": up_to, "accepted": sum(accepted)}


def _longer_rows() -> list[LaterRow]:
    parity = LaterRow(
        "parity-longer",
        "Parity, trained on 3 to 40 bits, asked up to 400",
        _draw_parity,
        _test_parity,
        partial(_nearly_all, needed=1.0),
        1,
        2,
        hidden=16,
        cap=200_000,
        rate=5e-3,
        baseline=tasks.parity_baseline_loss(),
        extra=_longer_parity,
        cost=1,
        trials=10,
        reading="xLSTM's lengths; Deletang et al. (2023) report 100 % for LSTMs",
        deviations=("the error counts at every step: with the last bit alone, learning rarely starts",),
    )
    counting = [
        LaterRow(
            f"counting-{'ab' if letters == 2 else 'abc'}",
            f"{'a^n b^n' if letters == 2 else 'a^n b^n c^n'}, trained on n up to 10, asked up to {COUNTS}",
            partial(_draw_counting, letters=letters),
            partial(_test_counting, letters=letters),
            partial(_nearly_all, needed=1.0),
            letters + 2,
            letters + 2,
            hidden=8,
            cap=160_000,
            rate=1e-2,
            binary=True,
            to_the_end=True,
            extra=partial(_longer_counting, letters=letters),
            cost=5,
            trials=10,
            reading="Gers and Schmidhuber (2001), without their peepholes",
            deviations=("8 units, Adam, 5,000 updates with batches of 32",),
        )
        for letters in (2, 3)
    ]
    return [parity, *counting]


# ---------------------------------------------------------------- digits as sequences


@cache
def _digits(order: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's 8 x 8 digits as sequences: train x (T, n, I), train y, test x, test y; a fifth is for the test."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    rng = np.random.default_rng(1797)
    places = rng.permutation(len(images))
    x = (images / 16).astype(np.float32)
    if order == "permuted":
        x = x[:, rng.permutation(64)]
    x = x.reshape(len(x), -1, 8 if order == "rows" else 1).transpose(1, 0, 2)
    test, train = np.split(places, [len(places) // 5])
    return x[:, train], classes[train], x[:, test], classes[test]


def _as_batch(x, y):
    T, B, _ = x.shape
    lengths = np.full(B, T)
    return tasks.Batch(np.ascontiguousarray(x), y, lengths, np.arange(T)[:, None] == lengths - 1)


def _draw_digits(rng, B, order):
    x, y, *_ = _digits(order)
    chosen = rng.choice(len(y), B, replace=False)
    return _as_batch(x[:, chosen], y[chosen])


def _test_digits(model: Model, rng: np.random.Generator, order: str) -> Score:
    batch = _as_batch(*_digits(order)[2:])
    z = model.predict(batch)
    return model.loss(z, batch), float((z[-1].argmax(axis=-1) == batch.y).mean())


def _digit_rows() -> list[LaterRow]:
    return [
        LaterRow(
            f"digits-{order}",
            f"8 x 8 digits, {what}",
            partial(_draw_digits, order=order),
            partial(_test_digits, order=order),
            partial(_nearly_all, needed=0.95),
            8 if order == "rows" else 1,
            10,
            hidden=32,
            cap=cap,
            rate=5e-3,
            start=start,
            span=64,
            to_the_end=True,
            baseline=float(np.log(10)),
            cost=cost,
            reading="scikit-learn's digits in place of MNIST, which cannot be generated",
            deviations=("1797 images of 8 x 8 pixels, a fifth for the test; success: 95 % of the test images",),
        )
        for order, what, start, cap, cost in (
            ("rows", "row by row, 8 steps", 1.0, 96_000, 6),
            ("pixels", "pixel by pixel, 64 steps, chrono", "chrono", 160_000, 10),
            ("permuted", "pixel by pixel in a fixed random order, chrono", "chrono", 160_000, 10),
        )
    ]


ROWS = {row.name: row for row in [*_copy_rows(), *_adding_rows(), *_longer_rows(), *_digit_rows()]}
