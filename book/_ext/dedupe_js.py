"""Include every script of a page once.

sphinx-thebe registers its configuration script twice on each page, and a browser then reports
"Identifier 'THEBE_JS_URL' has already been declared".  The second copy is dropped here.
"""

from typing import Any

from sphinx.application import Sphinx


def _identity(script: Any) -> tuple[str, str]:
    """Return what makes a script a duplicate: its file, or its text when it has no file."""
    filename = getattr(script, "filename", script)
    attributes = getattr(script, "attributes", {})
    return str(filename or ""), str(attributes.get("body", ""))


def drop_repeated_scripts(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Keep the first copy of each script, in order."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for script in context.get("script_files", []):
        if _identity(script) not in seen:
            seen.add(_identity(script))
            kept.append(script)
    context["script_files"] = kept


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx; the late priority sees what every other extension added."""
    app.connect("html-page-context", drop_repeated_scripts, priority=999)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
