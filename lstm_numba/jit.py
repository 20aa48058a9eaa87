"""``kernel``: Numba's ``njit`` with a disk cache that cannot go stale.

Numba stamps a cached kernel with the file that holds it. Our kernels call functions that live in other files
(:mod:`lstm_numba.cells`), so with ``cache=True`` alone an edited equation would leave the old machine code in
use. Here every kernel is stamped with a hash over the source files of the package together with the versions of
Numba and llvmlite. Numba itself adds the CPU's name and features to the key. Only the parts that a kernel may never
import (see ``NOT_IN_KERNELS``) are left out, so that correcting a chapter's exercise recompiles nothing.

What a source hash cannot see must be passed to a kernel as an argument, never read from a module constant
computed at import or from the environment.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import caching, config

# Folders and modules no kernel for the CPU can depend on: the test of the import rules makes sure of that.
NOT_IN_KERNELS = (
    "teaching",
    "training",
    "forecasting",
    "gpu",
    "plots.py",
    "datasets.py",
    "tasks",
    "torch",
    "onnx",
    "keras",
)


def _package_stamp() -> str:
    digest = hashlib.sha256(f"numba {numba.__version__} llvmlite {llvmlite.__version__}".encode())
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] in NOT_IN_KERNELS:
            continue
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


PACKAGE_STAMP = _package_stamp()


def _stamped(locator: Any) -> Any:
    class StampedLocator(locator):
        def get_source_stamp(self) -> str:
            return PACKAGE_STAMP

    return StampedLocator


class _StampedCacheImpl(caching.CompileResultCacheImpl):
    _locator_classes = [_stamped(locator) for locator in caching.CacheImpl._locator_classes]  # noqa: RUF012


class _StampedCache(caching.FunctionCache):
    _impl_class = _StampedCacheImpl


def stamped_cache(function: Callable) -> Any:
    """Return a disk cache for a function under the package's stamp; a cache that keeps nothing if it has no file."""
    if Path(function.__code__.co_filename).is_file():
        return _StampedCache(function)
    return caching.NullCache()


def kernel(**options: Any) -> Callable[[Callable], Callable]:
    """Compile a function with Numba and cache the machine code under a key made from the whole package.

    Parameters
    ----------
    **options
        Options of :func:`numba.njit`, for example ``parallel=True``. The defaults are
        ``error_model="numpy"``, ``fastmath={"contract"}`` and ``nogil=True``.

    Returns
    -------
    callable
        A decorator that returns Numba's dispatcher (or the plain function under ``NUMBA_DISABLE_JIT=1``).

    Examples
    --------
    >>> from lstm_numba.jit import kernel
    >>> @kernel()
    ... def double(x):
    ...     return x + x
    >>> double(21.0)
    42.0
    """
    settings: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True} | options

    def decorate(function: Callable) -> Callable:
        dispatcher = numba.njit(**settings)(function)
        if not config.DISABLE_JIT:
            dispatcher._cache = stamped_cache(function)
        return dispatcher

    return decorate
