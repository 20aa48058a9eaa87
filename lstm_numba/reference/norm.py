"""Layer norm, RMS norm and GELU in NumPy, each with its derivative by hand. Features are the last axis."""

import math

import numpy as np


def layer_norm_forward(x, weight, bias, eps, keep=True):
    """``weight * (x - mean) / sqrt(variance + eps) + bias`` over the last axis. Returns ``y`` and, to keep, a cache."""
    mean = x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + eps)
    normal = (x - mean) * rstd
    y = weight * normal
    return (y if bias is None else y + bias), (normal, rstd) if keep else None


def layer_norm_backward(dy, cache, weight):
    """Return ``dx, dweight, dbias``."""
    normal, rstd = cache
    dnormal = weight * dy
    # Mean and variance depend on every feature: what all features share, and what points along `normal`, is lost.
    along = (dnormal * normal).mean(axis=-1, keepdims=True)
    dx = rstd * (dnormal - dnormal.mean(axis=-1, keepdims=True) - normal * along)
    axes = tuple(range(dy.ndim - 1))
    return dx, (dy * normal).sum(axis=axes), dy.sum(axis=axes)


def rms_norm_forward(x, weight, eps, keep=True):
    """``weight * x / sqrt(mean(x^2) + eps)`` over the last axis. Returns ``y`` and, to keep, a cache."""
    rstd = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)
    normal = x * rstd
    return weight * normal, (normal, rstd) if keep else None


def rms_norm_backward(dy, cache, weight):
    """Return ``dx, dweight``."""
    normal, rstd = cache
    dnormal = weight * dy
    dx = rstd * (dnormal - normal * (dnormal * normal).mean(axis=-1, keepdims=True))
    return dx, (dy * normal).sum(axis=tuple(range(dy.ndim - 1)))


def _normal_distribution(x):
    return 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))


def gelu_forward(x):
    """``x`` times the standard normal distribution function at x. Returns ``y`` and a cache."""
    return (x * _normal_distribution(x)).astype(x.dtype), x


def gelu_backward(dy, cache):
    """Return ``dx``."""
    x = cache
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return (dy * (_normal_distribution(x) + x * density)).astype(x.dtype)
