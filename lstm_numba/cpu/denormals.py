"""Flush denormal numbers to zero inside a kernel, and give the caller's setting back.

Numbers below the smallest normal one (1.2e-38 in float32) are computed in microcode on many processors, a hundred
times slower than others. A cell state that decays towards zero passes through them, so without this a layer can
slow down by an order of magnitude in the middle of a sequence. The switch is a bit of the floating-point control
register of the running thread; where its place is unknown nothing is changed.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lstm_numba.cpu.simd import MACHINE

_X86 = MACHINE.startswith(("x86_64", "i686", "amd64"))
_ARM64 = MACHINE.startswith(("aarch64", "arm64"))
_X86_BITS = 0x8040  # FTZ (results) and DAZ (operands) in MXCSR
_ARM64_BITS = 1 << 24  # FZ in FPCR


def _control_register(context, builder, write):
    """Read the control register, or write ``write`` to it."""
    i64 = ir.IntType(64)
    if _X86:
        cell = cgutils.alloca_once(builder, ir.IntType(32))
        place = builder.bitcast(cell, ir.IntType(8).as_pointer())
        name = "llvm.x86.sse.stmxcsr" if write is None else "llvm.x86.sse.ldmxcsr"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()]), name
        )
        if write is not None:
            builder.store(builder.trunc(write, ir.IntType(32)), cell)
        builder.call(function, [place])
        return builder.zext(builder.load(cell), i64)
    if _ARM64:
        if write is None:
            assembly = ir.InlineAsm(ir.FunctionType(i64, []), "mrs $0, fpcr", "=r", side_effect=True)
            return builder.call(assembly, [])
        assembly = ir.InlineAsm(ir.FunctionType(ir.VoidType(), [i64]), "msr fpcr, $0", "r", side_effect=True)
        builder.call(assembly, [write])
        return write
    return i64(0) if write is None else write


@intrinsic
def flush_denormals(typing_context):
    """Switch denormals off for this thread; returns the setting before."""

    def codegen(context, builder, signature, arguments):
        before = _control_register(context, builder, None)
        bits = _X86_BITS if _X86 else _ARM64_BITS
        _control_register(context, builder, builder.or_(before, ir.IntType(64)(bits)))
        return before

    return types.int64(), codegen


@intrinsic
def restore_denormals(typing_context, before):
    """Give this thread the setting back that :func:`flush_denormals` returned."""

    def codegen(context, builder, signature, arguments):
        _control_register(context, builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
