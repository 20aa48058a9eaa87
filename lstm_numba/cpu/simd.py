"""The register tile: the one place where the package writes vector instructions.

A matrix product spends its time in the innermost loop, and that loop is fast only if it keeps a block of the result
in registers. LLVM does not find that form by itself, so it is spelled out here in LLVM's intermediate language: a
block of ``rows`` x (``VECTORS`` * lanes) accumulators stays in registers while ``k`` runs, each step loading
``VECTORS`` vectors of B once and multiplying them with one broadcast number of A per row. Everything else in this
folder is ordinary Python that calls this tile.

Lanes, vectors and rows depend on the vector registers of the processor, which Numba's cache key contains.
"""

from typing import NamedTuple

from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils, config
from numba.extending import intrinsic, overload


class VectorUnit(NamedTuple):
    """The vector registers of a processor and the tile that fills them without spilling."""

    name: str
    bytes: int  # width of one register
    vectors: int  # vectors of B per row of the tile
    max_rows: int  # rows of the tile; rows * vectors accumulators + vectors of B + 1 broadcast must fit


# AVX-512 and NEON have 32 registers, AVX2 and SSE2 have 16.
AVX512 = VectorUnit("AVX-512", 64, 4, 6)
AVX2 = VectorUnit("AVX2", 32, 2, 6)
NEON = VectorUnit("NEON", 16, 4, 6)
PORTABLE = VectorUnit("128-bit vectors", 16, 2, 6)


def choose_vector_unit(features: str, machine: str) -> VectorUnit:
    """Return the unit for a comma-separated LLVM feature string (``"+avx2,-avx512f,..."``) and a target triple."""
    present = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    if {"avx512f", "avx512dq", "avx512vl"} <= present:
        return AVX512
    if {"avx2", "fma"} <= present:
        return AVX2
    return NEON if machine.startswith(("aarch64", "arm64")) else PORTABLE


def _host_features() -> str:
    # The same two settings decide what Numba compiles for, so a forced processor gets the matching tile.
    chosen_name, chosen = config.CPU_NAME, config.CPU_FEATURES
    if chosen is not None:
        return chosen
    if chosen_name is not None:
        return ""
    return binding.get_host_cpu_features().flatten()


VECTOR_UNIT = choose_vector_unit(_host_features(), binding.get_process_triple())
VECTORS = VECTOR_UNIT.vectors
MAX_ROWS = VECTOR_UNIT.max_rows


def lanes(itemsize: int) -> int:
    """Numbers per vector register."""
    return VECTOR_UNIT.bytes // itemsize


def lanes_of(array) -> int:
    """Numbers of this array's dtype per vector register; in compiled code a constant, so that loops unroll."""
    return lanes(array.itemsize)


@overload(lanes_of)
def _compiled_lanes_of(array):
    count = lanes(array.dtype.bitwidth // 8)
    return lambda array: count


def panel_width(array) -> int:
    """Columns of B that one tile covers, for this array's dtype; a constant in compiled code."""
    return VECTORS * lanes(array.itemsize)


@overload(panel_width)
def _compiled_panel_width(array):
    count = VECTORS * lanes(array.dtype.bitwidth // 8)
    return lambda array: count


@intrinsic
def _move_vector(typing_context, target, t0, source, s0):
    """Copy one register's worth of numbers: ``target[t0 : t0 + lanes] = source[s0 : s0 + lanes]``."""
    itemsize = target.dtype.bitwidth // 8
    signature = types.void(target, types.intp, source, types.intp)

    def codegen(context, builder, signature, arguments):
        real = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}[signature.args[0].dtype]
        vector = ir.VectorType(real, lanes(itemsize)).as_pointer()

        def address(argument):
            data = context.make_array(signature.args[argument])(context, builder, arguments[argument]).data
            return builder.bitcast(builder.gep(data, [arguments[argument + 1]]), vector)

        value = builder.load(address(2))
        value.align = itemsize
        builder.store(value, address(0)).align = itemsize
        return context.get_dummy_value()

    return signature, codegen


@njit(error_model="numpy", forceinline=True)
def move(target, t0, source, s0, count):
    """Copy ``count`` numbers, at most one register's worth, between flat arrays."""
    if count == lanes_of(target):
        _move_vector(target, t0, source, s0)
    else:
        for n in range(count):
            target[t0 + n] = source[s0 + n]


def _make_tile(rows: int):
    """Return the intrinsic ``C[rows, panel] += A[rows, K] @ B[K, panel]`` for a fixed number of rows."""

    @intrinsic
    def tile(typing_context, C, c0, ldc, A, a0, lda, sa, B, b0, K):
        real = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}[C.dtype]
        width = lanes(C.dtype.bitwidth // 8)
        vector, index = ir.VectorType(real, width), ir.IntType(64)
        alignment = C.dtype.bitwidth // 8
        size = types.intp
        signature = types.void(C, size, size, A, size, size, size, B, size, size)

        def codegen(context, builder, signature, arguments):
            def pointer(argument, offset):
                data = context.make_array(signature.args[argument])(context, builder, arguments[argument]).data
                return builder.gep(data, [offset])

            def load(address):
                value = builder.load(builder.bitcast(address, vector.as_pointer()))
                value.align = alignment  # LLVM would assume the vector's own size
                return value

            _, c0, ldc, _, a0, lda, sa, _, b0, K = arguments
            # fmuladd is a fused multiply-add where the processor has one, and never a library call.
            name = f"llvm.fmuladd.v{width}f{C.dtype.bitwidth}"
            fmuladd = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
            undefined = ir.Constant(vector, ir.Undefined)
            first_lane = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)

            a_rows = [pointer(3, builder.add(a0, builder.mul(lda, index(r)))) for r in range(rows)]
            c_rows = [pointer(0, builder.add(c0, builder.mul(ldc, index(r)))) for r in range(rows)]
            b_panel = pointer(7, b0)
            columns = [index(width * v) for v in range(VECTORS)]
            start = [[load(builder.gep(row, [column])) for column in columns] for row in c_rows]

            before = builder.block
            loop, end = builder.append_basic_block("k_loop"), builder.append_basic_block("k_end")
            builder.cbranch(builder.icmp_signed(">", K, index(0)), loop, end)
            builder.position_at_end(loop)
            k = builder.phi(index)
            k.add_incoming(index(0), before)
            accumulators = [[builder.phi(vector) for _ in columns] for _ in range(rows)]
            b_row = builder.gep(b_panel, [builder.mul(k, index(VECTORS * width))])
            b_vectors = [load(builder.gep(b_row, [column])) for column in columns]
            a_step = builder.mul(k, sa)
            sums = []
            for r in range(rows):
                number = builder.load(builder.gep(a_rows[r], [a_step]))
                one_lane = builder.insert_element(undefined, number, ir.IntType(32)(0))
                broadcast = builder.shuffle_vector(one_lane, undefined, first_lane)
                sums.append(
                    [builder.call(fmuladd, [broadcast, b_vectors[v], accumulators[r][v]]) for v in range(VECTORS)]
                )
            following = builder.add(k, index(1))
            k.add_incoming(following, loop)
            for r in range(rows):
                for v in range(VECTORS):
                    accumulators[r][v].add_incoming(start[r][v], before)
                    accumulators[r][v].add_incoming(sums[r][v], loop)
            builder.cbranch(builder.icmp_signed("<", following, K), loop, end)

            builder.position_at_end(end)
            for r in range(rows):
                for v in range(VECTORS):
                    result = builder.phi(vector)
                    result.add_incoming(start[r][v], before)
                    result.add_incoming(sums[r][v], loop)
                    start[r][v] = result
            for r in range(rows):
                for v in range(VECTORS):
                    address = builder.bitcast(builder.gep(c_rows[r], [columns[v]]), vector.as_pointer())
                    builder.store(start[r][v], address).align = alignment
            return context.get_dummy_value()

        return signature, codegen

    return tile


_tile_1, _tile_2, _tile_3, _tile_4, _tile_5, _tile_6 = (_make_tile(rows) for rows in range(1, 7))


@njit(error_model="numpy")
def tile(
    rows,  # 1 .. MAX_ROWS
    C,  # flat; C[c0 + r * ldc + n] is read and written for r < rows, n < panel
    c0,
    ldc,
    A,  # flat; A[a0 + r * lda + k * sa] is read
    a0,
    lda,
    sa,
    B,  # flat; B[b0 + k * panel + n] is read
    b0,
    K,
):
    """Add a product of a few rows with one packed panel to a block of C.

    Every element is summed over ``k`` in order, whatever the number of rows: how a matrix is cut into tiles does
    not change a bit of the result.
    """
    if rows == 6:
        _tile_6(C, c0, ldc, A, a0, lda, sa, B, b0, K)
    elif rows == 5:
        _tile_5(C, c0, ldc, A, a0, lda, sa, B, b0, K)
    elif rows == 4:
        _tile_4(C, c0, ldc, A, a0, lda, sa, B, b0, K)
    elif rows == 3:
        _tile_3(C, c0, ldc, A, a0, lda, sa, B, b0, K)
    elif rows == 2:
        _tile_2(C, c0, ldc, A, a0, lda, sa, B, b0, K)
    else:
        _tile_1(C, c0, ldc, A, a0, lda, sa, B, b0, K)
