"""Every PTX instruction and kernel attribute that Numba does not offer by itself: one line each.

A kernel calls these objects like functions. They carry no code: the compiler turns each into inline assembly
(:func:`lower`), and the emulator replaces each by a few lines of NumPy, so kernels run unchanged on both. All
operands are scalars, which is what makes a lane-by-lane emulation possible.

The instructions are described in NVIDIA's "Parallel Thread Execution ISA", whose names they keep in ``asm``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Instruction:
    """One PTX instruction; ``outs`` and ``ins`` hold a letter per register: f float32, r 32 bits, l 64 bits."""

    name: str
    asm: str
    outs: str = ""
    ins: str = ""
    ordered: bool = False  # touches memory or a barrier: must neither be dropped nor moved over another such
    pinned: bool = False  # no effect, but must be computed where it stands (not hoisted out of a loop)

    def __call__(self, *operands: Any) -> Any:
        raise RuntimeError(f"{self.name}: a device instruction, callable in a compiled or an emulated kernel only")


@dataclass(frozen=True)
class Builtin:
    """An operation that needs the compiler's own builder instead of an assembly line."""

    name: str

    def __call__(self, *operands: Any) -> Any:
        raise RuntimeError(f"{self.name}: a device operation, callable in a compiled or an emulated kernel only")


# ---- Tensor cores. Fragment layouts: PTX ISA, "Matrix fragments for mma.m16n8k8" and "... m16n8k16".
mma_tf32 = Instruction(
    "mma_tf32",
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};",
    "ffff",
    "rrrrrrffff",
)
mma_bf16 = Instruction(
    "mma_bf16",
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};",
    "ffff",
    "rrrrrrffff",
)
pack_bf16 = Instruction("pack_bf16", "cvt.rn.bf16x2.f32 $0, $2, $1;", "r", "ff")  # the first operand in the low half
to_tf32 = Instruction("to_tf32", "cvt.rna.tf32.f32 $0, $1;", "r", "f")
to_tf32_here = Instruction("to_tf32_here", "cvt.rna.tf32.f32 $0, $1;", "r", "f", pinned=True)
float_bits = Instruction("float_bits", "mov.b32 $0, $1;", "r", "f")
bits_float = Instruction("bits_float", "mov.b32 $0, $1;", "f", "r")

# ---- Approximate arithmetic: 2^x to 2 ulp, 1/x to 1 ulp.
exp2_approx = Instruction("exp2_approx", "ex2.approx.ftz.f32 $0, $1;", "f", "f")
reciprocal_approx = Instruction("reciprocal_approx", "rcp.approx.ftz.f32 $0, $1;", "f", "f")

# ---- Four values per instruction. `constant` data are written by nobody while the kernel runs; `l2` skips the
# ---- L1 cache, which is not coherent between multiprocessors.
load4_constant = Instruction("load4_constant", "ld.global.nc.v4.f32 {$0,$1,$2,$3}, [$4];", "ffff", "l", True)
load4_l2 = Instruction("load4_l2", "ld.global.cg.v4.f32 {$0,$1,$2,$3}, [$4];", "ffff", "l", True)
store4_global = Instruction("store4_global", "st.global.v4.f32 [$0], {$1,$2,$3,$4};", "", "lffff", True)
load4_shared = Instruction("load4_shared", "ld.shared.v4.f32 {$0,$1,$2,$3}, [$4];", "ffff", "r", True)
store4_shared = Instruction("store4_shared", "st.shared.v4.f32 [$0], {$1,$2,$3,$4};", "", "rffff", True)

# ---- Messages between blocks through global memory.
add_release = Instruction("add_release", "red.release.gpu.global.add.u32 [$0], $1;", "", "lr", True)
load_acquire = Instruction("load_acquire", "ld.acquire.gpu.global.u32 $0, [$1];", "r", "l", True)
load4_relaxed = Instruction("load4_relaxed", "ld.relaxed.gpu.global.v4.u32 {$0,$1,$2,$3}, [$4];", "rrrr", "l", True)
store_relaxed = Instruction("store_relaxed", "st.relaxed.gpu.global.f32 [$0], $1;", "", "lf", True)

# ---- Thread block clusters and distributed shared memory (compute capability 9.0).
cluster_rank = Instruction("cluster_rank", "mov.u32 $0, %cluster_ctarank;", "r")
cluster_arrive = Instruction("cluster_arrive", "barrier.cluster.arrive.release.aligned;", ordered=True)
cluster_wait = Instruction("cluster_wait", "barrier.cluster.wait.acquire.aligned;", ordered=True)
remote_address = Instruction("remote_address", "mapa.shared::cluster.u32 $0, $1, $2;", "r", "rr")
store_remote = Instruction("store_remote", "st.shared::cluster.f32 [$0], $1;", "", "rf", True)

INSTRUCTIONS: dict[str, Instruction] = {
    value.name: value for value in list(globals().values()) if isinstance(value, Instruction)
}

shared_address = Builtin("shared_address")  # (shared array) -> 32-bit address of its first element
element_address = Builtin("element_address")  # (global array, flat index) -> 64-bit address
cluster_size = Builtin("cluster_size")  # (literal) the kernel is launched in clusters of so many blocks
cooperative = Builtin("cooperative")  # () all blocks must be resident at once, or the launch fails

BUILTINS: dict[str, Builtin] = {value.name: value for value in list(globals().values()) if isinstance(value, Builtin)}


def lower(operation: Instruction | Builtin) -> Callable:
    """Return the numba-cuda intrinsic of an operation (imports numba-cuda)."""
    return _lower_instruction(operation) if isinstance(operation, Instruction) else _builtins()[operation.name]


@cache
def _lower_instruction(instruction: Instruction) -> Callable:
    from llvmlite import ir
    from numba.cuda import types
    from numba.cuda.extending import intrinsic
    from numba.cuda.typing import signature

    machine = {"f": ir.FloatType(), "r": ir.IntType(32), "l": ir.IntType(64)}
    typed = {"f": types.float32, "r": types.uint32, "l": types.uint64}
    outs, ins = instruction.outs, instruction.ins
    if not outs:
        result, returned = ir.VoidType(), types.void
    elif len(outs) == 1:
        result, returned = machine[outs], typed[outs]
    else:
        result = ir.LiteralStructType([machine[letter] for letter in outs])
        returned = types.UniTuple(typed[outs[0]], len(outs))
    constraints = ",".join([f"={letter}" for letter in outs] + list(ins) + ["~{memory}"] * instruction.ordered)
    assembly = ir.InlineAsm(
        ir.FunctionType(result, [machine[letter] for letter in ins]),
        instruction.asm,
        constraints,
        side_effect=instruction.ordered or instruction.pinned,
    )

    def codegen(context, builder, sig, operands):
        value = builder.call(assembly, operands)
        if not outs:
            return context.get_dummy_value()
        if len(outs) == 1:
            return value
        parts = [builder.extract_value(value, position) for position in range(len(outs))]
        return context.make_tuple(builder, sig.return_type, parts)

    def typing(*_):
        return signature(returned, *[typed[letter] for letter in ins]), codegen

    # Numba reads the number of operands from the signature of a Python function, so one is written for it.
    names = ", ".join(f"operand{position}" for position in range(len(ins)))
    scope: dict[str, Any] = {"typing": typing}
    exec(f"def {instruction.name}(context, {names}): return typing()", scope)
    return intrinsic(scope[instruction.name])


@cache
def _builtins() -> dict[str, Callable]:
    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.core.errors import RequireLiteralValue
    from numba.cuda.extending import intrinsic
    from numba.cuda.typing import signature

    @intrinsic
    def shared_address(typing_context, array):
        def codegen(context, builder, sig, operands):
            data = context.make_array(sig.args[0])(context, builder, operands[0]).data
            pointer = ir.PointerType(addrspace=3) if data.type.is_opaque else ir.PointerType(ir.IntType(8), 3)
            return builder.ptrtoint(builder.addrspacecast(data, pointer), ir.IntType(32))

        return signature(types.uint32, array), codegen

    @intrinsic
    def element_address(typing_context, array, position):
        def codegen(context, builder, sig, operands):
            size = sig.args[0].dtype.bitwidth // 8
            data = context.make_array(sig.args[0])(context, builder, operands[0]).data
            offset = builder.mul(operands[1], ir.Constant(ir.IntType(64), size))
            return builder.add(builder.ptrtoint(data, ir.IntType(64)), offset)

        return signature(types.uint64, array, types.int64), codegen

    @intrinsic
    def cluster_size(typing_context, blocks):
        if not isinstance(blocks, types.IntegerLiteral):
            raise RequireLiteralValue(blocks)

        # Numba finds operations by their signature. It has to hold the literal, or all sizes would share one.
        def codegen(context, builder, sig, operands):
            module = builder.module
            number = sig.args[0].literal_value
            note = (builder.function, ir.MetaDataString(module, "cluster_dim_x"), ir.Constant(ir.IntType(32), number))
            cgutils.get_or_insert_named_metadata(module, "nvvm.annotations").add(module.add_metadata(note))
            return context.get_dummy_value()

        return signature(types.void, blocks), codegen

    @intrinsic
    def cooperative(typing_context):
        def codegen(context, builder, sig, operands):
            context.active_code_library.use_cooperative = True
            return context.get_dummy_value()

        return signature(types.void), codegen

    found = (shared_address, element_address, cluster_size, cooperative)
    return dict(zip(BUILTINS, found, strict=True))
