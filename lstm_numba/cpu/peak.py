"""How fast the register tile runs on this machine, measured with the tile itself."""

import time

import numpy as np

from lstm_numba.cpu import plan as p
from lstm_numba.cpu.launch import Kernel, launch, release_threads, reserve_threads
from lstm_numba.cpu.simd import MAX_ROWS, VECTORS, call_tile, get, lanes, lanes_of, pointer_at, step
from lstm_numba.cpu.teams import SYNC_STRIDE
from lstm_numba.cpu.workspace import aligned

_SAMPLES = 10
_SECONDS = 1e-3  # of one sample; the fastest counts, so that an interruption does not
_LIMIT = 0.1  # seconds after which a busy machine is taken as it is
_L1_DEPTH = 64  # rows of a panel that stays in the L1 cache: 16 KiB with the widest registers

# Entries of the plan that mean something else here.
_REPEATS, _ROWS, _DEPTH, _PANELS, _VECTORS, _PART_STRIDE = p.T, p.B, p.I, p.BLOCKS, p.H, p.CHUNK


def _multiply(plan, like, d, phase, part, member):
    """Multiply the same few rows with one panel of weights after the other, again and again."""
    rows, K, vectors = get(plan, _ROWS), get(plan, _DEPTH), get(plan, _VECTORS)
    width = vectors * lanes_of(like)
    tile = get(plan, p.TILES + vectors)
    A, zeros = pointer_at(get(plan, p.X), like), pointer_at(get(plan, p.BIAS), like)
    W = step(pointer_at(get(plan, p.PACKED_HH), like), part * get(plan, _PART_STRIDE))
    C = step(pointer_at(get(plan, p.Z), like), member * MAX_ROWS * width)
    for _ in range(get(plan, _REPEATS)):
        for panel in range(get(plan, _PANELS)):
            call_tile(tile, rows, C, width, zeros, 0, A, K, 1, step(W, panel * K * width), K, 1, 0)


_KERNEL = Kernel(_multiply, {1, 2, 3, 4})


def tile_speed(
    dtype: str, threads: int, rows: int, vectors: int, depth: int, panels: int, own_panels: bool = False
) -> float:
    """Measure the tile on weights of a given size, in several threads at the same time.

    Parameters
    ----------
    dtype
        ``"float32"`` or ``"float64"``.
    threads
        How many threads multiply. Fewer do if the others are busy, just as for a layer.
    rows, vectors
        Size of the tile: 1 to ``MAX_ROWS`` rows, 1 to 4 vector registers.
    depth, panels
        The weights: ``panels`` matrices of (depth, vectors * lanes), read in turn.
    own_panels
        Whether each thread reads weights of its own; else all read the same.

    Returns
    -------
    float
        Operations per second of all threads together, in units of 1e9; the fastest of ten samples of at least a
        millisecond.
    """
    number = np.dtype(dtype)
    width = vectors * lanes(number.itemsize)
    threads = reserve_threads(threads)
    try:
        size = panels * depth * width
        arrays = {
            p.X: aligned(rows * depth, number),
            p.PACKED_HH: aligned(size * (threads if own_panels else 1), number),
            p.BIAS: aligned(width, number),
            p.Z: aligned(threads * MAX_ROWS * width, number),
            p.SYNC: np.zeros(SYNC_STRIDE * threads, np.int64),
        }
        plan = np.zeros(p.LENGTH, np.int64)
        for name, array in arrays.items():
            array[:] = 0
            plan[name] = array.ctypes.data
        _KERNEL.write_tiles(plan, dtype)
        address = _KERNEL.address(dtype)
        plan[_ROWS], plan[_DEPTH], plan[_PANELS], plan[_VECTORS] = rows, depth, panels, vectors
        plan[_PART_STRIDE] = size if own_panels else 0
        plan[p.D] = plan[p.TEAMS] = plan[p.PHASES] = 1

        def fastest(samples: int, repeats: int, members: int) -> float:
            """The shortest of that many samples, and of more until another comes close to it."""
            plan[_REPEATS], plan[p.MEMBERS] = repeats, members
            seconds: list[float] = []
            began = time.perf_counter()
            while len(seconds) < samples or (seconds[1] > 1.05 * seconds[0] and time.perf_counter() < began + _LIMIT):
                arrays[p.SYNC][:] = 0
                start = time.perf_counter()
                launch(address, plan, members)
                seconds = sorted([*seconds, time.perf_counter() - start])
            return seconds[0]

        repeats = 1
        while (alone := fastest(2, repeats, 1)) < _SECONDS:  # one thread, since waking another can take longer
            repeats *= 2
        together = fastest(_SAMPLES, repeats, threads)
    finally:
        release_threads(threads)
    return 2 * rows * size * repeats * max(threads / together, 1 / alone) / 1e9


def peak_speed(dtype: str, threads: int, rows: int = MAX_ROWS, vectors: int = VECTORS) -> float:
    """Measure the tile with all data in the L1 cache; by default the largest tile, the machine's limit.

    Examples
    --------
    >>> from lstm_numba.cpu.peak import peak_speed
    >>> peak_speed("float32", 1) > 0.01
    True
    """
    return tile_speed(dtype, threads, rows, vectors, _L1_DEPTH, 1, own_panels=True)
