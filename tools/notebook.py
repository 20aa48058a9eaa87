"""Turn a chapter written as text (jupytext ``md:myst`` or ``py:percent``) into a notebook of the book.

    python tools/notebook.py chapter.md notebooks/2_3_backward.ipynb
    python tools/notebook.py notebooks/2_3_backward.ipynb chapter.md      # and back, to edit it as text

The notebook gets the ``python3`` kernel, no outputs, no metadata of the converter, and cell ids that depend on
the cells only, so that converting twice gives the same file and a small edit gives a small diff.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import jupytext
import nbformat

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
# Folded away in JupyterLab and Colab: solutions, and code that would give a quiz away or only shows other code.
FOLDED_TAGS = {"exercise-solution", "remove-input"}


def to_notebook(source: Path) -> nbformat.NotebookNode:
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if FOLDED_TAGS & set(cell.metadata.get("tags", [])):
                cell.metadata["jupyter"] = nbformat.from_dict({"source_hidden": True})
                cell.metadata["cellView"] = "form"
        text = f"{cell.cell_type}\n{cell.source}"
        repeat = seen[text] = seen.get(text, -1) + 1
        cell.id = hashlib.sha256(f"{repeat}\n{text}".encode()).hexdigest()[:12]
    nbformat.validate(notebook)
    return notebook


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    paths = parser.parse_args(arguments)
    notebook = to_notebook(paths.source)
    if paths.target.suffix == ".ipynb":
        text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    else:
        text = jupytext.writes(notebook, fmt="md:myst" if paths.target.suffix == ".md" else "py:percent")
    paths.target.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
