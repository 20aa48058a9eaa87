"""Which kernel computes a layer: one table, read from top to bottom, and the function that prints the choice.

A backend is a module that defines the functions of :mod:`lstm_numba.contract`. A row of :data:`ROUTES` says for
which problems it is used and why. There is no silent fallback: a backend that cannot serve a layer is an error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import NamedTuple


class Problem(NamedTuple):
    """What the choice of a kernel may depend on."""

    T: int  # time steps
    B: int  # sequences in the batch
    I: int  # input features of this layer
    H: int  # hidden units
    dtype: str
    training: bool


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


ROUTES: tuple[Route, ...] = (
    Route(
        cell="lstm",
        backend="reference",
        kernel="numpy-steps",
        module="lstm_numba.reference.lstm",
        reason="the specification: one NumPy expression per equation and time step",
    ),
    Route(
        cell="lstm",
        backend="cpu",
        kernel="tiled",
        module="lstm_numba.cpu.lstm_tiled",
        reason="matrix products and gates in vector registers, sequences shared out between threads",
        serves=lambda problem: problem.H >= 4,
    ),
    Route(
        cell="lstm",
        backend="cpu",
        kernel="batch-scan",
        module="lstm_numba.cpu.lstm",
        reason="plain compiled loops: with fewer than 4 units, vector registers would be mostly padding",
    ),
    Route(
        cell="lstm_variant",
        backend="reference",
        kernel="numpy-steps",
        module="lstm_numba.reference.lstm_variants",
        reason="the specification: one NumPy expression per equation and time step",
    ),
    Route(
        cell="lstm_variant",
        backend="cpu",
        kernel="variant-scan",
        module="lstm_numba.cpu.lstm_variants",
        reason="one compiled scan per choice of parts; the parts left out cost nothing",
    ),
)

BACKENDS: tuple[str, ...] = tuple(dict.fromkeys(route.backend for route in ROUTES))


def check_backend(backend: str) -> str:
    """Return ``backend`` if it is the name of a backend, else raise ``ValueError`` that lists the names."""
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(map(repr, BACKENDS))}, got {backend!r}")
    return backend


def choose(cell: str, backend: str, problem: Problem) -> Route:
    """Return the first row of :data:`ROUTES` that serves this cell, backend and problem."""
    for route in ROUTES:
        if route.cell == cell and route.backend == backend and route.serves(problem):
            return route
    raise ValueError(f"backend: {backend!r} has no kernel for a {cell} with {problem}")


def load(route: Route) -> ModuleType:
    """Import the module behind a route; kernels are imported when they are first needed."""
    return import_module(route.module)
