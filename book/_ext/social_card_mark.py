"""Draw the book's mark for the social cards.

The cards are PNG pictures, so the SVG logo cannot be used; the same mark is drawn here by matplotlib at build time.
Without it every card would carry the mark of Sphinx.
"""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon
from sphinx.application import Sphinx

BLUE, ORANGE = "#0072b2", "#b54a00"


def draw_mark(path: Path) -> None:
    """Write the conveyor belt with its forget gate as a transparent PNG of 256 by 256 pixels."""
    figure = Figure(figsize=(2.56, 2.56), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 64), ylim=(64, 0))
    axes.set_axis_off()
    axes.plot([5, 49], [24, 24], color=BLUE, linewidth=22, solid_capstyle="round")
    axes.add_patch(Polygon([(62, 24), (46, 13), (46, 35)], color=BLUE))
    axes.plot([27, 27], [59, 37], color=ORANGE, linewidth=17, solid_capstyle="round")
    axes.add_patch(Circle((27, 24), 13, facecolor="white", edgecolor=ORANGE, linewidth=14, zorder=3))
    for end in (19, 29):
        axes.plot([22, 32], [end, 48 - end], color=ORANGE, linewidth=12, solid_capstyle="round", zorder=4)
    figure.savefig(path, transparent=True)


def provide_mark(app: Sphinx) -> None:
    """Draw the mark where the build keeps its working files, and name it to sphinxext-opengraph."""
    path = Path(app.doctreedir) / "social-card-mark.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_mark(path)
    app.config.ogp_social_cards = {**(app.config.ogp_social_cards or {}), "image_mini": str(path)}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", provide_mark)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
