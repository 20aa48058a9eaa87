"""One kernel source, two targets: rebuild a Python function with other meanings for the names it uses.

A kernel is a plain Python function. Its names (``cuda``, the instructions of :mod:`lstm_numba.gpu.ptx`, the
equations of :mod:`lstm_numba.cells`) get their meaning here: numba-cuda's for the compiler, NumPy's for the emulator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import CellType, CodeType, FunctionType
from typing import Any

from lstm_numba import cells, elementary


@dataclass(frozen=True)
class DeviceFunction:
    """A function that kernels call; marked by :func:`device`."""

    function: Callable

    def __call__(self, *operands: Any) -> Any:
        raise RuntimeError(f"{self.function.__name__}: a device function, callable in a kernel only")


def device(function: Callable) -> DeviceFunction:
    """Mark a Python function as one that kernels call; it is inlined into them."""
    return DeviceFunction(function)


@dataclass(frozen=True)
class Kernel:
    """A kernel for fixed sizes, before it is compiled or emulated.

    ``signature`` has one entry per parameter: the number of dimensions for an array of the kernel's ``dtype``, "i" for
    an int32 number, "l" for an int64 number, "i1" for a flat int32 array.
    """

    name: str
    function: Callable
    threads: int
    signature: tuple[int | str, ...]
    dtype: str = "float32"
    cluster: int = 1
    cooperative: bool = False
    rows: int = 0  # sequences per block, cluster or group
    stand_in: Callable | None = None  # the same in NumPy, with which the emulator saves time where asked to


def bind(function: Callable, translate: Callable[[Any], Any]) -> Callable:
    """Copy a function; every global name and closure value it uses goes through ``translate`` first."""
    names = _names(function.__code__)
    scope = {name: translate(value) for name, value in function.__globals__.items() if name in names}
    scope["__builtins__"] = function.__globals__.get("__builtins__", __builtins__)
    scope["__name__"] = function.__module__
    closure = tuple(CellType(translate(cell.cell_contents)) for cell in function.__closure__ or ())
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, closure)
    copy.__qualname__ = function.__qualname__
    copy.__module__ = function.__module__
    return copy


def _names(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*(_names(part) for part in inner)) if code.co_consts else set(code.co_names)


@cache
def device_cell(name: str, dtype: str) -> DeviceFunction:
    """A function of :mod:`lstm_numba.cells` for the GPU: the same equations, with this target's sigmoid and tanh."""
    from lstm_numba.gpu.elementary import FUNCTIONS

    replaced = {id(getattr(elementary, key)): value for key, value in FUNCTIONS[dtype].items()}

    def translate(value: Any) -> Any:
        if id(value) in replaced:
            return replaced[id(value)]
        source = getattr(value, "py_func", None)
        if source is not None and source.__module__ == cells.__name__:
            return device_cell(source.__name__, dtype)
        return value

    return DeviceFunction(bind(getattr(cells, name).py_func, translate))
