"""The README's examples run as printed and do what the sentences above them say."""

import re
from pathlib import Path

from benchmarks import report, store

README = Path(__file__).parents[1] / "README.md"


def example() -> str:
    return examples()[0]


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_example_has_twelve_lines():
    assert len([line for line in example().splitlines() if line.strip()]) == 12


def test_the_example_learns_to_add(capsys):
    names = {}
    exec(compile(example(), "README.md", "exec"), names)
    assert names["error"] < 0.1 * names["y"].var()
    assert "mean squared error" in capsys.readouterr().out


def test_the_example_for_pytorch_runs_on_our_kernels():
    _, code = examples()
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert type(names["model"][0]).__module__.startswith("lstm_numba.torch")
    assert names["y"].shape == (4, 10, 16)


def test_links_to_files_exist():
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (README.parent / target).exists(), target


def test_the_speeds_are_those_of_the_stored_benchmark():
    assert report.readme_table(store.read_json(store.RESULTS / "recurrent.json")) in README.read_text(encoding="utf-8")
