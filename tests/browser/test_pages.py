"""Every page of the built book, in a browser: no errors, no foreign requests, accessible, readable on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

AXE_OPTIONS: dict[str, Any] = {
    "resultTypes": ["violations"],
    "preload": False,  # axe would fetch the theme's @import with a wrong base address: a 404 of its own making
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    },
}

#: Faults of the theme that we cannot repair from a book: (rule, pattern of the element's HTML, why it may stay).
THEME_FAULTS: tuple[tuple[str, str, str], ...] = ()


def is_theme_fault(rule: str, html: str) -> bool:
    """Return whether a violation is on the list above."""
    return any(rule == known and re.search(pattern, html) for known, pattern, _ in THEME_FAULTS)


def axe_faults(page: Any, rules: list[str] | None = None) -> list[str]:
    """Run axe on an open page, all rules or only those named, and describe each violation that is ours."""
    options = AXE_OPTIONS | ({"runOnly": {"type": "rule", "values": rules}} if rules else {})
    return [
        f"{violation['id']}: {node['html'][:200]}\n    {node['target']}: {node['failureSummary']}"
        for violation in Axe().run(page, options=options).response["violations"]
        for node in violation["nodes"]
        if not is_theme_fault(violation["id"], node["html"])
    ]


OVERFLOWING = """() => {
    const width = document.documentElement.clientWidth;
    if (document.scrollingElement.scrollWidth <= width + 1) return [];
    const scrolls = (e) => getComputedStyle(e).overflowX !== 'visible';
    const inBox = (e) => { for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
        if (scrolls(p)) return true; return false; };
    // A box may be narrow and its text too long all the same: scrollWidth sees that.
    const reach = (e) => e.getBoundingClientRect().left + Math.max(e.scrollWidth, e.getBoundingClientRect().width);
    return [...document.body.querySelectorAll('*')]
        .filter((e) => reach(e) > width + 1 && !scrolls(e) && !inBox(e))
        .map((e) => `${e.outerHTML.slice(0, 120)} reaches ${Math.round(reach(e))} px`)
        .concat(`the page is ${document.scrollingElement.scrollWidth} px wide`);
}"""

BROKEN_FORMULAS = """() => [
    ...[...document.querySelectorAll('[data-mml-node=merror]')]
        .map((e) => e.getAttribute('data-mjx-error') || e.textContent),
    ...[...document.querySelectorAll('.math')].filter((e) => !e.querySelector('mjx-container'))
        .map((e) => 'not typeset: ' + e.textContent.slice(0, 80)),
]"""


def test_page(book_page: Callable[..., Any], html_page: str) -> None:
    """One page in every state: light and dark on a desk, dark on a phone; `book_page` checks console and network.

    axe runs with all rules in light at 1280 px and in dark at 390 px; in dark at 1280 px only the contrast can differ.
    """
    page = book_page(html_page)
    faults: list[str] = []

    def check(state: str, found: list[str]) -> None:
        faults.extend(f"[{state}] {fault}" for fault in found)

    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    check("formulas", page.evaluate(BROKEN_FORMULAS))
    check("light 1280", axe_faults(page))

    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    page.wait_for_timeout(300)  # the theme fades its colours
    check("dark 1280", axe_faults(page, rules=["color-contrast"]))

    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(500)  # the theme reacts to a new width after 300 ms
    check("dark 390", page.evaluate(OVERFLOWING))
    if not html_page.startswith("_modules/"):  # listings of source: nothing in them depends on the width
        check("dark 390", axe_faults(page))
    assert not faults, f"{len(faults)} faults on {html_page}\n" + "\n".join(faults)


def test_formulas_are_typeset_from_our_own_copy(book_page: Callable[..., Any], built_book: Path) -> None:
    """MathJax runs on the pages with formulas, and each formula keeps its hidden MathML."""
    page = book_page("book/glossary.html")
    formulas = page.locator("mjx-container").count()
    assert formulas > 30
    assert page.locator("mjx-container mjx-assistive-mml math").count() == formulas
    assert page.locator("mjx-container [data-mml-node=merror]").count() == 0


@pytest.mark.parametrize(
    ("word", "expected"), [("carousel", "book/glossary.html"), ("Hochreiter", "book/references.html")]
)
def test_search_finds_a_word(book_page: Callable[..., Any], word: str, expected: str) -> None:
    """The search page works without a server."""
    page = book_page(f"search.html?q={word}")
    results = page.locator("ul.search li a")
    results.first.wait_for()
    page.wait_for_function("() => document.querySelector('.search-summary')?.textContent.trim()")
    targets = [link.get_attribute("href") or "" for link in results.all()]
    assert any(expected in target for target in targets), targets


def test_missing_page_answers_with_our_404(browser: Any, book_url: str) -> None:
    """404.html shows its text and its styles from any depth, because its links are absolute."""
    page = browser.new_page()
    failed: list[str] = []
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    page.goto(book_url + "404.html")
    assert page.get_by_role("heading", name="Page not found").count() == 1
    page.get_by_role("link", name="front page", exact=True).click()
    assert page.url == book_url + "book/index.html"
    page.close()
    assert not failed


def test_theme_switch_is_remembered(book_page: Callable[..., Any]) -> None:
    """The colour-mode button changes the theme, and the next page keeps it."""
    page = book_page("book/glossary.html")
    before = page.evaluate("document.documentElement.dataset.theme")
    button = page.locator("button.theme-switch-button").first
    for _ in range(3):
        button.click()
        if page.evaluate("document.documentElement.dataset.theme") != before:
            break
    after = page.evaluate("document.documentElement.dataset.theme")
    assert after != before
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == after
