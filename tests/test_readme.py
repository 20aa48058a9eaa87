"""The README's example runs as printed and does what the sentence above it says."""

import re
from pathlib import Path

from benchmarks import report, store

README = Path(__file__).parents[1] / "README.md"


def example() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return code


def test_the_example_has_twelve_lines():
    assert len([line for line in example().splitlines() if line.strip()]) == 12


def test_the_example_learns_to_add(capsys):
    names = {}
    exec(compile(example(), "README.md", "exec"), names)
    assert names["error"] < 0.1 * names["y"].var()
    assert "mean squared error" in capsys.readouterr().out


def test_links_to_files_exist():
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (README.parent / target).exists(), target


def test_the_speeds_are_those_of_the_stored_benchmark():
    assert report.readme_table(store.read_json(store.RESULTS / "recurrent.json")) in README.read_text(encoding="utf-8")
