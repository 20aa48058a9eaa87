"""What is timed: the list of cases, in groups.

A case is one layer, one input shape, one mode and a number of threads. Shapes beyond a limit on the work are left out,
so that the whole suite ends within half an hour on two cores; the limits are stated here and in the stored results.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields

import numpy as np

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
MODES = ("inference", "training")

# Work of the forward pass, in GFLOP, up to which a shape is timed. Training does three times as much.
LIMIT_GFLOP = {"inference": 20.0, "training": 7.0}
QUICK_LIMIT_GFLOP = {"inference": 2.0, "training": 0.7}


@dataclass(frozen=True)
class Case:
    """One row of the results."""

    group: str
    cell: str  # "LSTM", "GRU", "RNN"
    mode: str  # "inference" or "training"
    T: int
    B: int
    I: int
    H: int
    layers: int = 1
    bidirectional: bool = False
    proj: int = 0
    variable: bool = False  # sequences of different lengths
    threads: int = 2
    compiled: bool = False  # also try torch.compile, which takes seconds

    @property
    def key(self) -> str:
        """A name that no other case has."""
        extras = [f"{self.layers} layers"] * (self.layers > 1)
        extras += ["bidirectional"] * self.bidirectional + [f"proj {self.proj}"] * (self.proj > 0)
        extras += ["lengths"] * self.variable
        shape = f"T={self.T} B={self.B} I={self.I} H={self.H}"
        return " ".join([self.group, self.cell, self.mode, shape, *extras, f"{self.threads} threads"])

    @property
    def directions(self) -> int:
        """1, or 2 for a bidirectional layer."""
        return 2 if self.bidirectional else 1

    @property
    def output(self) -> int:
        """Features of one direction's output: the projection's size, or H."""
        return self.proj or self.H

    def lengths(self) -> np.ndarray | None:
        """Lengths of the sequences, in no order, the longest of them T; None if all have length T."""
        if not self.variable:
            return None
        lengths = np.random.default_rng(self.T * 1000 + self.B).integers(1, self.T + 1, size=self.B)
        lengths[0] = self.T
        return lengths

    @property
    def flops(self) -> int:
        """Multiplications and additions of the matrix products on real steps; training is three times forward."""
        lengths = self.lengths()
        steps = self.T * self.B if lengths is None else int(lengths.sum())
        per_step = 0
        for layer in range(self.layers):
            inputs = self.I if layer == 0 else self.output * self.directions
            per_direction = 2 * GATES[self.cell] * self.H * (inputs + self.output) + 2 * self.proj * self.H
            per_step += self.directions * per_direction
        return steps * per_step * (3 if self.mode == "training" else 1)

    @property
    def gflop_forward(self) -> float:
        """Work of the forward pass alone, in GFLOP: what the limits are about."""
        return self.flops / (3 if self.mode == "training" else 1) / 1e9

    def as_row(self) -> dict:
        """Plain values for the results."""
        return {"key": self.key, **asdict(self), "flops": self.flops}


def case_of(row: dict) -> Case:
    """The case a row of the results came from."""
    return Case(**{field.name: row[field.name] for field in fields(Case)})


def _grid(group: str, cell: str, T, B, H, modes=MODES, **extra) -> Iterator[Case]:
    for mode, t, b, h in itertools.product(modes, T, B, H):
        yield Case(group, cell, mode, t, b, h, h, **extra)


def _sweep() -> Iterator[Case]:
    """The sweep of the targets: I = H, one layer, two threads."""
    yield from _grid("sweep", "LSTM", (32, 128, 512), (1, 4, 16, 64, 256), (16, 32, 64, 128, 256, 512, 1024))


def _one_thread() -> Iterator[Case]:
    yield from _grid("sweep", "LSTM", (128,), (1, 4, 16, 64, 256), (16, 32, 64, 128, 256, 512, 1024), threads=1)
    yield from _grid("GRU", "GRU", (128,), (1, 16), (64, 256), threads=1)


def _odd() -> Iterator[Case]:
    """Sizes that fit no vector register, and batches that fit no tile."""
    yield from _grid("odd", "LSTM", (128,), (3, 13), (37, 100, 200, 333, 650))
    yield from _grid("odd", "LSTM", (64,), (1, 64), (100, 200, 333, 656))
    yield from _grid("odd", "GRU", (128,), (3, 13), (100, 333))


def _narrow_and_wide_inputs() -> Iterator[Case]:
    """I far from H: a few time series, and word vectors that are wider than the layer."""
    shapes = (
        (64, 32, 1, 32),
        (64, 32, 8, 64),
        (128, 16, 8, 256),
        (128, 16, 512, 64),
        (32, 64, 300, 128),
        (512, 1, 1, 32),
    )
    for mode, (T, B, I, H) in itertools.product(MODES, shapes):
        yield Case("I and H", "LSTM", mode, T, B, I, H)


def _deepbench() -> Iterator[Case]:
    """DeepBench's shapes that fit. DeepBench leaves the input's product out; here I = H, and it is in.

    Sharan Narang and Greg Diamos, DeepBench, ``rnn_problems.h``.
    """
    server = [(25, B, H) for H in (512, 1024, 2048) for B in (1, 4)]
    server += [(50, B, 1536) for B in (1, 4)] + [(150, B, 256) for B in (1, 2, 4)]
    train = [(25, B, 512) for B in (16, 32, 64)] + [(25, 16, 1024)] + [(150, B, 256) for B in (16, 32, 64)]
    for mode, shapes in (("inference", server), ("training", train)):
        for T, B, H in shapes:
            yield Case("DeepBench", "LSTM", mode, T, B, H, H)
    for mode, shapes in (
        ("inference", [(1, 1, 512), (1, 4, 512), (187, 1, 1024), (187, 4, 1024), (187, 1, 1536)]),
        ("training", [(1, 32, 512), (187, 4, 1024)]),
    ):
        for T, B, H in shapes:
            yield Case("DeepBench", "GRU", mode, T, B, H, H)
    for mode, shapes in (("inference", [(672, 1, 32), (96, 1, 64), (50, 1, 1760)]), ("training", [(50, 16, 1760)])):
        for T, B, H in shapes:
            yield Case("DeepBench", "RNN", mode, T, B, H, H)


def _other_cells() -> Iterator[Case]:
    yield from _grid("GRU", "GRU", (32, 128), (1, 4, 16, 64), (16, 64, 256, 512))
    yield from _grid("GRU", "GRU", (128,), (256,), (32, 128))
    yield from _grid("RNN", "RNN", (128,), (1, 4, 16, 64), (16, 64, 256, 512))


def _projection() -> Iterator[Case]:
    for mode, T, B, H in itertools.product(MODES, (128,), (1, 16, 64), (64, 128, 256)):
        yield Case("projection", "LSTM", mode, T, B, H, H, proj=H // 2)
    for mode in MODES:
        yield Case("projection", "LSTM", mode, 32, 4, 512, 512, proj=128)


def _variable_lengths() -> Iterator[Case]:
    for mode, cell, B, H in itertools.product(MODES, ("LSTM", "GRU"), (4, 32), (32, 128, 256)):
        yield Case("lengths", cell, mode, 128, B, H, H, variable=True)
    for mode in MODES:
        yield Case("lengths", "LSTM", mode, 128, 32, 64, 64, variable=True, bidirectional=True)


def _deep_and_bidirectional() -> Iterator[Case]:
    for mode, layers, (T, B, H) in itertools.product(
        MODES, (2, 4), ((128, 1, 64), (64, 1, 256), (128, 16, 64), (64, 64, 128), (32, 16, 256))
    ):
        yield Case("layers", "LSTM", mode, T, B, H, H, layers=layers)
    for mode, (T, B, H) in itertools.product(
        MODES, ((128, 1, 64), (64, 1, 256), (128, 4, 128), (128, 16, 64), (64, 64, 128), (32, 16, 256))
    ):
        yield Case("bidirectional", "LSTM", mode, T, B, H, H, bidirectional=True)
    for mode in MODES:
        yield Case("bidirectional", "LSTM", mode, 128, 16, 64, 64, layers=2, bidirectional=True)
        yield Case("bidirectional", "GRU", mode, 128, 16, 64, 64, bidirectional=True)
        yield Case("layers", "GRU", mode, 128, 16, 64, 64, layers=2)


def _torch_compile() -> Iterator[Case]:
    for mode, (T, B, H) in itertools.product(MODES, ((32, 1, 64), (32, 16, 64), (32, 64, 256))):
        yield Case("torch.compile", "LSTM", mode, T, B, H, H, compiled=True)


_GROUPS = (
    _sweep,
    _one_thread,
    _odd,
    _narrow_and_wide_inputs,
    _deepbench,
    _other_cells,
    _projection,
    _variable_lengths,
    _deep_and_bidirectional,
    _torch_compile,
)

# A sample of every group: corners of the sweep, and one small and one larger case of the rest.
_QUICK_SWEEP = {(32, 1, 16), (32, 16, 64), (128, 4, 64), (128, 16, 256), (32, 64, 512), (128, 256, 32), (512, 1, 64)}


def cases(*, quick: bool = False, groups: tuple[str, ...] = (), threads: tuple[int, ...] = ()) -> list[Case]:
    """Return the cases of the suite, in the order in which they run.

    Parameters
    ----------
    quick
        A sample of a few dozen small cases.
    groups, threads
        Keep only these; empty keeps all.
    """
    limits = QUICK_LIMIT_GFLOP if quick else LIMIT_GFLOP
    chosen = [case for make in _GROUPS for case in make() if case.gflop_forward <= limits[case.mode]]
    if quick:
        chosen = _sample(chosen)
    return [
        case for case in chosen if (not groups or case.group in groups) and (not threads or case.threads in threads)
    ]


def _sample(all_cases: list[Case]) -> list[Case]:
    kept, seen = [], {}
    for case in all_cases:
        if case.group == "sweep":
            if (case.T, case.B, case.H) in _QUICK_SWEEP and (case.threads == 2 or case.B == 16):
                kept.append(case)
            continue
        kind = (case.group, case.cell, case.mode)
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] in ((1,) if case.compiled else (1, 5)):
            kept.append(case)
    return kept


def group_names() -> list[str]:
    """Names of all groups, in order."""
    return list(dict.fromkeys(case.group for make in _GROUPS for case in make()))


def estimated_seconds(case: Case, rounds: int, sample: float) -> float:
    """Roughly how long a case takes on two quiet cores at 80 GFLOP/s, with four candidates."""
    call = case.flops / (80e9 if case.threads == 2 else 50e9) + 50e-6
    return 3 * (rounds * (max(call, sample) + call) + 4 * call) + (25 if case.compiled else 0.2)
