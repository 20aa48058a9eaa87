"""The training loop: shuffle, forward, loss, backward, clip, step; then validate, remember, maybe stop."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .checkpoints import Checkpoint, checked_path, load_checkpoint, save_checkpoint
from .clipping import clip_grad_norm, global_norm
from .optimisers import Optimiser
from .protocol import Trainable, real_number, require, whole_number
from .schedules import ConstantSchedule, Schedule

Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


class TrainingDiverged(ArithmeticError):
    """A loss or a gradient became NaN or infinite.

    Attributes
    ----------
    epoch : int
        Counted from 0.
    batch : int or None
        Counted from 0; None if the validation loss was not finite.
    learning_rate : float
        In use when it happened.
    """

    def __init__(self, what: str, value: float, epoch: int, batch: int | None, learning_rate: float):
        self.epoch, self.batch, self.learning_rate = epoch, batch, learning_rate
        where = f"epoch {epoch}" + ("" if batch is None else f", batch {batch}")
        super().__init__(
            f"the {what} is {value} at {where} (counted from 0), learning rate {learning_rate:g}; "
            "try a smaller learning rate, clip_norm, or look for extreme values in the data"
        )


@dataclass
class History:
    """What happened in each epoch. All lists have one entry for each epoch that was run.

    Attributes
    ----------
    train_loss : list of float
        Mean over the epoch's samples of the loss seen while training (the weights change during the epoch).
    validation_loss : list of float
        Loss on the validation data after the epoch; empty without validation data.
    learning_rate : list of float
        Learning rate of the epoch's first batch.
    grad_norm : list of float
        Mean over the batches of the global gradient norm before clipping.
    grad_norm_max : list of float
        Its largest value in the epoch.
    seconds : list of float
        Wall time of the epoch, validation included.
    best_epoch : int or None
        Index of the lowest validation loss; None without validation data.
    stopped_early : bool
        Whether patience ran out before the last epoch.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    grad_norm_max: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False

    @property
    def epochs(self) -> int:
        """Number of epochs that were run."""
        return len(self.train_loss)


def fit(
    model: Trainable,
    x: np.ndarray,
    y: np.ndarray,
    *,
    loss: Loss,
    optimiser: Optimiser,
    epochs: int,
    batch_size: int = 32,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    schedule: Schedule | None = None,
    schedule_unit: str = "epoch",
    clip_norm: float | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    shuffle: bool = True,
    checkpoint: str | os.PathLike | None = None,
    resume: str | os.PathLike | None = None,
    seed: int = 0,
    progress: bool = True,
) -> History:
    """Train a model on mini-batches, in place, and leave it in inference mode.

    Parameters
    ----------
    model : Trainable
        It has ``backward``, ``zero_grad``, ``train``, ``eval``, ``parameters`` and ``grads``. For example
        ``Sequential(LSTM(..., batch_first=True), LastStep(batch_first=True), Dense(...))``. It is called as
        ``model(x_batch)`` and must return one array.
    x : ndarray (N, ...)
        Samples along axis 0.
    y : ndarray (N, ...)
        Targets along axis 0, in the form and dtype that `loss` expects.
    loss : callable
        ``loss(prediction, target) -> (value, gradient)``, for example :func:`mse_loss`.
    optimiser : Optimiser
        Built on the same model: ``Adam(model, lr=1e-3)``.
    epochs : int
        Passes over the data, >= 1; with `resume`, the total including the epochs already run.
    batch_size : int
        Samples in a batch, >= 1. The last batch of an epoch may be smaller.
    validation : (ndarray, ndarray), optional
        Inputs and targets that are never trained on.
    schedule : Schedule, optional
        Multiplies the learning rate that `optimiser` has when `fit` starts. Default: constant.
    schedule_unit : {"epoch", "batch"}
        What one step of the schedule is.
    clip_norm : float, optional
        Largest global gradient norm.
    patience : int, optional
        Stop after this many epochs in a row without a lower validation loss, and give the model back the
        parameters of its best epoch. Needs `validation`. Without it the last parameters stay.
    min_delta : float
        How much lower the validation loss must be to count, >= 0.
    shuffle : bool
        Draw a new order of the samples in each epoch.
    checkpoint : path, optional
        An ``.npz`` file that is rewritten after each epoch.
    resume : path, optional
        A file written by `checkpoint`: its state replaces that of the model, the optimiser and the schedule,
        and the run goes on as if it had never stopped, bit for bit, given the same data and settings. A
        layer that draws random numbers of its own (dropout) is not covered.
    seed : int
        Seeds the generator that shuffles.
    progress : bool
        Show a progress bar if tqdm is installed; without tqdm, nothing is shown.

    Returns
    -------
    History

    Raises
    ------
    TrainingDiverged
        If a loss or the gradient norm becomes NaN or infinite. The model keeps its last parameters.
    TypeError, ValueError
        If an argument does not fit: the message names it.

    Examples
    --------
    Learn to add two numbers:

    >>> import numpy as np
    >>> import lstm_numba as ln
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(256, 2))
    >>> model = ln.Dense(2, 1, dtype="float64", seed=0)
    >>> history = ln.fit(model, x, x.sum(axis=1, keepdims=True), loss=ln.mse_loss,
    ...                  optimiser=ln.Adam(model, lr=0.05), epochs=30, progress=False)
    >>> history.train_loss[-1] < 1e-3
    True
    """
    require(model, ("__call__", "backward", "zero_grad", "train", "eval", "parameters", "grads"), "fit")
    x, y = _checked_data(("x", "y"), x, y)
    if validation is not None:
        if not isinstance(validation, tuple) or len(validation) != 2:
            raise TypeError(f"validation: expected a pair (x, y), got {type(validation).__name__}")
        validation = _checked_data(("validation[0]", "validation[1]"), *validation)
    if not isinstance(optimiser, Optimiser):
        raise TypeError(f"optimiser: expected an Optimiser, got {type(optimiser).__name__}")
    if optimiser.model is not model:
        raise ValueError("optimiser: it was built on another model")
    if not callable(loss):
        raise TypeError(f"loss: expected a callable, got {type(loss).__name__}")
    epochs = whole_number("epochs", epochs, minimum=1)
    batch_size = whole_number("batch_size", batch_size, minimum=1)
    if schedule is not None and not isinstance(schedule, Schedule):
        raise TypeError(f"schedule: expected a Schedule, got {type(schedule).__name__}")
    schedule = schedule or ConstantSchedule()
    if schedule_unit not in ("epoch", "batch"):
        raise ValueError(f"schedule_unit: expected 'epoch' or 'batch', got {schedule_unit!r}")
    if clip_norm is not None:
        clip_norm = real_number("clip_norm", clip_norm, above=0)
    if patience is not None:
        patience = whole_number("patience", patience, minimum=1)
        if validation is None:
            raise ValueError("patience: expected validation data to watch, got validation=None")
    min_delta = real_number("min_delta", min_delta, minimum=0)
    if checkpoint is not None:
        checkpoint = checked_path("checkpoint", checkpoint)

    rng = np.random.default_rng(whole_number("seed", seed, minimum=0))
    history = History()
    best_parameters: dict[str, np.ndarray] = {}
    run: dict[str, Any] = {
        "samples": len(x),
        "batch_size": batch_size,
        "shuffle": bool(shuffle),
        "schedule_unit": schedule_unit,
        "base_learning_rate": optimiser.lr,
        "early_stopping": patience is not None,
        "validation_samples": 0 if validation is None else len(validation[0]),
    }
    if resume is not None:
        history, best_parameters = _restore(resume, model, optimiser, schedule, rng, run)
    base_learning_rate = run["base_learning_rate"]
    batches = -(-len(x) // batch_size)

    history.stopped_early = False
    with _bar(progress, epochs, history.epochs) as bar:
        for epoch in range(history.epochs, epochs):
            if _out_of_patience(history, patience):
                history.stopped_early = True
                break
            started = time.perf_counter()
            order = rng.permutation(len(x)) if shuffle else np.arange(len(x))
            norms, loss_sum = [], 0.0
            model.train()
            for batch in range(batches):
                step = epoch if schedule_unit == "epoch" else epoch * batches + batch
                optimiser.lr = base_learning_rate * schedule.factor(step)
                if batch == 0:
                    first_learning_rate = optimiser.lr
                chosen = order[batch * batch_size : (batch + 1) * batch_size]
                value, norm = _train_batch(model, x[chosen], y[chosen], loss, optimiser, clip_norm, epoch, batch)
                loss_sum += value * len(chosen)
                norms.append(norm)
            history.train_loss.append(loss_sum / len(x))
            history.learning_rate.append(first_learning_rate)
            history.grad_norm.append(sum(norms) / batches)
            history.grad_norm_max.append(max(norms))
            if validation is not None:
                value = evaluate_loss(model, *validation, loss=loss, batch_size=batch_size)
                if not np.isfinite(value):
                    raise TrainingDiverged("validation loss", value, epoch, None, optimiser.lr)
                history.validation_loss.append(value)
                best = history.best_epoch
                if best is None or value < history.validation_loss[best] - min_delta:
                    history.best_epoch = epoch
                    if patience is not None:
                        best_parameters = {name: p.copy() for name, p in model.parameters.items()}
            schedule.observe(history.validation_loss[-1] if validation is not None else history.train_loss[-1])
            history.seconds.append(time.perf_counter() - started)
            bar.update(history)
            if checkpoint is not None:
                save_checkpoint(
                    checkpoint,
                    Checkpoint(
                        parameters=dict(model.parameters),
                        best_parameters=best_parameters,
                        optimiser=optimiser.state_dict(),
                        schedule=schedule.state_dict(),
                        generator=dict(rng.bit_generator.state),
                        history=asdict(history),
                        run=run,
                    ),
                )
    if patience is not None:
        _copy_into(model.parameters, best_parameters)
    optimiser.lr = base_learning_rate  # so that a second call of fit starts from the same rate
    model.zero_grad()
    model.eval()
    return history


def evaluate_loss(model: Trainable, x: np.ndarray, y: np.ndarray, *, loss: Loss, batch_size: int = 32) -> float:
    """Mean loss in inference mode; leaves the model in inference mode.

    Parameters
    ----------
    model : Trainable
        The model.
    x, y : ndarray (N, ...)
        Inputs and targets, samples along axis 0.
    loss : callable
        ``loss(prediction, target) -> (value, gradient)``.
    batch_size : int
        Samples in a batch: bounds memory, changes the result only by rounding.

    Returns
    -------
    float
        Mean of the batch losses, weighted by the number of samples.

    Examples
    --------
    >>> import numpy as np
    >>> import lstm_numba as ln
    >>> from lstm_numba.training import evaluate_loss
    >>> model = ln.Dense(1, 1, bias=False, dtype="float64", seed=0)
    >>> model.parameters["weight"][...] = 3.0
    >>> evaluate_loss(model, np.ones((4, 1)), np.ones((4, 1)), loss=ln.mse_loss)
    4.0
    """
    x, y = _checked_data(("x", "y"), x, y)
    model.eval()
    total = 0.0
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        value, _ = loss(model(x[part]), y[part])
        total += value * len(x[part])
    return total / len(x)


def _train_batch(
    model: Trainable,
    x: np.ndarray,
    y: np.ndarray,
    loss: Loss,
    optimiser: Optimiser,
    clip_norm: float | None,
    epoch: int,
    batch: int,
) -> tuple[float, float]:
    """One optimiser step. Returns the loss and the gradient norm before clipping."""
    # Overflow is reported below with its epoch and batch, which a NumPy warning cannot know.
    with np.errstate(over="ignore", invalid="ignore"):
        model.zero_grad()
        value, gradient = loss(model(x), y)
        if not np.isfinite(value):
            raise TrainingDiverged("training loss", value, epoch, batch, optimiser.lr)
        model.backward(gradient)
        norm = global_norm(model.grads) if clip_norm is None else clip_grad_norm(model.grads, clip_norm)
        if not np.isfinite(norm):
            raise TrainingDiverged("gradient norm", norm, epoch, batch, optimiser.lr)
        optimiser.step()
    return value, norm


def _checked_data(names: tuple[str, str], x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of numbers with the same, positive length and without NaN or infinity."""
    for name, array in zip(names, (x, y), strict=True):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name}: expected a NumPy array, got {type(array).__name__}")
        if array.ndim == 0 or len(array) == 0:
            raise ValueError(f"{name}: expected at least one sample along axis 0, got shape {array.shape}")
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{name}: expected an array of real numbers, got dtype {array.dtype}")
        if array.dtype.kind == "f":
            bad = ~np.isfinite(array)
            if bad.any():
                where = tuple(int(position) for position in np.argwhere(bad)[0])
                raise ValueError(
                    f"{name}: expected finite numbers, got {int(bad.sum())} NaN or infinite, first at {where}"
                )
    if len(x) != len(y):
        raise ValueError(
            f"{names[1]}: expected as many samples as {names[0]}, {len(x)}, got {len(y)} (shape {y.shape})"
        )
    return x, y


def _out_of_patience(history: History, patience: int | None) -> bool:
    if patience is None or history.best_epoch is None:
        return False
    return history.epochs - 1 - history.best_epoch >= patience


def _copy_into(parameters: Mapping[str, np.ndarray], source: Mapping[str, np.ndarray]) -> None:
    for name, parameter in parameters.items():
        parameter[...] = source[name]


def _restore(
    path: str | os.PathLike,
    model: Trainable,
    optimiser: Optimiser,
    schedule: Schedule,
    rng: np.random.Generator,
    run: dict[str, Any],
) -> tuple[History, dict[str, np.ndarray]]:
    """Put a checkpoint's state everywhere it belongs; check first, so that a refusal changes nothing."""
    saved = load_checkpoint(path)
    for key, value in run.items():
        if key == "base_learning_rate":
            continue  # the saved one wins, as it does for the optimiser's other settings
        if saved.run[key] != value:
            raise ValueError(f"resume: the checkpoint was written with {key}={saved.run[key]}, got {value}")
    own = {name: (p.shape, p.dtype) for name, p in model.parameters.items()}
    theirs = {name: (p.shape, p.dtype) for name, p in saved.parameters.items()}
    if own != theirs:
        differing = sorted(name for name in own.keys() | theirs.keys() if own.get(name) != theirs.get(name))
        raise ValueError(f"resume: the checkpoint's parameters differ from the model's in {differing}")
    schedule.load_state_dict(saved.schedule)
    optimiser.load_state_dict(saved.optimiser)
    _copy_into(model.parameters, saved.parameters)
    rng.bit_generator.state = saved.generator
    run["base_learning_rate"] = saved.run["base_learning_rate"]
    return History(**saved.history), saved.best_parameters


class _bar:
    """A tqdm bar over epochs, or nothing at all: training never depends on tqdm."""

    def __init__(self, wanted: bool, epochs: int, done: int):
        self.tqdm = None
        if wanted:
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.tqdm = tqdm(total=epochs, initial=done, unit="epoch", desc="training")

    def __enter__(self) -> "_bar":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.tqdm is not None:
            self.tqdm.close()

    def update(self, history: History) -> None:
        if self.tqdm is None:
            return
        text = {"loss": f"{history.train_loss[-1]:.4g}"}
        if history.validation_loss:
            text["validation"] = f"{history.validation_loss[-1]:.4g}"
        self.tqdm.set_postfix(text, refresh=False)
        self.tqdm.update(1)
