"""Eight numbers at a time: the inner loops of the network of 1997, spelled out for LLVM.

The networks are so small (about ten units) that a loop over units is over before a general loop has started. So all
arrays over units are padded to a multiple of ``LANES``, and these functions work on eight float64 as one vector;
LLVM cuts it into whatever registers the processor has.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_FIRST_LANE = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)


def _pointer(context, builder, signature, arguments, position, offset):
    data = context.make_array(signature.args[position])(context, builder, arguments[position]).data
    return builder.gep(data, [offset])


def _load(builder, pointer):
    value = builder.load(builder.bitcast(pointer, _VECTOR.as_pointer()))
    value.align = 8  # LLVM would assume the vector's own size
    return value


def _store(builder, value, pointer):
    builder.store(value, builder.bitcast(pointer, _VECTOR.as_pointer())).align = 8


def _everywhere(builder, number):
    lane = builder.insert_element(_UNDEFINED, number, ir.IntType(32)(0))
    return builder.shuffle_vector(lane, _UNDEFINED, _FIRST_LANE)


def _multiply_add(builder):
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f64")


@intrinsic
def add_scaled(typing_context, z, z0, w, w0, u):
    """``z[z0 : z0 + 8] += u * w[w0 : w0 + 8]``, offsets counted in the flat arrays."""
    signature = types.void(z, types.intp, w, types.intp, types.float64)

    def codegen(context, builder, signature, arguments):
        target = _pointer(context, builder, signature, arguments, 0, arguments[1])
        source = _pointer(context, builder, signature, arguments, 2, arguments[3])
        factors = [_everywhere(builder, arguments[4]), _load(builder, source), _load(builder, target)]
        _store(builder, builder.call(_multiply_add(builder), factors), target)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_products(typing_context, z, z0, u, u0, w, w0):
    """``z[z0 : z0 + 8] += u[u0 : u0 + 8] * w[w0 : w0 + 8]``, number by number."""
    signature = types.void(z, types.intp, u, types.intp, w, types.intp)

    def codegen(context, builder, signature, arguments):
        target, one, other = (
            _pointer(context, builder, signature, arguments, position, arguments[position + 1])
            for position in (0, 2, 4)
        )
        factors = [_load(builder, pointer) for pointer in (one, other, target)]
        _store(builder, builder.call(_multiply_add(builder), factors), target)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_rows(typing_context, z, z0, u, W, w0, stride, rows):
    """``z[z0 : z0 + 8] += sum of u[j] * W[w0 + j * stride : ... + 8] over j < rows``; the sum stays in a register."""
    size = types.intp
    signature = types.void(z, size, u, W, size, size, size)

    def codegen(context, builder, signature, arguments):
        index = ir.IntType(64)
        _, z0, _, _, w0, stride, rows = arguments
        target = _pointer(context, builder, signature, arguments, 0, z0)
        numbers = _pointer(context, builder, signature, arguments, 2, index(0))
        source = _pointer(context, builder, signature, arguments, 3, w0)
        multiply_add = _multiply_add(builder)
        start, before = _load(builder, target), builder.block
        loop, end = builder.append_basic_block("rows"), builder.append_basic_block("rows_end")
        builder.cbranch(builder.icmp_signed(">", rows, index(0)), loop, end)
        builder.position_at_end(loop)
        j, total = builder.phi(index), builder.phi(_VECTOR)
        u_j = _everywhere(builder, builder.load(builder.gep(numbers, [j])))
        w_j = _load(builder, builder.gep(source, [builder.mul(j, stride)]))
        sum_ = builder.call(multiply_add, [u_j, w_j, total])
        following = builder.add(j, index(1))
        for phi, first, later in ((j, index(0), following), (total, start, sum_)):
            phi.add_incoming(first, before)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following, rows), loop, end)
        builder.position_at_end(end)
        result = builder.phi(_VECTOR)
        result.add_incoming(start, before)
        result.add_incoming(sum_, loop)
        _store(builder, result, target)
        return context.get_dummy_value()

    return signature, codegen
