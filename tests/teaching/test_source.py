"""Listings show the source that runs, and where it is."""

import inspect
from pathlib import Path

import pytest

from lstm_numba import cells
from lstm_numba.layers import LSTM
from lstm_numba.reference import lstm as reference
from lstm_numba.teaching import show_source
from lstm_numba.teaching.source import source_markdown

ROOT = Path(__file__).parents[2]


def code_of(markdown):
    return markdown.split("```python\n", 1)[1].rsplit("\n```", 1)[0]


def test_a_compiled_kernel_shows_its_python_source():
    function = getattr(cells.lstm_step, "py_func", cells.lstm_step)
    assert code_of(source_markdown(cells.lstm_step)) == inspect.getsource(function).rstrip()


@pytest.mark.parametrize("thing", [cells.lstm_step, reference.lstm_forward, LSTM.backward, LSTM])
def test_the_link_leads_to_these_lines(thing):
    markdown = source_markdown(thing)
    address = markdown.split("](", 1)[1].split(")", 1)[0]
    file, lines = address.removeprefix("https://github.com/lstm-numba/lstm_numba/blob/main/").split("#")
    first, last = (int(number) for number in lines.replace("L", "").split("-"))
    shown = (ROOT / file).read_text(encoding="utf-8").splitlines()[first - 1 : last]
    assert inspect.cleandoc("\n".join(["", *shown])) == inspect.cleandoc("\n" + code_of(markdown))


def test_methods_are_shown_without_their_indentation():
    assert code_of(source_markdown(LSTM.backward)).startswith("def backward(")


def example(x):
    """Say something.

    At length.
    """

    def inner(y):
        """Say less."""
        return y

    return inner(x)


class Documented:
    """Only a docstring."""


def test_docstrings_can_be_left_out():
    code = code_of(source_markdown(example, docstring=False))
    assert code == "def example(x):\n    def inner(y):\n        return y\n\n    return inner(x)"


def test_a_body_of_a_docstring_only_stays_valid():
    code = code_of(source_markdown(Documented, docstring=False))
    compile(code, "page", "exec")


@pytest.mark.parametrize("thing", [cells.lstm_step, cells.lstm_step_grad, reference.lstm_backward, LSTM])
def test_code_without_docstrings_does_the_same(thing):
    code = code_of(source_markdown(thing, docstring=False))
    compile(code, "page", "exec")
    assert '"""' not in code


@pytest.mark.parametrize("thing", [len, 3, "text", None])
def test_what_has_no_source_is_refused(thing):
    with pytest.raises(TypeError, match="no Python source"):
        show_source(thing)


def test_nothing_to_show_is_refused():
    with pytest.raises(TypeError, match="at least one"):
        show_source()


def test_several_objects_are_shown_in_order(capsys):
    show_source(cells.dsigmoid, cells.dtanh, docstring=False)
    out = capsys.readouterr().out
    assert out.index("def dsigmoid") < out.index("def dtanh")
