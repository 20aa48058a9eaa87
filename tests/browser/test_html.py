"""The built HTML as text: every internal link arrives, every picture has a text alternative."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import book_site

SHORTEST_ALTERNATIVE = 20
IMAGE_FILE = re.compile(r"\.(png|svg|jpe?g|gif)$", re.IGNORECASE)


@cache
def parsed(path: Path) -> book_site.ParsedPage:
    """Parse a page once."""
    return book_site.parse(path.read_text(encoding="utf-8"))


def broken_links(root: Path, page: str) -> list[str]:
    """Return the internal links of ``page`` that lead nowhere."""
    source = root / page
    broken = []
    for tag, attribute, link in parsed(source).links:
        address = urlsplit(link)
        if address.scheme or address.netloc or (tag == "link" and attribute == "href" and link.startswith("data:")):
            continue
        path = unquote(address.path)
        if path.startswith(book_site.PREFIX):
            target = root / path[len(book_site.PREFIX) :]
        elif path.startswith("/"):
            broken.append(f"{link}: leaves the site")
            continue
        else:
            target = (source.parent / path) if path else source
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file():
            broken.append(f"{link}: no such file")
        elif (
            address.fragment
            and target.suffix == ".html"
            and unquote(address.fragment) not in parsed(target.resolve()).ids
        ):
            broken.append(f"{link}: no such id")
    return broken


def missing_alternatives(page: book_site.ParsedPage) -> list[str]:
    """Return what is wrong with the text alternatives of a page's pictures."""
    wrong = []
    for element in page.elements:
        attributes = element.attributes
        decorative = element.hidden or attributes.get("role") in {"presentation", "none"}
        shown = f"<{element.tag} {' '.join(f'{k}={v[:60]!r}' for k, v in attributes.items())}>"
        if element.tag == "img":
            alternative = attributes.get("alt")
            if alternative is None:
                wrong.append(f"no alt: {shown}")
            elif IMAGE_FILE.search(alternative):
                wrong.append(f"the alt is a file name: {shown}")
            elif not alternative.strip() and not decorative:
                wrong.append(f"empty alt: {shown}")
        elif element.tag == "svg" and element.inside_article and not decorative:
            if attributes.get("role") != "img":
                wrong.append(f"an SVG is neither role=img nor hidden: {shown}")
                continue
            name = attributes.get("aria-label", "") or element.title
            if attributes.get("aria-labelledby") and not all(
                label in page.ids for label in attributes["aria-labelledby"].split()
            ):
                wrong.append(f"aria-labelledby names a missing id: {shown}")
            if len(name.strip()) < SHORTEST_ALTERNATIVE and "ln-hero" not in attributes.get("class", ""):
                wrong.append(f"the accessible name {name!r} is shorter than {SHORTEST_ALTERNATIVE} characters: {shown}")
    return wrong


def test_internal_links_arrive(built_book: Path, html_page: str) -> None:
    """Every href and src inside the site has a file, and every fragment an element."""
    assert not broken_links(built_book, html_page)


def test_pictures_have_text_alternatives(built_book: Path, html_page: str) -> None:
    """Every image and every inline SVG of a page says what it shows."""
    assert not missing_alternatives(parsed(built_book / html_page))


def test_nothing_is_loaded_from_another_host(built_book: Path, html_page: str) -> None:
    """No script, style, image or frame of a page has an address elsewhere; ordinary links may."""
    foreign = [
        (tag, link)
        for tag, _, link in parsed(built_book / html_page).links
        if tag not in {"a", "link"} and urlsplit(link).netloc
    ]
    foreign += [
        ("link", element.attributes["href"])
        for element in parsed(built_book / html_page).elements
        if element.tag == "link"
        and urlsplit(element.attributes.get("href", "")).netloc
        and not {"canonical", "search"} & set(element.attributes.get("rel", "").split())
    ]
    assert not foreign


def test_every_chapter_has_a_social_card(built_book: Path, chapter_page: str) -> None:
    """og:image names a picture that the build made."""
    images = [
        element.attributes["content"]
        for element in parsed(built_book / chapter_page).elements
        if element.tag == "meta" and element.attributes.get("property") == "og:image"
    ]
    assert len(images) == 1
    card = built_book / urlsplit(images[0]).path.removeprefix(book_site.PREFIX)
    assert card.is_file()
    assert card.read_bytes().startswith(b"\x89PNG")


def test_launch_buttons_name_the_notebook(built_book: Path, chapter_page: str) -> None:
    """Colab and Binder open the page's own notebook; the edit link names its source."""
    targets = [link for tag, _, link in parsed(built_book / chapter_page).links if tag == "a"]
    stem = chapter_page.removesuffix(".html")
    assert any(f"/edit/main/{stem}." in link for link in targets)
    if not stem.startswith("notebooks/"):
        pytest.skip("not a notebook")
    assert any(
        link.endswith(f"colab.research.google.com/github/lstm-numba/lstm_numba/blob/main/{stem}.ipynb")
        for link in targets
    )
    assert any("mybinder.org" in link and unquote(link).endswith(f"{stem}.ipynb") for link in targets)


def test_listed_files_exist(built_book: Path) -> None:
    """Search index, sitemap, favicon, MathJax and the 404 page are in the site."""
    for name in (
        "searchindex.js",
        "sitemap.xml",
        "404.html",
        "_static/favicon.svg",
        "vendor/mathjax/tex-svg-full.js",
    ):
        assert (built_book / name).is_file(), name


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ("<img src='a.png'>", "no alt"),
        ("<img src='a.png' alt=''>", "empty alt"),
        ("<img src='a.png' alt='../_images/a.png'>", "file name"),
        ("<article><svg></svg></article>", "neither"),
        ("<article><svg role='img' aria-label='plot'></svg></article>", "shorter"),
        (
            "<article><svg role='img' aria-labelledby='nowhere'><title>A gate opens slowly.</title></svg></article>",
            "missing id",
        ),
    ],
)
def test_the_alternative_rule_rejects(html: str, fault: str) -> None:
    """The rule itself can fail."""
    wrong = missing_alternatives(book_site.parse(html))
    assert len(wrong) == 1
    assert fault in wrong[0]


@pytest.mark.parametrize(
    "html",
    [
        "<img src='a.png' alt='A sigmoid rising from 0 to 1'>",
        "<img src='a.png' alt='' role='presentation'>",
        "<div aria-hidden='true'><img src='a.png' alt=''></div>",
        "<article><svg aria-hidden='true'></svg></article>",
        "<article><svg role='img'><title>A sigmoid rising from 0 to 1</title></svg></article>",
    ],
)
def test_the_alternative_rule_accepts(html: str) -> None:
    """The rule does not reject what is right."""
    assert not missing_alternatives(book_site.parse(html))
