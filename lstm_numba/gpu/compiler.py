"""Compile kernels with numba-cuda: for a launch, or without any GPU to see what they need.

:func:`resources` goes the whole way a launch goes (NVVM, link-time optimisation, nvJitLink, a cubin for a given chip)
on a machine without GPU and driver, and reports registers, spilled bytes and shared memory. Two private names of
numba-cuda 0.30 are replaced for that, because it asks the *current device* what it can do even where the target is
given.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

from lstm_numba.gpu import machine_code
from lstm_numba.gpu.binding import DeviceFunction, Kernel, bind
from lstm_numba.gpu.ptx import Builtin, Instruction, lower

Target = tuple[int, int] | tuple[int, int, str]


@dataclass(frozen=True)
class Resources:
    """What one kernel needs on one chip; bytes per thread for spills, per block for shared memory.

    ``looped_spill_loads`` counts instructions that read spilled values inside of loops, that is in every time step.
    """

    kernel: str
    target: str
    threads: int
    registers: int
    stack_bytes: int
    spill_stores: int
    spill_loads: int
    looped_spill_loads: int
    shared_bytes: int
    cubin_bytes: int


@cache
def dispatcher(kernel: Kernel) -> Any:
    """Return the kernel as numba-cuda's dispatcher: ``dispatcher(kernel)[grid, threads, stream](*arguments)``."""
    from numba import cuda

    function = bind(kernel.function, _for_device)
    function.__name__ = re.sub(r"\W", "_", kernel.name)
    # No fast mathematics: NaN must stay NaN. Multiply-add is contracted all the same, as in CUDA C++.
    return cuda.jit(launch_bounds=(kernel.threads, 1))(function)


def _for_device(value: Any) -> Any:
    if isinstance(value, (Instruction, Builtin)):
        return lower(value)
    if isinstance(value, DeviceFunction):
        return _device_function(value)
    return value


@cache
def _device_function(function: DeviceFunction) -> Any:
    from numba import cuda

    return cuda.jit(device=True, forceinline=True)(bind(function.function, _for_device))


def signature(kernel: Kernel) -> Any:
    """The types of a kernel's parameters."""
    from numba.cuda import types

    def parameter(kind: int | str) -> Any:
        if kind == "i":
            return types.int32
        if kind == "l":
            return types.int64
        if kind == "i1":
            return types.Array(types.int32, 1, "C")
        if kind == "u1":
            return types.Array(types.uint32, 1, "C")
        return types.Array(getattr(types, kernel.dtype), kind, "C")

    return types.void(*(parameter(kind) for kind in kernel.signature))


@contextmanager
def without_a_device(capability: tuple[int, int]) -> Iterator[None]:
    """Let numba-cuda believe that the current device has a compute capability; nothing can be launched."""
    from numba.cuda import codegen
    from numba.cuda import dispatcher as dispatching

    pretended = SimpleNamespace(compute_capability=capability, id=0)
    context = SimpleNamespace(get_context=lambda number=None: SimpleNamespace(device=pretended))
    before = dispatching.get_current_device, codegen.devices
    dispatching.get_current_device, codegen.devices = (lambda: pretended), context
    try:
        yield
    finally:
        dispatching.get_current_device, codegen.devices = before


def target_name(target: Target) -> str:
    """``(9, 0, "a")`` is ``"sm_90a"``."""
    return f"sm_{target[0]}{target[1]}{target[2] if len(target) == 3 else ''}"


def compiled(kernel: Kernel, target: Target) -> tuple[str, bytes]:
    """Return the linked PTX and the cubin of a kernel for a chip, without needing that chip."""
    from numba.cuda import dispatcher as dispatching

    known = ("link", "debug", "lineinfo", "forceinline", "fastmath", "extensions", "max_registers", "lto", "opt",
             "device", "launch_bounds", "shared_memory_carveout")  # fmt: skip
    with without_a_device(target[:2]), warnings.catch_warnings():
        launcher = dispatcher(kernel)
        options = {name: value for name, value in launcher.targetoptions.items() if name in known}
        built = dispatching._Kernel(launcher.py_func, signature(kernel).args, **options)
        warnings.filterwarnings("ignore", "Not adding .*libcudadevrt")  # linked without optimisation, as meant
        cubin = bytes(built._codelibrary.get_cubin(cc=target).code)
        ptx = built.inspect_lto_ptx(cc=target).strip("\0").strip()
    if built.cooperative != kernel.cooperative:
        raise AssertionError(f"{kernel.name}: cooperative is {built.cooperative}, declared {kernel.cooperative}")
    return ptx, cubin


def resources(kernel: Kernel, target: Target) -> Resources:
    """Compile a kernel for a chip and say what it needs.

    Parameters
    ----------
    kernel
        A kernel for fixed sizes.
    target
        Compute capability, for example ``(8, 0)`` or ``(9, 0, "a")``.

    Returns
    -------
    Resources
        Registers, spills, shared memory, size.

    Raises
    ------
    lstm_numba.gpu.device.CudaMissing
        If numba-cuda or its compiler libraries are not installed.
    """
    from lstm_numba.gpu.device import require_compiler

    require_compiler()
    ptx, cubin = compiled(kernel, target)
    log = _link_log(ptx, target, kernel.cooperative)
    entry = log[log.index("Compiling entry function") :]

    code = machine_code.read(cubin, kernel.function.__name__)

    def number(pattern: str) -> int:
        found = re.search(pattern, entry)
        return int(found.group(1)) if found else 0

    return Resources(
        kernel=kernel.name,
        target=target_name(target),
        threads=kernel.threads,
        registers=number(r"Used (\d+) registers"),
        stack_bytes=number(r"(\d+) bytes stack frame"),
        spill_stores=number(r"(\d+) bytes spill stores"),
        spill_loads=number(r"(\d+) bytes spill loads"),
        looped_spill_loads=code.looped(code.spill_loads),
        shared_bytes=number(r"(\d+) bytes smem"),
        cubin_bytes=len(cubin),
    )


def _link_log(ptx: str, target: Target, cooperative: bool) -> str:
    """The assembler's report, from the linker library (no ``ptxas`` program needed)."""
    from cuda.bindings import nvjitlink

    handle = nvjitlink.create(2, [f"-arch={target_name(target)}", "-Xptxas=-v"])
    try:
        source = ptx.encode() + b"\0"
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, source, len(source), "kernel")
        if cooperative:
            from numba.cuda.cudadrv.libs import get_cudalib

            nvjitlink.add_file(handle, nvjitlink.InputType.LIBRARY, get_cudalib("cudadevrt", static=True))
        nvjitlink.complete(handle)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
        return log.decode(errors="replace")
    finally:
        nvjitlink.destroy(handle)
