"""Threads that share one piece of work in phases, without ever waiting for a thread that has not come.

A team works through numbered phases; a phase has one part per member, and the next phase starts when all parts of
this one are done. A part is *claimed* before it is worked on. Normally every member claims its own. A member that
has waited a while claims parts that nobody has claimed yet, so the work also gets done when some members arrive
late, are descheduled between two parts, or run one after another on a single thread: no fixed set of threads has
to run at the same time, and nothing can dead-lock. Which thread works on a part never changes a result.

State of a team: ``SYNC_STRIDE * members`` integers, all zero at the start: for every part the phases in which it has
been claimed, and the phases in which it has been finished. Each number has cache lines of its own: a claim is normally
touched by its own member only, and a finished part is announced by one store, which the others see in one transfer.
"""

import sys

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from lstm_numba.cpu.simd import MACHINE, step
from lstm_numba.inner import INNER

_LINES = 16  # integers: 128 bytes, since processors fetch cache lines in pairs
SYNC_STRIDE = 2 * _LINES  # a claim and an announcement
_PATIENCE = 3000  # looks at the others' announcements, some tens of microseconds, before other members' parts are tried
_INDEX = ir.IntType(64)


@intrinsic
def _read(typing_context, p):
    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(arguments[0], "acquire", 8)

    return types.int64(p), codegen


@intrinsic
def _announce(typing_context, p, value):
    def codegen(context, builder, signature, arguments):
        builder.store_atomic(arguments[1], arguments[0], "release", 8)
        return context.get_dummy_value()

    return types.void(p, types.int64), codegen


@intrinsic
def _exchange(typing_context, p, old, new):
    """Replace ``old`` by ``new``; True if that is what happened."""

    def codegen(context, builder, signature, arguments):
        result = builder.cmpxchg(*arguments, "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(p, types.int64, types.int64), codegen


@intrinsic
def _pause(typing_context):
    """Tell the processor that this is a waiting loop."""

    def codegen(context, builder, signature, arguments):
        if MACHINE.startswith(("x86_64", "i686", "amd64")):
            function = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _give_way(typing_context):
    """Let the operating system run another thread on this core."""

    def codegen(context, builder, signature, arguments):
        if sys.platform != "win32":  # POSIX; the symbol is in the C library of the process
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@njit(**INNER)
def first_part(sync, members, phase, me):
    """Claim a part of this phase, my own if it is free; -1 when the phase is over."""
    if _exchange(step(sync, SYNC_STRIDE * me), phase, phase + 1):
        return me
    return _wait(sync, members, phase)


@njit(**INNER)
def next_part(sync, members, phase, part):
    """Report a part as finished and wait; a part of another member if it needs doing, -1 when the phase is over."""
    _announce(step(sync, SYNC_STRIDE * part + _LINES), phase + 1)
    return _wait(sync, members, phase)


@njit(**INNER)
def _wait(sync, members, phase):
    looks = 0
    for awaited in range(members):
        while _read(step(sync, SYNC_STRIDE * awaited + _LINES)) <= phase:
            looks += 1
            if looks > _PATIENCE:
                for member in range(members):
                    if _exchange(step(sync, SYNC_STRIDE * member), phase, phase + 1):
                        return member
                _give_way()
            elif looks > 100:
                _pause()
    return -1
