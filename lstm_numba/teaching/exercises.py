"""Exercises that check themselves: a wrong answer gets a hint about that mistake, never a traceback.

A chapter's checks live in ``lstm_numba/teaching/checks/ch_<part>_<chapter>.py``. Each is a function decorated
with :func:`exercise`; it receives a :class:`Check` and the reader's answer, and states what it expects:

>>> import numpy as np
>>> from lstm_numba.teaching import Check, Mistake, exercise
>>> @exercise("2.1")
... def check_cell_state(check: Check, answer) -> None:
...     f, c_prev, i, g = np.array([0.9]), np.array([2.0]), np.array([0.5]), np.array([-1.0])
...     c = check.call("runs on one unit", answer, f, c_prev, i, g)
...     check.close("keeps f of the old state and adds i of the candidate", c, f * c_prev + i * g,
...         mistakes=[Mistake(f * c_prev + g, "The candidate must pass the input gate: where is i?")],
...         hint="Compare with the equation for c_t, term by term.")
>>> report = check_cell_state(lambda f, c_prev, i, g: f * c_prev + g)
check_cell_state: 1 of 2 passed
  ✓ runs on one unit
  ✗ keeps f of the old state and adds i of the candidate
    Hint: The candidate must pass the input gate: where is i?
>>> report.passed
False
"""

import ast
import copy
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

__all__ = ["Check", "Expectation", "Mistake", "Report", "assert_rejects", "exercise", "recorded_reports"]

_LINE_WIDTH = 78  # what fits into an output box of the book without scrolling


@dataclass(frozen=True)
class Mistake:
    """A wrong value that a known misunderstanding produces, and the hint that helps with it.

    Parameters
    ----------
    value : array-like
        What the misunderstanding computes on the check's inputs.
    hint : str
        What to tell the reader.

    Examples
    --------
    >>> from lstm_numba.teaching import Mistake
    >>> Mistake(0.5, "This is the derivative before the chain rule through tanh.").value
    0.5
    """

    value: Any
    hint: str


@dataclass(frozen=True)
class Expectation:
    """One named expectation of a check and how it came out.

    Parameters
    ----------
    name : str
        What was expected, in words.
    passed : bool
        Whether it held.
    hint : str
        Help for the reader; empty when it held.

    Examples
    --------
    >>> from lstm_numba.teaching.exercises import Expectation
    >>> Expectation("the result has shape (4, 3)", True).passed
    True
    """

    name: str
    passed: bool
    hint: str = ""


@dataclass
class Report:
    """What a check found.

    Parameters
    ----------
    title : str
        Name of the check.
    chapter : str
        Chapter number.
    attempted : bool
        False when the answer is still the stub.
    expectations : list of Expectation
        The outcomes so far.

    Examples
    --------
    >>> from lstm_numba.teaching.exercises import Expectation, Report
    >>> report = Report("check_demo", "0.1", True, [Expectation("adds up", True)])
    >>> report.passed
    True
    >>> print(report)
    check_demo: all 1 passed
      ✓ adds up
    """

    title: str
    chapter: str
    attempted: bool = True
    expectations: list[Expectation] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the answer was attempted and every expectation held."""
        return self.attempted and bool(self.expectations) and all(e.passed for e in self.expectations)

    @property
    def hints(self) -> list[str]:
        """The hints of the expectations that did not hold."""
        return [e.hint for e in self.expectations if not e.passed]

    def expect_pass(self) -> None:
        """Raise unless everything passed: the solutions of the book call this, and so are tested.

        Raises
        ------
        AssertionError
            If an expectation failed or the answer was not attempted; the message is the report.
        """
        if not self.passed:
            raise AssertionError(f"\n{self}")

    def __str__(self) -> str:
        if not self.attempted:
            return f"{self.title}: not attempted yet.\nReplace the ... in the cell and run it again."
        count, total = sum(e.passed for e in self.expectations), len(self.expectations)
        lines = [f"{self.title}: all {total} passed" if self.passed else f"{self.title}: {count} of {total} passed"]
        told: set[str] = set()  # one mistake often shows in several places; its hint is said once
        for expectation in self.expectations:
            lines.append(f"  {'✓' if expectation.passed else '✗'} {expectation.name}")
            if not expectation.passed and expectation.hint not in told:
                told.add(expectation.hint)
                lines += textwrap.wrap(
                    f"Hint: {expectation.hint}",
                    _LINE_WIDTH,
                    initial_indent="    ",
                    subsequent_indent="    ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
        return "\n".join(lines)

    def _ipython_display_(self) -> None:
        """Show nothing: the check has already printed the report."""


class _StopCheckingError(Exception):
    """Raised inside a check when what follows could not mean anything."""


class _NotAttemptedError(Exception):
    """Raised inside a check when the answer is still the stub."""


class Check:
    """Collects the expectations of one check. The methods return what they looked at.

    Parameters
    ----------
    report : Report
        Where the outcomes go.

    Examples
    --------
    >>> from lstm_numba.teaching.exercises import Check, Report
    >>> check = Check(Report("check_demo", "0.1"))
    >>> check.true("two is even", 2 % 2 == 0, hint="Divide by two.")
    >>> check.report.passed
    True
    """

    def __init__(self, report: Report) -> None:
        self.report = report

    def call(self, name: str, answer: Callable, *args: Any, hint: str = "", **kwargs: Any) -> Any:
        """Call the reader's function on copies of the arguments.

        An untouched stub ends the check as *not attempted*. An exception, a forgotten ``return`` or an argument
        changed in place ends it as failed, with a hint.

        Parameters
        ----------
        name : str
            What is expected, in words.
        answer : callable
            The reader's function.
        *args, **kwargs
            Its arguments.
        hint : str
            Added to the message when the call raises.

        Returns
        -------
        object
            What the function returned.
        """
        if not callable(answer):
            self.fail(name, f"Pass the function itself, not {_describe(answer)}.")
        given, given_kw = copy.deepcopy(args), copy.deepcopy(kwargs)
        try:
            result = answer(*given, **given_kw)
        except NotImplementedError:
            raise _NotAttemptedError from None
        except (_StopCheckingError, _NotAttemptedError):
            raise
        except Exception as error:
            self.fail(name, f"{_where(error, answer)} {hint}".strip())
        if result is Ellipsis or (result is None and _is_stub(answer)):
            raise _NotAttemptedError
        if result is None:
            self.fail(name, f"{_name(answer)} returned None: does it end in `return`?")
        changed = _changed_arguments(answer, args, given) + [
            f"`{key}`" for key in kwargs if not _same(kwargs[key], given_kw[key], incomparable=True)
        ]
        if changed:
            self.fail(
                name,
                f"{_name(answer)} changed its argument {', '.join(changed)} in place; the caller still needs it. "
                "Work on a copy or build a new array.",
            )
        self._add(name, True)
        return result

    def shape(self, name: str, value: Any, shape: tuple[int, ...], *, hint: str = "", letters: str = "") -> np.ndarray:
        """Expect an array of real numbers of a shape; otherwise end the check.

        Parameters
        ----------
        name : str
            What is expected, in words.
        value : array-like
            What the reader computed.
        shape : tuple of int
            The expected shape.
        hint : str
            Added to the automatic text about both shapes.
        letters : str
            The shape in the book's letters, such as ``"(4H, I)"``.

        Returns
        -------
        numpy.ndarray
            ``value`` as an array.
        """
        array = self._array(name, value)
        if array.shape != shape:
            expected = f"{shape}, that is {letters}," if letters else f"{shape}"
            reversed_hint = " The axes are in the wrong order." if array.shape == shape[::-1] else ""
            self.fail(name, f"Expected shape {expected} got {array.shape}.{reversed_hint} {hint}".strip())
        self._add(name, True)
        return array

    def close(
        self,
        name: str,
        value: Any,
        expected: Any,
        *,
        rtol: float = 1e-6,
        atol: float = 1e-9,
        mistakes: Sequence[Mistake] = (),
        hint: str,
    ) -> bool:
        """Expect numbers close to ``expected``; a known mistake gets its own hint.

        Parameters
        ----------
        name : str
            What is expected, in words.
        value : array-like
            What the reader computed.
        expected : array-like
            The right answer.
        rtol, atol : float
            Tolerances, as in :func:`numpy.allclose`.
        mistakes : sequence of Mistake
            Wrong values to recognise, most specific first.
        hint : str
            Used when no known mistake matches.

        Returns
        -------
        bool
            Whether it held.
        """
        wanted = np.asarray(expected)
        array = self._array(name, value)
        if array.shape != wanted.shape:
            self.fail(name, f"Expected shape {wanted.shape}, got {array.shape}. {hint}")
        if np.allclose(array, wanted, rtol=rtol, atol=atol):
            return self._add(name, True)
        for mistake in mistakes:
            if np.shape(mistake.value) == array.shape and np.allclose(array, mistake.value, rtol=rtol, atol=atol):
                return self._add(name, False, mistake.hint)
        return self._add(name, False, f"{hint} {_difference(array, wanted)}")

    def equal(self, name: str, value: Any, expected: Any, *, mistakes: Sequence[Mistake] = (), hint: str) -> bool:
        """Expect exactly ``expected``: for counts, names, choices and shapes.

        Parameters
        ----------
        name : str
            What is expected, in words.
        value, expected : object
            What the reader answered, and the right answer.
        mistakes : sequence of Mistake
            Wrong answers to recognise.
        hint : str
            Used when no known mistake matches. Does not reveal the right answer by itself.

        Returns
        -------
        bool
            Whether it held.
        """
        self.attempted(value)
        if _same(value, expected):
            return self._add(name, True)
        for mistake in mistakes:
            if _same(value, mistake.value):
                return self._add(name, False, mistake.hint)
        return self._add(name, False, f"{hint} Got {_describe(value)}.")

    def true(self, name: str, condition: Any, *, hint: str) -> None:
        """Expect a condition to hold.

        Parameters
        ----------
        name : str
            What is expected, in words.
        condition : bool
            The outcome.
        hint : str
            Shown when it does not hold.
        """
        self._add(name, bool(condition), hint)

    def attempted(self, *values: Any) -> None:
        """End the check as *not attempted* if a value is still ``...`` or None.

        Parameters
        ----------
        *values
            The reader's values.
        """
        if any(value is Ellipsis or value is None for value in values):
            raise _NotAttemptedError

    def fail(self, name: str, hint: str) -> NoReturn:
        """Record a failure and end the check: nothing after it would make sense.

        Parameters
        ----------
        name : str
            What was expected, in words.
        hint : str
            Help for the reader.
        """
        self._add(name, False, hint)
        raise _StopCheckingError

    def _array(self, name: str, value: Any) -> np.ndarray:
        self.attempted(value)
        try:
            array = np.asarray(value)
        except ValueError:
            self.fail(name, f"Expected numbers in a regular array, got {_describe(value)}.")
        if array.dtype.kind not in "biufc":
            self.fail(name, f"Expected numbers, got {_describe(value)}.")
        return array

    def _add(self, name: str, passed: bool, hint: str = "") -> bool:
        self.report.expectations.append(Expectation(name, passed, "" if passed else hint))
        return passed


_recorders: list[list[Report]] = []


def exercise(chapter: str, hint: str = "") -> Callable[[Callable[..., None]], Callable[..., Report]]:
    """Turn a function that states expectations into a check that prints and returns a :class:`Report`.

    Parameters
    ----------
    chapter : str
        Chapter number, such as ``"2.3"``.
    hint : str
        Advice for an answer of a kind that the check did not foresee, such as text instead of a number.

    Returns
    -------
    callable
        A decorator. The decorated check takes the reader's answer (or answers) and never raises for a wrong one.

    Raises
    ------
    ValueError
        If ``chapter`` is not of the form ``"2.3"`` or the function's name does not start with ``check_``.

    Examples
    --------
    >>> from lstm_numba.teaching import exercise
    >>> @exercise("0.1")
    ... def check_half_life(check, steps):
    ...     check.close("half-life at f = 0.5", steps, 1.0, hint="Solve f ** n = 1/2 for n.")
    >>> _ = check_half_life(...)
    check_half_life: not attempted yet.
    Replace the ... in the cell and run it again.
    >>> check_half_life(1.0).expect_pass()
    check_half_life: all 1 passed
      ✓ half-life at f = 0.5
    """
    if not _looks_like_chapter(chapter):
        raise ValueError(f"chapter must look like '2.3', got {chapter!r}")

    def decorate(state_expectations: Callable[..., None]) -> Callable[..., Report]:
        title = state_expectations.__name__
        if not title.startswith("check_"):
            raise ValueError(f"the name of a check must start with 'check_', got {title!r}")

        @functools.wraps(state_expectations)
        def check(*answers: Any, **options: Any) -> Report:
            report = Report(title, chapter)
            try:
                if answers and all(answer is Ellipsis or answer is None for answer in answers):
                    raise _NotAttemptedError
                state_expectations(Check(report), *answers, **options)
            except _NotAttemptedError:
                report.attempted = False
                report.expectations.clear()
            except _StopCheckingError:
                pass  # the failed expectation is already on the report
            except Exception as error:  # an answer of an unforeseen kind must not end in a traceback
                text = f"The check could not use your answer ({type(error).__name__}: {error}). {hint}"
                report.expectations.append(Expectation("the answer can be checked", False, text.strip()))
            if report.attempted and not report.expectations:
                raise RuntimeError(f"{title} states no expectation")
            for recorder in _recorders:
                recorder.append(report)
            print(report)
            return report

        return check

    return decorate


@contextmanager
def recorded_reports() -> Iterator[list[Report]]:
    """Collect the reports of all checks that run inside the ``with`` block, for tests.

    Yields
    ------
    list of Report
        Filled as the checks run.

    Examples
    --------
    >>> from lstm_numba.teaching.exercises import recorded_reports
    >>> with recorded_reports() as reports:
    ...     pass
    >>> reports
    []
    """
    reports: list[Report] = []
    _recorders.append(reports)
    try:
        yield reports
    finally:
        _recorders.remove(reports)


def assert_rejects(check: Callable[..., Report], *wrong: Any, hint_contains: str) -> Report:
    """Assert that a check rejects a wrong answer with the intended hint, for the tests of a chapter's checks.

    Parameters
    ----------
    check : callable
        The check.
    *wrong
        The wrong answer (or answers).
    hint_contains : str
        Text that one of the hints must contain, upper and lower case alike.

    Returns
    -------
    Report
        The report, for further assertions.

    Raises
    ------
    AssertionError
        If the answer passes, counts as not attempted, or gets other hints only.

    Examples
    --------
    >>> from lstm_numba.teaching import assert_rejects, exercise
    >>> @exercise("0.1")
    ... def check_sign(check, value):
    ...     check.true("is negative", value < 0, hint="Look at the sign.")
    >>> _ = assert_rejects(check_sign, 3.0, hint_contains="sign")
    check_sign: 0 of 1 passed
      ✗ is negative
        Hint: Look at the sign.
    """
    report = check(*wrong)
    assert report.attempted, f"{report.title} took the wrong answer for an untouched stub"
    assert not report.passed, f"{report.title} accepted a wrong answer:\n{report}"
    found = any(hint_contains.lower() in hint.lower() for hint in report.hints)
    assert found, f"no hint of {report.title} contains {hint_contains!r}:\n{report}"
    return report


def _looks_like_chapter(chapter: str) -> bool:
    parts = chapter.split(".")
    return len(parts) == 2 and all(part.isdigit() for part in parts)


def _is_stub(function: Callable) -> bool:
    """Whether a function's body is only a docstring, ``...``, ``pass`` or ``return``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return True  # without source, believe the reader
    definitions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    if len(definitions) != 1:
        return False
    return all(_does_nothing(statement) for statement in definitions[0].body)


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass):
        return True
    if isinstance(statement, ast.Expr | ast.Return):
        return statement.value is None or isinstance(statement.value, ast.Constant)
    return False


def _changed_arguments(function: Callable, before: Sequence[Any], after: Sequence[Any]) -> list[str]:
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    changed = [
        k for k, (old, new) in enumerate(zip(before, after, strict=True)) if not _same(old, new, incomparable=True)
    ]
    return [f"`{names[k]}`" if k < len(names) else f"number {k + 1}" for k in changed]


def _same(a: Any, b: Any, *, incomparable: bool = False) -> bool:
    """Whether two values are equal; ``incomparable`` is the answer for objects that cannot tell."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        x, y = np.asarray(a), np.asarray(b)
        if x.shape != y.shape:
            return False
        numeric = x.dtype.kind in "fc" and y.dtype.kind in "fc"
        return bool(np.array_equal(x, y, equal_nan=numeric))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key], incomparable=incomparable) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y, incomparable=incomparable) for x, y in zip(a, b, strict=True))
    if a is b:
        return True
    if type(a) is type(b) and type(a).__eq__ is object.__eq__:
        return incomparable  # a copy of a generator or a layer is never equal to the original
    try:
        return bool(a == b) or bool(a != a and b != b)  # NaN is the same as NaN
    except (TypeError, ValueError):
        return incomparable


def _where(error: Exception, function: Callable) -> str:
    line = ""
    frame = error.__traceback__
    code = getattr(function, "__code__", None)
    while frame is not None:
        if frame.tb_frame.f_code is code:
            line = f" in line {frame.tb_lineno - code.co_firstlineno + 1} of {_name(function)}"
        frame = frame.tb_next
    return f"Your code raised {type(error).__name__}{line}: {error}."


def _name(function: Callable) -> str:
    return f"`{getattr(function, '__name__', type(function).__name__)}`"


def _describe(value: Any) -> str:
    text = repr(value)
    short = text if len(text) <= 60 else text[:57] + "..."
    return f"{short} ({type(value).__name__})"


def _difference(array: np.ndarray, wanted: np.ndarray) -> str:
    if not np.all(np.isfinite(array)):
        return "(Your result holds NaN or infinite values.)"
    error = np.abs(array - wanted)
    if array.ndim == 0:
        return f"(You got {array.item():.6g}; the answer differs by {error.item():.2g}.)"
    worst = tuple(int(k) for k in np.unravel_index(int(np.argmax(error)), error.shape))
    wrong = int(np.count_nonzero(error > 1e-6 * np.maximum(1.0, np.abs(wanted))))
    return f"({wrong} of {array.size} numbers are off, most at index {worst}, by {error[worst]:.2g}.)"
