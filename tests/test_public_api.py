"""The public names, their documentation, and every example in a docstring."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import lstm_numba as ln

# Importing these takes seconds or needs a display; their examples run in their own tests.
SLOW = (
    "lstm_numba.forecasting",
    "lstm_numba.teaching",
    "lstm_numba.plots",
    "lstm_numba.datasets",
    "lstm_numba.keras",  # and needs a backend that is chosen before
)
MODULES = sorted(
    info.name for info in pkgutil.walk_packages(ln.__path__, "lstm_numba.") if not info.name.startswith(SLOW)
)


def test_every_public_name_exists_and_is_documented():
    for name in ln.__all__:
        assert hasattr(ln, name), name
        value = getattr(ln, name)
        if callable(value):
            assert inspect.getdoc(value), f"{name} has no docstring"
            assert "Examples" in inspect.getdoc(value), f"{name} has no example"


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_version_agrees_with_the_package_metadata():
    from importlib.metadata import version

    assert ln.__version__ == version("lstm_numba")
