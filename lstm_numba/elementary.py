"""exp, sigmoid and tanh as plain arithmetic, so that LLVM can vectorise a loop over them.

A call into the C library computes one number at a time. Here the same functions are multiplications, additions and
one division, for float32 and float64. The exponential is the classic three steps:

1. write ``x = n ln 2 + r`` with an integer ``n`` and ``|r| <= ln 2 / 2`` (``ln 2`` in two parts, so that ``r`` keeps
   its digits; W. Cody and W. Waite, "Software Manual for the Elementary Functions", 1980);
2. sum the Taylor series of ``e^r - 1``, which is short for so small an ``r``;
3. multiply by ``2^n``, made by writing ``n`` into the exponent bits of a float.

Keeping ``e^r - 1`` apart is what lets tanh be accurate for small arguments. NaN stays NaN, overflow gives Inf, and
results too small for a normal number give 0.
"""

import math

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

_OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}, "forceinline": True}


@intrinsic
def _power_of_two(typing_context, shifted):
    """``2^n`` for an integer ``n`` that sits in the low mantissa bits of ``shifted``."""
    mantissa_bits, width, one = (23, 32, 0x3F800000) if shifted == types.float32 else (52, 64, 0x3FF0000000000000)
    real, integer = (ir.FloatType() if width == 32 else ir.DoubleType()), ir.IntType(width)

    def codegen(context, builder, signature, arguments):
        n = builder.shl(builder.bitcast(arguments[0], integer), integer(mantissa_bits))
        return builder.bitcast(builder.add(n, integer(one)), real)

    return shifted(shifted), codegen


def _exp_parts(x):
    """Return ``2^n`` and ``e^r - 1``, so that ``e^x = 2^n + 2^n (e^r - 1)``."""
    power = 2.0 ** round(x / math.log(2))
    return power, math.exp(x) / power - 1


@overload(_exp_parts, jit_options=_OPTIONS)
def _compiled_exp_parts(x):
    # Adding 1.5 * 2^(mantissa bits) rounds to an integer and leaves it in the low bits. The Taylor series is cut
    # where the next term is below half a unit in the last place: after r^7 / 7! and r^13 / 13!.
    if x == types.float32:

        def parts(x):
            T = type(x)
            shifted = x * T(1.4426950408889634) + T(12582912.0)
            n = shifted - T(12582912.0)
            r = x - n * T(0.693359375)
            r = r - n * T(-2.12194440e-4)
            p = T(1 / 5040)
            p = p * r + T(1 / 720)
            p = p * r + T(1 / 120)
            p = p * r + T(1 / 24)
            p = p * r + T(1 / 6)
            p = p * r + T(1 / 2)
            return _power_of_two(shifted), p * (r * r) + r

        return parts
    if x == types.float64:

        def parts(x):
            T = type(x)
            shifted = x * T(1.4426950408889634) + T(6755399441055744.0)
            n = shifted - T(6755399441055744.0)
            r = x - n * T(6.93145751953125e-1)
            r = r - n * T(1.42860682030941723212e-6)
            p = T(1 / 6227020800)
            p = p * r + T(1 / 479001600)
            p = p * r + T(1 / 39916800)
            p = p * r + T(1 / 3628800)
            p = p * r + T(1 / 362880)
            p = p * r + T(1 / 40320)
            p = p * r + T(1 / 5040)
            p = p * r + T(1 / 720)
            p = p * r + T(1 / 120)
            p = p * r + T(1 / 24)
            p = p * r + T(1 / 6)
            p = p * r + T(1 / 2)
            return _power_of_two(shifted), p * (r * r) + r

        return parts
    return None


def _largest_exponent(x):
    """Largest ``x`` with a finite ``exp(x)``; ``exp`` of its negative is the smallest normal number, nearly."""
    return 709.0


@overload(_largest_exponent, jit_options=_OPTIONS)
def _compiled_largest_exponent(x):
    if x == types.float32:
        return lambda x: type(x)(88)
    return lambda x: type(x)(709)


@njit(**_OPTIONS)
def exp(x):
    """e^x. Inf above 88 (float64: 709), 0 below -87 (-708): a little before the format itself gives up."""
    T = type(x)
    limit = _largest_exponent(x)
    power, rest = _exp_parts(x)
    y = power + power * rest
    y = T(math.inf) if x > limit else y
    return T(0) if x < -limit + T(1) else y


@njit(**_OPTIONS)
def sigmoid(x):
    """Logistic function 1 / (1 + e^-x)."""
    one = type(x)(1)
    return one / (one + exp(-x))


@njit(**_OPTIONS)
def tanh(x):
    """Hyperbolic tangent, accurate to a few units in the last place also near zero."""
    T = type(x)
    two = T(2)
    # Beyond 20 both formats round tanh to 1; the comparisons are written so that NaN falls through.
    x = T(20) if x > T(20) else x
    x = T(-20) if x < T(-20) else x
    power, rest = _exp_parts(two * x)
    e = power * rest + (power - T(1))  # e^(2x) - 1 without cancellation
    return e / (e + two)
