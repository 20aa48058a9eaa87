"""What is made equal: updates at equal parameters, operations, or seconds."""

import time
from dataclasses import dataclass, field

from lstm_numba.teaching.fair_fight.models import MODELS, width_for
from lstm_numba.teaching.fair_fight.tasks import FairTask

#: Ways to be fair. All models have (nearly) the same number of parameters in each of them.
BUDGETS = {
    "updates": "equal parameters and equal numbers of updates",
    "flops": "equal training operations: as many as the LSTM's updates take",
    "seconds": "equal time of one processor core, measured while training",
}

REFERENCE = "LSTM"  # whose updates set the budget of operations


@dataclass
class Budget:
    """How much training is left.

    Attributes
    ----------
    kind : {"updates", "flops", "seconds"}
        What is counted.
    amount : float
        How much of it there is.
    used : float
        How much of it is gone.
    """

    kind: str
    amount: float
    used: float = 0.0
    _start: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in BUDGETS:
            raise ValueError(f"kind: expected one of {', '.join(map(repr, BUDGETS))}, got {self.kind!r}")
        if self.amount <= 0:
            raise ValueError(f"amount: expected a positive number, got {self.amount}")

    @property
    def share(self) -> float:
        """Part of the budget that is gone; the learning rate falls with it."""
        if self.kind == "seconds":
            now = time.process_time()
            self._start = now if self._start is None else self._start
            self.used = now - self._start
        return self.used / self.amount

    def spend(self, flops: float) -> None:
        """Count one update that took so many operations."""
        if self.kind == "updates":
            self.used += 1
        elif self.kind == "flops":
            self.used += flops


def budget_for(kind: str, task: FairTask, *, scale: float = 1.0) -> Budget:
    """Make the budget of a task.

    Parameters
    ----------
    kind : {"updates", "flops", "seconds"}
        What is equal.
    task : FairTask
        Says how many updates or seconds.
    scale : float
        Factor, for quick runs.

    Returns
    -------
    Budget

    Examples
    --------
    >>> from lstm_numba.teaching.fair_fight import TASKS
    >>> budget_for("updates", TASKS["adding"], scale=0.1).amount
    180.0
    """
    if kind == "flops":
        model = MODELS[REFERENCE]
        width = width_for(model, task.parameters, task.inputs, task.outputs)
        update = task.batch * model.training_flops(task.inputs, width, task.outputs, task.steps)
        return Budget(kind, scale * task.updates * update)
    return Budget(kind, scale * (task.seconds if kind == "seconds" else task.updates))
