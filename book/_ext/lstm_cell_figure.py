"""The ``{lstm-cell}`` directive: the LSTM cell, driven by hand.

In a page or in a Markdown cell of a notebook::

    ```{lstm-cell}
    :preset: leaky
    :step: 4
    :caption: With $f = 0.9$ the cell is a leaky average.
    :name: fig-cell-leaky
    ```

Every option may be left out.  In HTML the directive writes one container that ``lstm-cell.js`` and ``lstm-cell.css``
bring to life, and inside it a static picture for print and for readers without JavaScript.  The LaTeX builder gets the
same picture as a PDF file, every other builder the description in words.

The picture is computed here from the equations of the cell, not drawn by hand: the numbers in it are results.
"""

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

STEPS = 12
Z_MAX = 6.0
GATES = "ifgo"  # order of the data: PyTorch's
DRAWN = "figo"  # order on the page: the order in which the conveyor belt meets them
DEFAULT_CAPTION = "The LSTM cell, driven by hand: one unit, twelve steps, and you are all four gates."

# ---------------------------------------------------------------------------------------------- the equations


def sigmoid(z: float) -> float:
    """Return the logistic function of ``z``; the branch keeps ``exp`` from overflowing."""
    if z >= 0.0:
        return 1.0 / (1.0 + math.exp(-z))
    e = math.exp(z)
    return e / (1.0 + e)


class Run(NamedTuple):
    """What one pass over a sequence gives; slot 0 of the states is the initial state."""

    gates: dict[str, list[float]]  # i, f, g, o; step t at [t - 1]
    c: list[float]  # (T + 1,)
    h: list[float]  # (T + 1,)
    dcT_dc: list[float]  # (T + 1,) derivative of the last cell state with respect to c[t]


def simulate(z: dict[str, Sequence[float]], c0: float) -> Run:
    """Run one unit over pre-activations ``z["i"], z["f"], z["g"], z["o"]`` of equal length."""
    gates = {gate: [math.tanh(v) if gate == "g" else sigmoid(v) for v in z[gate]] for gate in GATES}
    c, h = [c0], [0.0]
    for i, f, g, o in zip(*(gates[gate] for gate in GATES), strict=True):
        c.append(f * c[-1] + i * g)
        h.append(o * math.tanh(c[-1]))
    dcT_dc = [1.0]
    for f in reversed(gates["f"]):
        dcT_dc.insert(0, dcT_dc[0] * f)
    return Run(gates, c, h, dcT_dc)


def pattern(base: float, edits: dict[int, float] | None = None) -> list[float]:
    """Return ``base`` at every step, other values at the steps (from 1) named in ``edits``."""
    return [(edits or {}).get(t, base) for t in range(1, STEPS + 1)]


class Preset(NamedTuple):
    """An input pattern: initial cell state and the pre-activations of every step."""

    title: str
    c0: float
    z: dict[str, list[float]]


LN9 = math.log(9.0)  # sigmoid(ln 9) = 0.9 and sigmoid(-ln 9) = 0.1

# The same table as PRESETS in lstm-cell.js; tests/browser/test_lstm_cell.py holds the two together.
PRESETS = {
    "bit": Preset(
        "Remember one bit",
        0.0,
        {
            "i": pattern(-6, {2: 6}),
            "f": pattern(6, {2: -6}),
            "g": pattern(0, {2: 3, 5: -3, 8: 2}),
            "o": pattern(-6, {11: 6}),
        },
    ),
    "latch": Preset(
        "Latch and release",
        0.0,
        {
            "i": pattern(-6, {2: 6, 8: 6}),
            "f": pattern(6, {6: -6, 12: -6}),
            "g": pattern(0, {2: 3, 8: -3}),
            "o": pattern(6),
        },
    ),
    "leaky": Preset(
        "Leaky average, f = 0.9",
        0.0,
        {
            "i": pattern(-LN9),
            "f": pattern(LN9),
            "g": pattern(2, dict.fromkeys(range(7, 13), -2)),
            "o": pattern(6),
        },
    ),
    "zero": Preset("Textbook start: all zero", 1.0, {gate: pattern(0) for gate in GATES}),
    "bias": Preset("Forget bias +1", 1.0, {gate: pattern(1 if gate == "f" else 0) for gate in GATES}),
    "blocked": Preset(
        "Saturated: write, then block",
        0.0,
        {"i": pattern(-6, {2: 6}), "f": pattern(6, {7: -6}), "g": pattern(6), "o": pattern(6)},
    ),
}

# ---------------------------------------------------------------------------------------------- numbers as text

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def fixed(value: float, decimals: int = 3) -> str:
    """Return fixed decimals with a real minus sign and without ``-0.000``.

    Exact ties (0.0625) are rounded up, as JavaScript does; Python's own formatting rounds them to even.
    """
    text = str(Decimal(abs(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))
    return f"−{text}" if value < 0 and float(text) != 0.0 else text


def power_of_ten(exponent: int) -> str:
    """Return ``10`` with a superscript, and ``1`` for exponent 0."""
    return "1" if exponent == 0 else "10" + str(exponent).translate(SUPERSCRIPT)


def compact(value: float) -> str:
    """Return text for a quantity that shrinks over many decades."""
    if value == 0.0 or abs(value) >= 0.01:
        return fixed(value)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.replace('-', '−')}·{power_of_ten(int(exponent))}"


def half_life_text(z_forget: float) -> str:
    """Return ln(1/2) / ln f for f = sigmoid(z_forget), accurate also where f rounds to 1."""
    log_f = min(z_forget, 0.0) - math.log1p(math.exp(-abs(z_forget)))
    value = -math.log(2.0) / log_f
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def describe(preset: Preset, step: int) -> str:
    """Return the picture in words: the text alternative, complete enough to stand alone."""
    run = simulate(preset.z, preset.c0)
    names = {"f": "forget gate", "i": "input gate", "g": "candidate", "o": "output gate"}
    gates = ", ".join(f"{names[gate]} {fixed(run.gates[gate][step - 1])}" for gate in DRAWN)
    return (
        f"Drawing of an LSTM cell with one unit, input pattern “{preset.title}”, at step {step} of {STEPS}: {gates}. "
        f"The cell state runs along a conveyor belt: it is multiplied by the forget gate, then input gate times "
        f"candidate is added, and goes from {fixed(run.c[step - 1])} to {fixed(run.c[step])}. "
        f"Its tanh times the output gate is the hidden state {fixed(run.h[step])}. "
        f"Charts below. Cell state at steps 0 to {STEPS}: {', '.join(fixed(v, 2) for v in run.c)}. "
        f"Hidden state at steps 1 to {STEPS}: {', '.join(fixed(v, 2) for v in run.h[1:])}. "
        f"Gradient of the last cell state with respect to the cell state at steps 0 to {STEPS}: "
        f"{', '.join(compact(v) for v in run.dcT_dc)}."
    )


# ---------------------------------------------------------------------------------------------- a small scene

Point = tuple[float, float]


@dataclass
class Scene:
    """Shapes in drawing order, named by the classes of ``lstm-cell.css``; rendered as SVG or as PDF."""

    width: float
    height: float = 0.0
    shapes: list[tuple[str, str, Any]] = field(default_factory=list)

    def polyline(self, css: str, points: Sequence[Point], width: float | None = None) -> None:
        self.shapes.append(("polyline", css, (list(points), width)))

    def rect(self, css: str, x: float, y: float, width: float, height: float, radius: float = 0.0) -> None:
        self.shapes.append(("rect", css, (x, y, width, height, radius)))

    def circle(self, css: str, x: float, y: float, radius: float) -> None:
        self.shapes.append(("circle", css, (x, y, radius)))

    def label(self, css: str, x: float, y: float, markup: str, anchor: str = "start") -> None:
        """Add text; ``$c$`` in the markup is a variable (italic), ``_{3}`` a subscript."""
        self.shapes.append(("label", f"lc-text {css}".strip(), (x, y, markup, anchor)))

    def to_svg(self, alternative: str) -> str:
        """Return inline SVG whose colours come from the style sheet, so that it follows the theme."""
        parts = [
            f'<svg class="lc-svg" xmlns="http://www.w3.org/2000/svg" role="img" '
            f'viewBox="0 0 {self.width:g} {self.height:g}" aria-label="{escape(alternative)}">'
        ]
        for kind, css, data in self.shapes:
            if kind == "polyline":
                points, width = data
                style = "" if width is None else f' style="stroke-width:{width:.2f}px"'
                joined = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
                parts.append(f'<polyline class="{css}" points="{joined}"{style}/>')
            elif kind == "rect":
                x, y, w, h, r = data
                parts.append(
                    f'<rect class="{css}" x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}" rx="{r:g}"/>'
                )
            elif kind == "circle":
                x, y, r = data
                parts.append(f'<circle class="{css}" cx="{x:.2f}" cy="{y:.2f}" r="{r:g}"/>')
            else:
                x, y, markup, anchor = data
                parts.append(
                    f'<text class="{css}" x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}">{_tspans(markup)}</text>'
                )
        return "".join([*parts, "</svg>"])

    def to_pdf(self, path: Path) -> None:
        """Write the picture as PDF, in the colours of the light theme."""
        from matplotlib import rc_context  # only a LaTeX build needs it
        from matplotlib.backends.backend_pdf import FigureCanvasPdf
        from matplotlib.figure import Figure
        from matplotlib.patches import Circle, FancyBboxPatch

        point = 0.75  # one CSS pixel in typographic points
        with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "lstm-cell"}):
            figure = Figure(figsize=(self.width * point / 72, self.height * point / 72))
            FigureCanvasPdf(figure)
            axes = figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(self.height, 0), frameon=False)
            axes.set_axis_off()
            for order, (kind, css, data) in enumerate(self.shapes):
                pen = _pen(css)
                if kind == "polyline":
                    points, width = data
                    axes.plot(
                        *zip(*points, strict=True),
                        color=pen.stroke,
                        lw=(pen.width if width is None else width) * point,
                        alpha=pen.alpha,
                        ls=(0, (3, 2)) if pen.dashed else "-",
                        solid_capstyle="butt",
                        dash_capstyle="butt",
                        zorder=order,
                    )
                elif kind == "label":
                    x, y, markup, anchor = data
                    axes.text(
                        x,
                        y,
                        _mathtext(markup),
                        color=pen.text,
                        size=14 * point,
                        weight="bold" if "lc-strong" in css.split() else "normal",
                        ha={"start": "left", "middle": "center", "end": "right"}[anchor],
                        va="baseline",
                        zorder=order,
                    )
                else:
                    look = {"facecolor": pen.fill, "edgecolor": pen.stroke, "lw": pen.width * point, "zorder": order}
                    if kind == "circle":
                        x, y, r = data
                        axes.add_patch(Circle((x, y), r, **look))
                    else:
                        x, y, w, h, r = data
                        style = f"round,pad=0,rounding_size={r}" if r else "square,pad=0"
                        axes.add_patch(FancyBboxPatch((x, y), w, h, boxstyle=style, **look))
            # no date in the file: the same page gives the same bytes
            figure.savefig(path, format="pdf", metadata={"CreationDate": None})


def _tspans(markup: str) -> str:
    """Return the markup of a label as SVG ``tspan`` elements."""
    out, lowered = [], False
    for part in filter(None, re.split(r"(\$[^$]*\$|_\{[^}]*\})", markup)):
        if part.startswith("_{"):
            out.append(f'<tspan class="lc-sub" dy="4">{escape(part[2:-1])}</tspan>')
            lowered = True
            continue
        css = ' class="lc-var"' if part.startswith("$") else ""
        raised = ' dy="-4"' if lowered else ""
        out.append(f"<tspan{css}{raised}>{escape(part.strip('$') if css else part)}</tspan>")
        lowered = False
    return "".join(out)


def _mathtext(markup: str) -> str:
    """Return the markup of a label in the syntax of matplotlib's mathtext."""
    return re.sub(r"\$([^$]*)\$_\{([^}]*)\}", r"$\1_{\2}$", markup)


class Pen(NamedTuple):
    """How a class of the style sheet looks on paper."""

    fill: str = "none"
    stroke: str = "none"
    width: float = 1.0
    text: str = "#222832"
    alpha: float = 1.0
    dashed: bool = False


_PAPER = {
    "f": "#d55e00",
    "i": "#0072b2",
    "g": "#008a63",
    "o": "#b8609a",
    "c": "#b57c00",
    "h": "#767676",
    "grad": "#d55e00",
}
_PENS: dict[str, dict[str, Any]] = {
    "lc-body": {"fill": "#f3f4f5", "stroke": "#c9c9c9", "width": 1.5},
    "lc-rail": {"fill": "#ffffff", "stroke": "#c9c9c9"},
    "lc-track": {"stroke": "#48566b", "width": 1.25},
    "lc-chevron": {"stroke": "#222832", "width": 1.75},
    "lc-node": {"fill": "#ffffff", "stroke": "#222832", "width": 1.5},
    "lc-tap": {"fill": "#222832"},
    "lc-symbol": {"stroke": "#222832", "width": 2.0},
    "lc-box": {"fill": "#ffffff", "width": 2.0},
    "lc-axis": {"stroke": "#c9c9c9"},
    "lc-curve": {"width": 2.25},
    "lc-drop": {"stroke": "#222832", "width": 1.25, "dashed": True},
    "lc-dot": {"stroke": "#222832", "width": 1.5},
    "lc-band": {"fill": "#e1eff2", "stroke": "#0a7d91", "width": 1.25},
    "lc-grid": {"stroke": "#c9c9c9"},
    "lc-stem": {"width": 5.0, "alpha": 0.35},
    "lc-line": {"width": 1.75},
    "lc-here": {"stroke": "#222832", "width": 2.0},
    "lc-muted": {"text": "#48566b"},
    "lc-negative": {"dashed": True},
}


def _pen(css: str) -> Pen:
    """Collect the look of all classes of a shape."""
    look: dict[str, Any] = {}
    for name in css.split():
        if name.startswith("lc-stroke-"):
            look["stroke"] = _PAPER[name.removeprefix("lc-stroke-")]
        elif name.startswith("lc-fill-"):
            look["fill"] = _PAPER[name.removeprefix("lc-fill-")]
        else:
            look |= _PENS.get(name, {})
    return Pen(**look)


# ---------------------------------------------------------------------------------------------- the picture

WIDTH = 720.0
BELT_Y, MIX_Y, BOX_TOP, BOX_HEIGHT, NODE_R = 66.0, 176.0, 216.0, 78.0, 15.0


def draw(preset: Preset, step: int) -> Scene:
    """Return the cell at ``step`` and the charts of the whole sequence."""
    run = simulate(preset.z, preset.c0)
    scene = Scene(WIDTH)
    bottom = _draw_cell(scene, preset, run, step)
    _draw_charts(scene, run, step, bottom + 8)
    return scene


def _draw_cell(scene: Scene, preset: Preset, run: Run, step: int) -> float:
    column = WIDTH / 4
    x = {gate: column * (k + 0.5) for k, gate in enumerate(DRAWN)}
    x_mix = (x["i"] + x["g"]) / 2
    now = {gate: run.gates[gate][step - 1] for gate in GATES}
    c_before, c_now = run.c[step - 1], run.c[step]
    largest = max(1.0, *(abs(v) for v in run.c))

    scene.rect("lc-body", 0.75, 8, WIDTH - 1.5, BOX_TOP + BOX_HEIGHT - 22, 18)
    scene.rect("lc-rail", 0.5, BELT_Y - 10, WIDTH - 1, 20)
    belt, write = 15.0 / largest, 11.0
    # (points, colour, value, stroke width of the value 1)
    routes: list[tuple[list[Point], str, float, float]] = [
        ([(0, BELT_Y), (x["f"] - NODE_R, BELT_Y)], "c", c_before, belt),
        ([(x["f"] + NODE_R, BELT_Y), (x_mix - NODE_R, BELT_Y)], "c", now["f"] * c_before, belt),
        ([(x_mix + NODE_R, BELT_Y), (WIDTH, BELT_Y)], "c", c_now, belt),
        ([(x["f"], BOX_TOP), (x["f"], BELT_Y + NODE_R)], "f", now["f"], write),
        ([(x["i"], BOX_TOP), (x["i"], MIX_Y), (x_mix - NODE_R, MIX_Y)], "i", now["i"], write),
        ([(x["g"], BOX_TOP), (x["g"], MIX_Y), (x_mix + NODE_R, MIX_Y)], "g", now["g"], write),
        ([(x_mix, MIX_Y - NODE_R), (x_mix, BELT_Y + NODE_R)], "c", now["i"] * now["g"], write),
        ([(x["o"], BELT_Y), (x["o"], MIX_Y - NODE_R)], "h", math.tanh(c_now), write),
        ([(x["o"], BOX_TOP), (x["o"], MIX_Y + NODE_R)], "o", now["o"], write),
        ([(x["o"] + NODE_R, MIX_Y), (WIDTH, MIX_Y)], "h", run.h[step], write),
    ]
    for points, colour, value, scale in routes:
        scene.polyline("lc-track", points)
        width = abs(value) * scale
        if width >= 0.005:
            negative = " lc-negative" if value < 0 else ""
            scene.polyline(f"lc-flow lc-stroke-{colour}{negative}", points, width)
    scene.circle("lc-tap", x["o"], BELT_Y, 5)

    def chevron(cx: float, cy: float, upwards: bool = False) -> None:
        tip = [(-4.0, -5.0), (3.0, 0.0), (-4.0, 5.0)]
        scene.polyline("lc-chevron", [(cx + b, cy - a) if upwards else (cx + a, cy + b) for a, b in tip])

    chevron((x["f"] - NODE_R) / 2, BELT_Y)
    chevron((x["f"] + x_mix) / 2, BELT_Y)
    chevron((x_mix + x["o"]) / 2, BELT_Y)
    chevron(WIDTH - column / 6, BELT_Y)
    chevron(x["f"], (BOX_TOP + BELT_Y) / 2, upwards=True)
    chevron(x_mix, (MIX_Y + BELT_Y) / 2 + 8, upwards=True)
    chevron(WIDTH - column / 6, MIX_Y)

    for cx, cy, plus in [(x["f"], BELT_Y, 0), (x_mix, BELT_Y, 1), (x_mix, MIX_Y, 0), (x["o"], MIX_Y, 0)]:
        scene.circle("lc-node", cx, cy, NODE_R)
        for a, b in [(7.0, 0.0), (0.0, 7.0)] if plus else [(5.0, 5.0), (5.0, -5.0)]:
            scene.polyline("lc-symbol", [(cx - a, cy - b), (cx + a, cy + b)])
    scene.rect("lc-node", x["o"] - 25, 98, 50, 26, 13)
    scene.label("", x["o"], 115.5, "tanh", "middle")

    scene.label("", 12, 43, f"$c$_{{{step - 1}}} = {fixed(c_before)}")
    scene.label("", (x["f"] + x_mix) / 2, 43, f"$f$·$c$_{{{step - 1}}} = {fixed(now['f'] * c_before)}", "middle")
    scene.label("", WIDTH - 12, 43, f"$c$_{{{step}}} = {fixed(c_now)}", "end")
    scene.label("", x_mix + 13, 116, f"$i$·$g$ = {fixed(now['i'] * now['g'])}")
    scene.label("", x["o"] - 12, 150, f"tanh $c$_{{{step}}} = {fixed(math.tanh(c_now))}", "end")
    scene.label("", x["o"] + 20, MIX_Y - 34, f"$h$_{{{step}}} =")
    scene.label("", x["o"] + 20, MIX_Y - 17, fixed(run.h[step]))

    for gate in DRAWN:
        _draw_gate_box(scene, gate, x[gate], preset.z[gate][step - 1], now[gate])
    bottom = BOX_TOP + BOX_HEIGHT + 40
    scene.label(
        "",
        WIDTH / 2,
        bottom + 22,
        f"Step $t$ = {step} of {STEPS};  half-life = ln ½ / ln $f$ ≈ {half_life_text(preset.z['f'][step - 1])} steps",
        "middle",
    )
    return bottom + 24


def _draw_gate_box(scene: Scene, gate: str, x: float, z: float, value: float) -> None:
    """Draw one squashing function with the present operating point on it."""
    width, low = 136.0, (-1.0 if gate == "g" else 0.0)
    squash: Callable[[float], float] = math.tanh if gate == "g" else sigmoid
    left, top = x - width / 2, BOX_TOP + 28
    plot_width, plot_height = width - 18, BOX_HEIGHT - 38

    def at(zed: float, out: float) -> Point:
        return left + 9 + (zed + Z_MAX) / (2 * Z_MAX) * plot_width, top + (1 - out) / (1 - low) * plot_height

    foot = BOX_TOP + BOX_HEIGHT
    scene.polyline("lc-track", [(x, foot + 20), (x, foot)])
    scene.polyline("lc-chevron", [(x - 5, foot + 14), (x, foot + 7), (x + 5, foot + 14)])
    scene.rect(f"lc-box lc-stroke-{gate}", left, BOX_TOP, width, BOX_HEIGHT, 10)
    scene.polyline("lc-axis", [at(-Z_MAX, 0), at(Z_MAX, 0)])
    scene.polyline("lc-axis", [at(0, low), at(0, 1)])
    grid = [-Z_MAX + k * 2 * Z_MAX / 48 for k in range(49)]
    scene.polyline(f"lc-curve lc-stroke-{gate}", [at(v, squash(v)) for v in grid])
    scene.label("lc-muted", left + 10, top + 12, "tanh" if gate == "g" else "σ")
    scene.polyline("lc-drop", [at(z, value), at(z, 0)])
    scene.circle(f"lc-dot lc-fill-{gate}", *at(z, value), 5.5)
    scene.label("lc-strong", left + 10, BOX_TOP + 19, f"${gate}$ = {fixed(value)}")
    scene.label("", x, foot + 36, f"$z$_{{{gate}}} = {fixed(z, 2)}", "middle")


def _nice_top(value: float) -> float:
    tops = (0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0)
    return next((top for top in tops if value <= top + 1e-9), math.ceil(value))


def _draw_charts(scene: Scene, run: Run, step: int, y: float) -> None:
    left, right, row = 48.0, WIDTH - 4, 19.0
    column = (right - left) / (STEPS + 1)

    def at(t: int) -> float:
        return left + (t + 0.5) * column

    band_place = len(scene.shapes)  # the band lies under the charts, but its height is known last
    band_top = y + 2
    y += 16
    scene.label("lc-strong", left, y, "gates")
    y += 6
    for gate in DRAWN:
        base = y + row - 3
        zero = base - (row - 5) / 2 if gate == "g" else base
        scene.label("lc-muted", left - 8, base, f"${gate}$", "end")
        scene.polyline("lc-grid", [(left, zero), (right, zero)])
        for t, value in enumerate(run.gates[gate], start=1):
            height = abs(value) * (row - 5) / (2 if gate == "g" else 1)
            top = zero if value < 0 else zero - height
            scene.rect(f"lc-bar lc-fill-{gate}", at(t) - column * 0.34, top, column * 0.68, max(height, 0.01))
        y += row

    def plot(
        name: str,
        heading: str,
        height: float,
        points: list[tuple[int, float]],
        bounds: tuple[float, float],
        ticks: list[tuple[float, str]],
    ) -> None:
        """Draw values that are already on the chart's own scale (the gradient's is a logarithm)."""
        nonlocal y
        y += 24
        scene.label("lc-strong", left, y, heading)
        top, (low, high) = y + 13, bounds

        def up(v: float) -> float:
            return top + (1 - (v - low) / (high - low)) * height

        for v, text in ticks:
            scene.polyline("lc-grid", [(left, up(v)), (right, up(v))])
            scene.label("lc-muted", left - 8, up(v) + 4.5, text, "end")
        if name != "grad":
            for t, v in points:
                scene.polyline(f"lc-stem lc-stroke-{name}", [(at(t), up(0)), (at(t), up(v))])
        scene.polyline(f"lc-line lc-stroke-{name}", [(at(t), up(v)) for t, v in points])
        for t, v in points:
            css, radius = (f"lc-point lc-fill-{name} lc-here", 6.0) if t == step else (f"lc-point lc-fill-{name}", 3.5)
            scene.circle(css, at(t), up(v), radius)
        y = top + height

    def signed(values: list[float]) -> tuple[tuple[float, float], list[tuple[float, str]]]:
        top = _nice_top(max(0.1, *(abs(v) for v in values)))
        low = -top if min(values) < -0.005 * top else 0.0
        return (low, top), [(v, fixed(v, 0 if v == int(v) else 1)) for v in sorted({low, 0.0, top})]

    c_bounds, c_ticks = signed(run.c)
    plot("c", f"cell state $c$_{{{step}}} = {fixed(run.c[step])}", 54, list(enumerate(run.c)), c_bounds, c_ticks)
    shown = list(enumerate(run.h))[1:]  # h_0 plays no part when the gates are set by hand
    h_bounds, h_ticks = signed(run.h[1:])
    plot("h", f"hidden state $h$_{{{step}}} = {fixed(run.h[step])}", 46, shown, h_bounds, h_ticks)
    lowest = min(-1, math.floor(math.log10(min(run.dcT_dc)) + 1e-9))
    decades = range(0, lowest - 1, -math.ceil(-lowest / 3))
    heading = f"gradient ∂$c$_{{{STEPS}}}/∂$c$_{{{step}}} = {compact(run.dcT_dc[step])}"
    logs = [(t, math.log10(v)) for t, v in enumerate(run.dcT_dc)]
    plot("grad", heading, 66, logs, (lowest, 0), [(e, power_of_ten(e)) for e in decades])

    band = ("rect", "lc-band", (at(step) - column / 2, band_top, column, y + 6 - band_top, 5))
    scene.shapes.insert(band_place, band)
    y += 22
    for t in range(STEPS + 1):
        scene.label("lc-strong" if t == step else "lc-muted", at(t), y, str(t), "middle")
    scene.label("lc-muted", left - 8, y, "$t$", "end")
    scene.height = y + 6


# ---------------------------------------------------------------------------------------------- Sphinx


class lstm_cell(nodes.General, nodes.Element):
    """The figure itself; attributes ``preset`` and ``step``."""


def _step(argument: str) -> int:
    value = directives.positive_int(argument)
    if value > STEPS:
        raise ValueError(f"step must be from 1 to {STEPS}, got {value}")
    return value


def _preset(argument: str) -> str:
    return directives.choice(argument, tuple(PRESETS))


class LSTMCellDirective(SphinxDirective):
    """``{lstm-cell}`` with options ``preset``, ``step``, ``caption`` and ``name``."""

    has_content = False
    option_spec = {  # noqa: RUF012 - docutils reads a plain class attribute
        "preset": _preset,
        "step": _step,
        "caption": directives.unchanged_required,
        "name": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        """Return a numbered figure that holds the cell and its caption."""
        figure = nodes.figure()
        self.set_source_info(figure)
        figure += lstm_cell(preset=self.options.get("preset", "bit"), step=self.options.get("step", 2))
        text = self.options.get("caption", DEFAULT_CAPTION)
        inline, messages = self.state.inline_text(text, self.lineno)
        caption = nodes.caption(text, "", *inline)
        self.set_source_info(caption)
        figure += caption
        self.add_name(figure)
        return [figure, *messages]


def visit_html(translator: Any, node: lstm_cell) -> None:
    """Write the container, with the static picture inside."""
    preset = PRESETS[node["preset"]]
    svg = draw(preset, node["step"]).to_svg(describe(preset, node["step"]))
    translator.body.append(
        f'<div class="lstm-cell-figure" data-preset="{node["preset"]}" data-step="{node["step"]}">'
        f'<div class="lstm-cell-static">{svg}</div></div>\n'
    )
    raise nodes.SkipNode


def visit_latex(translator: Any, node: lstm_cell) -> None:
    """Write the picture as a PDF file beside the .tex file and include it."""
    filename = f"lstm-cell-{node['preset']}-{node['step']}.pdf"
    outdir = Path(translator.builder.outdir)
    outdir.mkdir(parents=True, exist_ok=True)
    draw(PRESETS[node["preset"]], node["step"]).to_pdf(outdir / filename)
    translator.body.append(f"\n\\noindent\\sphinxincludegraphics[width=\\linewidth]{{{filename}}}\n")
    raise nodes.SkipNode


def visit_words(translator: Any, node: lstm_cell) -> None:
    """Write the description for builders without pictures."""
    text = describe(PRESETS[node["preset"]], node["step"])
    if hasattr(translator, "add_text"):  # plain text builder
        translator.add_text(text)
    else:
        translator.body.append(text)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx. A change in this file makes stored doctrees and pages stale."""
    app.add_node(
        lstm_cell,
        html=(visit_html, None),
        latex=(visit_latex, None),
        text=(visit_words, None),
        man=(visit_words, None),
        texinfo=(visit_words, None),
    )
    app.add_directive("lstm-cell", LSTMCellDirective)
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    app.add_config_value("lstm_cell_source", digest, "html")  # pages are written again when this file changes
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
