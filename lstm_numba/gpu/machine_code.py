"""What a cubin does with spilled registers: whether they are read again in a loop, or only around it.

The assembler reports how many bytes a kernel spills, not where. A value that is put aside while the weights are loaded,
and taken back before the first time step, costs nothing; one that is read again in every step does.

NVIDIA does not document the encoding of instructions. From Volta on an instruction has 16 bytes, with its operation in
the lowest 12 bits; what is needed here can be checked against each cubin itself, and is: the code of a kernel ends with
a branch to itself, which says how the distance of a branch is encoded.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

_SIZE = 16
_LOAD_LOCAL, _STORE_LOCAL, _BRANCH = 0x983, 0x387, 0x947
_TENSOR_CORE = (0x23C, 0x237)  # floating-point products of tiles


@dataclass(frozen=True)
class Code:
    """Positions, in bytes, of some instructions of a kernel."""

    tensor_core: tuple[int, ...]
    spill_stores: tuple[int, ...]
    spill_loads: tuple[int, ...]
    loops: tuple[tuple[int, int], ...]  # first and last instruction

    def looped(self, positions: tuple[int, ...]) -> int:
        """How many of the instructions at some positions are in a loop."""
        return sum(any(first <= place <= last for first, last in self.loops) for place in positions)


def read(cubin: bytes, name: str) -> Code:
    """Find loops, spills and products of tensor cores in a cubin.

    Parameters
    ----------
    cubin
        For compute capability 7.0 or higher.
    name
        Part of the name of a kernel; a library's kernels may be in the cubin too.

    Returns
    -------
    Code
        Positions in the code of the kernel.

    Raises
    ------
    ValueError
        If there is not exactly one such kernel, or its branches are encoded in a way that is not known.
    """
    words = list(struct.iter_unpack("<QQ", _text(cubin, name)))
    operations = [low & 0xFFF for low, _ in words]

    def places(*wanted: int) -> tuple[int, ...]:
        return tuple(_SIZE * index for index, operation in enumerate(operations) if operation in wanted)

    branches = {place: words[place // _SIZE][0] for place in places(_BRANCH)}
    distance = next((way for way in (_distance_sm_90, _distance_sm_70) if _ends_with_itself(branches, way)), None)
    if distance is None:
        raise ValueError("cubin: expected code that ends with a branch to itself, found no such branch")
    loops = []
    for place, low in branches.items():
        target = place + _SIZE + distance(low)
        if 0 <= target < place:
            loops.append((target, place))
    return Code(places(*_TENSOR_CORE), places(_STORE_LOCAL), places(_LOAD_LOCAL), tuple(loops))


def _ends_with_itself(branches: dict[int, int], distance: Callable[[int], int]) -> bool:
    return bool(branches) and distance(branches[max(branches)]) == -_SIZE


def _distance_sm_70(low: int) -> int:
    """In bytes, from the next instruction, in the upper 32 bits."""
    return _signed(low >> 32)


def _distance_sm_90(low: int) -> int:
    """In words: the lowest eight bits of it in bits 16 to 23, the rest from bit 34 on."""
    return 4 * (256 * (_signed(low >> 32) >> 2) + (low >> 16 & 0xFF))


def _signed(bits: int) -> int:
    return bits - (1 << 32) if bits >> 31 else bits


def _text(cubin: bytes, kernel: str) -> bytes:
    """The section ``.text.<kernel>`` of an ELF file."""
    if cubin[:4] != b"\x7fELF":
        raise ValueError(f"cubin: expected an ELF file, got one that begins with {cubin[:4]!r}")
    (table,) = struct.unpack_from("<Q", cubin, 40)
    size, count, names = struct.unpack_from("<HHH", cubin, 58)
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + size * index) for index in range(count)]
    start = sections[names][4]

    def name(offset: int) -> bytes:
        return cubin[start + offset : cubin.index(b"\0", start + offset)]

    found = [
        cubin[at : at + length]
        for offset, _, _, _, at, length in sections
        if name(offset).startswith(b".text.") and kernel.encode() in name(offset)
    ]
    if len(found) != 1:
        raise ValueError(f"cubin: expected one kernel named {kernel!r}, found {len(found)}")
    return found[0]
