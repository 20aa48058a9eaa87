"""Vector instructions: the one place where the package writes them.

A matrix product spends its time in the innermost loop, and that loop is fast only if it keeps a block of the result
in registers. LLVM does not find that form by itself, so it is spelled out here in LLVM's intermediate language: a
block of ``rows`` x ``vectors`` accumulators stays in registers while ``k`` runs, each step loading ``vectors``
vectors of B once and multiplying them with one broadcast number of A per row. Everything else in this folder is
ordinary Python that calls this tile.

Lanes, vectors and rows depend on the vector registers of the processor, which Numba's cache key contains.
Inside the kernels an array is a typed pointer (see :func:`pointer`) and offsets count numbers, not bytes.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils, config
from numba.extending import intrinsic, overload

from lstm_numba.inner import INNER


class VectorUnit(NamedTuple):
    """The vector registers of a processor and the tile that fills them without spilling."""

    name: str
    bytes: int  # width of one register
    vectors: int  # vectors of B per row of the largest tile
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


MACHINE = binding.get_process_triple()
VECTOR_UNIT = choose_vector_unit(_host_features(), MACHINE)
VECTORS = VECTOR_UNIT.vectors
MAX_ROWS = VECTOR_UNIT.max_rows

_INDEX = ir.IntType(64)
_ADDRESS = types.CPointer(types.int64)
_OPTIONS = INNER


#: Numbers of no literal type. A function that is called with a literal is compiled once more, for that literal.
ZERO, ONE = np.int64(0), np.int64(1)


def lanes(itemsize: int) -> int:
    """Numbers per vector register."""
    return VECTOR_UNIT.bytes // itemsize


# -- pointers ----------------------------------------------------------------------------------------------------


def lanes_of(p) -> int:
    """Numbers per vector register for what ``p`` points to; a constant in compiled code, so that loops unroll."""
    raise NotImplementedError("lanes_of is for compiled code")


@overload(lanes_of)
def _compiled_lanes_of(p):
    count = lanes(p.dtype.bitwidth // 8)
    return lambda p: count


@intrinsic
def pointer(typing_context, array):
    """Pointer to an array's first number."""

    def codegen(context, builder, signature, arguments):
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def pointer_at(typing_context, address, like):
    """Pointer of the same type as ``like`` to a numeric address."""

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return like(types.int64, like), codegen


@intrinsic
def address_of(typing_context, p):
    """Numeric address of a pointer."""

    def codegen(context, builder, signature, arguments):
        return builder.ptrtoint(arguments[0], _INDEX)

    return types.int64(p), codegen


@intrinsic
def step(typing_context, p, count):
    """The pointer ``count`` numbers further on."""

    def codegen(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return p(p, types.int64), codegen


@intrinsic
def get(typing_context, p, at):
    """``p[at]``"""

    def codegen(context, builder, signature, arguments):
        return builder.load(builder.gep(arguments[0], [arguments[1]]))

    return p.dtype(p, types.int64), codegen


@intrinsic
def put(typing_context, p, at, value):
    """``p[at] = value``"""

    def codegen(context, builder, signature, arguments):
        builder.store(arguments[2], builder.gep(arguments[0], [arguments[1]]))
        return context.get_dummy_value()

    return types.void(p, types.int64, p.dtype), codegen


# -- vectors -----------------------------------------------------------------------------------------------------


class _Vectors:
    """What the code generators below share: loads, stores and masks of one register's worth of numbers."""

    def __init__(self, builder, number):
        self.builder = builder
        self.itemsize = number.bitwidth // 8
        self.count = lanes(self.itemsize)
        self.real = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}[number]
        self.type = ir.VectorType(self.real, self.count)
        self.name = f"v{self.count}f{number.bitwidth}"

    def _at(self, p, offset=None):
        if offset is not None:
            p = self.builder.gep(p, [offset])
        return self.builder.bitcast(p, self.type.as_pointer())

    def load(self, p, offset=None):
        value = self.builder.load(self._at(p, offset))
        value.align = self.itemsize  # LLVM would assume the vector's own size
        return value

    def store(self, value, p, offset=None):
        self.builder.store(value, self._at(p, offset)).align = self.itemsize

    def function(self, name, result, arguments):
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)

    def mask(self, count):
        """True in the first ``count`` lanes."""
        i32 = ir.IntType(32)
        vector = ir.VectorType(i32, self.count)
        one = self.builder.insert_element(ir.Constant(vector, ir.Undefined), self.builder.trunc(count, i32), i32(0))
        all_lanes = self.builder.shuffle_vector(
            one, ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0] * self.count)
        )
        return self.builder.icmp_signed("<", ir.Constant(vector, list(range(self.count))), all_lanes)

    def masked_load(self, p, mask):
        bits = ir.VectorType(ir.IntType(1), self.count)
        function = self.function(
            f"llvm.masked.load.{self.name}.p0", self.type, [self.type.as_pointer(), ir.IntType(32), bits, self.type]
        )
        zero = ir.Constant(self.type, [0.0] * self.count)
        return self.builder.call(function, [self._at(p), ir.IntType(32)(self.itemsize), mask, zero])

    def masked_store(self, value, p, mask):
        bits = ir.VectorType(ir.IntType(1), self.count)
        function = self.function(
            f"llvm.masked.store.{self.name}.p0",
            ir.VoidType(),
            [self.type, self.type.as_pointer(), ir.IntType(32), bits],
        )
        self.builder.call(function, [value, self._at(p), ir.IntType(32)(self.itemsize), mask])

    def broadcast(self, number):
        i32 = ir.IntType(32)
        undefined = ir.Constant(self.type, ir.Undefined)
        one = self.builder.insert_element(undefined, number, i32(0))
        return self.builder.shuffle_vector(
            one, undefined, ir.Constant(ir.VectorType(i32, self.count), [0] * self.count)
        )


@intrinsic(prefer_literal=True)
def local_vectors(typing_context, like, count):
    """Room for a constant number of vectors that nothing else points to.

    Since it can alias nothing, a loop over the lanes of vectors in it becomes vector instructions, and then LLVM
    sees that whole vectors go in and come out, and keeps them in registers.
    """
    if not isinstance(count, types.IntegerLiteral):
        return None
    vectors = count.literal_value

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        room = cgutils.alloca_once(builder, ir.ArrayType(v.real, v.count * vectors))
        room.align = VECTOR_UNIT.bytes
        return builder.bitcast(room, v.real.as_pointer())

    return like(like, count), codegen


@intrinsic
def copy_vector(typing_context, target, source):
    """Copy one register's worth of numbers."""

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        v.store(v.load(arguments[1]), arguments[0])
        return context.get_dummy_value()

    return types.void(target, source), codegen


@intrinsic
def add_vector(typing_context, target, source):
    """``target += source`` for one register's worth of numbers."""

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        v.store(builder.fadd(v.load(arguments[0]), v.load(arguments[1])), arguments[0])
        return context.get_dummy_value()

    return types.void(target, source), codegen


@intrinsic
def clear_vector(typing_context, target):
    """Set one register's worth of numbers to zero."""

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        v.store(ir.Constant(v.type, [0.0] * v.count), arguments[0])
        return context.get_dummy_value()

    return types.void(target), codegen


@intrinsic
def _load_part(typing_context, target, source, count):
    """A whole vector into ``target``: the first ``count`` numbers of ``source``, then zeros."""

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        v.store(v.masked_load(arguments[1], v.mask(arguments[2])), arguments[0])
        return context.get_dummy_value()

    return types.void(target, source, types.int64), codegen


@intrinsic
def _store_part(typing_context, target, source, count):
    """The first ``count`` numbers of a whole vector at ``source`` into ``target``."""

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        v.masked_store(v.load(arguments[1]), arguments[0], v.mask(arguments[2]))
        return context.get_dummy_value()

    return types.void(target, source, types.int64), codegen


# A masked store that is read back soon stalls, so whole vectors are moved without a mask.


@njit(forceinline=True, **_OPTIONS)
def load_part(target, source, count):
    """A whole vector into ``target``: the first ``count`` numbers of ``source``, then zeros."""
    if count >= lanes_of(target):
        copy_vector(target, source)
    else:
        _load_part(target, source, count)


@njit(forceinline=True, **_OPTIONS)
def store_part(target, source, count):
    """The first ``count`` numbers of the vector at ``source`` into ``target``."""
    if count >= lanes_of(target):
        copy_vector(target, source)
    else:
        _store_part(target, source, count)


@intrinsic
def _copy_part(typing_context, target, source, count):
    """The first ``count`` numbers of ``source`` into ``target``; nothing behind them is read or written."""

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        mask = v.mask(arguments[2])
        v.masked_store(v.masked_load(arguments[1], mask), arguments[0], mask)
        return context.get_dummy_value()

    return types.void(target, source, types.int64), codegen


@njit(**_OPTIONS)
def copy_row(target, source, count):
    """Copy ``count`` numbers; nothing behind them is read or written."""
    U = lanes_of(target)
    for n in range(0, count, U):
        if count - n >= U:
            copy_vector(step(target, n), step(source, n))
        else:
            _copy_part(step(target, n), step(source, n), count - n)


def _fold(builder, v, p, vectors, combine):
    """Combine the numbers of whole vectors, at least one: lane by lane first, then the lanes."""
    before = builder.block
    start = v.load(p)
    head, end = builder.append_basic_block("fold"), builder.append_basic_block("fold_end")
    builder.cbranch(builder.icmp_signed(">", vectors, _INDEX(1)), head, end)
    builder.position_at_end(head)
    n, so_far = builder.phi(_INDEX), builder.phi(v.type)
    n.add_incoming(_INDEX(1), before)
    so_far.add_incoming(start, before)
    new = combine(so_far, v.load(p, builder.mul(n, _INDEX(v.count))))
    following = builder.add(n, _INDEX(1))
    n.add_incoming(following, head)
    so_far.add_incoming(new, head)
    builder.cbranch(builder.icmp_signed("<", following, vectors), head, end)
    builder.position_at_end(end)
    result = builder.phi(v.type)
    result.add_incoming(start, before)
    result.add_incoming(new, head)
    size = v.count // 2
    while size:  # halves with each other, until one lane is left
        turned = [(lane + size) % v.count for lane in range(v.count)]
        pattern = ir.Constant(ir.VectorType(ir.IntType(32), v.count), turned)
        result = combine(result, builder.shuffle_vector(result, ir.Constant(v.type, ir.Undefined), pattern))
        size //= 2
    return builder.extract_element(result, ir.IntType(32)(0))


@intrinsic
def largest_of(typing_context, p, vectors):
    """The largest of the numbers in that many whole vectors; a NaN is passed over unless it comes first in its lane."""

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        p, vectors = arguments
        return _fold(builder, v, p, vectors, lambda a, b: builder.select(builder.fcmp_ordered(">", b, a), b, a))

    return p.dtype(p, types.int64), codegen


@intrinsic
def sum_of(typing_context, p, vectors):
    """The sum of the numbers in that many whole vectors."""

    def codegen(context, builder, signature, arguments):
        p, vectors = arguments
        return _fold(builder, _Vectors(builder, signature.args[0].dtype), p, vectors, builder.fadd)

    return p.dtype(p, types.int64), codegen


@intrinsic
def hide_lanes(typing_context, target, first):
    """Put -inf into the lanes from ``first`` on of one register's worth of numbers."""

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        hidden = ir.Constant(v.type, [float("-inf")] * v.count)
        v.store(builder.select(v.mask(arguments[1]), v.load(arguments[0]), hidden), arguments[0])
        return context.get_dummy_value()

    return types.void(target, types.int64), codegen


@intrinsic
def scale_vector(typing_context, target, source, factor):
    """``target = source * factor`` for one register's worth of numbers."""

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        v.store(builder.fmul(v.load(arguments[1]), v.broadcast(arguments[2])), arguments[0])
        return context.get_dummy_value()

    return types.void(target, source, target.dtype), codegen


@intrinsic
def slope_vector(typing_context, target, weights, delta):
    """``target = weights * (target - delta)`` for one register's worth of numbers: the derivative of a softmax."""

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        slope = builder.fsub(v.load(arguments[0]), v.broadcast(arguments[2]))
        v.store(builder.fmul(v.load(arguments[1]), slope), arguments[0])
        return context.get_dummy_value()

    return types.void(target, weights, target.dtype), codegen


@intrinsic
def transpose(typing_context, target, target_row, source, source_row):
    """Write a square block, as many rows and columns as a register has lanes, with rows and columns exchanged."""

    def codegen(context, builder, signature, arguments):
        v = _Vectors(builder, signature.args[0].dtype)
        target, target_row, source, source_row = arguments
        n = v.count
        rows = [v.load(source, builder.mul(source_row, _INDEX(r))) for r in range(n)]
        # Butterfly: exchange the off-diagonal halves of blocks of size 2, 4, ... until the whole block is turned.
        i32 = ir.IntType(32)
        size = 1
        while size < n:
            low = [lane if not lane & size else lane - size + n for lane in range(n)]
            high = [lane + size if not lane & size else lane + n for lane in range(n)]
            masks = [ir.Constant(ir.VectorType(i32, n), pattern) for pattern in (low, high)]
            for r in range(n):
                if not r & size:
                    a, b = rows[r], rows[r + size]
                    rows[r] = builder.shuffle_vector(a, b, masks[0])
                    rows[r + size] = builder.shuffle_vector(a, b, masks[1])
            size *= 2
        for r in range(n):
            v.store(rows[r], target, builder.mul(target_row, _INDEX(r)))
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), codegen


# -- the tile ----------------------------------------------------------------------------------------------------


def _emit_tile(v, rows, vectors, parts, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, segment_step):
    """Code for one height of the tile; see :func:`_make_tile`."""
    builder = v.builder
    fmuladd = v.function(f"llvm.fmuladd.{v.name}", v.type, [v.type] * 3)
    columns = [_INDEX(v.count * n) for n in range(vectors)]

    def row(base, stride, r):
        return builder.gep(base, [builder.mul(stride, _INDEX(r))]) if r else base

    start = [v.load(row(S, s_row, r), column) for r in range(rows) for column in columns]
    start += [ir.Constant(v.type, [0.0] * v.count)] * (len(start) * (parts - 1))

    def loop(name, count, values, body):
        """``for n in range(count): values = body(n, values)`` with the values in registers."""
        before = builder.block
        head, end = builder.append_basic_block(name), builder.append_basic_block(f"{name}_end")
        builder.cbranch(builder.icmp_signed(">", count, _INDEX(0)), head, end)
        builder.position_at_end(head)
        n = builder.phi(_INDEX)
        n.add_incoming(_INDEX(0), before)
        phis = [builder.phi(value.type) for value in values]
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, before)
        new = body(n, phis)
        following = builder.add(n, _INDEX(1))
        last = builder.block
        n.add_incoming(following, last)
        for phi, value in zip(phis, new, strict=True):
            phi.add_incoming(value, last)
        builder.cbranch(builder.icmp_signed("<", following, count), head, end)
        builder.position_at_end(end)
        results = []
        for value, value_new in zip(values, new, strict=True):
            result = builder.phi(value.type)
            result.add_incoming(value, before)
            result.add_incoming(value_new, last)
            results.append(result)
        return results

    def segment(number, values):
        a_start = builder.gep(A, [builder.mul(number, segment_step)])
        b_start = builder.gep(B, [builder.mul(builder.mul(number, K), _INDEX(vectors * v.count))])
        a_rows = [row(a_start, a_row, r) for r in range(rows)]

        def multiply(round_, sums):
            new = []
            for part in range(parts):
                k = builder.add(builder.mul(round_, _INDEX(parts)), _INDEX(part)) if parts > 1 else round_
                b_row = builder.gep(b_start, [builder.mul(k, _INDEX(vectors * v.count))])
                b_vectors = [v.load(b_row, column) for column in columns]
                a_at = builder.mul(k, a_step)
                for r in range(rows):
                    number = v.broadcast(builder.load(builder.gep(a_rows[r], [a_at])))
                    before = sums[(part * rows + r) * vectors :]
                    # fmuladd is a fused multiply-add where the processor has one, and never a library call.
                    new += [builder.call(fmuladd, [number, b_vectors[n], before[n]]) for n in range(vectors)]
            return new

        return loop("k", builder.udiv(K, _INDEX(parts)) if parts > 1 else K, values, multiply)

    sums = loop("segment", segments, start, segment)
    while parts > 1:
        parts //= 2
        half = rows * vectors * parts
        sums = [builder.fadd(one, two) for one, two in zip(sums[:half], sums[half:], strict=True)]
    for r in range(rows):
        for n in range(vectors):
            v.store(sums[r * vectors + n], row(C, c_row, r), columns[n])


def parts_of(vectors: int, lanes: int) -> int:
    """Sums that a split tile keeps for each result: as many as the registers hold, and K is a multiple of."""
    return min(VECTORS // vectors, 4 if lanes >= 4 else 2)


def _make_tile(vectors: int, split: bool = False):
    """Return the intrinsic ``C = S + A @ B`` for a block of 1 .. MAX_ROWS rows and a fixed number of vectors.

    One vector of one row is a chain of additions in which each waits for the one before. A ``split`` tile keeps
    several sums for each result, of every second or fourth k, and adds them up at the end.
    """

    @intrinsic
    def tile(typing_context, rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, segment_step):
        size = types.int64
        signature = types.void(size, C, size, C, size, C, size, size, C, size, size, size)

        def codegen(context, builder, signature, arguments):
            v = _Vectors(builder, signature.args[1].dtype)
            end = builder.append_basic_block("tile_end")
            heights = [builder.append_basic_block(f"rows_{rows}") for rows in range(1, MAX_ROWS + 1)]
            switch = builder.switch(arguments[0], heights[-1])
            for rows, block in enumerate(heights[:-1], 1):
                switch.add_case(_INDEX(rows), block)
            for rows, block in enumerate(heights, 1):
                builder.position_at_end(block)
                _emit_tile(v, rows, vectors, parts_of(vectors, v.count) if split else 1, *arguments[1:])
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return signature, codegen

    return tile


_emit_tile_1, _emit_tile_2, _emit_tile_3, _emit_tile_4 = (_make_tile(vectors) for vectors in (1, 2, 3, 4))
_emit_split_tile_1, _emit_split_tile_2 = (_make_tile(vectors, split=True) for vectors in (1, 2))


# The arguments of the four tiles:
#   rows                 1 .. MAX_ROWS
#   C, c_row             result: row r starts at C + r * c_row
#   S, s_row             what the product is added to; C itself, a bias (s_row = 0), zeros, ...
#   A, a_row, a_step     A[r, k] is at A + r * a_row + k * a_step
#   B                    packed panel: B[k, n] is at B + k * vectors * lanes + n
#   K                    length of the sum ...
#   segments, seg_step   ... in each of several segments; A moves on by seg_step from one to the next, B just goes on
# Every element is summed over k in an order that does not depend on the number of rows: how many rows a tile gets
# does not change a bit of the result. For a split tile, K must be a multiple of 4.


def tile_1(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step):
    """C = S + A @ B, one vector wide."""
    _emit_tile_1(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step)


def tile_2(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step):
    """C = S + A @ B, two vectors wide."""
    _emit_tile_2(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step)


def tile_3(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step):
    """C = S + A @ B, three vectors wide."""
    _emit_tile_3(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step)


def tile_4(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step):
    """C = S + A @ B, four vectors wide."""
    _emit_tile_4(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step)


def split_tile_1(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step):
    """C = S + A @ B, one vector wide, split."""
    _emit_split_tile_1(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step)


def split_tile_2(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step):
    """C = S + A @ B, two vectors wide, split."""
    _emit_split_tile_2(rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step)


@intrinsic
def call_tile(typing_context, address, rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, seg_step):
    """Call the tile at an address. Through a pointer, so that its code is compiled once and not into every caller.

    In Numba's calling convention: two places for a result and an exception, of which a tile has neither, come first.
    """
    size = types.int64
    signature = types.void(size, size, C, size, C, size, C, size, size, C, size, size, size)

    def codegen(context, builder, signature, arguments):
        place = ir.IntType(8).as_pointer()
        result, no_exception = cgutils.alloca_once(builder, place), ir.Constant(place.as_pointer(), None)
        given = [result, no_exception, *arguments[1:]]
        function = ir.FunctionType(ir.IntType(32), [argument.type for argument in given])
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), given)
        return context.get_dummy_value()

    return signature, codegen
