"""Figures of the book: one style, colours that follow light and dark mode, and obligatory alternative text.

:func:`figure` shows a Matplotlib figure as inline SVG. Colours of the palette become CSS variables with the
light value as fallback, and text and axes become ``currentColor``, so one drawing reads well on a light page, on
a dark page, in JupyterLab and in Colab. :func:`use_style` makes every curve differ by line style and marker as
well as by colour.
"""

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lstm_numba.teaching.display import show
from lstm_numba.teaching.text import inline_html

__all__ = [
    "BLUE",
    "COLOURS",
    "GATE_STYLES",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "RED",
    "SURFACE",
    "TEXT",
    "figure",
    "figure_html",
    "forecast_plot",
    "gate_traces",
    "gradient_decay",
    "use_style",
]


class Colour(NamedTuple):
    """One named colour: the CSS variable's value on a light page and on a dark page."""

    light: str
    dark: str


# Okabe & Ito's colour-blind-safe hues. The light values keep a contrast of 3:1 on white *and* on a dark page,
# because they are also the fallback where the book's style sheet is absent (JupyterLab, Colab).
# book/_static/teaching.css repeats this table; a test compares the two.
COLOURS: dict[str, Colour] = {
    "blue": Colour("#0072b2", "#56b4e9"),
    "orange": Colour("#b57c00", "#e69f00"),
    "green": Colour("#008a63", "#2fc79a"),
    "red": Colour("#d55e00", "#ff8c4a"),
    "purple": Colour("#b8609a", "#e6a0cb"),
    "grey": Colour("#767676", "#a5adb8"),
}

# Sentinels: Matplotlib must draw *some* colour, and it leaves pure black out of the SVG, where nothing could
# replace it. Nobody picks these two by accident. On the page, TEXT is the colour of the text around the figure
# and SURFACE the colour of the page itself.
TEXT = "#1b1f25"
SURFACE = "#fdfefd"

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (colour.light for colour in COLOURS.values())

#: The same gate has the same look in every chapter: colour, line style and marker.
GATE_STYLES: dict[str, dict[str, Any]] = {
    "i": {"color": BLUE, "linestyle": "-", "marker": "o"},
    "f": {"color": RED, "linestyle": "--", "marker": "s"},
    "g": {"color": GREEN, "linestyle": "-.", "marker": "^"},
    "o": {"color": PURPLE, "linestyle": ":", "marker": "D"},
    "c": {"color": ORANGE, "linestyle": "-", "marker": "v"},
    "h": {"color": GREY, "linestyle": "--", "marker": "x"},
}

_ALT_LIMITS = (20, 600)


def use_style() -> None:
    """Set Matplotlib's defaults to the book's figure style.

    Transparent background, colour-blind-safe palette, and a property cycle in which every curve also has its own
    line style and marker. Named colours are available as ``"C0"`` ... ``"C5"`` or from :data:`COLOURS`.

    Examples
    --------
    >>> from lstm_numba.plots import use_style
    >>> use_style()
    >>> import matplotlib
    >>> matplotlib.rcParams["figure.figsize"]
    [5.6, 3.4]
    """
    rc: Any = _style()  # Matplotlib types the keys as literals
    plt.rcParams.update(rc)


def _style() -> dict[str, Any]:
    names = ("blue", "red", "green", "purple", "orange", "grey")
    cycle = (
        cycler(color=[COLOURS[name].light for name in names])
        + cycler(linestyle=["-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (8, 2))])
        + cycler(marker=["o", "s", "^", "D", "v", "x"])
        + cycler(markevery=[(0.02 * k, 0.12) for k in range(6)])  # few, staggered markers on long curves
    )
    return {
        # As wide as a phone can shrink without making the labels unreadable.
        "figure.figsize": (5.6, 3.4),
        "figure.dpi": 100,
        "figure.facecolor": "none",
        "figure.edgecolor": "none",
        "figure.constrained_layout.use": True,
        "savefig.facecolor": "none",
        "savefig.edgecolor": "none",
        "axes.facecolor": "none",
        "axes.edgecolor": TEXT,
        "axes.labelcolor": TEXT,
        "axes.titlecolor": TEXT,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.labelsize": 11,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycle,
        "grid.color": TEXT,
        "grid.alpha": 0.15,
        "grid.linewidth": 0.6,
        "text.color": TEXT,
        "xtick.color": TEXT,
        "ytick.color": TEXT,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "font.size": 11,
        "font.family": "sans-serif",
        "legend.frameon": False,
        "legend.fontsize": 10,
        "legend.handlelength": 2.8,
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
        "patch.edgecolor": TEXT,
        "hatch.color": TEXT,
        "image.cmap": "cividis",
        "svg.fonttype": "path",
    }


def figure(fig: Figure, alt: str, caption: str | None = None, name: str | None = None) -> None:
    r"""Show a Matplotlib figure in a notebook or on a page of the book, with alternative text.

    The figure is drawn as inline SVG whose colours follow the page (see the module's description) and is then
    closed, so that the notebook does not show it a second time.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
        The figure to show.
    alt : str
        What a reader who cannot see the figure needs: axes, what is compared, the finding. 20 to 600 characters.
    caption : str, optional
        Visible text below the figure. Inline maths as ``$...$`` and code in back-ticks are allowed.
    name : str, optional
        The ``id`` of the figure in the page, ``fig-...``, for links such as ``<a href="#fig-decay">``.

    Raises
    ------
    ValueError
        If ``alt`` is missing, too short, too long or a file name, or if ``name`` is not a valid id.
    TypeError
        If ``fig`` is not a Matplotlib figure.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("svg")
    >>> from lstm_numba import plots
    >>> plots.use_style()
    >>> fig, ax = plots.plt.subplots()
    >>> _ = ax.plot([0, 1, 2], [1.0, 0.5, 0.25])
    >>> plots.figure(fig, alt="A curve that falls from 1 to 0.25 over two steps, halving at each step.")
    [Figure: A curve that falls from 1 to 0.25 over two steps, halving at each step.]
    """
    markup = figure_html(fig, alt, caption, name)
    show({"text/html": markup, "text/plain": f"[Figure: {' '.join(alt.split())}]"})


def figure_html(fig: Figure, alt: str, caption: str | None = None, name: str | None = None) -> str:
    """Return the ``<figure>`` element that :func:`figure` shows, and close the figure.

    Parameters
    ----------
    fig, alt, caption, name
        As for :func:`figure`.

    Returns
    -------
    str
        HTML with the drawing as inline SVG.

    Raises
    ------
    ValueError, TypeError
        As for :func:`figure`.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from lstm_numba.plots import figure_html
    >>> markup = figure_html(Figure(), alt="An empty figure, only here to show the markup.", name="fig-empty")
    >>> markup.startswith('<figure class="ln-figure" id="fig-empty">')
    True
    """
    if not isinstance(fig, Figure):
        raise TypeError(f"fig must be a matplotlib Figure, got {type(fig).__name__}")
    alt = _checked_alt(alt)
    if name is not None and not re.fullmatch(r"fig-[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"name must look like 'fig-gradient-decay' (lower case, digits, hyphens), got {name!r}")
    with _closing(fig):
        svg = _themed_svg(fig, alt, prefix=name or "fig-" + sha256(alt.encode()).hexdigest()[:10])
    figcaption = f'<figcaption class="tex2jax_process">{inline_html(caption)}</figcaption>' if caption else ""
    id_attribute = f' id="{name}"' if name else ""
    return f'<figure class="ln-figure"{id_attribute}>{svg}{figcaption}</figure>'


def _checked_alt(alt: str) -> str:
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt must describe the figure in words, got {alt!r}")
    text = " ".join(alt.split())
    shortest, longest = _ALT_LIMITS
    if not shortest <= len(text) <= longest:
        raise ValueError(f"alt must have {shortest} to {longest} characters, got {len(text)}: {text[:60]!r}")
    if re.search(r"\.(png|svg|jpe?g|pdf)$", text, re.IGNORECASE):
        raise ValueError(f"alt must describe the figure, not name a file, got {text!r}")
    return text


@contextmanager
def _closing(fig: Figure) -> Iterator[None]:
    try:
        yield
    finally:
        plt.close(fig)


def _themed_svg(fig: Figure, alt: str, prefix: str) -> str:
    buffer = io.StringIO()
    # The salt makes ids of clip paths and glyphs reproducible; metadata Date=None keeps builds reproducible.
    with mpl.rc_context({"svg.hashsalt": prefix, "svg.fonttype": "path"}):
        fig.savefig(buffer, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = _with_unique_ids(svg, prefix)
    svg = _with_css_colours(svg)
    return _with_accessible_root(svg, alt).strip()


def _with_unique_ids(svg: str, prefix: str) -> str:
    # Matplotlib numbers groups "figure_1", "axes_1", ... in every file; on one page they would collide.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    return re.sub(r'(xlink:href|href)="#([^"]+)"', rf'\1="#{prefix}-\2"', svg)


def _with_css_colours(svg: str) -> str:
    replacements = {TEXT: "currentColor", "#000000": "currentColor", SURFACE: "var(--ln-surface, transparent)"}
    replacements |= {c.light: f"var(--ln-{name}, {c.light})" for name, c in COLOURS.items()}
    # Only inside style attributes: CSS variables mean nothing in presentation attributes.
    pattern = re.compile("|".join(map(re.escape, replacements)))

    def themed(match: re.Match[str]) -> str:
        return pattern.sub(lambda colour: replacements[colour.group()], match.group())

    return re.sub(r'\bstyle="[^"]*"', themed, svg)


def _with_accessible_root(svg: str, alt: str) -> str:
    head, body = svg.split(">", 1)
    width = re.search(r'\bwidth="([\d.]+)pt"', head)
    head = re.sub(r'\s(?:width|height)="[\d.]+pt"', "", head)
    points = float(width.group(1)) if width else 460.0
    label = html.escape(alt, quote=True)
    # 1 pt = 4/3 px: the drawing keeps its size on wide screens and shrinks with narrow ones.
    style = f"width:100%;max-width:{points * 4 / 3:.0f}px;height:auto"
    # Matplotlib leaves out a black fill, which is SVG's default; here the default follows the page.
    return f'{head} fill="currentColor" role="img" aria-label="{label}" focusable="false" style="{style}">{body}'


def gate_traces(
    ax: Axes, gates: Mapping[str, Sequence[float] | np.ndarray], t: Sequence[float] | np.ndarray | None = None
) -> Axes:
    """Draw gates and states of one unit over time, each with its fixed look.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    gates : mapping of str to array (T,)
        Keys from ``i f g o c h``, drawn in the order given.
    t : array (T,), optional
        Time axis; 1 ... T by default.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax``.

    Raises
    ------
    ValueError
        If a key is not one of ``i f g o c h`` or the lengths differ.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from lstm_numba.plots import gate_traces
    >>> ax = gate_traces(Figure().subplots(), {"f": [0.9, 0.9, 0.1], "c": [1.0, 0.9, 0.09]})
    >>> [line.get_label() for line in ax.get_lines()]
    ['$f_t$', '$c_t$']
    """
    if not gates:
        raise ValueError("gates must hold at least one of i, f, g, o, c, h; got an empty mapping")
    unknown = [key for key in gates if key not in GATE_STYLES]
    if unknown:
        raise ValueError(f"gates has unknown keys {unknown}; expected some of {list(GATE_STYLES)}")
    arrays = {key: np.asarray(values) for key, values in gates.items()}
    shapes = {key: values.shape for key, values in arrays.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"gates must be one-dimensional and of one length, got shapes {shapes}")
    T = next(iter(arrays.values())).shape[0]
    t = np.arange(1, T + 1) if t is None else np.asarray(t)
    if t.shape != (T,):
        raise ValueError(f"t must have shape ({T},) like the gates, got {t.shape}")
    for key, values in arrays.items():
        ax.plot(t, values, label=f"${key}_t$", markevery=max(1, T // 12), **GATE_STYLES[key])
    ax.set_xlabel("time step $t$")
    ax.legend(ncols=len(arrays), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def forecast_plot(
    ax: Axes,
    t_past: Any,  # (P,)
    y_past: Any,  # (P,)
    t_future: Any,  # (F,)
    forecasts: Mapping[str, Any],  # label -> (F,)
    y_future: Any | None = None,  # (F,)
    interval: tuple[Any, Any] | None = None,  # lower (F,), upper (F,)
    interval_label: str = "interval",
) -> Axes:
    """Draw history, what came, and one or more forecasts from the same origin.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    t_past, y_past : array (P,)
        Time and value up to the forecast origin. Times may be numbers or dates.
    t_future : array (F,)
        Times of the forecasts.
    forecasts : mapping of str to array (F,)
        Legend label to forecast.
    y_future : array (F,), optional
        The values that were observed afterwards.
    interval : tuple of two arrays (F,), optional
        Lower and upper end of a prediction interval.
    interval_label : str
        Legend label of the interval.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax``.

    Raises
    ------
    ValueError
        If an array's length does not match its time axis.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from lstm_numba.plots import forecast_plot
    >>> ax = Figure().subplots()
    >>> _ = forecast_plot(ax, [1, 2, 3], [5, 6, 5], [4, 5], {"naive": [5, 5]}, y_future=[6, 5])
    >>> [line.get_label() for line in ax.get_lines()][:3]
    ['history', 'observed', 'naive']
    """
    if not forecasts:
        raise ValueError("forecasts must hold at least one forecast, got an empty mapping")
    _same_length("y_past", y_past, "t_past", t_past)
    for label, values in forecasts.items():
        _same_length(f"forecasts[{label!r}]", values, "t_future", t_future)
    ax.plot(t_past, y_past, color=TEXT, linestyle="-", marker="", linewidth=1.2, label="history")
    if y_future is not None:
        _same_length("y_future", y_future, "t_future", t_future)
        ax.plot(t_future, y_future, color=TEXT, linestyle=":", marker="", linewidth=1.8, label="observed")
    if interval is not None:
        lower, upper = interval
        _same_length("interval[0]", lower, "t_future", t_future)
        _same_length("interval[1]", upper, "t_future", t_future)
        ax.fill_between(t_future, lower, upper, color=GREY, alpha=0.25, linewidth=0, label=interval_label)
    for label, values in forecasts.items():
        ax.plot(t_future, values, label=label)
    ax.axvline(t_past[-1], color=TEXT, linewidth=0.8, alpha=0.5)  # the forecast origin
    ax.legend(ncols=2)
    return ax


def gradient_decay(ax: Axes, curves: Mapping[str, Any], lag: Any | None = None) -> Axes:
    """Draw the size of gradients against the lag on a logarithmic axis.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    curves : mapping of str to array (K,)
        Legend label to positive gradient sizes at lag 0, 1, ...
    lag : array (K,), optional
        The lags; 0 ... K-1 by default.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax``.

    Raises
    ------
    ValueError
        If a length does not match ``lag``.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from lstm_numba.plots import gradient_decay
    >>> ax = gradient_decay(Figure().subplots(), {"f = 0.5": [1.0, 0.5, 0.25]})
    >>> ax.get_yscale()
    'log'
    """
    for label, values in curves.items():
        positions = np.arange(len(values)) if lag is None else lag
        _same_length(f"curves[{label!r}]", values, "lag", positions)
        ax.plot(positions, values, label=label)
    ax.set_yscale("log")
    ax.set_xlabel("lag $k$ (steps back)")
    ax.set_ylabel("size of the gradient")
    ax.legend()
    return ax


def _same_length(name: str, values: Any, axis_name: str, axis: Any) -> None:
    if len(values) != len(axis):
        raise ValueError(f"{name} must have length {len(axis)} like {axis_name}, got {len(values)}")
