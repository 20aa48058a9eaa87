"""Quizzes are complete, and their HTML works without a script."""

from html.parser import HTMLParser

import pytest

from lstm_numba.teaching import Option, Question, quiz
from lstm_numba.teaching.quizzes import quiz_html

RIGHT = Option("$f_t$", True, "It scales $c_{t-1}$.")
WRONG = Option("`o` < 1", False, "It decides what is *shown*.")


class Tree(HTMLParser):
    """Counts elements and insists that they are closed in order."""

    def __init__(self, markup):
        super().__init__()
        self.open, self.counts = [], {}
        self.feed(markup)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Option("", True, "why"), "text of an option"),
        (lambda: Option("text", True, " "), "needs a why"),
        (lambda: Question("", [RIGHT, WRONG]), "prompt"),
        (lambda: Question("Which?", [RIGHT]), "2 to 26 options"),
        (lambda: Question("Which?", [WRONG, Option("g", False, "No.")]), "no correct option"),
        (lambda: Question("Which?", [RIGHT, RIGHT]), "two equal options"),
        (lambda: quiz("Gates", []), "at least one question"),
        (lambda: quiz("", [Question("Which?", [RIGHT, WRONG])]), "title"),
    ],
)
def test_incomplete_quizzes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_correct_is_a_bool():
    with pytest.raises(TypeError, match="True or False"):
        Option("f", "yes", "why")


def test_every_option_opens_and_explains():
    markup = quiz_html("Gates", [Question("Which?", [RIGHT, WRONG]), Question("And which?", [WRONG, RIGHT])])
    tree = Tree(markup)
    assert tree.counts["details"] == tree.counts["summary"] == 4
    assert markup.count("✓ Right.") == markup.count("✗ Not this one.") == 2
    assert "script" not in tree.counts
    assert "<code>o</code> &lt; 1</summary>" in markup
    assert markup.count("<strong>A.</strong> ") == markup.count("<strong>B.</strong> ") == 2


def test_nothing_is_open_at_first():
    assert "<details open" not in quiz_html("Gates", [Question("Which?", [RIGHT, WRONG])])


def test_the_section_is_named_by_its_title():
    markup = quiz_html("Gates & <states>", [Question("Which?", [RIGHT, WRONG])])
    assert 'aria-labelledby="quiz-gates-states"' in markup
    assert 'id="quiz-gates-states"><strong>Gates &amp; &lt;states&gt;</strong>' in markup


def test_several_right_answers_are_announced():
    several = Question("Which?", [RIGHT, WRONG, Option("$i_t$", True, "Also.")])
    assert "2 answers are right" in quiz_html("Gates", [several])
    assert "answers are right" not in quiz_html("Gates", [Question("Which?", [RIGHT, WRONG])])


def test_maths_asks_for_mathjax():
    markup = quiz_html("Gates", [Question("Which?", [RIGHT, WRONG])])
    assert 'class="ln-quiz tex2jax_process"' in markup
    assert r"\(c_{t-1}\)" in markup


def test_without_a_notebook_a_line_is_printed(capsys):
    quiz("Gates", [Question("Which?", [RIGHT, WRONG])])
    assert capsys.readouterr().out == "[Quiz: Gates, 1 question]\n"
