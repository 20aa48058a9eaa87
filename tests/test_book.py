"""The sources of the book keep its rules. Nothing is built or executed here: these tests take a second.

What a rule means is written once, in a function that returns the faults of one page; each function is also fed pages
that break the rule, so that a rule which has gone blind fails too.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

import lstm_numba

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/lstm-numba/lstm_numba"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROSE = sorted((ROOT / "book").glob("*.md"))

#: The headings of every chapter, in this order.
CONTRACT = (
    "You will be able to",
    "What this does not show",
    "Exercises",
    "Quiz",
    "The page checks itself",
    "References",
)
FEWEST_EXERCISES = 5
FEWEST_QUESTIONS = 5
SHORTEST_ALTERNATIVE = 20

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
pages = pytest.mark.parametrize("path", NOTEBOOKS + PROSE, ids=lambda path: path.stem)


# ---------------------------------------------------------------- reading


def load(path: Path) -> dict[str, Any]:
    """Read a notebook, or wrap a Markdown file as a notebook of one cell."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".ipynb" else notebook(markdown=[text])


def notebook(markdown: list[str] | None = None, code: list[str] | None = None) -> dict[str, Any]:
    """Make a notebook in memory, for the pages that break a rule."""
    cells = [{"cell_type": "markdown", "source": text} for text in markdown or []]
    cells += [{"cell_type": "code", "source": text, "outputs": [], "execution_count": None} for text in code or []]
    return {"cells": cells, "metadata": {"kernelspec": {"name": "python3"}}}


def sources(page: dict[str, Any], kind: str) -> list[str]:
    """Return the text of every cell of a kind."""
    return ["".join(cell["source"]) for cell in page["cells"] if cell["cell_type"] == kind]


def prose(page: dict[str, Any]) -> str:
    """Return all Markdown of a page."""
    return "\n\n".join(sources(page, "markdown"))


def syntax_tree(code: str) -> ast.Module:
    """Parse a code cell; lines for IPython (``%`` and ``!``) become ``pass``."""
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE))


def called(call: ast.Call) -> tuple[str, str]:
    """Return what a call names: ``("plt", "subplots")``, ``("", "figure")``."""
    if isinstance(call.func, ast.Attribute):
        owner = call.func.value
        return (owner.id if isinstance(owner, ast.Name) else "?", call.func.attr)
    return ("", call.func.id) if isinstance(call.func, ast.Name) else ("?", "?")


def calls(tree: ast.AST, *, into_functions: bool = True) -> list[ast.Call]:
    """Return the calls of a tree, optionally only those that run when the cell runs."""
    found: list[ast.Call] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call):
            found.append(node)
        if not into_functions and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        waiting.extend(ast.iter_child_nodes(node))
    return found


# ---------------------------------------------------------------- the rules, as functions


def without_fences(text: str) -> str:
    """Return Markdown without its code blocks; directives, whose fence has a name in braces, stay."""
    kept: list[str] = []
    fences: list[tuple[str, bool]] = []  # (the fence, whether it holds code)
    for line in text.splitlines():
        match = re.match(r"\s*(`{3,}|~{3,}|:{3,})\s*(.*)$", line)
        inside_code = bool(fences) and fences[-1][1]
        if match and fences and not match[2] and match[1].startswith(fences[-1][0]):
            fences.pop()
        elif match and not inside_code:
            inside_code = not match[2].startswith("{")
            fences.append((match[1], inside_code))
        if not inside_code:
            kept.append(line)
    return "\n".join(kept)


def picture_faults(page: dict[str, Any]) -> list[str]:
    """Return the pictures of a page that would have no text alternative."""
    faults = []
    for code in sources(page, "code"):
        tree = syntax_tree(code)
        shown = [call for call in calls(tree) if called(call) in {("", "figure"), ("plots", "figure")}]
        drawn = [
            f"{owner}.{name}"
            for owner, name in map(called, calls(tree, into_functions=False))
            if name in {"subplots", "subplot_mosaic", "plot"}
            or (owner == "plt" and name in {"figure", "imshow", "hist"})
        ]
        if drawn and not shown:
            faults.append(f"{drawn[0]}() in a cell without figure(fig, alt=...): {code[:60]!r}")
        if any(called(call) in {("plt", "show"), ("fig", "show")} for call in calls(tree)):
            faults.append(f"show() displays a picture without alt text: {code[:60]!r}")
        for call in shown:
            alternative = next((word.value for word in call.keywords if word.arg == "alt"), None)
            if alternative is None and len(call.args) < 2:
                faults.append(f"figure() without alt: {ast.unparse(call)[:80]}")
            elif isinstance(alternative, ast.Constant) and len(str(alternative.value)) < SHORTEST_ALTERNATIVE:
                faults.append(f"the alt {alternative.value!r} says too little")
    text = without_fences(prose(page))
    faults += [f"image without alt: {image}" for image in re.findall(r"!\[\s*\]\([^)]*\)", text)]
    for directive in re.findall(r"^[`:]{3,}\{(?:image|figure)\}.*?^[`:]{3,}\s*$", text, flags=re.M | re.S):
        if not re.search(r"^:alt:\s*\S", directive, flags=re.M):
            faults.append(f"directive without :alt:  {directive.splitlines()[0]}")
    faults += [
        f"<img> without alt: {tag}"
        for tag in re.findall(r"<img\b[^>]*>", text)
        if not re.search(r"\balt=(['\"]).+?\1", tag)
    ]
    for tag, inside in re.findall(r"(<svg\b[^>]*>)(.{0,200})", text, flags=re.S):
        hidden = re.search(r"aria-hidden=['\"]true", tag)
        if not hidden and "aria-label" not in tag and "<title" not in inside:
            faults.append(f"<svg> without aria-label, title or aria-hidden: {tag[:80]}")
    return faults


def listing_faults(page: dict[str, Any]) -> list[str]:
    """Return the listings that are cut by line numbers: they show something else after the next edit."""
    listings = re.findall(r"\{literalinclude\}.*?^[`:]{3,}\s*$", prose(page), flags=re.M | re.S)
    return [f"literalinclude by :lines: {listing[:80]!r}" for listing in listings if ":lines:" in listing]


def contract_faults(page: dict[str, Any]) -> list[str]:
    """Return the parts of the page contract that a chapter lacks."""
    text = without_fences(prose(page))
    headings = re.findall(r"^(#+)\s+(.+?)\s*$", text, flags=re.M)
    faults = []
    if sum(level == "#" for level, _ in headings) != 1 or not headings or headings[0][0] != "#":
        faults.append("the first heading, and only the first, has one #")
    for (before, _), (after, title) in pairwise(headings):
        if len(after) > len(before) + 1:
            faults.append(f"the heading {title!r} skips a level")
    # A part is a section, or an admonition with that title.
    titles = re.findall(r"^(?:##\s+|[`:]{3,}\{admonition\}\s+)(.+?)\s*$", text, flags=re.M)
    titles = [title.lower().replace("this page does", "this does") for title in titles]
    places = []
    for part in CONTRACT:
        place = next((n for n, title in enumerate(titles) if title.startswith(part.lower())), None)
        if place is None:
            faults.append(f"no section {part!r}")
        else:
            places.append(place)
    if places != sorted(places):
        faults.append(f"the sections are not in the order {', '.join(CONTRACT)}")
    exercises = re.findall(r"\{exercise(?:-start)?\}", text)
    if len(exercises) < FEWEST_EXERCISES:
        faults.append(f"{len(exercises)} exercises, at least {FEWEST_EXERCISES}")
    solutions = re.findall(r"\{solution(?:-start)?\}", text)
    if len(solutions) < len(exercises):
        faults.append(f"{len(exercises)} exercises but {len(solutions)} solutions")
    every_call = [called(call)[1] for code in sources(page, "code") for call in calls(syntax_tree(code))]
    if "quiz" not in every_call or every_call.count("Question") < FEWEST_QUESTIONS:
        faults.append(f"no quiz() of at least {FEWEST_QUESTIONS} Question()s")
    if not re.search(r"\{cite(:[tp])?\}", text):
        faults.append("cites nothing")
    last = next((code for code in reversed(sources(page, "code")) if code.strip()), "")
    if not any(isinstance(node, ast.Assert) for node in ast.walk(syntax_tree(last))):
        faults.append("the last code cell asserts nothing")
    return faults


def state_faults(page: dict[str, Any]) -> list[str]:
    """Return what a notebook stores that belongs to somebody's session."""
    faults = []
    kernel = page["metadata"].get("kernelspec", {}).get("name")
    if kernel != "python3":
        faults.append(f"the kernelspec is {kernel!r}, not 'python3'")
    for number, cell in enumerate(page["cells"]):
        if cell["cell_type"] == "code" and (cell.get("outputs") or cell.get("execution_count") is not None):
            faults.append(f"cell {number} carries outputs or a count")
    if "widgets" in page["metadata"]:
        faults.append("widget state is stored")
    return faults


# ---------------------------------------------------------------- the rules, on the book


def contents() -> list[str]:
    """Return the files named in _toc.yml."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *chapters]


def test_every_page_is_in_the_table_of_contents_once() -> None:
    """And everything in the table of contents exists."""
    listed = contents()
    assert len(set(listed)) == len(listed)
    existing = {path.relative_to(ROOT).with_suffix("").as_posix() for path in NOTEBOOKS + PROSE}
    assert set(listed) == existing


def test_chapters_stand_in_the_order_of_their_numbers() -> None:
    """File names start with part and chapter."""
    numbers = [
        tuple(map(int, name.split("/")[1].split("_")[:2])) for name in contents() if name.startswith("notebooks/")
    ]
    assert len(numbers) == len(set(numbers))
    assert numbers == sorted(numbers)


def test_one_address_of_the_repository() -> None:
    """pyproject.toml, _config.yml and CITATION.cff agree, and so do the addresses of the site."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["urls"]["Source"] == config["repository"]["url"] == citation["repository-code"] == REPOSITORY
    sites = {project["urls"]["Homepage"], config["html"]["baseurl"], config["sphinx"]["config"]["ogp_site_url"]}
    assert sites == {citation["url"]}
    prefix = config["sphinx"]["config"]["notfound_urls_prefix"]
    assert next(iter(sites)).endswith(f".io{prefix}")


def test_every_script_and_style_is_loaded() -> None:
    """The lists in _config.yml name exactly the files of book/_static."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    listed = {*config["html_css_files"], *(name for name, _ in config["html_js_files"])}
    static = ROOT / "book" / "_static"
    existing = {path.relative_to(static).as_posix() for suffix in ("css", "js") for path in static.rglob(f"*.{suffix}")}
    assert listed == existing


def test_local_extensions_are_used() -> None:
    """Every module in book/_ext is switched on."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert set(config["sphinx"]["local_extensions"]) == {path.stem for path in (ROOT / "book" / "_ext").glob("*.py")}


def test_every_public_name_is_in_the_reference() -> None:
    """book/api.md names everything that ``import lstm_numba`` gives."""
    text = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    documented = {name.rsplit(".", 1)[-1] for name in re.findall(r"^\.\. auto\w+:: ([\w.]+)", text, flags=re.M)}
    assert set(lstm_numba.__all__) - {"__version__"} <= documented


@notebooks
def test_notebook_stores_no_session(path: Path) -> None:
    """Kernel python3, no outputs, no counts."""
    assert not state_faults(load(path))


@notebooks
def test_notebook_can_start_in_colab(path: Path) -> None:
    """The first code cell installs the package where it is missing, and the book does not show it."""
    first = next(cell for cell in load(path)["cells"] if cell["cell_type"] == "code")
    assert f"git+{REPOSITORY}" in "".join(first["source"])
    assert "remove-cell" in first["metadata"].get("tags", [])


@notebooks
def test_chapter_keeps_the_page_contract(path: Path) -> None:
    """Every chapter has the same parts."""
    assert not contract_faults(load(path))


@pages
def test_pictures_have_text_alternatives(path: Path) -> None:
    """In the source; tests/browser looks at the built page."""
    assert not picture_faults(load(path))


@pages
def test_listings_name_objects(path: Path) -> None:
    """A listing names a function or a class, never line numbers."""
    assert not listing_faults(load(path))


# ---------------------------------------------------------------- the rules can fail


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        (notebook(code=["fig, ax = plt.subplots()\nax.plot([1, 2])"]), "without figure"),
        (notebook(code=["plt.plot([1, 2])"]), "without figure"),
        (notebook(code=["frame.plot()"]), "without figure"),
        (notebook(code=["%matplotlib inline\nplt.show()"]), "show()"),
        (notebook(code=["figure(fig)"]), "without alt"),
        (notebook(code=["figure(fig, alt='a plot')"]), "too little"),
        (notebook(markdown=["![](a.svg)"]), "image without alt"),
        (notebook(markdown=["```{figure} a.svg\n:name: f\n\nCaption\n```"]), ":alt:"),
        (notebook(markdown=["<img src='a.svg'>"]), "<img>"),
        (notebook(markdown=["<svg role='img'><path/></svg>"]), "<svg>"),
    ],
)
def test_the_picture_rule_rejects(page: dict[str, Any], fault: str) -> None:
    """Each way to leave out a text alternative is seen."""
    assert fault in "\n".join(picture_faults(page))


@pytest.mark.parametrize(
    "page",
    [
        notebook(code=["fig, ax = plt.subplots()\nax.plot([1])\nfigure(fig, alt='A straight line from 0 to 1')"]),
        notebook(code=["def draw():\n    fig, ax = plt.subplots()\n    return fig"]),
        notebook(code=["figure(draw(), f'The loss falls from {first} to {last}')"]),
        notebook(markdown=["![A gate](a.svg) and\n\n```{figure} a.svg\n:alt: A gate, half open\n```"]),
        notebook(markdown=["<svg role='img' aria-label='A gate'></svg><svg aria-hidden='true'></svg>"]),
        notebook(markdown=["```python\n![](a.svg)\n```\n"]),
    ],
)
def test_the_picture_rule_accepts(page: dict[str, Any]) -> None:
    """What is right passes."""
    assert not picture_faults(page)


def test_the_listing_rule_rejects() -> None:
    """Line numbers are seen, object names pass."""
    assert listing_faults(notebook(markdown=["```{literalinclude} /a.py\n:lines: 1-3\n```"]))
    assert not listing_faults(notebook(markdown=["```{literalinclude} /a.py\n:pyobject: f\n```"]))


def good_chapter() -> dict[str, Any]:
    """Make the smallest page that keeps the contract."""
    text = "# Title\n" + "\n".join(f"## {part}\n" for part in CONTRACT) + "\n{cite:p}`gers2000forget`\n"
    text += "\n".join(f"```{{exercise}}\n:label: e{n}\n```\n```{{solution}} e{n}\n```" for n in range(FEWEST_EXERCISES))
    questions = ", ".join(["Question()"] * FEWEST_QUESTIONS)
    return notebook(markdown=[text], code=[f"quiz('', [{questions}])", "assert 1 + 1 == 2"])


def test_the_contract_accepts_a_complete_page() -> None:
    """The smallest complete page has no fault."""
    assert not contract_faults(good_chapter())


@pytest.mark.parametrize(
    ("cell", "old", "new", "fault"),
    [
        (0, "# Title", "## Title", "only the first"),
        (0, "## Quiz", "#### Quiz", "skips a level"),
        (0, "## Quiz", "", "no section 'Quiz'"),
        (0, "## Exercises", "", "no section 'Exercises'"),
        (0, "{exercise}", "{note}", "0 exercises"),
        (0, "{solution}", "{note}", "0 solutions"),
        (0, "{cite:p}", "", "cites nothing"),
        (1, "Question()", "1", "no quiz()"),
        (2, "assert", "print", "asserts nothing"),
    ],
)
def test_the_contract_rejects(cell: int, old: str, new: str, fault: str) -> None:
    """Each missing part is named."""
    page = good_chapter()
    page["cells"][cell]["source"] = page["cells"][cell]["source"].replace(old, new)
    if old == "assert":
        page["cells"][cell]["source"] = "print(1 + 1 == 2)"
    assert fault in "\n".join(contract_faults(page))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda page: page["metadata"].update(kernelspec={"name": "conda-env"}), "kernelspec"),
        (lambda page: page["cells"][1].update(outputs=[{}]), "outputs"),
        (lambda page: page["cells"][1].update(execution_count=3), "count"),
    ],
)
def test_the_session_rule_rejects(change: Any, fault: str) -> None:
    """Outputs, counts and foreign kernels are seen."""
    page = good_chapter()
    assert not state_faults(page)
    change(page)
    assert fault in "\n".join(state_faults(page))
