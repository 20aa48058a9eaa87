"""One network: train it on a budget, score it, and time it step by step."""

import math
import statistics
import time
from typing import Any

import numpy as np

import lstm_numba as ln
from lstm_numba.tasks import Batch
from lstm_numba.teaching.fair_fight.budgets import Budget
from lstm_numba.teaching.fair_fight.models import Model, Stepper, width_for
from lstm_numba.teaching.fair_fight.tasks import FairTask

LEARNING_RATES = (1e-3, 3e-2)  # the search draws between these, log-uniformly
CLIPS = (0.3, 3.0)  # largest global gradient norm, likewise
TEST_SEQUENCES = 512
_MOST_UPDATES = 100_000  # a guard for a budget of seconds on a clock that stands still


def draw_setting(trial: int) -> dict[str, float]:
    """Learning rate and clipping norm of one trial of the search, the same for every model and task.

    Parameters
    ----------
    trial : int
        Its number.

    Returns
    -------
    dict
        ``lr`` and ``clip``.

    Examples
    --------
    >>> draw_setting(0) == draw_setting(0) != draw_setting(1)
    True
    """
    rng = np.random.default_rng([2026, trial])
    lr, clip = (math.exp(rng.uniform(*np.log(limits))) for limits in (LEARNING_RATES, CLIPS))
    return {"lr": float(f"{lr:.3g}"), "clip": float(f"{clip:.3g}")}


def pick(batch: Batch, chosen: np.ndarray) -> Batch:
    """Return some sequences of a batch.

    Parameters
    ----------
    batch : Batch
        Many sequences.
    chosen : ndarray (B,) of int
        Which of them.
    """
    per_step = batch.y.shape[:2] == batch.mask.shape
    y = batch.y[:, chosen] if per_step else batch.y[chosen]
    x = np.ascontiguousarray(batch.x[:, chosen])
    return Batch(x, y, batch.lengths[chosen], batch.mask[:, chosen])


def run_once(
    model: Model,
    task: FairTask,
    budget: Budget,
    *,
    lr: float,
    clip: float,
    seed: int,
    part: str,
    sequences: int | None = None,
) -> dict[str, Any]:
    """Train one network from scratch and score it.

    Parameters
    ----------
    model : Model
        Which; its width follows from the task's number of parameters.
    task : FairTask
        On what.
    budget : Budget
        How long; used up by the call.
    lr : float
        Learning rate of Adam at the start; it falls to zero in a straight line of the budget.
    clip : float
        Largest global gradient norm.
    seed : int
        Seeds weights, training data and the data of the score.
    part : {"validation", "test"}
        Which data to score on. On the test data every length of the task is scored.
    sequences : int, optional
        Size of a fixed training set; by default every update draws fresh sequences.

    Returns
    -------
    dict
        ``score`` (at the training length), ``by_length``, ``diverged``, ``width``, ``parameters``, ``updates``,
        ``flops``, ``seconds`` of training and ``curve``, the mean loss in twenty stretches. A network that diverges
        scores as chance.

    Examples
    --------
    >>> from lstm_numba.teaching.fair_fight import MODELS, TASKS, budget_for
    >>> budget = budget_for("updates", TASKS["count"], scale=0.002)
    >>> result = run_once(MODELS["RNN"], TASKS["count"], budget, lr=0.01, clip=1.0, seed=0, part="validation")
    >>> result["updates"], 0 <= result["score"] <= 1
    (4, True)
    """
    width = width_for(model, task.parameters, task.inputs, task.outputs)
    network = model.build(task.inputs, width, task.outputs, seed)
    optimiser = ln.Adam(network, lr=lr)
    rng = np.random.default_rng([seed, 0])
    fixed = None if sequences is None else task.draw(rng, sequences, "train", task.lengths[0])
    network.train()
    if budget.kind == "seconds":  # compiling, or loading what was compiled, is not training
        _one_pass(model.build(task.inputs, width, task.outputs, seed), task)
    losses: list[float] = []
    flops, per_step, diverged = 0.0, {}, False
    start = time.process_time()
    with np.errstate(over="ignore", invalid="ignore"):
        while (share := budget.share) < 1 and len(losses) < _MOST_UPDATES and not diverged:
            if fixed is None:
                batch = task.draw(rng, task.batch, "train", task.lengths[0])
            else:
                batch = pick(fixed, rng.integers(0, len(fixed.lengths), task.batch))
            network.zero_grad()
            value, gradient = task.loss(network(batch.x), batch.y, batch.mask)
            diverged = not math.isfinite(value)
            if not diverged:
                network.backward(gradient)
                diverged = not math.isfinite(ln.clip_grad_norm(network.grads, clip))
            if not diverged:
                optimiser.lr = lr * (1 - share)
                optimiser.step()
            T, B, _ = batch.x.shape
            if T not in per_step:
                per_step[T] = model.training_flops(task.inputs, width, task.outputs, T)
            flops += B * per_step[T]
            budget.spend(B * per_step[T])
            losses.append(value)
        seconds = time.process_time() - start
        network.eval()
        by_length = {}
        for T in task.lengths if part == "test" else task.lengths[:1]:
            if diverged:
                by_length[str(T)] = task.chance
                continue
            test = task.draw(np.random.default_rng([seed, 1 + (part == "test"), T]), TEST_SEQUENCES, part, T)
            answers = network(test.x)
            by_length[str(T)] = task.errors(answers, test) if np.isfinite(answers).all() else task.chance
    return {
        "score": by_length[str(task.lengths[0])],
        "by_length": by_length,
        "diverged": diverged,
        "width": width,
        "parameters": sum(p.size for p in network.parameters.values()),
        "updates": len(losses),
        "flops": flops,
        "seconds": round(seconds, 3),
        "curve": [float(f"{part.mean():.4g}") for part in np.array_split(np.array(losses), 20) if part.size],
    }


def _one_pass(network: ln.Sequential, task: FairTask) -> None:
    batch = task.draw(np.random.default_rng(0), task.batch, "train", task.lengths[0])
    _, gradient = task.loss(network(batch.x), batch.y, batch.mask)
    network.backward(gradient)


def streaming_cost(
    model: Model, task: FairTask, *, contexts: tuple[int, ...] = (16, 128, 1024), repeats: int = 40
) -> list[dict[str, Any]]:
    """Time and memory of one step of a single sequence, after so many steps before it.

    Parameters
    ----------
    model : Model
        Which; not trained, the weights do not matter here.
    task : FairTask
        Gives the sizes.
    contexts : tuple of int
        Rising numbers of steps.
    repeats : int
        Steps that are timed at each of them.

    Returns
    -------
    list of dict
        ``context``, ``microseconds`` (median, processor time is too coarse: wall clock) and ``bytes`` that are kept.

    Examples
    --------
    >>> from lstm_numba.teaching.fair_fight import MODELS, TASKS
    >>> [entry["bytes"] for entry in streaming_cost(MODELS["RNN"], TASKS["adding"], contexts=(1, 5), repeats=3)]
    [260, 260]
    """
    width = width_for(model, task.parameters, task.inputs, task.outputs)
    stepper = Stepper(model.build(task.inputs, width, task.outputs, 0).eval())
    x = np.zeros((1, task.inputs), np.float32)
    done, entries = 0, []
    for context in contexts:
        while done < context:
            stepper.step(x)
            done += 1
        kept, times = stepper.nbytes, []
        for _ in range(repeats):
            start = time.perf_counter()
            stepper.step(x)
            times.append(1e6 * (time.perf_counter() - start))
        done += repeats
        entries.append({"context": context, "microseconds": round(statistics.median(times), 2), "bytes": kept})
    return entries
