"""Threads that share one piece of work in phases, without ever waiting for a thread that has not come.

A team works through numbered phases; a phase has one part per member, and the next phase starts when all parts of
this one are done. A part is *claimed* before it is worked on. Normally every member claims its own. A member that
has waited a while claims parts that nobody has claimed yet, so the work also gets done when some members arrive
late, are descheduled between two parts, or run one after another on a single thread: no fixed set of threads has
to run at the same time, and nothing can dead-lock. Which thread works on a part never changes a result.

State of a team: ``SYNC_STRIDE * (members + 1)`` integers, all zero at the start: a counter of finished parts, then
one claim per member, each on cache lines of its own.
"""

import sys

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from lstm_numba.cpu.simd import MACHINE, step

SYNC_STRIDE = 16  # integers: 128 bytes, since processors fetch cache lines in pairs
_PATIENCE = 3000  # looks at the counter, some tens of microseconds, before other members' parts are tried
_INDEX = ir.IntType(64)


@intrinsic
def _read(typing_context, p):
    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(arguments[0], "acquire", 8)

    return types.int64(p), codegen


@intrinsic
def _add(typing_context, p, value):
    def codegen(context, builder, signature, arguments):
        return builder.atomic_rmw("add", arguments[0], arguments[1], "acq_rel")

    return types.int64(p, types.int64), codegen


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


@njit(error_model="numpy")
def first_part(sync, members, phase, me):
    """Claim a part of this phase, my own if it is free; -1 when the phase is over."""
    if _exchange(step(sync, SYNC_STRIDE * (1 + me)), phase, phase + 1):
        return me
    return _wait(sync, members, phase)


@njit(error_model="numpy")
def next_part(sync, members, phase):
    """Report a part as finished and wait; a part of another member if it needs doing, -1 when the phase is over."""
    _add(sync, 1)
    return _wait(sync, members, phase)


@njit(error_model="numpy")
def _wait(sync, members, phase):
    looks = 0
    while _read(sync) < (phase + 1) * members:
        looks += 1
        if looks > _PATIENCE:
            for member in range(members):
                if _exchange(step(sync, SYNC_STRIDE * (1 + member)), phase, phase + 1):
                    return member
            _give_way()
        elif looks > 100:
            _pause()
    return -1
