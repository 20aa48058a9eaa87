"""The LSTM cell, driven by hand: its mathematics, its controls, its accessibility and its directive.

The tests build a small site of their own with the book's theme, so they do not depend on the chapter that shows the
figure. `book_page` then opens that site, with its checks of console and network.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from lstm_numba import cells
from lstm_numba.reference.lstm import lstm_backward, lstm_forward
from tests.browser import book_site

ROOT = Path(__file__).resolve().parents[2]
EXT = ROOT / "book" / "_ext"
STATIC = ROOT / "book" / "_static"
GATES = "ifgo"


def _load_extension() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lstm_cell_figure", EXT / "lstm_cell_figure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


figure = _load_extension()

# ---------------------------------------------------------------------------------------------- a small site


def write_site(folder: Path, pages: dict[str, str]) -> Path:
    """Write sources: each page is the Markdown cell of a notebook, as in the book's chapters."""
    folder.mkdir()
    # Jupyter Book adds every script and style sheet of the static folder to every page; so does this site.
    assets = {ext: sorted(p.relative_to(STATIC).as_posix() for p in STATIC.rglob(f"*.{ext}")) for ext in ("css", "js")}
    settings = {
        "project": "The LSTM cell",
        "extensions": ["myst_nb", "lstm_cell_figure"],
        "nb_execution_mode": "off",
        "numfig": True,
        "language": "en",
        "myst_enable_extensions": ["dollarmath"],
        "html_theme": "sphinx_book_theme",
        "html_context": {"default_mode": "auto"},
        "html_theme_options": {"navbar_persistent": []},
        "html_static_path": [str(STATIC)],
        "html_favicon": str(STATIC / "favicon.svg"),
        "html_css_files": assets["css"],
        "html_js_files": assets["js"],
    }
    lines = ["import sys", f"sys.path.insert(0, {str(EXT)!r})", *(f"{k} = {v!r}" for k, v in settings.items())]
    (folder / "conf.py").write_text("\n".join(lines), encoding="utf-8")
    for name, text in pages.items():
        cell = {"cell_type": "markdown", "id": "only", "metadata": {}, "source": text}
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    return folder


def sphinx(source: Path, output: Path, builder: str) -> subprocess.CompletedProcess[str]:
    """Build with warnings as errors."""
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-b", builder, str(source), str(output)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


PAGES = {
    "index": "# A site\n\n## Nothing here\n\nA page without the figure.\n\n```{toctree}\none\ntwo\n```\n",
    "one": (
        "# One figure\n\n## Drive it\n\nSee {numref}`fig-leaky`.\n\n"
        "```{lstm-cell}\n:preset: leaky\n:step: 4\n:caption: A *leaky* average.\n:name: fig-leaky\n```\n"
    ),
    "two": "# Two figures\n\n## Side by side\n\n```{lstm-cell}\n```\n\n```{lstm-cell}\n:preset: latch\n```\n",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("lstm-cell")
    result = sphinx(write_site(folder / "source", PAGES), folder / "html", "html")
    assert result.returncode == 0, result.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def book_url(site: Path) -> Iterator[str]:
    """Let `book_page` open the small site instead of the book."""
    with book_site.serve(site) as url:
        yield url


@pytest.fixture
def page(book_page: Callable[..., Any]) -> Any:
    """The page with one figure: preset "leaky", step 4."""
    opened = book_page("one.html")
    opened.wait_for_selector(".lc-ready")
    return opened


def step_of(page: Any) -> int:
    return int(page.locator("input[id$=-step]").input_value())


def go_to(page: Any, step: int) -> None:
    page.locator("input[id$=-step]").fill(str(step))


def line(page: Any, name: str) -> str:
    return page.locator(f"[data-line={name}]").get_attribute("d")


def presets_in_javascript(page: Any) -> dict[str, Any]:
    return page.evaluate("LSTMCellFigure.presets")


# ---------------------------------------------------------------------------------------------- the mathematics


def some_sequences() -> list[tuple[dict[str, list[float]], float]]:
    """Every preset, and random sequences that reach far into saturation."""
    rng = np.random.default_rng(20)
    cases = [(preset.z, preset.c0) for preset in figure.PRESETS.values()]
    for n, spread in [(1, 1.0), (12, 2.0), (12, 6.0), (40, 30.0)]:
        cases.append(
            ({gate: (spread * rng.standard_normal(n)).tolist() for gate in GATES}, float(rng.standard_normal()))
        )
    return cases


def reference_run(z: dict[str, list[float]], c0: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return c, h and ∂c_T/∂c_0 of the NumPy reference, with weights that hand the pre-activations through."""
    x = np.array([z[gate] for gate in GATES]).T[:, None, :]  # (T, B=1, I=4): the gates are the inputs
    W_ih, W_hh = np.eye(4), np.zeros((4, 1))
    state = np.zeros((1, 1))
    y, c = [], [c0]
    for x_t in x:  # one step at a time, because the contract returns the last cell state only
        y_t, h_n, c_n, _ = lstm_forward(x_t[None], state, np.array([[c[-1]]]), W_ih, W_hh, None, None, False)
        y.append(float(y_t[0, 0, 0]))
        c.append(float(c_n[0, 0]))
        state = h_n
    y_all, _, _, cache = lstm_forward(x, np.zeros((1, 1)), np.array([[c0]]), W_ih, W_hh, None, None, True)
    np.testing.assert_allclose(y_all[:, 0, 0], y, rtol=1e-13, atol=1e-15)
    grads = lstm_backward(np.zeros_like(y_all), np.zeros((1, 1)), np.ones((1, 1)), cache, W_ih, W_hh)
    return np.array(c), np.array(y), float(grads[2][0, 0])


def test_three_implementations_agree(page: Any) -> None:
    """JavaScript, the directive and the package compute the same cell, to 1e-12."""
    for z, c0 in some_sequences():
        script = page.evaluate("([z, c0]) => LSTMCellFigure.simulate(z, c0)", [z, c0])
        static = figure.simulate(z, c0)
        c_reference, h_reference, dc0_reference = reference_run(z, c0)
        c = c0
        for t in range(1, len(z["f"]) + 1):
            *gates, c, h = cells.lstm_step(*(float(z[gate][t - 1]) for gate in GATES), c)
            for gate, value in zip(GATES, gates, strict=True):
                assert script[gate][t - 1] == pytest.approx(value, rel=1e-12, abs=1e-12)
                assert static.gates[gate][t - 1] == pytest.approx(value, rel=1e-12, abs=1e-12)
            assert script["c"][t] == pytest.approx(c, rel=1e-12, abs=1e-12)
            assert script["h"][t] == pytest.approx(h, rel=1e-12, abs=1e-12)
        for c_values, h_values in [(script["c"], script["h"]), (static.c, static.h)]:
            np.testing.assert_allclose(c_values, c_reference, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(h_values[1:], h_reference, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(script["dcT_dc"], static.dcT_dc, rtol=1e-12)
        assert script["dcT_dc"][0] == pytest.approx(dc0_reference, rel=1e-12)


def test_gradient_is_the_total_derivative(page: Any) -> None:
    """Restart at step t with c_t moved up and down: the end of the sequence moves as the figure says."""
    for z, c0 in some_sequences():
        slopes = page.evaluate(
            """([z, c0]) => {
                const run = LSTMCellFigure.simulate(z, c0), n = z.f.length, eps = 0.5;
                const from = (t, c) => LSTMCellFigure.simulate(
                    Object.fromEntries(Object.entries(z).map(([k, v]) => [k, v.slice(t)])), c).c[n - t];
                return run.dcT_dc.map((gradient, t) => [gradient, t === n ? 1 :
                    (from(t, run.c[t] + eps) - from(t, run.c[t] - eps)) / (2 * eps)]);
            }""",
            [z, c0],
        )
        for gradient, slope in slopes:  # c_T is affine in c_t, so a wide central difference has no truncation error
            assert gradient == pytest.approx(slope, rel=1e-9, abs=1e-13)


def test_half_life_halves(page: Any) -> None:
    """f to the power of the half-life is one half, also where f rounds to 1."""
    for z in (-6.0, 0.0, 1.0, math.log(9.0), 6.0):
        steps = page.evaluate("z => LSTMCellFigure.halfLife(z)", z)
        assert figure.sigmoid(z) ** steps == pytest.approx(0.5, rel=1e-12)
    assert page.evaluate("LSTMCellFigure.halfLife(0)") == pytest.approx(1.0, rel=1e-15)
    assert page.evaluate("LSTMCellFigure.halfLife(40)") == pytest.approx(math.log(2.0) * math.exp(40.0), rel=1e-12)


def test_presets_are_the_same_in_both_languages(page: Any) -> None:
    """The static picture shows what the live figure starts with."""
    scripted = presets_in_javascript(page)
    assert list(scripted) == list(figure.PRESETS)
    for key, preset in figure.PRESETS.items():
        assert scripted[key]["title"] == preset.title
        assert scripted[key]["c0"] == preset.c0
        for gate in GATES:
            assert scripted[key]["z"][gate] == pytest.approx(preset.z[gate], rel=1e-15, abs=0)


def test_simulate_refuses_bad_input(page: Any) -> None:
    """Nothing is cut or cast."""
    for change, message in [
        ("z.o = z.o.slice(1)", "z.o must be an array of 12 numbers"),
        ("z.g[3] = NaN", "z.g must hold finite numbers"),
        ("z.i[0] = '1'", "z.i must hold finite numbers"),
        ("c0 = Infinity", "c0 must be a finite number, got Infinity"),
    ]:
        answer = page.evaluate(
            f"""() => {{
                const z = JSON.parse(JSON.stringify(LSTMCellFigure.presets.bit.z)); let c0 = 0; {change};
                try {{ LSTMCellFigure.simulate(z, c0); return 'accepted'; }} catch (e) {{ return e.message; }}
            }}"""
        )
        assert message in answer


# ---------------------------------------------------------------------------------------------- the controls


def test_sliders_answer_the_keyboard(page: Any) -> None:
    """Tab reaches the forget gate's slider; an arrow key changes the gate, the drawing and the charts."""
    page.locator("select[id$=-preset]").focus()
    page.keyboard.press("Tab")  # start value
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.gate") == "f"
    before = {name: line(page, name) for name in ("c", "h", "grad")}
    width = page.locator("[data-flow=f]").evaluate("e => e.style.strokeWidth")
    assert "2.20" in page.locator(".lc-gate-f label").inner_text()
    page.keyboard.press("ArrowRight")
    assert "2.30" in page.locator(".lc-gate-f label").inner_text()
    value_text = page.locator("input[data-gate=f]").get_attribute("aria-valuetext")
    assert value_text == f"pre-activation 2.30, gate value {figure.sigmoid(2.3):.3f}"
    assert all(line(page, name) != before[name] for name in before)
    assert page.locator("[data-flow=f]").evaluate("e => e.style.strokeWidth") != width
    page.keyboard.press("Home")
    assert f"{figure.sigmoid(-6):.3f}" in page.locator("input[data-gate=f]").get_attribute("aria-valuetext")


def test_only_the_selected_step_is_edited(page: Any) -> None:
    """Step 5 keeps its value while step 4 is edited, until "Apply to all steps"."""
    page.locator("input[data-gate=i]").fill("3")
    go_to(page, 5)
    assert "−2.20" in page.locator(".lc-gate-i label").inner_text()
    go_to(page, 4)
    button = page.get_by_role("button", name="Apply to all steps for the input gate")
    button.focus()
    page.keyboard.press("Enter")
    for step in (1, 5, 12):
        go_to(page, step)
        assert "3.00" in page.locator(".lc-gate-i label").inner_text()
    assert "edited" in page.locator(".lc-hint").inner_text()
    page.get_by_role("button", name="Reset").click()
    assert step_of(page) == 1
    assert "−2.20" in page.locator(".lc-gate-i label").inner_text()
    assert "edited" not in page.locator(".lc-hint").inner_text()


def test_start_value(page: Any) -> None:
    """c_0 enters the belt: at f = 0.9 its effect at step 12 is 0.9 to the power 12."""
    page.locator(".lc-details summary").click()
    last = lambda: float(page.locator(".lc-table tbody tr").last.locator("td").nth(8).inner_text().replace("−", "-"))  # noqa: E731
    without = last()
    page.locator("input[id$=-c0]").fill("2")
    assert last() - without == pytest.approx(2 * 0.9**12, abs=1.1e-3)


def test_steps_by_button_keyboard_and_pointer(page: Any) -> None:
    """Back, Next, arrow keys and a click on the charts select a step, and the ends hold."""
    back, forward = page.get_by_role("button", name="Back"), page.get_by_role("button", name="Next")
    forward.click()
    assert step_of(page) == 5
    back.click()
    back.click()
    assert step_of(page) == 3
    page.locator("input[id$=-step]").focus()
    page.keyboard.press("ArrowRight")
    assert step_of(page) == 4
    page.keyboard.press("End")
    assert step_of(page) == 12
    assert forward.get_attribute("aria-disabled") == "true"
    forward.focus()
    page.keyboard.press("Enter")
    assert step_of(page) == 12
    assert page.evaluate("document.activeElement.dataset.action") == "forward"  # the focus stays
    page.keyboard.press("Shift+Tab")

    point = page.locator(".lc-strips [data-line=h] ~ circle").nth(6)  # h starts at step 1
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert step_of(page) == 7
    assert page.evaluate("document.activeElement.id.endsWith('-step')")
    assert page.locator(".lc-table tr[aria-current=step] th").text_content() == "7"
    page.keyboard.press("ArrowLeft")
    assert step_of(page) == 6


def test_step_slider_stands_under_its_column(page: Any) -> None:
    """The thumb's centre is under the selected column at both ends."""
    for step in (1, 12):
        go_to(page, step)
        band = page.locator(".lc-strips .lc-band").bounding_box()
        slider = page.locator("input[id$=-step]").bounding_box()
        thumb = slider["x"] + (10 if step == 1 else slider["width"] - 10)
        assert thumb == pytest.approx(band["x"] + band["width"] / 2, abs=1.5)


def test_play_and_pause(page: Any) -> None:
    """Play advances, Pause stops at once, and the end stops it too."""
    go_to(page, 1)
    page.get_by_role("button", name="Play").click()
    assert page.locator("[data-action=play]").inner_text() == "Pause"
    page.wait_for_function("Number(document.querySelector('input[id$=-step]').value) > 1")
    page.get_by_role("button", name="Pause").click()
    stopped = step_of(page)
    page.wait_for_timeout(1200)
    assert step_of(page) == stopped
    go_to(page, 11)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('[data-action=play]').innerText === 'Play'")
    assert step_of(page) == 12


def test_presets_show_what_python_computes(page: Any) -> None:
    """Every number of the table, and those of the equations, the drawing and the charts."""
    page.locator(".lc-details summary").click()
    for key, preset in figure.PRESETS.items():
        page.locator("select[id$=-preset]").select_option(key)
        run = figure.simulate(preset.z, preset.c0)
        rows = page.locator(".lc-table tbody tr").evaluate_all(
            "rows => rows.map((r) => [...r.cells].map((c) => c.textContent))"
        )
        assert len(rows) == figure.STEPS + 1
        assert rows[0] == ["0", *[""] * 8, figure.fixed(run.c[0]), "", figure.compact(run.dcT_dc[0]), ""]
        for t in range(1, figure.STEPS + 1):
            z = [figure.fixed(preset.z[gate][t - 1]) for gate in GATES]
            gates = [figure.fixed(run.gates[gate][t - 1]) for gate in GATES]
            states = [figure.fixed(run.c[t]), figure.fixed(run.h[t]), figure.compact(run.dcT_dc[t])]
            assert rows[t] == [str(t), *z, *gates, *states, figure.half_life_text(preset.z["f"][t - 1])]
        for step in (1, 7, 12):
            go_to(page, step)
            drawn = page.locator(".lc-cell").text_content()
            kept = run.gates["f"][step - 1] * run.c[step - 1]
            assert f"c{step} = {figure.fixed(run.c[step])}" in drawn
            assert f"c{step - 1} = {figure.fixed(run.c[step - 1])}" in drawn
            assert f"f·c{step - 1} = {figure.fixed(kept)}" in drawn
            c_sum, h_sum, half_life = page.locator(".lc-sums p").all_text_contents()
            assert c_sum.endswith(f" ≈ {figure.fixed(run.c[step], 4)}")
            assert h_sum.endswith(f" ≈ {figure.fixed(run.h[step], 4)}")
            assert f"≈ {figure.half_life_text(preset.z['f'][step - 1])} steps" in half_life
            assert f"∂c12/∂c{step} = {figure.compact(run.dcT_dc[step])}" in page.locator(".lc-strips").text_content()


def test_negative_values_are_dashed_not_only_coloured(page: Any) -> None:
    """At the minus of "latch and release" the belt is dashed; at its plus it is not."""
    page.locator("select[id$=-preset]").select_option("latch")
    dash = lambda: page.locator("[data-flow=cOut]").evaluate("e => getComputedStyle(e).strokeDasharray")  # noqa: E731
    go_to(page, 3)
    assert dash() == "none"
    go_to(page, 9)
    assert dash() != "none"


def test_two_figures_are_independent(book_page: Callable[..., Any]) -> None:
    """Ids are unique, every label finds its control, and editing one figure leaves the other alone."""
    page = book_page("two.html")
    page.wait_for_function("document.querySelectorAll('.lc-ready').length === 2")
    ids = page.locator("[id]").evaluate_all("nodes => nodes.map(n => n.id)")
    assert len(ids) == len(set(ids))
    figures = page.locator(".lstm-cell-figure")
    assert figures.nth(0).locator("select").input_value() == "bit"
    assert figures.nth(1).locator("select").input_value() == "latch"
    before = line(figures.nth(1), "c")
    figures.nth(0).locator("input[data-gate=g]").fill("-6")
    assert line(figures.nth(1), "c") == before


# ---------------------------------------------------------------------------------------------- accessibility


def test_screen_reader_hears_the_step(page: Any) -> None:
    """The live region says the numbers of the selected step."""
    go_to(page, 5)
    page.wait_for_function("document.querySelector('.lc-announcer').textContent.startsWith('Step 5 of 12')")
    preset = figure.PRESETS["leaky"]
    run = figure.simulate(preset.z, preset.c0)
    spoken = page.locator(".lc-announcer").text_content()
    assert page.locator(".lc-announcer").get_attribute("aria-live") == "polite"
    for number in (run.gates["f"][4], run.gates["i"][4], run.gates["g"][4], run.gates["o"][4], run.c[5], run.h[5]):
        assert figure.fixed(number) in spoken
    assert spoken in page.locator(".lc-cell").get_attribute("aria-label")
    charts = page.locator(".lc-strips").get_attribute("aria-label")
    assert ", ".join(figure.fixed(value, 2) for value in run.c) in charts
    assert ", ".join(map(figure.compact, run.dcT_dc)) in charts


def test_live_region_is_throttled(page: Any) -> None:
    """A slider dragged through thirty values is announced twice a second at most, and ends on the last value."""
    page.wait_for_function("document.querySelector('.lc-announcer').textContent !== ''")
    page.evaluate(
        """async () => {
            window.heard = 0;
            new MutationObserver(() => window.heard++).observe(document.querySelector('.lc-announcer'),
                {childList: true, characterData: true, subtree: true});
            const slider = document.querySelector('input[data-gate=g]'), start = performance.now();
            for (let k = 0; k < 30; k++) {
                slider.value = -3 + 0.1 * k; slider.dispatchEvent(new Event('input'));
                await new Promise((done) => setTimeout(done, 10));
            }
            window.dragged = performance.now() - start;
        }"""
    )
    page.wait_for_function(
        f"document.querySelector('.lc-announcer').textContent.includes('candidate {figure.fixed(math.tanh(-0.1))}')"
    )
    page.wait_for_timeout(700)  # every announcement that is still under way arrives
    heard, milliseconds = page.evaluate("[window.heard, window.dragged]")
    assert 1 <= heard <= 1 + milliseconds / 500 < 20


@pytest.mark.parametrize(("color_scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(book_page: Callable[..., Any], color_scheme: str, width: int) -> None:
    """With the table open, and with both ends of the sequence selected."""
    page = book_page("one.html", color_scheme=color_scheme, width=width)
    page.wait_for_selector(".lc-ready")
    page.locator(".lc-details summary").click()
    go_to(page, 12)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    # preload: axe would ask for the theme's imported style sheets at a wrong address
    options = {"preload": False, "resultTypes": ["violations"], "runOnly": {"type": "tag", "values": tags}}
    result = Axe().run(page, context="figure", options=options)
    assert result.violations_count == 0, result.generate_report()


def _luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2 for two opaque colours ``rgb(r, g, b)``."""
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_contrast_formula() -> None:
    """Black on white is 21:1, and #767676 on white is the well-known limit of 4.5:1."""
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21.0)
    assert contrast("rgb(118, 118, 118)", "rgb(255, 255, 255)") == pytest.approx(4.54, abs=0.01)


def test_both_themes_have_contrast(book_page: Callable[..., Any]) -> None:
    """axe does not judge SVG: text reaches 4.5:1, graphics 3:1, and the dark theme is another set of colours."""
    colours = {}
    for scheme in ("light", "dark"):
        page = book_page("one.html", color_scheme=scheme)
        page.wait_for_selector(".lc-ready")
        look = lambda selector, name, page=page: page.locator(selector).first.evaluate(  # noqa: E731
            "(e, name) => getComputedStyle(e)[name]", name
        )
        surface, ground = look(".lc-body", "fill"), look(".lc-live", "backgroundColor")
        for selector in (".lc-cell .lc-text", ".lc-cell .lc-muted", ".lc-strips .lc-text", ".lc-strips .lc-muted"):
            assert contrast(look(selector, "fill"), surface) >= 4.5
            assert contrast(look(selector, "fill"), ground) >= 4.5
        graphics = {name: look(f".lc-stroke-{name}", "stroke") for name in "figoch"}
        for name, colour in graphics.items():
            assert contrast(colour, surface) >= 3, (scheme, name, colour)
            assert contrast(colour, ground) >= 3, (scheme, name, colour)
        assert contrast(look(".lc-track", "stroke"), surface) >= 3
        colours[scheme] = {**graphics, "surface": surface, "ground": ground}
    assert all(colours["light"][name] != colours["dark"][name] for name in colours["light"])


def test_theme_button_recolours_the_running_figure(page: Any) -> None:
    """Changing the theme needs no reload."""
    fill = "getComputedStyle(document.querySelector('.lc-body')).fill"
    light = page.evaluate(fill)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert page.evaluate(fill) != light


def test_reduced_motion(book_page: Callable[..., Any]) -> None:
    """The lines change width without a transition for readers who ask for that, and with one otherwise."""
    duration = "getComputedStyle(document.querySelector('.lc-flow')).transitionDuration"
    seconds = {}
    for preference in ("reduce", "no-preference"):
        page = book_page("one.html", reduced_motion=preference)
        page.wait_for_selector(".lc-ready")
        seconds[preference] = float(page.evaluate(duration).removesuffix("s"))
    assert seconds["reduce"] == 0
    assert seconds["no-preference"] > 0


# ---------------------------------------------------------------------------------------------- layout


def test_phone_width(book_page: Callable[..., Any]) -> None:
    """At 390 px nothing scrolls sideways, sliders are stacked, text is at least 12 px and targets at least 24 px."""
    page = book_page("one.html", width=390, height=844)
    page.wait_for_selector(".lc-ready")
    page.locator(".lc-details summary").click()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    boxes = [page.locator(f"input[data-gate={gate}]").bounding_box() for gate in "figo"]
    assert all(box["width"] > 250 for box in boxes)
    assert [box["y"] for box in boxes] == sorted({box["y"] for box in boxes})
    sizes = page.locator(".lc-live").evaluate(
        """root => [...root.querySelectorAll('*')]
            .filter((e) => !e.classList.contains('lc-hidden'))
            .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
            .map((e) => [parseFloat(getComputedStyle(e).fontSize), e.outerHTML.slice(0, 100)])"""
    )
    assert len(sizes) > 100
    too_small = [entry for entry in sizes if entry[0] < 12 - 1e-6]
    assert not too_small
    for target in page.locator(".lc-live :is(button, select, summary, input)").all():
        box = target.bounding_box()
        assert min(box["width"], box["height"]) >= 24


COLLISIONS = """async () => {
    const figure = document.querySelector('.lc-live'), svg = figure.querySelector('.lc-cell'), bad = [];
    const preset = figure.querySelector('select'), step = figure.querySelector('input[id$=-step]');
    const inspect = (where) => {
        const width = svg.viewBox.baseVal.width;
        const labels = [...svg.querySelectorAll('text')].filter((e) => e.textContent)
            .map((e) => ({text: e.textContent, left: e.getBBox().x, right: e.getBBox().x + e.getBBox().width,
                          top: e.getBBox().y, foot: e.getBBox().y + e.getBBox().height}));
        labels.forEach((a, k) => {
            if (a.left < -0.5 || a.right > width + 0.5) bad.push(where + 'outside: ' + a.text);
            labels.slice(k + 1).forEach((b) => {
                const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                const down = Math.min(a.foot, b.foot) - Math.max(a.top, b.top);
                // boxes of two lines may overlap by the leading; ink may not
                if (across > 0 && down > 6) bad.push(where + a.text + ' | ' + b.text);
            });
        });
        return labels.length;
    };
    let seen = 0;
    for (const option of preset.options) {
        preset.value = option.value;
        preset.dispatchEvent(new Event('change'));
        for (let t = 1; t <= 12; t++) {
            step.value = t;
            step.dispatchEvent(new Event('input'));
            seen += inspect(option.value + ' ' + t + ': ');
        }
    }
    return [seen, bad];
}"""


def test_labels_never_collide(page: Any) -> None:
    """In every preset and step the labels of the drawing stay inside it and apart from each other."""
    for width in (1280, 768, 640, 390, 340):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(
            "Math.abs(document.querySelector('.lc-cell').clientWidth + "
            "2 * parseFloat(getComputedStyle(document.querySelector('.lc-live')).paddingLeft) - "
            "document.querySelector('.lc-live').clientWidth) < 2"
        )
        seen, collisions = page.evaluate(COLLISIONS)
        assert seen > 14 * 12 * len(figure.PRESETS)
        assert not collisions, (width, collisions[:10], len(collisions))


def test_layout_follows_the_window(page: Any) -> None:
    """Turning a phone redraws the cell at the new width and keeps the state."""
    go_to(page, 8)
    wide = page.locator(".lc-cell").bounding_box()["width"]
    page.set_viewport_size({"width": 420, "height": 800})
    page.wait_for_selector(".lc-narrow")
    assert page.locator(".lc-cell").bounding_box()["width"] < wide
    assert step_of(page) == 8


# ---------------------------------------------------------------------------------------------- without the script


def test_without_javascript_the_static_picture_is_shown(browser: Any, book_url: str) -> None:
    """And it carries its numbers in words."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(book_url + "one.html")
    picture = page.locator(".lstm-cell-static svg")
    assert picture.is_visible()
    assert page.locator(".lc-live").count() == 0
    assert picture.get_attribute("role") == "img"
    assert picture.get_attribute("aria-label") == figure.describe(figure.PRESETS["leaky"], 4)
    context.close()


def test_script_that_never_arrives_leaves_the_static_picture(browser: Any, book_url: str) -> None:
    """The picture is held back for a moment, so that it does not flash, and then shown."""
    context = browser.new_context()
    page = context.new_page()
    page.route("**/lstm-cell.js*", lambda route: route.abort())
    page.goto(book_url + "one.html")
    page.locator(".lstm-cell-static svg").wait_for(state="visible", timeout=10_000)
    assert page.locator(".lc-live").count() == 0
    context.close()


def test_print_shows_the_static_picture(page: Any) -> None:
    """Controls are no use on paper."""
    static, live = page.locator(".lstm-cell-static"), page.locator(".lc-live")
    assert live.is_visible()
    assert not static.is_visible()
    page.emulate_media(media="print")
    assert static.is_visible()
    assert not live.is_visible()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ('data-preset="nonsense"', 'data-preset must be one of bit, latch, leaky, zero, bias, blocked, got "nonsense"'),
        ('data-step="13"', 'data-step must be a whole number from 1 to 12, got "13"'),
        ('data-step="two"', 'data-step must be a whole number from 1 to 12, got "two"'),
    ],
)
def test_wrong_attribute_is_reported_and_the_picture_stays(
    browser: Any, tmp_path: Path, attributes: str, message: str
) -> None:
    """The figure also runs from a plain file; a wrong attribute is named, and the static picture is shown."""
    svg = figure.draw(figure.PRESETS["bit"], 2).to_svg("The picture")
    (tmp_path / "page.html").write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>t</title>'
        f"<style>{(STATIC / 'lstm-cell.css').read_text(encoding='utf-8')}</style>"
        f"<script>{(STATIC / 'lstm-cell.js').read_text(encoding='utf-8')}</script></head><body>"
        f'<div class="lstm-cell-figure" {attributes}><div class="lstm-cell-static">{svg}</div></div>'
        f'<div class="lstm-cell-figure"></div></body></html>',
        encoding="utf-8",
    )
    context = browser.new_context()
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda entry: errors.append(entry.text) if entry.type == "error" else None)
    page.goto((tmp_path / "page.html").as_uri())
    assert errors == [f"lstm-cell: {message}"]
    assert page.locator(".lstm-cell-static").first.is_visible()
    assert page.locator(".lc-failed .lc-live").count() == 0
    assert page.locator(".lstm-cell-figure").nth(1).locator(".lc-live").is_visible()
    context.close()


def test_page_without_the_figure_is_left_alone(book_page: Callable[..., Any]) -> None:
    """The script is on every page and does nothing there."""
    page = book_page("index.html")
    assert page.evaluate("typeof LSTMCellFigure.simulate") == "function"
    assert page.locator(".lstm-cell-figure, [class^='lc-']").count() == 0


# ---------------------------------------------------------------------------------------------- the directive


def test_directive_makes_a_numbered_figure(site: Path) -> None:
    """Caption, name, number and cross-reference are those of any other figure."""
    html = (site / "one.html").read_text(encoding="utf-8")
    assert re.search(r'<figure[^>]* id="fig-leaky"', html)
    assert 'data-preset="leaky" data-step="4"' in html
    assert "A <em>leaky</em> average." in html
    assert re.search(r'href="#fig-leaky"><span class="std std-numref">Fig\. 1</span>', html)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (":preset: nonsense", '"nonsense" unknown; choose from "bit"'),
        (":step: 13", "step must be from 1 to 12, got 13"),
    ],
)
def test_directive_refuses_wrong_options(tmp_path: Path, option: str, message: str) -> None:
    """A typing error in a chapter breaks the build and says what is possible."""
    source = write_site(tmp_path / "source", {"index": f"# Page\n\n```{{lstm-cell}}\n{option}\n```\n"})
    result = sphinx(source, tmp_path / "out", "text")
    assert result.returncode != 0
    assert message in result.stderr


def test_other_builders(tmp_path: Path) -> None:
    """LaTeX includes a PDF with the picture, plain text has the description; captions may hold formulas."""
    text = "# Page\n\n```{lstm-cell}\n:preset: bias\n:step: 3\n:caption: With $f < 1$.\n```\n"
    source = write_site(tmp_path / "source", {"index": text})
    assert sphinx(source, tmp_path / "latex", "latex").returncode == 0
    tex = next((tmp_path / "latex").glob("*.tex")).read_text(encoding="utf-8")
    assert r"\sphinxincludegraphics[width=\linewidth]{lstm-cell-bias-3.pdf}" in tex
    assert r"\caption{With \(f < 1\).}" in tex
    assert (tmp_path / "latex" / "lstm-cell-bias-3.pdf").read_bytes().startswith(b"%PDF-")
    assert sphinx(source, tmp_path / "text", "text").returncode == 0
    words = " ".join((tmp_path / "text" / "index.txt").read_text(encoding="utf-8").split())
    assert figure.describe(figure.PRESETS["bias"], 3) in words


@pytest.mark.parametrize("key", figure.PRESETS)
def test_static_picture_is_valid_and_complete(key: str) -> None:
    """Well-formed SVG for every step, everything inside its frame, all of it described."""
    from xml.etree import ElementTree

    preset = figure.PRESETS[key]
    for step in range(1, figure.STEPS + 1):
        scene = figure.draw(preset, step)
        tree = ElementTree.fromstring(scene.to_svg(figure.describe(preset, step)))
        texts = ["".join(node.itertext()) for node in tree.iter("{http://www.w3.org/2000/svg}text")]
        run = figure.simulate(preset.z, preset.c0)
        assert f"c{step} = {figure.fixed(run.c[step])}" in texts
        assert f"gradient ∂c12/∂c{step} = {figure.compact(run.dcT_dc[step])}" in texts
        assert [texts.count(f"{gate} = {figure.fixed(run.gates[gate][step - 1])}") for gate in GATES] == [1] * 4
        for node in tree.iter("{http://www.w3.org/2000/svg}polyline"):
            for pair in node.get("points").split():
                x, y = map(float, pair.split(","))
                assert -0.01 <= x <= scene.width + 0.01
                assert -0.01 <= y <= scene.height + 0.01
