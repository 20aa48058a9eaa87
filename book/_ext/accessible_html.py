"""Repairs of generated HTML that a screen reader would stumble over.

The repairs work on the finished body of a page, because the faults come from writers and themes that cannot be
configured:

* docutils writes a bibliography as ``role="list"`` with children of the deprecated role ``doc-biblioentry``,
  which is not a list item;
* the source pages of sphinx.ext.viewcode link back to the documentation under the first module that documented
  anything from the file, which is a dead link for an object that is documented under another;
* pandas writes the empty corner of a table as a header cell, which announces a header without a name;
* sphinx-exercise gives the content of every exercise of a page the same id.
"""

import re
from collections.abc import Collection
from typing import Any

from sphinx.application import Sphinx

_CITATION_ROLE = re.compile(r'(<div class="citation"[^>]*?) role="doc-biblioentry"')

_REPEATED_ID = re.compile(r'(<section) id="(?:exercise|solution)-content"')

_BACK_LINK = re.compile(r'(<a class="viewcode-back" href="[^"#]*#)([^"]+)(">.*?</a>)', re.DOTALL)


def repair_back_links(body: str, documented: Collection[str]) -> str:
    """Return a source page whose links back lead to where each object is documented; others are dropped.

    Examples
    --------
    >>> page = '<a class="viewcode-back" href="api.html#pkg.History">[docs]</a>'
    >>> repair_back_links(page, {"pkg.fit", "pkg.training.History"})
    '<a class="viewcode-back" href="api.html#pkg.training.History">[docs]</a>'
    """

    def corrected(link: re.Match[str]) -> str:
        name = link[2]
        if name not in documented:
            tail = "." + name.rsplit(".", 1)[-1]
            name = next((other for other in sorted(documented) if other.endswith(tail)), "")
        return f"{link[1]}{name}{link[3]}" if name else ""

    return _BACK_LINK.sub(corrected, body)


def repair(body: str) -> str:
    """Return ``body`` with valid roles.

    Examples
    --------
    >>> repair('<div class="citation" id="a" role="doc-biblioentry">')
    '<div class="citation" id="a" role="listitem">'
    >>> repair("<thead><tr><th></th><th>mean</th></tr></thead>")
    '<thead><tr><td></td><th>mean</th></tr></thead>'
    """
    body = _REPEATED_ID.sub(r"\1", body)
    return _CITATION_ROLE.sub(r'\1 role="listitem"', body).replace("<th></th>", "<td></td>")


def repair_page(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Repair the body that is about to be written into the page."""
    if context.get("body"):
        context["body"] = repair(context["body"])
        if pagename.startswith("_modules/"):
            documented = app.env.domaindata["py"]["objects"]
            context["body"] = repair_back_links(context["body"], documented)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx; late, so that every other extension has written its HTML."""
    app.connect("html-page-context", repair_page, priority=900)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
