"""Checks that layers make before any kernel runs, with one style of message: argument, expected, received."""

import operator
from collections.abc import Mapping

import numpy as np

DTYPES = ("float32", "float64")


def check_size(name: str, value: int, minimum: int = 1) -> int:
    """Return ``value`` as an int if it is an integer of at least ``minimum``."""
    try:
        size = operator.index(value)
    except TypeError:
        size = None
    if size is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected an integer, got {value!r} of type {type(value).__name__}")
    if size < minimum:
        raise ValueError(f"{name}: expected an integer of at least {minimum}, got {size}")
    return size


def check_flag(name: str, value: bool) -> bool:
    """Return ``value`` if it is a bool; ``nn.LSTM(10, 20, 2, 1)`` is more often a slip than a choice."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def check_probability(name: str, value: float) -> float:
    """Return ``value`` as a float if it lies in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name}: expected a number from 0 up to, not including, 1, got {value!r}")
    if not 0 <= value < 1:
        raise ValueError(f"{name}: expected a number from 0 up to, not including, 1, got {value}")
    return float(value)


def check_dtype(dtype: str | np.dtype | type) -> np.dtype:
    """Return the layer's dtype if it is float32 or float64."""
    try:
        result = np.dtype(dtype)
    except TypeError:
        result = None
    if result is None or result.name not in DTYPES or not result.isnative:
        raise ValueError(f"dtype: expected one of {', '.join(map(repr, DTYPES))}, got {dtype!r}")
    return result


def check_lengths(name: str, value, T: int, B: int) -> np.ndarray:
    """Return ``value`` as an int64 array of our own if it holds ``B`` integers from 1 to ``T``."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # NumPy's message for ragged nested sequences
        raise ValueError(f"{name}: expected a flat list of integers, got ragged nested sequences ({error})") from None
    if array.size and array.dtype.kind not in "iu":  # an empty list is float64
        raise TypeError(f"{name}: expected integers, got dtype {array.dtype}")
    check_shape(name, array, {"B": B})
    wrong = np.flatnonzero((array < 1) | (array > T))
    if wrong.size:
        b = int(wrong[0])
        raise ValueError(f"{name}: expected integers from 1 to T={T}, got {array[b]} for sequence {b}")
    return array.astype(np.int64)


def as_real_array(name: str, value, dtype: np.dtype, *, contiguous: bool = True) -> np.ndarray:
    """Return ``value`` as an array of exactly ``dtype``, in C order if ``contiguous``; nothing else is changed."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # NumPy's message for ragged nested sequences
        raise ValueError(f"{name}: expected a rectangular array, got ragged nested sequences ({error})") from None
    if array.dtype != dtype:
        raise TypeError(
            f"{name}: expected dtype {dtype}, got {array.dtype}. Nothing is cast silently: convert the data with "
            f"np.asarray({name}, dtype=np.{dtype}) or make the layer with dtype='{array.dtype}'"
            if array.dtype.name in DTYPES
            else f"{name}: expected dtype {dtype}, got {array.dtype}. Nothing is cast silently: convert the data "
            f"with np.asarray({name}, dtype=np.{dtype})"
        )
    return np.ascontiguousarray(array) if contiguous else array


def check_shape(name: str, array: np.ndarray, expected: Mapping[str, int | None]) -> np.ndarray:
    """Return ``array`` if its shape fits; ``expected`` maps axis names to sizes, None for any size."""
    sizes = tuple(expected.values())
    fits = array.ndim == len(sizes) and all(
        want is None or have == want for have, want in zip(array.shape, sizes, strict=True)
    )
    if not fits:
        wanted = ", ".join(axis if size is None else f"{axis}={size}" for axis, size in expected.items())
        raise ValueError(f"{name}: expected shape ({wanted}), got {array.shape}")
    return array
