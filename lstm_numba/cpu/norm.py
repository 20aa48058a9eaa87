"""Layer norm, RMS norm and GELU on the CPU: every row is read once forward and once back.

Called like :mod:`lstm_numba.reference.norm`; the caches differ.
"""

import math

import numpy as np

from lstm_numba import elementary
from lstm_numba.jit import kernel

# Sums over the features run in several lanes; that reorders them, so they are not the same bits as a plain loop's.
_SUMS = {"contract", "reassoc"}


@kernel(fastmath=_SUMS)
def _forward(x, weight, bias, eps, centre, y, normal, rstd):
    rows, E = x.shape
    for r in range(rows):
        mean = type(eps)(0)
        if centre:
            for k in range(E):
                mean += x[r, k]
            mean /= type(eps)(E)
        square = type(eps)(0)
        for k in range(E):
            square += (x[r, k] - mean) * (x[r, k] - mean)
        scale = type(eps)(1) / math.sqrt(square / type(eps)(E) + eps)
        rstd[r] = scale
        for k in range(E):
            normal[r, k] = (x[r, k] - mean) * scale
            y[r, k] = weight[k] * normal[r, k] + bias[k]


@kernel(fastmath=_SUMS)
def _backward(dy, normal, rstd, weight, centre, dx, dweight, dbias):
    rows, E = dy.shape
    count = type(rstd[0])(E)
    for r in range(rows):
        mean = type(rstd[0])(0)
        along = type(rstd[0])(0)
        for k in range(E):
            slope = weight[k] * dy[r, k]
            mean += slope
            along += slope * normal[r, k]
        mean = mean / count if centre else type(rstd[0])(0)
        along /= count
        for k in range(E):
            dx[r, k] = rstd[r] * (weight[k] * dy[r, k] - mean - normal[r, k] * along)
            dweight[k] += dy[r, k] * normal[r, k]
            dbias[k] += dy[r, k]


def _run_forward(x, weight, bias, eps, centre):
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    y, normal, rstd = np.empty_like(rows), np.empty_like(rows), np.empty(len(rows), x.dtype)
    bias = np.zeros_like(weight) if bias is None else bias
    _forward(rows, weight, bias, x.dtype.type(eps), centre, y, normal, rstd)
    return y.reshape(x.shape), (normal, rstd)


def _run_backward(dy, cache, weight, centre):
    rows = np.ascontiguousarray(dy).reshape(-1, dy.shape[-1])
    dx, dweight, dbias = np.empty_like(rows), np.zeros_like(weight), np.zeros_like(weight)
    _backward(rows, *cache, weight, centre, dx, dweight, dbias)
    return dx.reshape(dy.shape), dweight, dbias


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


@kernel()
def _gelu_forward_32(x, y):
    one = np.float32(1)
    half = np.float32(0.5)
    for n in range(x.size):
        u = abs(x[n])
        t = one / (one + np.float32(0.3275911 / math.sqrt(2)) * u)
        p = np.float32(1.061405429)
        p = p * t + np.float32(-1.453152027)
        p = p * t + np.float32(1.421413741)
        p = p * t + np.float32(-0.284496736)
        p = p * t + np.float32(0.254829592)
        tail = half * p * t * elementary.exp(-half * u * u)  # what lies beyond |x|
        y[n] = x[n] * (one - tail if x[n] > 0 else tail)


@kernel()
def _gelu_backward_32(dy, x, dx):
    one = np.float32(1)
    half = np.float32(0.5)
    for n in range(x.size):
        u = abs(x[n])
        t = one / (one + np.float32(0.3275911 / math.sqrt(2)) * u)
        p = np.float32(1.061405429)
        p = p * t + np.float32(-1.453152027)
        p = p * t + np.float32(1.421413741)
        p = p * t + np.float32(-0.284496736)
        p = p * t + np.float32(0.254829592)
        e = elementary.exp(-half * u * u)
        tail = half * p * t * e
        dx[n] = dy[n] * ((one - tail if x[n] > 0 else tail) + x[n] * e * np.float32(1 / math.sqrt(2 * math.pi)))


@kernel()
def _gelu_forward_64(x, y):
    for n in range(x.size):
        y[n] = x[n] * 0.5 * (1 + math.erf(x[n] * math.sqrt(0.5)))


@kernel()
def _gelu_backward_64(dy, x, dx):
    for n in range(x.size):
        density = elementary.exp(-0.5 * x[n] * x[n]) * (1 / math.sqrt(2 * math.pi))
        dx[n] = dy[n] * (0.5 * (1 + math.erf(x[n] * math.sqrt(0.5))) + x[n] * density)


def gelu_forward(x):
    """See :func:`lstm_numba.reference.norm.gelu_forward`."""
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    (_gelu_forward_32 if x.dtype == np.float32 else _gelu_forward_64)(x.reshape(-1), y.reshape(-1))
    return y, x


def gelu_backward(dy, cache):
    """See :func:`lstm_numba.reference.norm.gelu_backward`."""
    dy = np.ascontiguousarray(dy)
    dx = np.empty_like(dy)
    run = _gelu_backward_32 if dy.dtype == np.float32 else _gelu_backward_64
    run(dy.reshape(-1), cache.reshape(-1), dx.reshape(-1))
    return dx
