"""What the book's pages are made of besides prose: listings, quoted numbers, exercises and quizzes.

Figures are in :mod:`lstm_numba.plots`. Nothing in the package imports this one.

=====================  ==================================================================================
:func:`show_source`    show the package's own source, linked to its place in the repository
:func:`glue`           store a computed number under a name, for the prose to quote
:func:`table`          show a small table that scrolls, reads well aloud and follows the dark mode
:func:`quiz`           questions with feedback, without a kernel and without JavaScript
:func:`exercise`       turn stated expectations into a check that answers with hints
=====================  ==================================================================================
"""

from lstm_numba.teaching.exercises import (
    Check,
    Expectation,
    Mistake,
    Report,
    assert_rejects,
    exercise,
    recorded_reports,
)
from lstm_numba.teaching.numbers import glue
from lstm_numba.teaching.quizzes import Option, Question, quiz
from lstm_numba.teaching.source import show_source
from lstm_numba.teaching.tables import table

__all__ = [
    "Check",
    "Expectation",
    "Mistake",
    "Option",
    "Question",
    "Report",
    "assert_rejects",
    "exercise",
    "glue",
    "quiz",
    "recorded_reports",
    "show_source",
    "table",
]
