"""The built book as the browser tests see it: where it is, how it is served, what it links to."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: The path below which GitHub Pages serves the book. 404.html has absolute links with it.
PREFIX = "/lstm_numba/"

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

#: Quiet, reproducible and without any traffic of the browser's own.
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def book_root() -> Path:
    """Return the folder of the built book; ``BOOK_HTML`` names another one than ``_build/html``."""
    default = Path(__file__).resolve().parents[2] / "_build" / "html"
    return Path(os.environ.get("BOOK_HTML", default)).resolve()


def browser_required() -> bool:
    """Return whether a missing book or browser is a failure (in CI) instead of a skip."""
    return any(os.environ.get(name, "").lower() in {"1", "true", "yes"} for name in ("CI", "REQUIRE_BROWSER"))


def chromium_path() -> str | None:
    """Return the path of an installed Chromium or Chrome."""
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def html_files() -> list[str]:
    """Return every page of the built book, relative to its root, in a fixed order.

    Left out: redirects without a body and the theme's fragments.
    """
    root = book_root()
    pages = (path.relative_to(root) for path in root.rglob("*.html"))
    return sorted(page.as_posix() for page in pages if page.parts[0] != "_static" and page.as_posix() != "index.html")


def chapter_files() -> list[str]:
    """Return the pages that people wrote: chapters and the pages of ``book/``."""
    return [page for page in html_files() if page.startswith(("book/", "notebooks/"))]


class _Handler(SimpleHTTPRequestHandler):
    """Serve the book below `PREFIX`, silently."""

    def translate_path(self, path: str) -> str:
        # Outside the prefix GitHub Pages would serve somebody else's site: here, nothing.
        inside = path.startswith(PREFIX)
        return super().translate_path("/" + path[len(PREFIX) :] if inside else "/outside-the-site")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output free of access logs."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a page that is closed early resets its connections."""


@contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serve ``root`` on a free port of 127.0.0.1 and yield the address of the site."""
    server = _Server(("127.0.0.1", 0), partial(_Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{PREFIX}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Element:
    """An HTML element with its attributes, and for an SVG its title."""

    tag: str
    attributes: dict[str, str]
    inside_article: bool
    hidden: bool
    title: str = ""


@dataclass
class ParsedPage:
    """What the tests need from a page: its ids, its links and its elements."""

    ids: set[str] = field(default_factory=set)
    links: list[tuple[str, str, str]] = field(default_factory=list)  # (tag, attribute, target)
    elements: list[Element] = field(default_factory=list)


_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = ParsedPage()
        self.stack: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        element = Element(
            tag,
            attributes,
            inside_article=tag == "article" or any(parent.tag == "article" for parent in self.stack),
            hidden=attributes.get("aria-hidden") == "true" or any(parent.hidden for parent in self.stack),
        )
        self.page.elements.append(element)
        for name in ("id", "name") if tag == "a" else ("id",):
            if name in attributes:
                self.page.ids.add(attributes[name])
        for name in ("href", "src", "data", "poster"):
            if attributes.get(name) and tag != "use":
                self.page.links.append((tag, name, attributes[name]))
        if tag not in _VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        for depth in range(len(self.stack) - 1, -1, -1):
            if self.stack[depth].tag == tag:
                del self.stack[depth:]
                return

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1].tag == "title":
            for parent in reversed(self.stack[:-1]):
                if parent.tag == "svg":
                    parent.title += data
                    return


def parse(html: str) -> ParsedPage:
    """Parse a page with the standard library.

    Examples
    --------
    >>> parse('<svg role="img"><title>A gate</title></svg>').elements[0].title
    'A gate'
    """
    parser = _Parser()
    parser.feed(html)
    parser.close()
    return parser.page
