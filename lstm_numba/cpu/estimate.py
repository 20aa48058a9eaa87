"""What `explain` says about the CPU kernels: how threads share the work, and how fast the products can be.

The prediction is a product of what is known before anything runs and what ``lstm_numba.cpu.peak`` measures:

- lanes: a block holds as many hidden units as a register (for the plain RNN: a tile) has lanes; the last block of a
  layer may be partly empty;
- rows: a tile with few sequences has too few independent sums to fill the multiply-add units, so the tile is
  measured with as many rows as the layer gives it;
- weights: the recurrent weights are read again at every step, from the cache they fit in, so the tile is measured on
  weights of the same size;
- threads: as many tiles run at the same time as threads will share the layer.

Gates, packing and the meetings of threads that share units come on top: a layer reaches less, a small one much less.
"""

from typing import Any, NamedTuple

import numpy as np

from lstm_numba.cpu import gru_reset_before
from lstm_numba.cpu.cell_blocks import FORMS
from lstm_numba.cpu.launch import available_threads
from lstm_numba.cpu.peak import peak_speed, tile_speed
from lstm_numba.cpu.recurrent import choose_sharing
from lstm_numba.cpu.simd import MAX_ROWS, VECTOR_UNIT, VECTORS, lanes

_NOTABLE = 1.15  # a loss below this factor is not called the limit


class Work(NamedTuple):
    """How one layer's work is shared, and how well it fills the vector registers."""

    threads: int
    sharing: str  # in words
    lanes: float | None  # share of the lanes that hold a hidden unit; None without tiles


class Speed(NamedTuple):
    """What the matrix products of one layer can reach."""

    gflops: float
    peak_gflops: float  # the tile from the L1 cache in as many threads
    limit: str  # in words


class _Tiles(NamedTuple):
    """How a layer uses the tile."""

    threads: int
    rows: int  # sequences per tile in the scan
    panels: int  # panels of weights that one thread reads at every step
    own: bool  # each thread its own
    lanes: float


def _describe_sharing(teams: int, members: int, by_units: bool) -> str:
    if teams * members == 1:
        return "1 thread"
    if members == 1:
        return f"{teams} threads, one per direction"
    each = f"{members} per direction, " if teams > 1 else ""
    return f"{teams * members} threads, {each}sharing the {'units of every step' if by_units else 'sequences'}"


def _plan_tiles(problem: Any) -> tuple[_Tiles, str]:
    T, B, I, H, P, D = problem.T, problem.B, problem.I, problem.H, problem.P, problem.D
    form = FORMS[problem.cell]
    width = form.vectors * lanes(np.dtype(problem.dtype).itemsize)
    blocks = -(-H // width)
    teams, members, by_units = choose_sharing(T, B, I, H, P, D, form.gates, blocks, available_threads())
    own_rows = max(1, B if by_units else -(-B // members))
    rows = -(-own_rows // -(-own_rows // MAX_ROWS))
    own_blocks = -(-blocks // members) if by_units else blocks
    panels = own_blocks * form.gates * form.vectors // form.panel
    tiles = _Tiles(teams * members, rows, panels, by_units or teams > 1, H / (blocks * width))
    return tiles, _describe_sharing(teams, members, by_units)


def describe_work(problem: Any) -> Work:
    """Say how a layer would be shared between threads; ``problem`` is a :class:`lstm_numba.backend.Problem`."""
    if problem.cell == "gru_reset_before":
        teams, members = gru_reset_before.choose_sharing(
            problem.T, problem.B, problem.H, problem.D, available_threads()
        )
        return Work(teams * members, _describe_sharing(teams, members, False), None)
    tiles, sharing = _plan_tiles(problem)
    return Work(tiles.threads, sharing, tiles.lanes)


def predict_speed(problem: Any) -> Speed | None:
    """Measure what a layer's products can reach, a few hundredths of a second; None for a kernel without tiles."""
    if problem.cell == "gru_reset_before":
        return None
    tiles, _ = _plan_tiles(problem)
    dtype, panel = problem.dtype, FORMS[problem.cell].panel
    peak = peak_speed(dtype, tiles.threads)
    from_l1 = peak_speed(dtype, tiles.threads, tiles.rows, panel)
    recurrent = tile_speed(dtype, tiles.threads, tiles.rows, panel, problem.P, tiles.panels, tiles.own)
    input_rows = min(MAX_ROWS, max(1, problem.T * problem.B))  # the input product need not wait for any step
    ahead = tile_speed(dtype, tiles.threads, input_rows, panel, problem.I, tiles.panels, tiles.own)
    peak = max(peak, from_l1, recurrent, ahead)  # on a busy machine any of them may have been disturbed
    from_l1 = peak if (tiles.rows, panel) == (MAX_ROWS, VECTORS) else max(from_l1, recurrent)
    share = problem.I / (problem.I + problem.P)  # of the operations that the input product has
    gflops = tiles.lanes / (share / ahead + (1 - share) / recurrent)
    kibibytes = tiles.panels * problem.P * panel * VECTOR_UNIT.bytes / 1024
    losses = {
        f"{1 - tiles.lanes:.0%} of the lanes of the last block of units are empty": 1 / tiles.lanes,
        f"tiles of {tiles.rows} x {panel} registers do not keep the multiply-add units busy": peak / from_l1,
        f"reading {kibibytes:.0f} KiB of recurrent weights per thread at every step": from_l1 / recurrent,
    }
    limit = max(losses, key=lambda text: losses[text])
    if losses[limit] < _NOTABLE:
        limit = "the multiply-add units"
    return Speed(gflops, peak, limit)
