"""Functions that stay intermediate code until a kernel is made of them."""

import numpy as np
import pytest
from numba import njit, types
from numba.extending import overload

from lstm_numba.inner import INNER


@njit(**INNER)
def _square(x):
    return x * x


@njit(**INNER)
def _sum_of_squares(values):
    total = values[0] - values[0]
    for n in range(len(values)):
        total += _square(values[n])
    return total


def _halved(x):
    raise NotImplementedError


@overload(_halved, jit_options=INNER)
def _compiled_halved(x):
    if isinstance(x, types.Float):
        return lambda x: x / 2
    return lambda x: x // 2


@njit
def _norm(values):
    return np.sqrt(_sum_of_squares(values)), _halved(values[0]), _halved(5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_code_calls_them(dtype):
    result = _norm(np.array([3, 4], dtype))
    assert result == (5, 1.5, 2)


def test_python_gets_an_error_and_goes_on():
    for _ in range(2):
        with pytest.raises(TypeError):
            _square(2.0)
        assert _norm(np.array([3.0, 4.0]))[0] == 5


def test_no_machine_code_is_made_of_them():
    """LLVM's engine knows the function that Python calls, and not the one that was linked into it."""

    @njit(**INNER)
    def inner(x):
        return x + 1

    @njit
    def outer(x):
        return inner(x) * 2

    assert outer(1.0) == 4
    compiled, linked = (function.overloads[function.signatures[0]] for function in (outer, inner))
    engine = compiled.library._codegen._engine
    assert engine.is_symbol_defined(compiled.fndesc.mangled_name)
    assert not engine.is_symbol_defined(linked.fndesc.mangled_name)
