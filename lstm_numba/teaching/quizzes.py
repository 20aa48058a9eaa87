"""``quiz``: questions with feedback that need neither a kernel nor JavaScript.

Every option is an HTML ``<details>`` element: opening it answers the question and says why. That works with the
keyboard and with a screen reader, in the book, in JupyterLab, in Colab and on paper.
"""

import html
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from lstm_numba.teaching.display import show
from lstm_numba.teaching.text import inline_html

__all__ = ["Option", "Question", "quiz", "quiz_html"]


@dataclass(frozen=True)
class Option:
    """One possible answer.

    Parameters
    ----------
    text : str
        The answer. Code in back-ticks, ``$maths$``, ``*emphasis*`` and ``**strong**`` are allowed.
    correct : bool
        Whether it is right.
    why : str
        Shown when the reader opens the option: why it is right, or which misconception it comes from.

    Raises
    ------
    ValueError
        If ``text`` or ``why`` is empty.
    TypeError
        If ``correct`` is not a bool.

    Examples
    --------
    >>> from lstm_numba.teaching import Option
    >>> Option("The forget gate", True, "It multiplies $c_{t-1}$.").correct
    True
    """

    text: str
    correct: bool
    why: str

    def __post_init__(self) -> None:
        if not isinstance(self.correct, bool):
            raise TypeError(f"correct must be True or False, got {self.correct!r}")
        if not self.text.strip():
            raise ValueError("text of an option must not be empty")
        if not self.why.strip():
            raise ValueError(f"option {self.text!r} needs a why: feedback for the reader who picks it")


@dataclass(frozen=True)
class Question:
    """A question with two or more options, at least one of them correct.

    Parameters
    ----------
    prompt : str
        The question.
    options : sequence of Option
        The possible answers, in the order in which they are shown.

    Raises
    ------
    ValueError
        If the prompt is empty, there are fewer than two options, two options are equal, or none is correct.

    Examples
    --------
    >>> from lstm_numba.teaching import Option, Question
    >>> question = Question("Which gate erases?", [
    ...     Option("f", True, "It scales the old cell state."),
    ...     Option("o", False, "It decides what is shown, and erases nothing."),
    ... ])
    >>> len(question.options)
    2
    """

    prompt: str
    options: Sequence[Option]

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise ValueError("prompt must not be empty")
        texts = [option.text for option in self.options]
        if not 2 <= len(texts) <= len(string.ascii_uppercase):
            raise ValueError(f"question {self.prompt!r} needs 2 to 26 options (A to Z), got {len(texts)}")
        if len(set(texts)) != len(texts):
            raise ValueError(f"question {self.prompt!r} has two equal options")
        if not any(option.correct for option in self.options):
            raise ValueError(f"question {self.prompt!r} has no correct option")


def quiz(title: str, questions: Sequence[Question]) -> None:
    """Show a quiz.

    Parameters
    ----------
    title : str
        What the quiz is about.
    questions : sequence of Question
        The questions, numbered from 1.

    Raises
    ------
    ValueError
        If there is no question or the title is empty.

    Examples
    --------
    >>> from lstm_numba.teaching import Option, Question, quiz
    >>> quiz("Gates", [Question("Which gate erases?", [
    ...     Option("f", True, "It scales the old cell state."),
    ...     Option("o", False, "It decides what is shown."),
    ... ])])
    [Quiz: Gates, 1 question]
    """
    markup = quiz_html(title, questions)
    count = f"{len(questions)} question{'s' if len(questions) != 1 else ''}"
    show({"text/html": markup, "text/plain": f"[Quiz: {title}, {count}]"})


def quiz_html(title: str, questions: Sequence[Question]) -> str:
    r"""Return the HTML that :func:`quiz` shows.

    Parameters
    ----------
    title : str
        What the quiz is about.
    questions : sequence of Question
        The questions.

    Returns
    -------
    str
        One ``<section>``.

    Raises
    ------
    ValueError
        If there is no question or the title is empty.

    Examples
    --------
    >>> from lstm_numba.teaching import Option, Question
    >>> from lstm_numba.teaching.quizzes import quiz_html
    >>> markup = quiz_html("Gates", [Question("Range of $f$?", [
    ...     Option("$(0, 1)$", True, "A sigmoid."), Option("$(-1, 1)$", False, "That is tanh."),
    ... ])])
    >>> r"Range of \(f\)?" in markup
    True
    """
    if not title.strip():
        raise ValueError("title must not be empty")
    if not questions:
        raise ValueError(f"quiz {title!r} needs at least one question")
    label = "quiz-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    items = "".join(_question_html(question) for question in questions)
    # tex2jax_process: the theme tells MathJax to skip everything that does not ask for it.
    return (
        f'<section class="ln-quiz tex2jax_process" aria-labelledby="{label}">{_STYLE}'
        f'<p class="ln-quiz-title" id="{label}"><strong>{html.escape(title, quote=False)}</strong></p>'
        f"<ol>{items}</ol></section>"
    )


# JupyterLab takes away the triangle that says "this opens". The book's own style sheet does the rest.
_STYLE = (
    "<style>.ln-quiz .ln-option>summary{display:list-item;list-style:disclosure-closed inside;cursor:pointer}"
    ".ln-quiz .ln-option[open]>summary{list-style-type:disclosure-open}</style>"
)


def _question_html(question: Question) -> str:
    correct = sum(option.correct for option in question.options)
    several = f" <em>({correct} answers are right.)</em>" if correct > 1 else ""
    options = "".join(map(_option_html, string.ascii_uppercase, question.options))
    return f'<li class="ln-question"><p>{inline_html(question.prompt)}{several}</p>{options}</li>'


def _option_html(letter: str, option: Option) -> str:
    # Without the letter an option that is only a formula would have no name for a screen reader.
    kind, verdict = ("ln-right", "✓ Right.") if option.correct else ("ln-wrong", "✗ Not this one.")
    return (
        f'<details class="ln-option"><summary><strong>{letter}.</strong> {inline_html(option.text)}</summary>'
        f'<p class="{kind}"><strong>{verdict}</strong> {inline_html(option.why)}</p></details>'
    )
