"""Layer norm, RMS norm and GELU on the CPU: every row is read once forward and once back.

Called like :mod:`lstm_numba.reference.norm`; the caches differ. Threads share blocks of rows; sums over the rows are
made per block and then in the order of the blocks, so results do not depend on the threads.
"""

import math

import numpy as np
from numba import carray, njit

from lstm_numba import elementary
from lstm_numba.cpu import plan as p
from lstm_numba.cpu.launch import Kernel, available_threads, launch, release_threads, reserve_threads
from lstm_numba.cpu.simd import address_of, get, pointer, pointer_at, step
from lstm_numba.cpu.teams import SYNC_STRIDE
from lstm_numba.cpu.threads import SERIAL_FLOPS
from lstm_numba.jit import kernel

# Entries of the plan beyond those that every kernel shares: sizes, then addresses of arrays.
_ROWS, _E, _CENTRE = p.LENGTH, p.LENGTH + 1, p.LENGTH + 2
_EPS = p.LENGTH + 3  # address of one number
_X, _Y, _NORMAL, _RSTD, _WEIGHT, _BIAS = range(p.LENGTH + 4, p.LENGTH + 10)  # BIAS: 0 without
_DY, _DX, _PARTS, _DWEIGHT, _DBIAS = range(p.LENGTH + 10, p.LENGTH + 15)  # PARTS (blocks, 2, E)
_LENGTH = p.LENGTH + 15

_BLOCK = 64  # rows that one thread works on at a time
_CHUNK = 1024  # numbers, where there are no rows
_COST = 20  # operations per number: only decides when a second thread is woken

# Sums over the features run in several lanes; that reorders them, so they are not the same bits as a plain loop's.
_SUMS = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}}
_UNIT = {"error_model": "numpy", "fastmath": {"contract"}}


@njit(**_UNIT)
def _row(plan, like, which, r, E):
    return carray(step(pointer_at(get(plan, which), like), r * E), E)


@njit(**_SUMS)
def _norm_row(x, weight, bias, has_bias, eps, centre, y, normal, E):
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
    for k in range(E):
        normal[k] = (x[k] - mean) * scale
    if has_bias:
        for k in range(E):
            y[k] = weight[k] * normal[k] + bias[k]
    else:
        for k in range(E):
            y[k] = weight[k] * normal[k]
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
    has_bias, centre = get(plan, _BIAS) != 0, get(plan, _CENTRE) != 0
    for r in range(rows * part // members, rows * (part + 1) // members):
        x, y, normal = _row(plan, like, _X, r, E), _row(plan, like, _Y, r, E), _row(plan, like, _NORMAL, r, E)
        carray(rstd, rows)[r] = _norm_row(x, weight, bias, has_bias, eps, centre, y, normal, E)


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
def _bind(plan, entry, array):
    plan[entry] = address_of(pointer(array))


def _launch(run, rows, E, phases, arrays, centre=False):
    """Run a kernel over rows of E numbers; ``arrays`` by their entries, all in C order."""
    dtype = arrays[_DY if _DY in arrays else _X].dtype
    threads = reserve_threads(available_threads() if _COST * rows * E >= SERIAL_FLOPS else 1)
    try:
        plan = np.zeros(_LENGTH, np.int64)
        plan[p.D], plan[p.TEAMS], plan[p.MEMBERS], plan[p.PHASES] = 1, 1, threads, phases
        plan[_ROWS], plan[_E], plan[_CENTRE] = rows, E, centre
        sync = np.zeros(SYNC_STRIDE * (threads + 1), np.int64)
        _bind(plan, p.SYNC, sync)
        for entry, array in arrays.items():
            _bind(plan, entry, array.reshape(-1))
        launch(run.address(dtype.name), plan, threads)
    finally:
        release_threads(threads)


def _run_forward(x, weight, bias, eps, centre):
    x = np.ascontiguousarray(x)
    E = x.shape[-1]
    rows = x.size // E
    y, normal, rstd = np.empty_like(x), np.empty_like(x), np.empty(rows, x.dtype)
    arrays = {_X: x, _Y: y, _NORMAL: normal, _RSTD: rstd, _WEIGHT: weight, _EPS: np.array([eps], x.dtype)}
    if bias is not None:
        arrays[_BIAS] = bias
    _launch(_FORWARD, rows, E, 1, arrays, centre)
    return y, (normal, rstd)


def _run_backward(dy, cache, weight, centre):
    dy = np.ascontiguousarray(dy)
    E = dy.shape[-1]
    rows = dy.size // E
    dx, dweight, dbias = np.empty_like(dy), np.empty_like(weight), np.empty_like(weight)
    arrays = {_DY: dy, _NORMAL: cache[0], _RSTD: cache[1], _WEIGHT: weight, _DX: dx, _DWEIGHT: dweight, _DBIAS: dbias}
    arrays[_PARTS] = np.empty((-(-rows // _BLOCK), 2, E), dy.dtype)
    _launch(_BACKWARD, rows, E, 2, arrays, centre)
    return dx, dweight, dbias


def layer_norm_forward(x, weight, bias, eps):
    """See :func:`lstm_numba.reference.norm.layer_norm_forward`."""
    return _run_forward(x, weight, bias, eps, True)


def layer_norm_backward(dy, cache, weight):
    """See :func:`lstm_numba.reference.norm.layer_norm_backward`."""
    return _run_backward(dy, cache, weight, True)


def rms_norm_forward(x, weight, eps):
    """See :func:`lstm_numba.reference.norm.rms_norm_forward`."""
    return _run_forward(x, weight, None, eps, False)


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


def gelu_forward(x):
    """See :func:`lstm_numba.reference.norm.gelu_forward`."""
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    _launch(_GELU[x.dtype.name], x.size, 1, 1, {_X: x, _Y: y})
    return y, x


def gelu_backward(dy, cache):
    """See :func:`lstm_numba.reference.norm.gelu_backward`."""
    dy = np.ascontiguousarray(dy)
    dx = np.empty_like(dy)
    _launch(_GELU_GRAD[dy.dtype.name], dy.size, 1, 1, {_X: cache, _DX: dx, _DY: dy})
    return dx
