"""Figures: alternative text is obligatory, colours follow the page, ids do not collide."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")

import matplotlib.pyplot as plt

from lstm_numba import plots

ALT = "A line that falls from one to a quarter in two steps."
STYLE_SHEET = Path(__file__).parents[1] / "book" / "_static" / "teaching.css"
LIGHT_PAGE, DARK_PAGE = "#ffffff", "#14181e"


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context():
        plots.use_style()
        yield
    plt.close("all")


def line_figure():
    fig, ax = plt.subplots()
    ax.plot([0, 1, 2], [1.0, 0.5, 0.25], label="$c_t$")
    ax.set(xlabel="time step", title="Decay")
    ax.legend()
    return fig


def svg_root(markup):
    svg = markup[markup.index("<svg") : markup.rindex("</svg>") + len("</svg>")]
    return ElementTree.fromstring(svg)


def contrast(one, other):
    def luminance(colour):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# ---------------------------------------------------------------- alternative text


@pytest.mark.parametrize(
    ("alt", "message"),
    [
        ("", "in words"),
        ("   \n ", "in words"),
        (None, "in words"),
        ("Too short a text", "20 to 600 characters, got 16"),
        ("x" * 601, "20 to 600 characters, got 601"),
        ("_build/jupyter_execute/figures/chapter_23_1.png", "not name a file"),
        ("The gradient of chapter two point three.SVG", "not name a file"),
    ],
)
def test_a_figure_without_a_description_is_refused(alt, message):
    with pytest.raises(ValueError, match=message):
        plots.figure(line_figure(), alt)


def test_alt_has_no_default():
    with pytest.raises(TypeError, match="alt"):
        plots.figure(line_figure())


def test_the_description_is_the_accessible_name_of_the_image():
    alt = "Two curves \"a\" & 'b' where a < b,\n      at every one of the forty steps."
    root = svg_root(plots.figure_html(line_figure(), alt))
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Two curves \"a\" & 'b' where a < b, at every one of the forty steps."


@pytest.mark.parametrize("name", ["decay", "fig-", "fig-Decay", "fig-a b", "fig-a--b"])
def test_a_bad_name_is_refused(name):
    with pytest.raises(ValueError, match="fig-gradient-decay"):
        plots.figure_html(line_figure(), ALT, name=name)


def test_something_else_than_a_figure_is_refused():
    _, ax = plt.subplots()
    with pytest.raises(TypeError, match="got Axes"):
        plots.figure_html(ax, ALT)


# ---------------------------------------------------------------- markup


def test_the_figure_is_closed_and_does_not_appear_twice():
    fig = line_figure()
    plots.figure(fig, ALT)
    assert not plt.fignum_exists(fig.number)


def test_without_a_notebook_the_description_is_printed(capsys):
    plots.figure(line_figure(), ALT)
    assert capsys.readouterr().out == f"[Figure: {ALT}]\n"


def test_caption_and_name():
    markup = plots.figure_html(line_figure(), ALT, caption="What is left of $c_0$ & `c`", name="fig-decay")
    assert markup.startswith('<figure class="ln-figure" id="fig-decay">')
    assert r"What is left of \(c_0\) &amp; <code>c</code></figcaption></figure>" in markup
    assert "figcaption" not in plots.figure_html(line_figure(), ALT)


def test_markup_is_well_formed():
    class Balance(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attrs):
            self.open.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    balance = Balance()
    balance.feed(plots.figure_html(line_figure(), ALT, caption="A **caption**"))
    assert balance.open == []


def test_figures_on_one_page_share_no_ids():
    first = plots.figure_html(line_figure(), ALT)
    second = plots.figure_html(line_figure(), ALT.replace("quarter", "fifth"))
    ids = [set(re.findall(r'\bid="([^"]+)"', markup)) for markup in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize("draw", ["line", "image", "bars"])
def test_references_inside_a_drawing_lead_somewhere(draw):
    fig, ax = plt.subplots()
    if draw == "line":
        ax.plot(np.sin(np.arange(50)))
    elif draw == "image":
        fig.colorbar(ax.imshow(np.eye(4)), label="weight")
    else:
        ax.bar([1, 2], [3, 4], hatch="//")
    markup = plots.figure_html(fig, ALT)
    ids = set(re.findall(r'\bid="([^"]+)"', markup))
    used = set(re.findall(r"url\(#([^)]+)\)", markup)) | set(re.findall(r'href="#([^"]+)"', markup))
    assert used
    assert used <= ids


def test_the_same_figure_gives_the_same_markup():
    assert plots.figure_html(line_figure(), ALT) == plots.figure_html(line_figure(), ALT)


def test_images_are_embedded():
    fig, ax = plt.subplots()
    ax.imshow(np.arange(12.0).reshape(3, 4))
    assert "data:image/png;base64," in plots.figure_html(fig, ALT)


def test_the_drawing_shrinks_with_the_page():
    root = svg_root(plots.figure_html(line_figure(), ALT))
    assert root.get("width") is None
    assert root.get("height") is None
    assert root.get("viewBox")
    width = float(re.search(r"max-width:(\d+)px", root.get("style")).group(1))
    assert width == pytest.approx(5.6 * 96, rel=0.05)


# ---------------------------------------------------------------- colours


def test_palette_becomes_css_variables_and_text_follows_the_page():
    fig, ax = plt.subplots()
    for name in ("BLUE", "ORANGE", "GREEN", "RED", "PURPLE", "GREY"):
        ax.plot([0, 1], color=getattr(plots, name))
    ax.text(0.5, 0.5, "label", bbox={"facecolor": plots.SURFACE})
    markup = plots.figure_html(fig, ALT)
    for name, colour in plots.COLOURS.items():
        assert f"stroke: var(--ln-{name}, {colour.light})" in markup
    assert "currentColor" in markup
    assert "fill: var(--ln-surface, transparent)" in markup
    left = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"var\(--ln-\w+, #[0-9a-f]{6}\)", "", markup)))
    assert left == set(), "colours that would not follow the page"


def test_black_follows_the_page_too():
    fig, ax = plt.subplots()
    ax.text(0.5, 0.5, "label", color="black")
    ax.plot([0, 1], color="k")
    markup = plots.figure_html(fig, ALT)
    assert "#000000" not in markup
    assert svg_root(markup).get("fill") == "currentColor"


def test_there_is_no_background():
    markup = plots.figure_html(line_figure(), ALT)
    assert "#ffffff" not in markup
    assert re.search(r'id="[^"]*-patch_1">\s*<path[^>]*style="fill: none', markup)


@pytest.mark.parametrize("name", plots.COLOURS)
def test_colours_stand_out_from_both_pages(name):
    colour = plots.COLOURS[name]
    assert contrast(colour.light, LIGHT_PAGE) >= 3
    assert contrast(colour.dark, DARK_PAGE) >= 3
    # The light value is also what JupyterLab and Colab show, in light and dark mode alike.
    assert contrast(colour.light, DARK_PAGE) >= 3


def test_style_sheet_has_the_same_colours():
    css = STYLE_SHEET.read_text(encoding="utf-8")
    rules = {
        selector.strip(): dict(re.findall(r"--ln-(\w+):\s*(#[0-9a-f]{6});", body))
        for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL))
    }
    assert rules[":root"] == {name: colour.light for name, colour in plots.COLOURS.items()}
    assert rules['html[data-theme="dark"]'] == {name: colour.dark for name, colour in plots.COLOURS.items()}


def test_curves_differ_by_more_than_colour():
    _, ax = plt.subplots()
    lines = [ax.plot([0, 1], [k, k])[0] for k in range(len(plots.COLOURS))]
    for look in ("get_color", "get_linestyle", "get_marker", "_dash_pattern"):
        values = [getattr(line, look)() if look.startswith("get") else str(line._dash_pattern) for line in lines]
        if look != "get_linestyle":  # Matplotlib reports custom dashes as "--"
            assert len(set(values)) == len(lines), look


def test_gates_differ_by_more_than_colour():
    for look in ("color", "marker"):
        assert len({style[look] for style in plots.GATE_STYLES.values()}) == len(plots.GATE_STYLES)
    gates = [plots.GATE_STYLES[gate] for gate in "ifgo"]
    assert len({style["linestyle"] for style in gates}) == 4


# ---------------------------------------------------------------- shared drawings


def test_gate_traces_draws_every_gate_in_its_look():
    _, ax = plt.subplots()
    gates = {"i": np.full(5, 0.2), "f": np.full(5, 0.9), "c": np.arange(5.0)}
    assert plots.gate_traces(ax, gates) is ax
    for line, (key, values) in zip(ax.get_lines(), gates.items(), strict=True):
        assert line.get_label() == f"${key}_t$"
        assert line.get_color() == plots.GATE_STYLES[key]["color"]
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4, 5])
        np.testing.assert_array_equal(line.get_ydata(), values)


@pytest.mark.parametrize(
    ("gates", "t", "message"),
    [
        ({}, None, "at least one"),
        ({"q": [1.0]}, None, "unknown keys"),
        ({"i": [1.0, 2.0], "f": [1.0]}, None, "one length"),
        ({"i": [[1.0, 2.0]]}, None, "one-dimensional"),
        ({"i": [1.0, 2.0]}, [1.0], r"t must have shape \(2,\)"),
    ],
)
def test_gate_traces_refuses(gates, t, message):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=message):
        plots.gate_traces(ax, gates, t)


def test_forecast_plot_draws_history_truth_interval_and_forecasts():
    _, ax = plt.subplots()
    past, future = np.arange(10), np.arange(10, 14)
    forecasts = {"naive": np.ones(4), "LSTM": np.arange(4.0)}
    plots.forecast_plot(
        ax, past, np.sin(past), future, forecasts, y_future=np.zeros(4), interval=(-np.ones(4), np.ones(4))
    )
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["history", "observed", "interval", "naive", "LSTM"]
    origin = ax.get_lines()[-1].get_xdata()
    np.testing.assert_array_equal(origin, [9, 9])


def test_forecast_plot_takes_dates():
    _, ax = plt.subplots()
    past = np.arange("2026-01-01", "2026-01-05", dtype="datetime64[D]")
    plots.forecast_plot(ax, past, np.arange(4), past + np.timedelta64(4, "D"), {"naive": np.full(4, 3)})
    assert len(ax.get_lines()) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_past": [1.0]}, "y_past must have length 2 like t_past, got 1"),
        ({"forecasts": {}}, "at least one"),
        ({"forecasts": {"a": [1.0, 2.0]}}, r"forecasts\['a'\] must have length 1"),
        ({"y_future": [1.0, 2.0]}, "y_future must have length 1"),
        ({"interval": ([1.0], [1.0, 2.0])}, r"interval\[1\] must have length 1"),
    ],
)
def test_forecast_plot_refuses(changes, message):
    _, ax = plt.subplots()
    good = {"t_past": [0, 1], "y_past": [1.0, 2.0], "t_future": [2], "forecasts": {"naive": [2.0]}}
    with pytest.raises(ValueError, match=message):
        plots.forecast_plot(ax, **(good | changes))


def test_gradient_decay():
    _, ax = plt.subplots()
    plots.gradient_decay(ax, {"f = 0.5": [1, 0.5], "f = 0.9": [1, 0.9]})
    assert ax.get_yscale() == "log"
    with pytest.raises(ValueError, match="must have length 3 like lag"):
        plots.gradient_decay(ax, {"a": [1, 0.5]}, lag=[0, 1, 2])


def test_the_package_does_not_need_matplotlib():
    code = "import sys, lstm_numba, lstm_numba.teaching; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
