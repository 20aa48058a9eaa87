"""Tables say what they are, keep their shape, escape what they hold, and print in plain Python."""

import re
from html.parser import HTMLParser

import pytest

from lstm_numba.teaching import table
from lstm_numba.teaching.tables import table_markup

ROWS = [["RNN", 1234, "0.25", "3·10⁻⁸"], ["LSTM", -5, "98 %", "–"]]
HEADER = ["model", "count", "share", "size $u$"]


class Reader(HTMLParser):
    """What a browser would see: the tags that are open at each text, and whether every tag is closed."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1], data))


def of(page: Reader, tag: str) -> list[dict[str, str | None]]:
    return [attributes for name, attributes in page.attributes if name == tag]


def test_the_markup_is_closed_and_says_what_it_is():
    page = Reader(table_markup(ROWS, header=HEADER, caption="Sizes of `W` in $m^2$"))
    assert page.open == []
    assert [a.get("scope") for a in of(page, "th")] == ["col"] * 4 + ["row"] * 2
    assert len(of(page, "tr")) == 3
    assert len(of(page, "td")) == 6
    (box,) = of(page, "div")
    assert box["role"] == "region"
    assert box["tabindex"] == "0"
    assert box["aria-label"] == "Sizes of W in m^2"
    assert ("code", "W") in page.texts
    assert "dataframe" in of(page, "table")[0]["class"]


def test_the_label_names_a_table_without_a_visible_title():
    page = Reader(table_markup(ROWS, header=HEADER, label='Models "and" <sizes>'))
    assert not of(page, "caption")
    assert of(page, "div")[0]["aria-label"] == 'Models "and" <sizes>'


def test_columns_of_numbers_are_flush_right_and_all_others_left():
    page = Reader(table_markup([[*row, "0.1 (seed 3)"] for row in ROWS], header=[*HEADER, "note"], label="x"))
    alignments = [re.search(r"text-align:(\w+)", a["style"])[1] for a in of(page, "th")[:5]]
    assert alignments == ["left", "right", "right", "right", "left"]
    numbers_first = Reader(table_markup([[1, 2], [10, 20]], header=["step", "value"], label="x"))
    assert "text-align:left" in of(numbers_first, "th")[0]["style"]


@pytest.mark.parametrize(("wrap", "spacing"), [(False, "nowrap"), (True, "normal")])
def test_wrapping_is_a_choice(wrap, spacing):
    markup = table_markup(ROWS, header=HEADER, label="x", wrap=wrap)
    assert set(re.findall(r"white-space:(\w+)", markup)) == {spacing}


def test_entries_are_escaped():
    markup = table_markup([["<script>", "a & b"]], header=["<b>", "c"], label="x")
    assert "<script>" not in markup
    assert "a &amp; b" in markup


def test_an_empty_corner_is_not_a_header():
    assert len(of(Reader(table_markup([["a", 1]], header=["", "b"], label="x")), "th")) == 2


def test_no_rows_is_a_table_too():
    assert len(of(Reader(table_markup([], header=["a", "b"], label="x")), "tr")) == 1


def test_rows_may_be_an_iterator(capsys):
    table((row for row in ROWS), header=HEADER, caption="Sizes")
    assert capsys.readouterr().out.splitlines() == [
        "Sizes",
        "model | count | share | size $u$",
        "RNN   | 1234  | 0.25  | 3·10⁻⁸",
        "LSTM  | -5    | 98 %  | –",
    ]


@pytest.mark.parametrize(
    ("rows", "titles", "message"),
    [
        (ROWS, {}, "needs a caption"),
        (ROWS, {"caption": ""}, "needs a caption"),
        ([["RNN", 1]], {"label": "x"}, "row 0 has 2 entries, the header has 4"),
        ([*ROWS, ["GRU", 1, 2, 3, 4]], {"label": "x"}, "row 2 has 5 entries"),
    ],
)
def test_what_cannot_be_shown_is_refused(rows, titles, message):
    with pytest.raises(ValueError, match=message):
        table_markup(rows, header=HEADER, **titles)
