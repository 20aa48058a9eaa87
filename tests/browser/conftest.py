"""Fixtures: one server and one Chromium per test process, one fresh context per page.

`book_page` opens a page of the built book and, when the test ends, fails it if the page logged an error, threw an
exception or asked another host for anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser import book_site

MATHJAX_DONE = "() => !window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise ``html_page`` over all pages and ``chapter_page`` over those that people wrote."""
    for name, pages in (("html_page", book_site.html_files()), ("chapter_page", book_site.chapter_files())):
        if name in metafunc.fixturenames:
            # Without a built book one placeholder remains, which `built_book` skips or fails.
            metafunc.parametrize(name, pages or ["no-built-book"])


def _unavailable(reason: str) -> None:
    if book_site.browser_required():
        pytest.fail(f"{reason} (and CI or REQUIRE_BROWSER is set)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def built_book() -> Path:
    """The folder of the built book."""
    root = book_site.book_root()
    if not (root / "index.html").is_file() or not book_site.chapter_files():
        _unavailable(f"there is no built book in {root}: run 'make book'")
    return root


@pytest.fixture(scope="session")
def book_url(built_book: Path) -> Iterator[str]:
    """The address of the served book, ending in a slash."""
    with book_site.serve(built_book) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium."""
    executable = book_site.chromium_path()
    if executable is None:
        _unavailable("no Chromium: install the package chromium, or Google Chrome")
    try:
        from playwright import sync_api as playwright_api
    except ImportError:
        _unavailable("no playwright: install requirements.txt")
    with playwright_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=executable, args=list(book_site.CHROMIUM_FLAGS), handle_sigint=False
        )
        yield chromium
        chromium.close()


@pytest.fixture
def book_page(browser: Any, book_url: str) -> Iterator[Callable[..., Any]]:
    """Open a page of the book: ``book_page("book/index.html", color_scheme="dark", width=390)``.

    The returned playwright ``Page`` has finished loading and typesetting. Several pages may be opened in one test.
    """
    problems: list[str] = []
    contexts = []

    def open_page(
        path: str,
        color_scheme: str = "light",
        width: int = 1280,
        height: int = 900,
        *,
        reduced_motion: str = "no-preference",
    ) -> Any:
        context = browser.new_context(
            color_scheme=color_scheme,
            viewport={"width": width, "height": height},
            reduced_motion=reduced_motion,
        )
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda message: (
                problems.append(f"console.{message.type}: {message.text} at {message.location}")
                if message.type in {"error", "warning"}
                else None
            ),
        )
        page.on("pageerror", lambda error: problems.append(f"uncaught exception: {error}"))

        def check_host(request: Any) -> None:
            address = urlsplit(request.url)
            if address.scheme not in {"data", "blob"} and address.hostname != "127.0.0.1":
                problems.append(f"request to another host: {request.url}")

        page.on("request", check_host)
        page.on(
            "response",
            lambda response: problems.append(f"{response.status}: {response.url}") if response.status >= 400 else None,
        )
        page.goto(book_url + path, wait_until="load")
        page.wait_for_function(MATHJAX_DONE)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems, "\n".join(problems)
