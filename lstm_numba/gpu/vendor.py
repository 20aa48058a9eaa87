"""Large matrix products by NVIDIA's own library, through PyTorch or CuPy, where one of them is there.

The input part of all steps and the gradients of the weights are plain products, for which cuBLAS is hard to beat.
PyTorch is used if the program has imported it, since importing it takes seconds; else CuPy if it is installed; else our
own kernel, :func:`lstm_numba.gpu.kernels.dense.matmul`.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def find() -> Any:
    """Return PyTorch or CuPy, or None; both must see a GPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch
    return _cupy()


@cache
def _cupy() -> Any:
    if find_spec("cupy") is None:
        return None
    try:
        cupy = import_module("cupy")
        return cupy if cupy.cuda.runtime.getDeviceCount() > 0 else None
    except Exception:  # an installation for another CUDA: our own kernel works without it
        return None


def product(
    library: Any, stream: int | None, A: Any, a: tuple[int, int], B: Any, b: tuple[int, int], bias: Any, C: Any,
    M: int, N: int, K: int, tf32: bool,
) -> None:  # fmt: skip
    """``C = A @ B (+ bias)`` for flat arrays of the device with (row, column) strides, none of them 0."""
    if library.__name__ == "torch":
        with _torch_settings(library, stream, tf32):
            left, right, row, out = (
                _given(part, lambda x: library.as_tensor(x, device="cuda")) for part in (A, B, bias, C)
            )
            torch_product(library, left, right, row, out, a, b, M, N, K)
    else:
        with library.cuda.ExternalStream(stream or 0):
            left, right, row, out = (_given(part, library.asarray) for part in (A, B, bias, C))
            array_product(library, left, right, row, out, a, b, M, N, K)


def _given(part: Any, convert: Callable[[Any], Any]) -> Any:
    return None if part is None else convert(part)


def torch_product(
    torch: Any, A: Any, B: Any, bias: Any, C: Any, a: tuple[int, int], b: tuple[int, int], M: int, N: int, K: int
) -> None:
    """The same for flat tensors."""
    left, right, out = A.as_strided((M, K), a), B.as_strided((K, N), b), C.view(M, N)
    if bias is None:
        torch.mm(left, right, out=out)
    else:
        torch.addmm(bias, left, right, out=out)


def array_product(
    xp: Any, A: Any, B: Any, bias: Any, C: Any, a: tuple[int, int], b: tuple[int, int], M: int, N: int, K: int
) -> None:
    """The same for flat arrays of CuPy, or of NumPy in tests."""
    strided, item, out = xp.lib.stride_tricks.as_strided, A.itemsize, C.reshape(M, N)
    left = strided(A, (M, K), (a[0] * item, a[1] * item))
    xp.matmul(left, strided(B, (K, N), (b[0] * item, b[1] * item)), out=out)
    if bias is not None:
        out += bias


@contextmanager
def _torch_settings(torch: Any, stream: int | None, tf32: bool) -> Iterator[None]:
    """Our stream, and float32 products in the precision that we want, whatever the program has set."""
    settings = torch.backends.cuda.matmul
    new_style = hasattr(settings, "fp32_precision")  # PyTorch 2.9 warns about the older name
    name, value = ("fp32_precision", "tf32" if tf32 else "ieee") if new_style else ("allow_tf32", tf32)
    before = getattr(settings, name)
    setattr(settings, name, value)
    cuda = torch.cuda
    try:
        with cuda.stream(cuda.ExternalStream(stream) if stream else cuda.default_stream()):
            yield
    finally:
        setattr(settings, name, before)
