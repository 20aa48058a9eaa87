"""Serve MathJax from the book itself.

Sphinx would load MathJax from a CDN.  The installed package ``sphinx-mathjax-offline`` carries the same release; this
extension copies the one file that the book needs into the built site, so that nothing third-party is committed and
nothing is fetched when a page is read.  ``tex-svg-full.js`` holds all TeX extensions and its fonts as outlines: it
never asks for a second file.
"""

import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

PACKAGE = "sphinx-mathjax-offline"
DESTINATION = Path("vendor") / "mathjax"


def installed_mathjax(filename: str) -> Path:
    """Return the path of a MathJax file inside the installed package."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise ExtensionError(f"{PACKAGE} is not installed: pip install -r requirements.txt") from error
    path = Path(str(package.locate_file(PurePosixPath(PACKAGE, "static", "mathjax", filename))))
    if not path.is_file():
        raise ExtensionError(f"{PACKAGE} {package.version} has no {filename}")
    return path


def copy_mathjax(app: Sphinx) -> None:
    """Copy the file named by ``mathjax_path`` into the output folder of an HTML build."""
    if app.builder.format != "html":
        return
    source = installed_mathjax(PurePosixPath(app.config.mathjax_path).name)
    target = Path(app.outdir) / DESTINATION / source.name
    if not target.exists() or target.stat().st_size != source.stat().st_size:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", copy_mathjax)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
