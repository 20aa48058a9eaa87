"""Kernels compile to linked cubins without a GPU, within the registers of the chip and nearly without spills."""

import importlib.util
import os

import pytest

from benchmarks.cuda_resources import CHECKED, SPILL_LIMIT, label
from lstm_numba.gpu import machine_code
from lstm_numba.gpu.binding import Kernel
from lstm_numba.gpu.compiler import compiled, resources
from lstm_numba.gpu.kernels import grid, slices, steps


def _installed():
    try:
        return all(importlib.util.find_spec(name) for name in ("numba_cuda", "cuda.bindings.nvjitlink"))
    except ModuleNotFoundError:
        return False


if not _installed():
    if os.environ.get("CI"):
        raise RuntimeError("numba-cuda or its libraries are missing: install requirements.txt")
    pytest.skip("numba-cuda is not installed: install requirements.txt", allow_module_level=True)


@pytest.mark.parametrize(("kernel", "target"), CHECKED, ids=[label(*row) for row in CHECKED])
def test_resources(kernel, target):
    found = resources(kernel, target)
    assert found.registers * kernel.threads <= 65536  # of a multiprocessor
    assert found.registers <= 255
    assert found.stack_bytes <= SPILL_LIMIT  # more would mean that weights left their registers
    assert found.spill_stores <= SPILL_LIMIT
    assert found.shared_bytes <= 48 * 1024  # what a launch gets without asking for more
    assert found.looped_spill_loads <= 16  # per step and thread, beside hundreds of products
    assert found.cubin_bytes > 1000


def test_the_instructions_are_the_ones_asked_for():
    ptx, _ = compiled(slices.forward("lstm", 128, 4, 1, "tf32"), (9, 0, "a"))
    assert ".reqnctapercluster 4, 1, 1" in ptx
    assert "barrier.cluster.wait.acquire" in ptx
    assert "mapa.shared::cluster" in ptx
    assert "st.shared::cluster" in ptx
    assert ptx.count("mma.sync.aligned.m16n8k8") == 128 // 8
    assert ".f64" not in ptx  # no literal has slipped into double precision
    assert "ld.local" not in ptx


def test_strict_products_take_three_instructions():
    ptx, _ = compiled(slices.forward("lstm", 32, 1, 1, "float32"), (8, 0))
    assert ptx.count("mma.sync.aligned.m16n8k8") == 3 * 32 // 8
    assert "reqnctapercluster" not in ptx
    assert "barrier.cluster" not in ptx


def test_bfloat16_takes_one_instruction_for_sixteen_columns():
    ptx, _ = compiled(slices.forward("lstm", 32, 1, 1, "bfloat16"), (8, 0))
    assert ptx.count("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32") == 32 // 16
    assert "m16n8k8" not in ptx
    ptx, _ = compiled(slices.backward("lstm", 32, 1, 1, 2, 1, "bfloat16"), (8, 0))
    assert ptx.count("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32") == 4 * 32 // 16
    assert "m16n8k8" not in ptx


def test_messages_between_blocks_have_release_and_acquire_semantics():
    ptx, _ = compiled(grid.backward("lstm", 256, 16, "tf32"), (8, 0))
    assert "red.release.gpu.global.add.u32" in ptx
    assert "ld.acquire.gpu.global.u32" in ptx


def test_a_kernel_that_spills_is_noticed():
    """The same kernel with too many weights per thread."""
    kernel = slices.backward("lstm", 64, 1, 1, 1, 1, "tf32")
    found = resources(kernel, (9, 0, "a"))
    assert found.stack_bytes > SPILL_LIMIT
    assert found.looped_spill_loads > 0  # few instructions, since the weights are read in a loop within the step


@pytest.mark.parametrize("target", [(8, 0), (9, 0, "a")], ids=str)
def test_where_the_machine_code_spills(target):
    """The code is read right: as many products as the kernel has, all of them in one loop over the steps."""
    kernel = slices.backward("lstm", 32, 1, 1, 2, 1, "tf32")
    code = machine_code.read(compiled(kernel, target)[1], "slice_backward")
    assert len(code.tensor_core) == 4 * 32 // 8
    assert code.looped(code.tensor_core) == 4 * 32 // 8
    assert code.spill_stores == code.spill_loads == ()


def test_a_kernel_beside_those_of_a_library():
    """A cooperative kernel is linked with CUDA's device runtime."""
    kernel = grid.backward("lstm", 256, 16, "tf32")
    _, cubin = compiled(kernel, (8, 0))
    assert len(machine_code.read(cubin, "grid_backward").tensor_core) == 2 * 4 * 256 // 8 // 8  # tiles, depth, warps
    with pytest.raises(ValueError, match="expected one kernel named 'nothing', found 0"):
        machine_code.read(cubin, "nothing")


def test_other_files_are_refused():
    with pytest.raises(ValueError, match="expected an ELF file"):
        machine_code.read(b"PTX" * 30, "kernel")


def test_a_wrong_declaration_is_noticed():
    kernel = steps.forward("lstm", "float32")
    wrong = Kernel(kernel.name, kernel.function, kernel.threads, kernel.signature, cooperative=True)
    with pytest.raises(AssertionError, match="cooperative is False, declared True"):
        compiled(wrong, (8, 0))
