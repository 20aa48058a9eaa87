"""The tasks: generated ones with answers at some steps, text of the standard library, and hourly traffic."""

import math
import pydoc_data.topics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from lstm_numba import tasks
from lstm_numba.datasets import traffic_hourly
from lstm_numba.tasks import Batch
from lstm_numba.teaching.looking_inside import read_modules
from lstm_numba.teaching.small_cells import Loss, masked_cross_entropy, masked_mse, masked_yes_or_no

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class FairTask:
    """A task and its budgets. Scores are better when smaller.

    Attributes
    ----------
    title, unit : str
        For tables: what it is, and what the score counts.
    inputs, outputs : int
        Features per step and width of the answer.
    lengths : tuple of int
        What ``draw`` takes as T. The first is trained on; the networks are tested on all.
    steps : int
        Mean number of time steps of a training sequence.
    updates : int
        Training steps; the budget of operations follows from them.
    seconds : float
        The budget of time.
    chance : float
        Score of the best answer without memory.
    draw : callable
        ``draw(rng, B, part, T) -> Batch`` with part ``"train"``, ``"validation"`` or ``"test"``.
    loss : callable
        ``loss(answers, y, mask) -> (value, gradient)``.
    errors : callable
        ``errors(answers, batch) -> float``.
    parameters : int
        Of every model, readout included. A Transformer of width 16 sets them: its width moves in steps of four, so it
        cannot adapt to the others, but they can to it.
    batch : int
        Sequences for one update.
    """

    title: str
    unit: str
    inputs: int
    outputs: int
    lengths: tuple[int, ...]
    steps: int
    updates: int
    seconds: float
    chance: float
    draw: Callable[[np.random.Generator, int, str, int], Batch]
    loss: Loss
    errors: Callable[[np.ndarray, Batch], float]
    parameters: int = 4600
    batch: int = 32


# -- scores --------------------------------------------------------------------------------------------------------


def _targets(batch: Batch) -> np.ndarray:
    """Targets of the steps that count; those that are due at the end belong to the last step of each sequence."""
    per_step = batch.y.shape[:2] == batch.mask.shape
    if per_step:
        return batch.y[batch.mask]
    return np.broadcast_to(batch.y, (len(batch.mask), *batch.y.shape))[batch.mask]


def wrong_class(answers: np.ndarray, batch: Batch) -> float:
    """Share of the answers that name the wrong class.

    Parameters
    ----------
    answers : ndarray (T, B, K)
        Logits.
    batch : Batch
        Class numbers in ``y``.
    """
    return float(np.mean(answers.argmax(axis=-1)[batch.mask] != _targets(batch)))


def bits(answers: np.ndarray, batch: Batch) -> float:
    """Mean cross-entropy in bits; arguments as in :func:`wrong_class`."""
    return masked_cross_entropy(answers, batch.y, batch.mask)[0] / math.log(2)


def relative_mse(answers: np.ndarray, batch: Batch, constant: float) -> float:
    """Mean squared error as a share of that of the best constant; arguments as in :func:`wrong_class`."""
    return masked_mse(answers, batch.y, batch.mask)[0] / constant


def not_accepted(answers: np.ndarray, batch: Batch) -> float:
    """Share of the strings with a wrong step; arguments as in :func:`wrong_class`."""
    return float(1 - tasks.counting_solved(answers + 0.5, batch).mean())  # a logit of 0 is a probability of one half


def relative_mae(answers: np.ndarray, batch: Batch) -> float:
    """Mean absolute error as a share of that of repeating the last value, which is the first input."""
    error = np.abs(answers[batch.mask] - _targets(batch)).mean()
    return float(error / np.abs(batch.x[..., :1][batch.mask] - _targets(batch)).mean())


# -- generated tasks -----------------------------------------------------------------------------------------------


def _adding(rng: np.random.Generator, B: int, part: str, T: int) -> Batch:
    return tasks.adding(rng, B, T=T, variant="2016")


def _copy(rng: np.random.Generator, B: int, part: str, T: int) -> Batch:
    """Copy memory in which only the steps of the answer count: elsewhere everybody is right."""
    batch = tasks.copy_memory(rng, B, T=T, tokens=4, vocabulary=6)
    batch.mask[:-4] = False
    return batch


def _selective(rng: np.random.Generator, B: int, part: str, T: int) -> Batch:
    return tasks.selective_copy(rng, B, T=T, tokens=4, vocabulary=6)


def _parity(rng: np.random.Generator, B: int, part: str, T: int) -> Batch:
    return tasks.parity(rng, B, longest=T, every_step=True)


def _cups(rng: np.random.Generator, B: int, part: str, T: int) -> Batch:
    return tasks.swapped_cups(rng, B, T)


def _recall(rng: np.random.Generator, B: int, part: str, T: int) -> Batch:
    return tasks.associative_recall(rng, B, T=T, pairs=4, vocabulary=16)


_COUNT_LENGTHS = (10, 20, 40)


def _count(rng: np.random.Generator, B: int, part: str, T: int) -> Batch:
    """Strings a^n b^n with n up to T; beyond the training length, only those that are longer than the length before."""
    place = _COUNT_LENGTHS.index(T)
    return tasks.counting(rng, B, longest=T, shortest=_COUNT_LENGTHS[place - 1] + 1 if place else 1)


# -- text ----------------------------------------------------------------------------------------------------------

ALPHABET = "abcdefghijklmnopqrstuvwxyz \n.,_"  # everything else is one more symbol
_SYMBOLS = len(ALPHABET) + 1
#: Sources of the text to classify: reference documentation, and three modules with different vocabularies.
SOURCES = ("documentation", "_pydecimal", "tarfile", "turtle")


def _numbers(text: str) -> np.ndarray:
    return np.array([ALPHABET.find(letter) % _SYMBOLS for letter in text.lower()])


@cache
def _documentation() -> dict[str, np.ndarray]:
    """Python's own reference as symbol numbers: nine tenths for training, one twentieth for each of the scores.

    Many topics repeat paragraphs of others. Only the first of each is kept: else a sixth of the test text is in the
    training text.
    """
    paragraphs = dict.fromkeys("\n\n".join(pydoc_data.topics.topics.values()).split("\n\n"))
    return _split(_numbers("\n\n".join(paragraphs)))


def _split(symbols: np.ndarray) -> dict[str, np.ndarray]:
    cuts = [len(symbols) * 18 // 20, len(symbols) * 19 // 20]
    return dict(zip(PARTS, np.split(symbols, cuts), strict=True))


def _snippets(rng: np.random.Generator, symbols: np.ndarray, B: int, T: int) -> np.ndarray:
    """B pieces of T symbols, (T, B)."""
    start = rng.integers(0, len(symbols) - T, B, endpoint=True)
    return symbols[start + np.arange(T)[:, None]]


def _one_hot(symbols: np.ndarray) -> np.ndarray:
    return np.eye(_SYMBOLS, dtype=np.float32)[symbols]


def _characters(rng: np.random.Generator, B: int, part: str, T: int) -> Batch:
    pieces = _snippets(rng, _documentation()[part], B, T + 1)
    return Batch(_one_hot(pieces[:-1]), pieces[1:], np.full(B, T), np.ones((T, B), bool))


@cache
def _sources() -> list[dict[str, np.ndarray]]:
    return [_documentation(), *(_split(_numbers(read_modules((name,)))) for name in SOURCES[1:])]


def _classification(rng: np.random.Generator, B: int, part: str, T: int) -> Batch:
    """Where does a piece of text come from? The answer is due at the end."""
    y = rng.integers(0, len(SOURCES), B)
    pieces = np.concatenate([_snippets(rng, _sources()[label][part], 1, T) for label in y], axis=1)
    mask = np.zeros((T, B), bool)
    mask[-1] = True
    return Batch(_one_hot(pieces), y, np.full(B, T), mask)


def _letters_chance() -> float:
    """Bits per character of the letters' frequencies."""
    share = np.bincount(_documentation()["train"], minlength=_SYMBOLS) + 1.0
    return float(-np.log2(share / share.sum())[_documentation()["test"]].mean())


# -- forecasting ---------------------------------------------------------------------------------------------------

_FIRST_STEPS = 12  # whose forecasts do not count: there is too little history


@cache
def _traffic() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Hourly traffic and what is known of the hour, scaled by the training part: 60 %, 20 % and 20 % of the time."""
    dataset = traffic_hourly()
    series = dataset.data[dataset.target].interpolate().to_numpy(float)
    index = dataset.data.index
    cuts = [len(series) * 6 // 10, len(series) * 8 // 10]
    train = series[: cuts[0]]
    value = (series - train.mean()) / train.std()
    hour, day = 2 * np.pi * index.hour / 24, 2 * np.pi * index.dayofweek / 7
    features = np.stack([value, np.sin(hour), np.cos(hour), np.sin(day), np.cos(day)], axis=1).astype(np.float32)
    pieces = zip(np.split(features, cuts), np.split(value.astype(np.float32), cuts), strict=True)
    return dict(zip(PARTS, pieces, strict=True))


def _forecast(rng: np.random.Generator, B: int, part: str, T: int) -> Batch:
    """The traffic of the next hour, at every hour but the first few of a stretch of T hours."""
    features, value = _traffic()[part]
    at = rng.integers(0, len(value) - T - 1, B, endpoint=True) + np.arange(T)[:, None]  # (T, B)
    mask = np.ones((T, B), bool)
    mask[:_FIRST_STEPS] = False
    return Batch(features[at], value[at + 1][..., None], np.full(B, T), mask)


# -- the list ------------------------------------------------------------------------------------------------------


TASKS: dict[str, FairTask] = {
    "adding": FairTask(
        "adding",
        "MSE / MSE of a constant",
        2,
        1,
        (20, 40, 80),
        20,
        1800,
        2.0,
        1.0,
        _adding,
        masked_mse,
        partial(relative_mse, constant=tasks.adding_baseline_loss(variant="2016")),
    ),
    "copy": FairTask(
        "copy", "wrong symbols", 8, 8, (10, 20, 40), 18, 1800, 2.0, 5 / 6, _copy, masked_cross_entropy, wrong_class
    ),
    "selective": FairTask(
        "selective copy",
        "wrong symbols",
        8,
        8,
        (16, 32, 64),
        20,
        2400,
        3.0,
        5 / 6,
        _selective,
        masked_cross_entropy,
        wrong_class,
    ),
    "parity": FairTask(
        "parity at every step",
        "wrong bits",
        1,
        2,
        (16, 64, 256),
        16,
        2400,
        3.0,
        0.5,
        _parity,
        masked_cross_entropy,
        wrong_class,
    ),
    "cups": FairTask(
        "swapped cups",
        "wrong positions",
        10,
        5,
        (16, 64, 256),
        16,
        2400,
        3.0,
        4 / 5,
        _cups,
        masked_cross_entropy,
        wrong_class,
    ),
    "recall": FairTask(
        "associative recall, 4 pairs",
        "wrong values",
        16,
        16,
        (16, 32, 64),
        16,
        3000,
        4.0,
        7 / 8,
        _recall,
        masked_cross_entropy,
        wrong_class,
        parameters=5000,
    ),
    "count": FairTask(
        "a^n b^n", "wrong strings", 4, 4, _COUNT_LENGTHS, 21, 1800, 2.0, 1.0, _count, masked_yes_or_no, not_accepted
    ),
    "sources": FairTask(
        "where text comes from",
        "wrong sources",
        _SYMBOLS,
        len(SOURCES),
        (32, 64, 128),
        32,
        1800,
        3.0,
        0.75,
        _classification,
        masked_cross_entropy,
        wrong_class,
        parameters=5100,
    ),
    "characters": FairTask(
        "characters",
        "bits per character",
        _SYMBOLS,
        _SYMBOLS,
        (40, 160),
        40,
        1800,
        4.0,
        _letters_chance(),
        _characters,
        masked_cross_entropy,
        bits,
        parameters=5600,
    ),
    "traffic": FairTask(
        "traffic of the next hour",
        "MAE / MAE of repeating",
        5,
        1,
        (48, 168),
        48,
        1200,
        3.0,
        1.0,
        _forecast,
        masked_mse,
        relative_mae,
    ),
}
