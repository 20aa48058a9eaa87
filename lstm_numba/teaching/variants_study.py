"""The protocol of the comparison of LSTM variants: what its chapter shows and what ``benchmarks.variants`` runs.

Every model is trained in the same way on the same tasks. A small random search, with the same draws for every model,
chooses learning rate and size; fresh seeds then say how good the choice is. Scores are better when smaller.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

import lstm_numba as ln
from lstm_numba import tasks
from lstm_numba.teaching.letters import SYMBOLS, documentation
from lstm_numba.training import cross_entropy_loss, mse_loss

__all__ = [
    "MODELS",
    "TASKS",
    "Network",
    "StudyTask",
    "best_setting",
    "bootstrap_interval",
    "draw_setting",
    "final_scores",
    "parameter_count",
    "recurrent_layer",
    "run_once",
]

#: Vanilla, the eight variants of Greff et al. (2017), and the GRU.
MODELS = ("V", "NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG", "NP", "FGR", "GRU")
B = 32  # sequences in a batch
CLIP = 1.0  # largest global gradient norm
RETENTION = 1.0  # added to the bias of whatever keeps the old state (Jozefowicz et al., 2015)
LEARNING_RATES = (2e-3, 5e-2)  # the search draws between these, log-uniformly
SIZES = (12, 40)  # units, likewise


class Sample(NamedTuple):
    """One batch for one update."""

    x: np.ndarray  # (T, B, I)
    target: np.ndarray  # (B,), (B, K), or (T, B) with an answer at every step
    last: np.ndarray | None  # (B,) the step of the answer, or None for an answer at every step
    carried: bool = False  # whether the state of the batch before goes on


@dataclass(frozen=True)
class StudyTask:
    """A task of the study.

    Attributes
    ----------
    title, unit
        For tables: what it is, and what the score counts.
    inputs, outputs
        Features per step and width of the answer.
    chance
        Score of the best answer that ignores the input's order and memory.
    updates
        Training steps.
    samples
        Generator of an endless stream of :class:`Sample`.
    loss
        ``loss(prediction, target) -> (value, gradient)``.
    score
        ``score(network, rng, part) -> {"score": ..., ...}`` with part ``"validation"`` or ``"test"``.
    """

    title: str
    unit: str
    inputs: int
    outputs: int
    chance: float
    updates: int
    samples: Callable[[np.random.Generator], Iterator[Sample]]
    loss: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]
    score: Callable[["Network", np.random.Generator, str], dict[str, float]]


def recurrent_layer(model: str, input_size: int, hidden_size: int, *, seed: int, retention: float = RETENTION):
    """Make the recurrent layer of a model; its memory is biased towards keeping, where it has a gate for that.

    Parameters
    ----------
    model : str
        One of :data:`MODELS`.
    input_size, hidden_size : int
        Sizes of the layer.
    seed : int
        Seed of the weights.
    retention : float
        Added to the bias of the forget gate; of the input gate with the opposite sign where ``f = 1 - i``; of the
        GRU's update gate.
    """
    H = hidden_size
    if model == "GRU":
        gru = ln.GRU(input_size, H, seed=seed)
        gru.parameters["bias_ih_l0"][H : 2 * H] += retention
        return gru
    layer = ln.LSTMVariant(input_size, H, model, seed=seed)
    blocks = layer.options.blocks
    if "f" in blocks:
        at = blocks.index("f") * H
        layer.parameters["bias_ih_l0"][at : at + H] += retention
    elif layer.options.coupled:
        layer.parameters["bias_ih_l0"][:H] -= retention
    return layer


class Network:
    """A recurrent layer and a dense readout, at every step or at one step of each sequence."""

    def __init__(self, model: str, inputs: int, hidden: int, outputs: int, *, seed: int, retention: float = RETENTION):
        self.recurrent = recurrent_layer(model, inputs, hidden, seed=seed, retention=retention)
        self.readout = ln.Dense(hidden, outputs, seed=seed + 1)
        self.parameters = _joined(self.recurrent.parameters, self.readout.parameters)
        self.grads = _joined(self.recurrent.grads, self.readout.grads)

    def __call__(self, x: np.ndarray, last: np.ndarray | None = None, state: Any = None):
        """Return the answers and the state after the last step."""
        y, state = self.recurrent(x, state)
        self._shape, self._last = y.shape, last
        return self.readout(y if last is None else y[last, np.arange(y.shape[1])]), state

    def backward(self, gradient: np.ndarray) -> None:
        """Accumulate the gradients of all parameters."""
        dy = self.readout.backward(gradient)
        if self._last is not None:
            dy_all = np.zeros(self._shape, dy.dtype)
            dy_all[self._last, np.arange(self._shape[1])] = dy
            dy = dy_all
        self.recurrent.backward(dy)

    def train(self, training: bool) -> None:
        """Switch both layers to training or to inference mode."""
        for layer in (self.recurrent, self.readout):
            _ = layer.train() if training else layer.eval()

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        for grad in self.grads.values():
            grad[...] = 0


def _joined(recurrent, readout) -> dict[str, np.ndarray]:
    return {f"recurrent.{k}": v for k, v in recurrent.items()} | {f"readout.{k}": v for k, v in readout.items()}


def parameter_count(model: str, inputs: int, hidden: int) -> int:
    """Number of parameters of a model's recurrent layer.

    Parameters
    ----------
    model : str
        One of :data:`MODELS`.
    inputs, hidden : int
        Sizes of the layer.
    """
    return sum(p.size for p in recurrent_layer(model, inputs, hidden, seed=0).parameters.values())


def draw_setting(draw: int) -> dict[str, float]:
    """Learning rate and number of units of one draw of the search, the same for every model and task.

    Parameters
    ----------
    draw : int
        Number of the draw.

    Returns
    -------
    dict
        ``lr`` and ``hidden``.
    """
    rng = np.random.default_rng([2017, draw])
    lr, hidden = (math.exp(rng.uniform(*np.log(limits))) for limits in (LEARNING_RATES, SIZES))
    return {"lr": float(f"{lr:.3g}"), "hidden": round(hidden)}


def run_once(
    model: str,
    task: StudyTask,
    *,
    lr: float,
    hidden: int,
    seed: int,
    part: str,
    updates: int | None = None,
    retention: float = RETENTION,
) -> dict[str, Any]:
    """Train one network from scratch and score it.

    Parameters
    ----------
    model : str
        One of :data:`MODELS`.
    task : StudyTask
        One of :data:`TASKS`.
    lr : float
        Learning rate of Adam at the start; it falls to zero in a straight line.
    hidden : int
        Units.
    seed : int
        Seeds the weights, the training data and the data of the score.
    part : {"validation", "test"}
        Which data to score on.
    updates : int, optional
        Training steps, those of the task by default.
    retention : float
        See :func:`recurrent_layer`.

    Returns
    -------
    dict
        ``score`` and what else the task reports, ``diverged``, and ``curve``, the mean training loss in twenty
        stretches of equal length. A run that diverges scores as chance.
    """
    updates = task.updates if updates is None else updates
    network = Network(model, task.inputs, hidden, task.outputs, seed=seed, retention=retention)
    optimiser = ln.Adam(network, lr=lr)
    samples = task.samples(np.random.default_rng([seed, 0]))
    losses: list[float] = []
    state = None
    network.train(True)
    with np.errstate(over="ignore", invalid="ignore"):
        for update in range(updates):
            x, target, last, carried = next(samples)
            network.zero_grad()
            prediction, state = network(x, last, state if carried else None)
            value, gradient = task.loss(prediction, target)
            if not np.isfinite(value):
                return {"score": task.chance, "diverged": True, "curve": _stretches(losses)}
            network.backward(gradient)
            if not np.isfinite(ln.clip_grad_norm(network.grads, CLIP)):
                return {"score": task.chance, "diverged": True, "curve": _stretches(losses)}
            optimiser.lr = lr * (1 - update / updates)
            optimiser.step()
            losses.append(value)
        network.train(False)
        rng = np.random.default_rng([seed, {"validation": 1, "test": 2}[part]])
        result = task.score(network, rng, part)
    return result | {"diverged": False, "curve": _stretches(losses)}


def _stretches(losses: list[float]) -> list[float]:
    return [float(f"{part.mean():.4g}") for part in np.array_split(np.array(losses), 20) if part.size]


def best_setting(runs: list[dict], task: str, model: str, draws: int | None = None) -> dict[str, float]:
    """Learning rate and size of the draw with the best validation score; of equals, the one with less training loss.

    Parameters
    ----------
    runs : list of dict
        Lines of the results of ``benchmarks.variants``.
    task, model : str
        Names.
    draws : int, optional
        How many draws count; all by default.
    """
    mine = [
        entry
        for entry in runs
        if (entry["phase"], entry["task"], entry["model"]) == ("search", task, model)
        and (draws is None or entry["number"] < draws)
    ]
    chosen = min(mine, key=lambda entry: (entry["score"], *entry["curve"][-1:]))
    return {name: chosen[name] for name in ("lr", "hidden")}


def final_scores(
    runs: list[dict], task: str, model: str, draws: int | None = None, *, measure: str = "score"
) -> np.ndarray:
    """Test scores of the networks with the best setting, in the order of their seeds.

    Parameters
    ----------
    runs, task, model, draws
        As in :func:`best_setting`.
    measure : str
        ``"score"``, or another number that the task reports.

    Returns
    -------
    ndarray (seeds,)
    """
    best = best_setting(runs, task, model, draws)
    mine = [
        entry
        for entry in runs
        if (entry["phase"], entry["task"], entry["model"]) == ("final", task, model)
        and all(entry[name] == value for name, value in best.items())
    ]
    return np.array([entry[measure] for entry in sorted(mine, key=lambda entry: entry["number"])])


def bootstrap_interval(values: np.ndarray, *, seed: int = 0, draws: int = 10_000, share: float = 0.95) -> np.ndarray:
    """Percentile bootstrap interval of a mean.

    Parameters
    ----------
    values : ndarray (n,)
        Independent results, one for each seed.
    seed, draws : int
        Of the bootstrap.
    share : float
        Part of the bootstrap means inside the interval.

    Returns
    -------
    ndarray (2,)
        Lower and upper end.
    """
    values = np.asarray(values, float)
    chosen = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    return np.quantile(values[chosen].mean(axis=1), [(1 - share) / 2, (1 + share) / 2])


# -- the tasks ---------------------------------------------------------------------------------------------------


_ADDING_T, _ORDER_T = 20, 40


def _adding_samples(rng):
    while True:
        batch = tasks.adding(rng, B, T=_ADDING_T, variant="2016")
        yield Sample(batch.x, batch.y, batch.lengths - 1)


def _adding_score(network, rng, part):
    batch = tasks.adding(rng, 512, T=_ADDING_T, variant="2016")
    prediction, _ = network(batch.x, batch.lengths - 1)
    return {"score": float(np.mean((prediction - batch.y) ** 2)) / tasks.adding_baseline_loss(variant="2016")}


def _order_samples(rng):
    while True:
        batch = tasks.temporal_order(rng, B, T=_ORDER_T)
        yield Sample(batch.x, batch.y, batch.lengths - 1)


def _order_score(network, rng, part):
    batch = tasks.temporal_order(rng, 512, T=_ORDER_T)
    prediction, _ = network(batch.x, batch.lengths - 1)
    return {"score": float(np.mean(prediction.argmax(axis=1) != batch.y))}


_REBER_T = 80  # training streams: about seven strings, no resets
_REBER_TEST_T = 2000


def _reber_samples(rng):
    while True:
        batch = tasks.continual_reber(rng, B, _REBER_T + 1)
        yield Sample(np.ascontiguousarray(batch.x[:-1]), batch.x[1:].argmax(axis=2), None)


def _reber_score(network, rng, part):
    """Errors where the grammar demands memory: the T or P just before the end of a string. A guess errs in half."""
    batch = tasks.continual_reber(rng, 16, _REBER_TEST_T)
    prediction, state = network(batch.x)
    t, p = (tasks.reber.SYMBOLS.index(letter) for letter in "TP")
    asked = (batch.y.sum(axis=2) == 1) & (batch.y[..., t] + batch.y[..., p] == 1)  # (T, B)
    wrong = (prediction[..., p] > prediction[..., t]) != (batch.y[..., p] == 1)
    late = asked & (np.arange(_REBER_TEST_T)[:, None] >= _REBER_T)
    result = {
        "score": float(wrong[asked].mean()),
        "within": float(wrong[asked & ~late].mean()),
        "beyond": float(wrong[late].mean()),
    }
    if isinstance(state, tuple):
        result["mean_abs_c"] = float(np.abs(state[1]).mean())
    return result


@cache
def _digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scikit-learn's 8 x 8 digits as 16 steps of 4 pixels: 1197 for training, 300 and 300 for the scores."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = (images[order] / 16).astype(np.float32).reshape(-1, 16, 4), labels[order]
    parts = {"train": slice(0, 1197), "validation": slice(1197, 1497), "test": slice(1497, None)}
    return {name: (np.ascontiguousarray(x[part].transpose(1, 0, 2)), y[part]) for name, part in parts.items()}


def _digits_samples(rng):
    x, y = _digits()["train"]
    while True:
        chosen = rng.integers(0, len(y), B)
        yield Sample(np.ascontiguousarray(x[:, chosen]), y[chosen], np.full(B, len(x) - 1))


def _digits_score(network, rng, part):
    x, y = _digits()[part]
    prediction, _ = network(x, np.full(len(y), len(x) - 1))
    return {"score": float(np.mean(prediction.argmax(axis=1) != y))}


_TEXT_T = 40


def _one_hot(symbols: np.ndarray) -> np.ndarray:
    return np.eye(SYMBOLS, dtype=np.float32)[symbols]


def _streams(symbols: np.ndarray, n: int) -> np.ndarray:
    """Cut a text into n pieces that lie side by side, (T, n)."""
    T = len(symbols) // n
    return symbols[: T * n].reshape(n, T).T


def _text_samples(rng):
    streams = _streams(documentation()["train"], B)
    at = int(rng.integers(len(streams) - _TEXT_T))
    carried = False
    while True:
        if at + _TEXT_T >= len(streams):
            at, carried = 0, False
        piece = streams[at : at + _TEXT_T + 1]
        yield Sample(_one_hot(piece[:-1]), piece[1:], None, carried)
        at, carried = at + _TEXT_T, True


def _text_score(network, rng, part):
    streams = _streams(documentation()[part], 16)
    prediction, _ = network(_one_hot(streams[:-1]))
    return {"score": cross_entropy_loss(prediction, streams[1:])[0] / math.log(2)}


def _text_chance() -> float:
    """Bits per character of the letters' frequencies."""
    count = np.bincount(documentation()["train"], minlength=SYMBOLS) + 1
    share = count / count.sum()
    return float(-np.log2(share[documentation()["test"]]).mean())


TASKS: dict[str, StudyTask] = {
    "adding": StudyTask(
        "adding, 20 steps", "MSE / MSE of a constant", 2, 1, 1.0, 600, _adding_samples, mse_loss, _adding_score
    ),
    "order": StudyTask(
        "temporal order, 40 steps", "errors", 8, 4, 0.75, 400, _order_samples, cross_entropy_loss, _order_score
    ),
    "reber": StudyTask(
        "continual Reber, 2000 steps",
        "errors at the far symbol",
        7,
        7,
        0.5,
        300,
        _reber_samples,
        cross_entropy_loss,
        _reber_score,
    ),
    "digits": StudyTask(
        "digits, 16 steps", "errors", 4, 10, 0.9, 400, _digits_samples, cross_entropy_loss, _digits_score
    ),
    "text": StudyTask(
        "characters", "bits per character", 32, 32, _text_chance(), 300, _text_samples, cross_entropy_loss, _text_score
    ),
}
