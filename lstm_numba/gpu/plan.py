"""Which family of kernels computes a layer on a given chip, and for which padded size."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lstm_numba.gpu.binding import Kernel
from lstm_numba.gpu.cells import CELLS
from lstm_numba.gpu.kernels import grid, slices, steps
from lstm_numba.gpu.kernels.fragments import PRECISIONS

FAMILIES = ("block", "cluster", "grid", "steps")

_precision = "float32"


@dataclass(frozen=True)
class Chip:
    """What the choice depends on."""

    capability: tuple[int, int]
    multiprocessors: int


H100 = Chip((9, 0), 132)  # assumed by `explain` on a machine without a GPU


@dataclass(frozen=True)
class Plan:
    """A family and its kernels for one layer."""

    family: str
    H: int  # padded: units beyond the layer's have zero weights and stay zero
    precision: str
    forward: Kernel
    backward: Kernel
    forward_blocks: int  # blocks per slice of the batch
    backward_blocks: int
    teams: int  # slices that may run at once; 0: no limit, they do not wait for each other


def set_precision(precision: str) -> None:
    """Choose how tensor cores multiply; arrays, sums and states are float32 in any case.

    Parameters
    ----------
    precision
        ``"float32"`` (default, three products of TF32), ``"tf32"`` (one product, factors of 11 bits) or ``"bfloat16"``
        (factors of 8 bits in the recurrent products, forward and backward; the large products as with ``"tf32"``).

    Raises
    ------
    ValueError
        If ``precision`` is none of them.

    Examples
    --------
    >>> set_precision("float32")
    >>> get_precision()
    'float32'
    """
    global _precision
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
    _precision = precision


def get_precision() -> str:
    """Return the precision of products on tensor cores; see :func:`set_precision`."""
    return _precision


@contextmanager
def precision(name: str) -> Iterator[None]:
    """:func:`set_precision` for the duration of a ``with`` block."""
    before = get_precision()
    set_precision(name)
    try:
        yield
    finally:
        set_precision(before)


def family(H: int, dtype: str, chip: Chip) -> str:
    """Return the name of the family for ``H`` units.

    Examples
    --------
    >>> [family(H, "float32", H100) for H in (32, 200, 600, 2000)]
    ['block', 'cluster', 'grid', 'steps']
    >>> family(200, "float32", Chip((8, 0), 108)), family(32, "float64", H100)
    ('grid', 'steps')
    """
    if dtype != "float32" or chip.capability < (8, 0):  # tensor cores multiply TF32 from 8.0 on
        return "steps"
    if H <= 64:
        return "block"
    if H <= 256 and chip.capability >= (9, 0):
        return "cluster"
    if H <= 1024 and _grid_blocks(_padded_for_grid(H)) <= chip.multiprocessors:
        return "grid"
    return "steps"


def family_of(problem: Any) -> str | None:
    """Return the family for a :class:`lstm_numba.backend.Problem` on the chip in use, None if there is none."""
    from lstm_numba.gpu.device import chip

    if problem.cell not in CELLS:
        return None
    return family(problem.H, problem.dtype, chip())


def _padded_for_grid(H: int) -> int:
    return -(-H // 32) * 32 if H <= 512 else -(-H // 64) * 64


def _grid_blocks(H: int) -> int:
    return H // 16 if H <= 512 else H // 8


def plan(cell: str, H: int, B: int, dtype: str, chip: Chip, precision: str | None = None) -> Plan:
    """Choose kernels for a cell of ``H`` units and a batch of ``B`` on a chip."""
    precision = precision or _precision
    chosen = family(H, dtype, chip)
    if chosen == "steps":
        return Plan(chosen, H, dtype, steps.forward(cell, dtype), steps.backward(cell, dtype), 1, 1, 0)
    if chosen == "grid":
        padded = _padded_for_grid(H)
        blocks = _grid_blocks(padded)
        teams = chip.multiprocessors // blocks
        # Two tiles of sequences per block only where the registers suffice and one tile would not hold the batch.
        tiles = 2 if 8 * teams < B and padded <= 512 and precision != "float32" else 1
        split = 2 if padded <= 512 else 4
        return Plan(
            chosen,
            padded,
            precision,
            grid.forward(cell, padded, blocks, tiles, split, precision),
            grid.backward(cell, padded, blocks, precision, warps=16 if padded % 64 == 0 else 8),
            blocks,
            blocks,
            teams,
        )
    if chosen == "block":
        padded = -(-H // 16) * 16
        blocks, back_blocks, warps, split = 1, 1, padded // 16, 2
    else:
        padded, blocks, back_blocks, warps, split = next(row for row in _CLUSTERS if row[0] >= H)
    crowded = 8 * (chip.multiprocessors // blocks) < B
    tiles = 2 if crowded and (padded < 256 or precision != "float32") else 1
    return Plan(
        chosen,
        padded,
        precision,
        slices.forward(cell, padded, blocks, tiles, precision),
        slices.backward(cell, padded, back_blocks, 2 if crowded else 1, warps, split, precision),
        blocks,
        back_blocks,
        0,
    )


# units up to, blocks forward, blocks backward, warps and shares of the product per destination backward
_CLUSTERS = ((128, 4, 4, 2, 1), (192, 8, 4, 3, 1), (256, 8, 8, 2, 1))
