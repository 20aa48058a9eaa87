"""Short texts become safe HTML; numbers are formatted and glued under valid names."""

import numpy as np
import pytest

from lstm_numba.teaching import glue
from lstm_numba.teaching.numbers import format_number
from lstm_numba.teaching.text import inline_html


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("`x @ W.T`", "<code>x @ W.T</code>"),
        ("`a < b`", "<code>a &lt; b</code>"),
        ("`*args` and `**kwargs`", "<code>*args</code> and <code>**kwargs</code>"),
        ("$a < b$", r"\(a &lt; b\)"),
        ("$W^* h^*$", r"\(W^* h^*\)"),
        ("$c_t$ and $h_t$", r"\(c_t\) and \(h_t\)"),
        (r"it costs \$5 or \$6", "it costs $5 or $6"),
        ("one $ alone", "one $ alone"),
        ("from $5 to $6", "from $5 to $6"),
        ("**all** of *it*", "<strong>all</strong> of <em>it</em>"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("2*3*4", "2*3*4"),
        ("plain", "plain"),
    ],
)
def test_inline_html(text, markup):
    assert inline_html(text) == markup


@pytest.mark.parametrize(
    ("value", "fmt", "text"),
    [
        (1 / 3, None, "0.3333"),
        (1.5e-12, None, "1.5e-12"),
        (np.float32(0.25), None, "0.25"),
        (np.array(2.5), ".2f", "2.50"),
        (12345, None, "12345"),
        (12345, ",", "12,345"),
        (np.int64(7), None, "7"),
        (True, None, "True"),
        ("LSTM", None, "LSTM"),
        (0.123, ".0%", "12%"),
        (3, lambda n: "three" if n == 3 else str(n), "three"),
    ],
)
def test_format_number(value, fmt, text):
    assert format_number(value, fmt) == text


@pytest.mark.parametrize("name", ["", "Max-Error", "max error", "max_error", "-a", "a--b", "a:b", None])
def test_glue_refuses_names_that_prose_cannot_quote(name):
    with pytest.raises(ValueError, match="lower-case words"):
        glue(name, 1.0)


@pytest.mark.parametrize("value", ["", "  ", "two\nlines", np.zeros((3, 3))])
def test_glue_refuses_what_is_not_one_line(value):
    with pytest.raises(ValueError, match="one line"):
        glue("value", value)


def test_glue_prints_what_the_prose_will_say(capsys, monkeypatch):
    glue("max-error", 1.2345e-11, ".1e")
    assert capsys.readouterr().out == "max-error = 1.2e-11\n"
    monkeypatch.setenv("LSTM_NUMBA_BOOK", "1")  # there the prose says it
    glue("max-error", 1.2345e-11, ".1e")
    assert "max-error" not in capsys.readouterr().out
