"""Every exercise of every chapter: the stub does not pass, the published solution does.

Only the cells tagged ``exercise-setup`` run before them, so that a reader can come back to one exercise without
running the whole page again.
"""

import contextlib
import io
import json
import linecache
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import pytest

matplotlib.use("agg")

from lstm_numba.teaching import checks, recorded_reports

ROOT = Path(__file__).parents[2]
CHECKS = Path(checks.__file__).parent


@dataclass
class Exercise:
    """One exercise of a page: its label, the stub cells and the solution cells."""

    label: str
    stubs: list[str] = field(default_factory=list)
    solutions: list[str] = field(default_factory=list)
    closed: bool = False


@dataclass
class Page:
    """The cells of a notebook that belong to its exercises."""

    name: str
    setup: list[str] = field(default_factory=list)
    exercises: list[Exercise] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unfolded: list[str] = field(default_factory=list)


def read_page(name: str, cells: list[dict[str, Any]]) -> Page:
    """Find the exercises; what is out of place is listed in ``faults``."""
    page = Page(name)
    solving: Exercise | None = None
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            pattern = r"\{exercise\}.*?^:label:\s*(\S+)|\{solution-start\}\s*(\S+)|(\{solution-end\})"
            for match in re.finditer(pattern, source, flags=re.MULTILINE | re.DOTALL):
                label, solved, end = match.groups()
                current = page.exercises[-1] if page.exercises else None
                if label:
                    page.exercises.append(Exercise(label))
                elif solved and (current is None or solved != current.label or solving):
                    page.faults.append(f"the solution of {solved} does not follow its exercise")
                elif solved:
                    solving = current
                elif end and solving is None:
                    page.faults.append("a solution ends that did not begin")
                elif end and solving:
                    solving.closed, solving = True, None
            continue
        tags = cell["metadata"].get("tags", [])
        gives_away = "exercise-solution" in tags or source.startswith("quiz(")
        if gives_away and not cell["metadata"].get("jupyter", {}).get("source_hidden"):
            page.unfolded.append(source.splitlines()[0])
        if "exercise-setup" in tags:
            page.setup.append(source)
        if "exercise-stub" in tags:
            if not page.exercises or solving:
                page.faults.append(f"a stub outside of an exercise: {source[:40]!r}")
            else:
                page.exercises[-1].stubs.append(source)
        if "exercise-solution" in tags:
            if solving is None:
                page.faults.append(f"a solution cell outside of a solution: {source[:40]!r}")
            else:
                solving.solutions.append(source)
    for exercise in page.exercises:
        if not exercise.stubs:
            page.faults.append(f"{exercise.label} has no cell tagged exercise-stub")
        if not exercise.solutions or not exercise.closed:
            page.faults.append(f"{exercise.label} has no complete solution")
    return page


def execute(source: str, namespace: dict[str, Any], name: str) -> None:
    """Run a cell so that its functions have a source, as they have in a notebook."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), namespace)


def reports_of(cells: list[str], page: Page, label: str) -> list[Any]:
    """Run the setup and then these cells in a fresh namespace; return the reports of the checks."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        for k, source in enumerate(page.setup):
            execute(source, namespace, f"<setup {k} of {page.name}>")
        with recorded_reports() as reports:
            for k, source in enumerate(cells):
                execute(source, namespace, f"<cell {k} of {label}>")
    return reports


PAGES = [
    read_page(path.stem, json.loads(path.read_text(encoding="utf-8"))["cells"])
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
]
EXERCISES = [(page, exercise) for page in PAGES for exercise in page.exercises]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
exercises = pytest.mark.parametrize(
    ("page", "exercise"), EXERCISES, ids=[f"{page.name}-{exercise.label}" for page, exercise in EXERCISES]
)


@pages
def test_exercises_stubs_and_solutions_belong_together(page):
    assert page.faults == []
    labels = [exercise.label for exercise in page.exercises]
    assert len(set(labels)) == len(labels)


@pages
def test_solutions_and_quizzes_are_folded_in_jupyterlab(page):
    assert page.unfolded == [], "convert the page again: python tools/notebook.py PAGE.ipynb PAGE.ipynb"


@exercises
def test_stub_does_not_pass(page, exercise):
    reports = reports_of(exercise.stubs, page, exercise.label)
    assert reports, "the stub calls no check"
    assert not any(report.passed for report in reports)


@exercises
def test_solution_passes_the_check_of_the_stub(page, exercise):
    stub = reports_of(exercise.stubs, page, exercise.label)
    solution = reports_of(exercise.solutions, page, exercise.label)
    for report in solution:
        report.expect_pass()
    assert {report.title for report in stub} <= {report.title for report in solution}
    assert all(report.chapter.replace(".", "_") == "_".join(page.name.split("_")[:2]) for report in solution)


@pytest.mark.parametrize("module", sorted(CHECKS.glob("ch_*.py")), ids=lambda path: path.stem)
def test_every_check_is_used_and_is_tested_with_wrong_answers(module):
    names = re.findall(r"^@exercise\(.*?\)\ndef (check_\w+)", module.read_text(encoding="utf-8"), flags=re.M)
    assert names
    chapter = module.stem.removeprefix("ch_")
    tests = (Path(__file__).parent / f"test_checks_{chapter}.py").read_text(encoding="utf-8")
    (page,) = [page for page in PAGES if page.name.startswith(f"{chapter}_")]
    used = "\n".join(source for exercise in page.exercises for source in exercise.stubs)
    assert "assert_rejects" in tests
    for name in names:
        assert name in tests, f"{name} is not tested"
        assert name in used, f"{name} belongs to no exercise of the page"


# ---------------------------------------------------------------- the rules can fail


def markdown(text):
    return {"cell_type": "markdown", "metadata": {}, "source": [text]}


def code(text, tag):
    return {"cell_type": "code", "metadata": {"tags": [tag]}, "source": [text]}


GOOD = [
    code("from lstm_numba.teaching import exercise\nanswer = 3.0", "exercise-setup"),
    markdown("```{exercise} Title\n:label: ex-1\n\nText\n```"),
    code(
        "@exercise('1.1')\n"
        "def check_it(check, value):\n"
        "    check.close('three', value(), answer, hint='Count.') if callable(value) else check.attempted(value)\n"
        "check_it(...)",
        "exercise-stub",
    ),
    markdown("````{solution-start} ex-1\n:class: dropdown\n````"),
    code("print(answer)", "exercise-solution"),
    markdown("````{solution-end}\n````"),
]


def test_a_good_page_has_no_faults():
    page = read_page("1_1_good", GOOD)
    assert page.faults == []
    assert page.unfolded == ["print(answer)"]
    (report,) = reports_of(page.exercises[0].stubs, page, "ex-1")
    assert not report.attempted


@pytest.mark.parametrize(
    ("drop", "fault"),
    [
        (1, "outside of an exercise"),
        (2, "no cell tagged"),
        (3, "outside of a solution"),
        (4, "no complete"),
        (5, "no com"),
    ],
)
def test_each_missing_part_is_noticed(drop, fault):
    page = read_page("1_1_bad", [cell for k, cell in enumerate(GOOD) if k != drop])
    assert any(fault in text for text in page.faults)


def test_a_solution_under_another_exercise_is_noticed():
    cells = [*GOOD[:3], markdown("````{solution-start} ex-2\n````"), *GOOD[4:]]
    assert "the solution of ex-2 does not follow its exercise" in read_page("1_1_bad", cells).faults
