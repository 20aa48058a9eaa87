"""Converting a chapter gives the same small, clean notebook every time."""

import importlib.util
from pathlib import Path

import nbformat
import pytest

TOOL = Path(__file__).parents[1] / "tools" / "notebook.py"
CHAPTER = """\
---
kernelspec: {display_name: Other, language: python, name: conda-env}
---

# Title

Some text.

```{code-cell} python
:tags: [hide-input]
x = 1
```

+++

More text with ```{exercise} inside.

```{code-cell} python
:tags: [exercise-solution]
x = 2
```

```{code-cell} python
x = 1
```

```{code-cell} python
x = 1
```
"""


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("notebook_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def chapter(tmp_path):
    path = tmp_path / "chapter.md"
    path.write_text(CHAPTER, encoding="utf-8")
    return path


def test_the_notebook_is_clean(tool, chapter):
    target = chapter.with_suffix(".ipynb")
    assert tool.main([str(chapter), str(target)]) == 0
    notebook = nbformat.read(target, as_version=4)
    assert dict(notebook.metadata.kernelspec) == tool.KERNELSPEC
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "markdown", "code", "code", "code"]
    assert notebook.cells[3].metadata.jupyter.source_hidden
    assert "jupyter" not in notebook.cells[1].metadata
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_converting_twice_changes_nothing(tool, chapter):
    first, second, back = (chapter.with_name(name) for name in ("a.ipynb", "b.ipynb", "back.md"))
    tool.main([str(chapter), str(first)])
    tool.main([str(first), str(back)])
    tool.main([str(back), str(second)])
    assert first.read_bytes() == second.read_bytes()
    tool.main([str(second), str(second)])
    assert first.read_bytes() == second.read_bytes()


def test_outputs_are_dropped(tool, chapter):
    target = chapter.with_suffix(".ipynb")
    tool.main([str(chapter), str(target)])
    notebook = nbformat.read(target, as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="1")]
    notebook.cells[1].execution_count = 7
    nbformat.write(notebook, target)
    tool.main([str(target), str(target)])
    cell = nbformat.read(target, as_version=4).cells[1]
    assert cell.outputs == []
    assert cell.execution_count is None


def test_an_edit_of_one_cell_keeps_the_ids_of_the_others(tool, chapter):
    before = [cell.id for cell in tool.to_notebook(chapter).cells]
    chapter.write_text(CHAPTER.replace("More text", "Other text"), encoding="utf-8")
    after = [cell.id for cell in tool.to_notebook(chapter).cells]
    assert [k for k in range(len(before)) if before[k] != after[k]] == [2]
