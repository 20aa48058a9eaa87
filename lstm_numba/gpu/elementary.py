"""sigmoid and tanh for the GPU; on the CPU the same names are in :mod:`lstm_numba.elementary`.

For float32 both come from the hardware's ``2^x`` and ``1/x``, which costs four instructions where a library function
needs twenty and a branch. The absolute error is about 1e-7; for tanh near zero that is not a small *relative* error.
float64 uses the library functions.
"""

import math

from numba import float32

from lstm_numba.gpu.binding import DeviceFunction, device
from lstm_numba.gpu.ptx import exp2_approx, reciprocal_approx

LOG2_E = 1.4426950408889634


@device
def sigmoid_float32(x):
    """1 / (1 + 2^(-x log2 e)); an infinite power gives 0."""
    return reciprocal_approx(float32(1) + exp2_approx(float32(-LOG2_E) * x))


@device
def tanh_float32(x):
    """2 sigmoid(2x) - 1."""
    return float32(2) * reciprocal_approx(float32(1) + exp2_approx(float32(-2 * LOG2_E) * x)) - float32(1)


@device
def sigmoid_float64(x):
    """(1 + tanh(x/2)) / 2: no overflow and no division, which Numba would guard with an exception."""
    return 0.5 * math.tanh(0.5 * x) + 0.5


@device
def tanh_float64(x):
    """The library's tanh."""
    return math.tanh(x)


FUNCTIONS: dict[str, dict[str, DeviceFunction]] = {
    "float32": {"sigmoid": sigmoid_float32, "tanh": tanh_float32},
    "float64": {"sigmoid": sigmoid_float64, "tanh": tanh_float64},
}
