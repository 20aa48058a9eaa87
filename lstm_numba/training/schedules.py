"""Learning-rate schedules.

A schedule answers one question: by what factor is the base learning rate multiplied at step `step`? What a
step is (an epoch or a mini-batch) is the caller's choice: :func:`lstm_numba.fit` counts epochs unless told
otherwise.
"""

import math
from typing import Any

from .protocol import real_number, whole_number


class Schedule:
    """Base class. The learning rate of step `step` is ``base_lr * schedule.factor(step)``.

    Examples
    --------
    Your own schedule is one method:

    >>> from lstm_numba.training import Schedule
    >>> class HalveOnce(Schedule):
    ...     def factor(self, step):
    ...         return 1.0 if step < 10 else 0.5
    >>> HalveOnce().factor(12)
    0.5
    """

    def factor(self, step: int) -> float:
        """Multiplier of the base learning rate at step `step`, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} must define factor(step)")

    def observe(self, metric: float) -> None:
        """Look at the validation loss (or training loss) after an epoch. Most schedules do not care."""

    def state_dict(self) -> dict[str, Any]:
        """What must be saved for an exact continuation: nothing, if the factor depends only on the step."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        if state.keys() != self.state_dict().keys():
            raise ValueError(
                f"state: expected the keys {sorted(self.state_dict())} of {type(self).__name__}, got {sorted(state)}"
            )
        for name, value in state.items():
            setattr(self, name, value)


class ConstantSchedule(Schedule):
    """The base learning rate, always.

    Examples
    --------
    >>> from lstm_numba.training import ConstantSchedule
    >>> ConstantSchedule().factor(1000)
    1.0
    """

    def factor(self, step: int) -> float:
        return 1.0


class StepSchedule(Schedule):
    """Multiply by `gamma` every `step_size` steps (``torch.optim.lr_scheduler.StepLR``).

    Parameters
    ----------
    step_size : int
        Steps between two changes, >= 1.
    gamma : float
        Factor of each change, > 0.

    Examples
    --------
    >>> from lstm_numba.training import StepSchedule
    >>> [StepSchedule(2, gamma=0.5).factor(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, step_size: int, gamma: float = 0.1):
        self.step_size = whole_number("step_size", step_size, minimum=1)
        self.gamma = real_number("gamma", gamma, above=0)

    def factor(self, step: int) -> float:
        return self.gamma ** (step // self.step_size)


class ExponentialSchedule(Schedule):
    """Multiply by `gamma` at every step (``torch.optim.lr_scheduler.ExponentialLR``).

    Parameters
    ----------
    gamma : float
        Factor of each step, > 0.

    Examples
    --------
    >>> from lstm_numba.training import ExponentialSchedule
    >>> [ExponentialSchedule(0.5).factor(step) for step in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """

    def __init__(self, gamma: float):
        self.gamma = real_number("gamma", gamma, above=0)

    def factor(self, step: int) -> float:
        return self.gamma**step


class CosineSchedule(Schedule):
    """Rise in a straight line for `warmup` steps, then fall along half a cosine.

    During the warm-up the factor is ``(step + 1) / (warmup + 1)``. Afterwards it falls from 1 at step
    `warmup` to `final` at step `total`, and stays there.

    Parameters
    ----------
    total : int
        Step at which the factor reaches `final`; usually the number of epochs.
    warmup : int
        Length of the warm-up, 0 <= warmup < total.
    final : float
        Last factor, 0 <= final <= 1.

    References
    ----------
    Loshchilov, I. and Hutter, F. (2017), SGDR: stochastic gradient descent with warm restarts, ICLR,
    equation 5.

    Examples
    --------
    >>> from lstm_numba.training import CosineSchedule
    >>> [round(CosineSchedule(total=6, warmup=2).factor(step), 3) for step in range(7)]
    [0.333, 0.667, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def __init__(self, total: int, warmup: int = 0, final: float = 0.0):
        self.total = whole_number("total", total, minimum=1)
        self.warmup = whole_number("warmup", warmup, minimum=0)
        self.final = real_number("final", final, minimum=0, maximum=1)
        if self.warmup >= self.total:
            raise ValueError(f"warmup: expected fewer steps than total={self.total}, got {self.warmup}")

    def factor(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        progress = min(1.0, (step - self.warmup) / (self.total - self.warmup))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))


class ReduceOnPlateau(Schedule):
    """Multiply by `gamma` when the observed metric has stopped falling.

    Same rule as ``torch.optim.lr_scheduler.ReduceLROnPlateau`` with its relative threshold: an epoch is an
    improvement if ``metric < best * (1 - threshold)``; after more than `patience` epochs in a row without
    one, the factor shrinks. Meant for losses that are >= 0.

    Parameters
    ----------
    gamma : float
        Factor of each reduction, 0 < gamma < 1.
    patience : int
        Epochs without improvement that are tolerated.
    threshold : float
        Smallest relative improvement that counts, >= 0.
    cooldown : int
        Epochs after a reduction during which nothing is counted.
    min_factor : float
        The factor never falls below this, 0 <= min_factor <= 1.

    Examples
    --------
    >>> from lstm_numba.training import ReduceOnPlateau
    >>> schedule = ReduceOnPlateau(gamma=0.5, patience=1)
    >>> for loss in [1.0, 0.8, 0.8, 0.8]:
    ...     schedule.observe(loss)
    >>> schedule.factor(step=4)
    0.5
    """

    def __init__(
        self,
        gamma: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_factor: float = 0.0,
    ):
        self.gamma = real_number("gamma", gamma, above=0, below=1)
        self.patience = whole_number("patience", patience, minimum=0)
        self.threshold = real_number("threshold", threshold, minimum=0)
        self.cooldown = whole_number("cooldown", cooldown, minimum=0)
        self.min_factor = real_number("min_factor", min_factor, minimum=0, maximum=1)
        self.current = 1.0
        self.best = math.inf
        self.bad_epochs = 0
        self.cooling = 0

    def factor(self, step: int) -> float:
        return self.current

    def observe(self, metric: float) -> None:
        if metric < self.best * (1 - self.threshold):
            self.best = float(metric)
            self.bad_epochs = 0
        else:
            self.bad_epochs += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.bad_epochs = 0
        if self.bad_epochs > self.patience:
            self.current = max(self.min_factor, self.current * self.gamma)
            self.bad_epochs = 0
            self.cooling = self.cooldown

    def state_dict(self) -> dict[str, Any]:
        return {
            "current": self.current,
            "best": self.best,
            "bad_epochs": self.bad_epochs,
            "cooling": self.cooling,
        }
