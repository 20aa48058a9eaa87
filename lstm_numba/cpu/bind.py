"""Small compiled helpers around a launch: addresses of the arrays of a call, and a fingerprint of the weights."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from lstm_numba.cpu import plan as p
from lstm_numba.cpu.simd import VECTOR_UNIT, address_of, get, pointer, pointer_at
from lstm_numba.inner import INNER
from lstm_numba.jit import kernel

_WORDS = VECTOR_UNIT.bytes // 4  # 32-bit words per vector register
_STREAMS = 4  # vectors in flight, to hide the latency of the multiplication


CACHE_LINES = 128  # bytes: two lines, which processors fetch together


@kernel()
def to_next_lines(array):
    """Bytes from the start of an array to the next start of a pair of cache lines."""
    return -address_of(pointer(array)) % CACHE_LINES


@njit(**INNER)
def _where(array):
    return address_of(pointer(array))


@kernel()
def bind(
    plan,
    sync,  # state of the teams, set to zero
    first,  # name of the first of the eight entries, which follow each other in the plan
    a,  # arrays of three axes
    b,
    c,
    d,
    e,
    f,
    g,
    h,
):
    """Write the addresses of eight arrays into a plan."""
    sync[:] = 0
    plan[first], plan[first + 1], plan[first + 2], plan[first + 3] = _where(a), _where(b), _where(c), _where(d)
    plan[first + 4], plan[first + 5], plan[first + 6], plan[first + 7] = _where(e), _where(f), _where(g), _where(h)


@intrinsic
def _hash_vectors(typing_context, p, blocks):
    """Hash of ``blocks * _STREAMS`` vectors of 32-bit words: a polynomial per lane, summed with different weights."""

    def codegen(context, builder, signature, arguments):
        i32, i64 = ir.IntType(32), ir.IntType(64)
        vector = ir.VectorType(i32, _WORDS)
        base = builder.bitcast(arguments[0], i32.as_pointer())
        factor = ir.Constant(vector, [0x9E3779B1] * _WORDS)
        before = builder.block
        loop, end = builder.append_basic_block("hash"), builder.append_basic_block("hash_end")
        builder.cbranch(builder.icmp_signed(">", arguments[1], i64(0)), loop, end)
        builder.position_at_end(loop)
        n = builder.phi(i64)
        n.add_incoming(i64(0), before)
        sums = [builder.phi(vector) for _ in range(_STREAMS)]
        at = builder.mul(n, i64(_STREAMS * _WORDS))
        new = []
        for k, total in enumerate(sums):
            total.add_incoming(ir.Constant(vector, [k + 1] * _WORDS), before)
            place = builder.gep(base, [builder.add(at, i64(k * _WORDS))])
            words = builder.load(builder.bitcast(place, vector.as_pointer()))
            words.align = 4
            new.append(builder.add(builder.mul(total, factor), words))
            total.add_incoming(new[-1], loop)
        following = builder.add(n, i64(1))
        n.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, arguments[1]), loop, end)
        builder.position_at_end(end)
        totals = [builder.phi(vector) for _ in range(_STREAMS)]
        for k, total in enumerate(totals):
            total.add_incoming(ir.Constant(vector, [k + 1] * _WORDS), before)
            total.add_incoming(new[k], loop)
        result = i64(0)
        for total in totals:
            for lane in range(_WORDS):
                word = builder.zext(builder.extract_element(total, i32(lane)), i64)
                result = builder.add(builder.mul(result, i64(0x5851F42D4C957F2D)), word)
        return result

    return types.int64(p, types.int64), codegen


@njit(**INNER)
def _hash(plan, address, numbers, itemsize, seed):
    if address == 0:
        return seed * 31
    words = numbers * itemsize // 4
    block = _WORDS * _STREAMS
    start = pointer_at(address, plan)
    result = seed * 6364136223846793005 + _hash_vectors(start, words // block)
    array = pointer_at(address, pointer(np.empty(0, np.uint32)))
    for n in range(words // block * block, words):
        result = result * 1442695040888963407 + np.int64(get(array, n))
    return result


@kernel()
def fingerprint(plan, gates, itemsize):
    """A number that changes when a weight changes: 64 bits made from all bits of all weights in a plan."""
    I, H, P, D = plan[p.I], plan[p.H], plan[p.P], plan[p.D]
    at = pointer(plan)
    result = 1
    for d in range(D):
        result = _hash(at, plan[p.W_IH + d], gates * H * I, itemsize, result)
        result = _hash(at, plan[p.W_HH + d], gates * H * P, itemsize, result)
        result = _hash(at, plan[p.B_IH + d], gates * H, itemsize, result)
        result = _hash(at, plan[p.B_HH + d], gates * H, itemsize, result)
        result = _hash(at, plan[p.W_HR + d], P * H, itemsize, result)
    return result
