"""``INNER``: how functions are compiled that only other compiled functions call.

Numba makes a finished library of every function: it optimises the function, translates it into machine code, and
adds two wrappers that Python could call. A kernel is then put together from its functions' intermediate code, and all
of that is optimised and translated again. Where nothing but a kernel calls a function, the first time is for nothing,
and a good part of what a user waits at a first call. So these functions stay intermediate code until then.

Calling one of them from Python is a ``TypeError``.
"""

from collections.abc import Callable
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult


class _IntermediateLibrary(JITCodeLibrary):
    """Code that is there to be linked into other libraries and is optimised in them."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout  # modules that are linked must agree on it

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


def _entry_from_python() -> Callable:
    """What Numba keeps as a function's entry: a built-in function, another one each time.

    This one, a method of every object, asks for a string and finds a tuple of arguments: a ``TypeError``.
    """
    return object().__format__


class _InnerCompiler(Compiler):
    """Numba's compiler up to the intermediate code."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state.flags.no_compile = True

    def compile_extra(self, func: Callable) -> CompileResult:
        """Compile a Python function."""
        context = self.state.targetctx
        self.state.library = _IntermediateLibrary(context.codegen(), func.__qualname__)
        result = super().compile_extra(func)._replace(entry_point=_entry_from_python())
        context.insert_user_function(result.entry_point, result.fndesc, [result.library])
        return result


#: Options for :func:`numba.njit` and, as ``jit_options``, for :func:`numba.extending.overload`.
INNER = {
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": _InnerCompiler,
}
