"""Which kernel computes a layer: one table, read from top to bottom, and the function that prints the choice.

A backend is a module that defines the functions of :mod:`lstm_numba.contract`. A row of :data:`ROUTES` says for
which problems it is used and why. There is no silent fallback: a backend that cannot serve a layer is an error.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from lstm_numba.contract import CELLS


class Problem(NamedTuple):
    """What the choice of a kernel may depend on."""

    cell: str  # one of lstm_numba.contract.CELLS
    T: int  # time steps
    B: int  # sequences in the batch
    I: int  # input features of this layer
    H: int  # hidden units
    P: int  # size of the hidden state: H, or less with a projection
    D: int  # directions
    dtype: str
    training: bool
    lengths: bool  # sequences of different lengths


def _always(problem: Problem) -> bool:
    return True


@dataclass(frozen=True)
class Route:
    """One row of the dispatch table."""

    cell: str
    backend: str
    kernel: str  # a short name, shown by `explain`
    module: str  # the module that defines the contract's functions
    reason: str
    serves: Callable[[Problem], bool] = _always
    # A module with `describe_work(problem)` and `predict_speed(problem)`, for `explain`; see lstm_numba.cpu.estimate.
    estimate: str | None = None


# Which family serves a problem depends on the chip as well: lstm_numba.gpu.plan decides, when it is asked.
_GPU_FAMILIES = {
    "block": "one block of threads per 8 or 16 sequences keeps the recurrent weights in registers for all steps",
    "cluster": "a cluster of blocks per 8 or 16 sequences keeps the recurrent weights in registers and exchanges h "
    "through distributed shared memory (compute capability 9.0)",
    "grid": "blocks resident on the whole chip keep the recurrent weights in registers and exchange h through global "
    "memory, with counters as barriers",
    "steps": "one launch per time step: for float64, for chips before 8.0, and for more units than the registers of "
    "the chip hold",
}


def _served_by(family: str) -> Callable[[Problem], bool]:
    return lambda problem: import_module("lstm_numba.gpu.plan").family_of(problem) == family


ROUTES: tuple[Route, ...] = (
    *(
        Route(
            cell=cell,
            backend="reference",
            kernel="numpy-steps",
            module="lstm_numba.reference.layer",
            reason="the specification: one NumPy expression per equation and time step",
        )
        for cell in CELLS
    ),
    *(
        Route(
            cell=cell,
            backend="cpu",
            kernel="tiled",
            module="lstm_numba.cpu.recurrent",
            reason="matrix products and gates in vector registers, sequences or units shared out between threads",
            estimate="lstm_numba.cpu.estimate",
        )
        for cell in CELLS
        if cell != "gru_reset_before"
    ),
    *(
        Route(
            cell=cell,
            backend="cuda",
            kernel=family,
            module="lstm_numba.gpu.layer",
            reason=reason,
            serves=_served_by(family),
            estimate="lstm_numba.gpu.estimate",
        )
        for cell in ("lstm", "gru", "rnn_tanh", "rnn_relu")
        for family, reason in _GPU_FAMILIES.items()
    ),
    Route(
        cell="gru_reset_before",
        backend="cpu",
        kernel="loops",
        module="lstm_numba.cpu.gru_reset_before",
        reason="plain compiled loops, sequences shared out between threads: with the reset gate before the recurrent "
        "product a step has two products, one after the other, and the tiled kernel's driver has one",
        estimate="lstm_numba.cpu.estimate",
    ),
)

BACKENDS: tuple[str, ...] = tuple(dict.fromkeys(route.backend for route in ROUTES))


def check_backend(backend: str) -> str:
    """Return ``backend`` if it is the name of a backend, else raise ``ValueError`` that lists the names."""
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(map(repr, BACKENDS))}, got {backend!r}")
    return backend


def choose(backend: str, problem: Problem) -> Route:
    """Return the first row of :data:`ROUTES` that serves this backend and problem."""
    for route in ROUTES:
        if route.cell == problem.cell and route.backend == backend and route.serves(problem):
            return route
    raise ValueError(f"backend: {backend!r} has no kernel for {problem}; backend='reference' computes every layer")


def load(route: Route) -> ModuleType:
    """Import the module behind a route; kernels are imported when they are first needed."""
    return import_module(route.module)


def lies_on_device(backend: str, array: Any) -> bool:
    """Whether an array is in a GPU's memory and the backend can leave it there."""
    if backend != "cuda" or isinstance(array, (list, tuple)) or type(array).__module__ == "numpy":
        return False
    return import_module("lstm_numba.gpu.arrays").is_on_device(array)


def device_work(example: Any) -> AbstractContextManager:
    """Return what layers need to work on arrays of the device; see :mod:`lstm_numba.gpu.arrays`."""
    return import_module("lstm_numba.gpu.arrays").device_work(example)


def load_estimate(route: Route) -> ModuleType | None:
    """Import the module that estimates a route's speed, if there is one."""
    return None if route.estimate is None else import_module(route.estimate)
