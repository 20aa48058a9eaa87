"""Layer norm, RMS norm and GELU on the CPU: every row is read once forward and once back.

Called like :mod:`lstm_numba.reference.norm`; the caches differ. Threads share blocks of rows; sums over the rows are
made per block and then in the order of the blocks, so results do not depend on the threads.
"""

import math

import numpy as np
from numba import carray, njit

from lstm_numba import elementary
from lstm_numba.cpu import plan as p
from lstm_numba.cpu.launch import (
    DTYPE_NAMES,
    Kernel,
    available_threads,
    launch,
    release_threads,
    reserve_threads,
)
from lstm_numba.cpu.simd import address_of, get, pointer, pointer_at, step
from lstm_numba.cpu.teams import SYNC_STRIDE
from lstm_numba.cpu.threads import SERIAL_FLOPS
from lstm_numba.inner import INNER
from lstm_numba.jit import kernel

# Entries of the plan beyond those that every kernel shares: sizes, then addresses of arrays.
_ROWS, _E, _CENTRE = p.LENGTH, p.LENGTH + 1, p.LENGTH + 2
_EPS = p.LENGTH + 3  # address of one number
_X, _Y, _NORMAL, _RSTD, _WEIGHT, _BIAS = range(p.LENGTH + 4, p.LENGTH + 10)  # 0 without NORMAL, BIAS
_DY, _DX, _PARTS, _DWEIGHT, _DBIAS = range(p.LENGTH + 10, p.LENGTH + 15)  # PARTS (blocks, 2, E)
_LENGTH = p.LENGTH + 15

_BLOCK = 64  # rows that one thread works on at a time
_CHUNK = 1024  # numbers, where there are no rows
_COST = {"norm": 50, "gelu": 70}  # operations per number: only decides when a second thread is woken

# Sums over the features run in several lanes; that reorders them, so they are not the same bits as a plain loop's.
_SUMS = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}}
_UNIT = INNER | {"fastmath": {"contract"}}


@njit(**_UNIT)
def _row(plan, like, which, r, E):
    return carray(step(pointer_at(get(plan, which), like), r * E), E)


@njit(**_SUMS)
def _norm_row(x, weight, bias, has_bias, eps, centre, y, normal, keep, E):
    """One row forward; returns what it was multiplied by."""
    zero, count = type(eps)(0), type(eps)(E)
    mean = zero
    if centre:
        for k in range(E):
            mean += x[k]
        mean /= count
    square = zero
    for k in range(E):
        square += (x[k] - mean) * (x[k] - mean)
    scale = type(eps)(1) / type(eps)(math.sqrt(square / count + eps))
    if keep:
        for k in range(E):
            normal[k] = (x[k] - mean) * scale
    if has_bias:
        for k in range(E):
            y[k] = weight[k] * ((x[k] - mean) * scale) + bias[k]
    else:
        for k in range(E):
            y[k] = weight[k] * ((x[k] - mean) * scale)
    return scale


@njit(**_SUMS)
def _norm_row_grad(dy, normal, scale, weight, centre, dx, dweight, dbias, E):
    """One row backward; adds to the parameters' gradients."""
    count = type(scale)(E)
    mean = type(scale)(0)
    along = type(scale)(0)
    for k in range(E):
        slope = weight[k] * dy[k]
        mean += slope
        along += slope * normal[k]
    mean = mean / count if centre else type(scale)(0)
    along /= count
    for k in range(E):
        dx[k] = scale * (weight[k] * dy[k] - mean - normal[k] * along)
        dweight[k] += dy[k] * normal[k]
        dbias[k] += dy[k]


def _forward(plan, like, d, phase, part, member):
    """One member's rows."""
    rows, E, members = get(plan, _ROWS), get(plan, _E), get(plan, p.MEMBERS)
    eps = get(pointer_at(get(plan, _EPS), like), 0)
    rstd = pointer_at(get(plan, _RSTD), like)
    weight, bias = _row(plan, like, _WEIGHT, 0, E), _row(plan, like, _BIAS, 0, E)
    has_bias, centre, keep = get(plan, _BIAS) != 0, get(plan, _CENTRE) != 0, get(plan, _NORMAL) != 0
    for r in range(rows * part // members, rows * (part + 1) // members):
        x, y, normal = _row(plan, like, _X, r, E), _row(plan, like, _Y, r, E), _row(plan, like, _NORMAL, r, E)
        scale = _norm_row(x, weight, bias, has_bias, eps, centre, y, normal, keep, E)
        if keep:
            carray(rstd, rows)[r] = scale


def _backward(plan, like, d, phase, part, member):
    """One member's blocks of rows (phase 0), then its share of the sums over the blocks (phase 1)."""
    rows, E, members = get(plan, _ROWS), get(plan, _E), get(plan, p.MEMBERS)
    blocks = (rows + _BLOCK - 1) // _BLOCK
    if phase == 0:
        rstd = pointer_at(get(plan, _RSTD), like)
        weight, centre = _row(plan, like, _WEIGHT, 0, E), get(plan, _CENTRE) != 0
        for block in range(part, blocks, members):
            dweight, dbias = _row(plan, like, _PARTS, 2 * block, E), _row(plan, like, _PARTS, 2 * block + 1, E)
            for k in range(E):
                dweight[k] = 0
                dbias[k] = 0
            for r in range(block * _BLOCK, min(rows, (block + 1) * _BLOCK)):
                dy, normal, dx = (
                    _row(plan, like, _DY, r, E),
                    _row(plan, like, _NORMAL, r, E),
                    _row(plan, like, _DX, r, E),
                )
                _norm_row_grad(dy, normal, get(rstd, r), weight, centre, dx, dweight, dbias, E)
        return
    dweight, dbias = _row(plan, like, _DWEIGHT, 0, E), _row(plan, like, _DBIAS, 0, E)
    first, last = E * part // members, E * (part + 1) // members
    for k in range(first, last):
        dweight[k] = 0
        dbias[k] = 0
    for block in range(blocks):
        more_weight, more_bias = _row(plan, like, _PARTS, 2 * block, E), _row(plan, like, _PARTS, 2 * block + 1, E)
        for k in range(first, last):
            dweight[k] += more_weight[k]
            dbias[k] += more_bias[k]


_FORWARD, _BACKWARD = Kernel(_forward, set()), Kernel(_backward, set())


@kernel()
def _bind(plan, rows, E, threads, phases, sync):
    plan[p.D], plan[p.TEAMS], plan[p.MEMBERS], plan[p.PHASES] = 1, 1, threads, phases
    plan[_ROWS], plan[_E], plan[p.SYNC] = rows, E, address_of(pointer(sync))


@kernel()
def _bind_forward(plan, x, y, normal, rstd, weight, bias, eps, centre):
    plan[_X], plan[_Y], plan[_CENTRE] = address_of(pointer(x)), address_of(pointer(y)), centre
    plan[_NORMAL], plan[_RSTD] = address_of(pointer(normal)) if normal.size else 0, address_of(pointer(rstd))
    plan[_WEIGHT] = address_of(pointer(weight))
    plan[_BIAS] = address_of(pointer(bias)) if bias.size else 0
    plan[_EPS] = address_of(pointer(eps))


@kernel()
def _bind_backward(plan, dy, normal, rstd, weight, dx, parts, sums, centre):
    plan[_DY], plan[_DX], plan[_CENTRE] = address_of(pointer(dy)), address_of(pointer(dx)), centre
    plan[_NORMAL], plan[_RSTD] = address_of(pointer(normal)), address_of(pointer(rstd))
    plan[_WEIGHT], plan[_PARTS] = address_of(pointer(weight)), address_of(pointer(parts))
    plan[_DWEIGHT], plan[_DBIAS] = address_of(pointer(sums[0])), address_of(pointer(sums[1]))


@kernel()
def _bind_pointwise(plan, x, y, dy):
    """Forward from x to y; backward from x and dy to y, which is dx."""
    plan[_X], plan[_Y], plan[_DX] = address_of(pointer(x)), address_of(pointer(y)), address_of(pointer(y))
    plan[_DY] = address_of(pointer(dy))


def _launch(run, dtype, rows, E, phases, cost, bind, *arguments):
    """Run a kernel over rows of E numbers; ``bind`` writes the addresses of its arguments into the plan."""
    threads = reserve_threads(available_threads() if cost * rows * E >= SERIAL_FLOPS else 1)
    try:
        plan, sync = np.zeros(_LENGTH, np.int64), np.zeros(SYNC_STRIDE * threads, np.int64)
        _bind(plan, rows, E, threads, phases, sync)
        bind(plan, *arguments)
        launch(run.address(DTYPE_NAMES[dtype]), plan, threads)
    finally:
        release_threads(threads)


_nothing = {dtype: np.empty(0, dtype) for dtype in DTYPE_NAMES}


def _run_forward(x, weight, bias, eps, centre, keep):
    x = np.ascontiguousarray(x)
    E, dtype = x.shape[-1], x.dtype
    rows = x.size // E
    nothing = _nothing[dtype]
    y = np.empty(x.shape, dtype)
    normal, rstd = (np.empty(x.shape, dtype), np.empty(rows, dtype)) if keep else (nothing, nothing)
    flat = x.reshape(-1), y.reshape(-1), normal.reshape(-1), rstd, weight, nothing if bias is None else bias
    _launch(_FORWARD, dtype, rows, E, 1, _COST["norm"], _bind_forward, *flat, np.array([eps], dtype), centre)
    return y, (normal, rstd) if keep else None


def _run_backward(dy, cache, weight, centre):
    dy = np.ascontiguousarray(dy)
    E, dtype = dy.shape[-1], dy.dtype
    rows = dy.size // E
    normal, rstd = cache
    dx, sums, parts = np.empty(dy.shape, dtype), np.empty((2, E), dtype), np.empty((-(-rows // _BLOCK), 2, E), dtype)
    arrays = dy.reshape(-1), normal.reshape(-1), rstd, weight, dx.reshape(-1), parts.reshape(-1), sums
    _launch(_BACKWARD, dtype, rows, E, 2, _COST["norm"], _bind_backward, *arrays, centre)
    return dx, sums[0], sums[1]


def layer_norm_forward(x, weight, bias, eps, keep=True):
    """See :func:`lstm_numba.reference.norm.layer_norm_forward`."""
    return _run_forward(x, weight, bias, eps, True, keep)


def layer_norm_backward(dy, cache, weight):
    """See :func:`lstm_numba.reference.norm.layer_norm_backward`."""
    return _run_backward(dy, cache, weight, True)


def rms_norm_forward(x, weight, eps, keep=True):
    """See :func:`lstm_numba.reference.norm.rms_norm_forward`."""
    return _run_forward(x, weight, None, eps, False, keep)


def rms_norm_backward(dy, cache, weight):
    """See :func:`lstm_numba.reference.norm.rms_norm_backward`."""
    return _run_backward(dy, cache, weight, False)[:2]


# The normal distribution function. In float32 a polynomial times exp(-x^2 / 2) is enough: its error is at most
# 1.5e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, formula 7.1.26), and the exponential is
# the one that the derivative needs anyway. In float64 it is the C library's erf.


# One element in float32: what lies beyond |x|, and the exponential in it.
@njit(**_UNIT)
def _tail(u):
    one = np.float32(1)
    half = np.float32(0.5)
    t = one / (one + np.float32(0.3275911 / math.sqrt(2)) * u)
    q = np.float32(1.061405429)
    q = q * t + np.float32(-1.453152027)
    q = q * t + np.float32(1.421413741)
    q = q * t + np.float32(-0.284496736)
    q = q * t + np.float32(0.254829592)
    e = elementary.exp(-half * u * u)
    return half * q * t * e, e


@njit(**_UNIT)
def _share(plan, like, which, part):
    """One member's numbers of an array: whole chunks, so that a vector always holds the same ones."""
    size, members = get(plan, _ROWS), get(plan, p.MEMBERS)
    chunks = (size + _CHUNK - 1) // _CHUNK
    first, last = chunks * part // members * _CHUNK, min(size, chunks * (part + 1) // members * _CHUNK)
    return carray(step(pointer_at(get(plan, which), like), first), last - first)


def _gelu_32(plan, like, d, phase, part, member):
    one = np.float32(1)
    x, y = _share(plan, like, _X, part), _share(plan, like, _Y, part)
    for n in range(x.size):
        tail, _ = _tail(abs(x[n]))
        y[n] = x[n] * (one - tail if x[n] > 0 else tail)


def _gelu_grad_32(plan, like, d, phase, part, member):
    one = np.float32(1)
    x, dx, dy = _share(plan, like, _X, part), _share(plan, like, _DX, part), _share(plan, like, _DY, part)
    for n in range(x.size):
        tail, e = _tail(abs(x[n]))
        dx[n] = dy[n] * ((one - tail if x[n] > 0 else tail) + x[n] * e * np.float32(1 / math.sqrt(2 * math.pi)))


def _gelu_64(plan, like, d, phase, part, member):
    x, y = _share(plan, like, _X, part), _share(plan, like, _Y, part)
    for n in range(x.size):
        y[n] = x[n] * 0.5 * (1 + math.erf(x[n] * math.sqrt(0.5)))


def _gelu_grad_64(plan, like, d, phase, part, member):
    x, dx, dy = _share(plan, like, _X, part), _share(plan, like, _DX, part), _share(plan, like, _DY, part)
    for n in range(x.size):
        density = elementary.exp(-0.5 * x[n] * x[n]) * (1 / math.sqrt(2 * math.pi))
        dx[n] = dy[n] * (0.5 * (1 + math.erf(x[n] * math.sqrt(0.5))) + x[n] * density)


_GELU = {"float32": Kernel(_gelu_32, set()), "float64": Kernel(_gelu_64, set())}
_GELU_GRAD = {"float32": Kernel(_gelu_grad_32, set()), "float64": Kernel(_gelu_grad_64, set())}


def _run_pointwise(kernels, x, y, dy):
    run, flat = kernels[DTYPE_NAMES[x.dtype]], (x.reshape(-1), y.reshape(-1), dy.reshape(-1))
    _launch(run, x.dtype, x.size, 1, 1, _COST["gelu"], _bind_pointwise, *flat)


def gelu_forward(x):
    """See :func:`lstm_numba.reference.norm.gelu_forward`."""
    x = np.ascontiguousarray(x)
    y = np.empty(x.shape, x.dtype)
    _run_pointwise(_GELU, x, y, y)
    return y, x


def gelu_backward(dy, cache):
    """See :func:`lstm_numba.reference.norm.gelu_backward`."""
    dy = np.ascontiguousarray(dy)
    dx = np.empty(dy.shape, dy.dtype)
    _run_pointwise(_GELU_GRAD, cache, dx, dy)
    return dx
