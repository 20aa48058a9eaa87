"""Checks answer every kind of wrong answer with a hint, and never with a traceback."""

import numpy as np
import pytest

from lstm_numba.teaching import Mistake, Report, assert_rejects, exercise, recorded_reports

X = np.array([1.0, 2.0, 3.0])


@exercise("1.1", hint="A function of one array is expected.")
def check_double(check, answer):
    """The exercise of this file: return twice the array."""
    result = check.call("runs", answer, X.copy(), hint="Multiply by two.")
    array = check.shape("keeps the shape", result, (3,), letters="(H,)")
    check.close(
        "doubles",
        array,
        2 * X,
        mistakes=[Mistake(X**2, "You squared the array."), Mistake(X + X.sum(), "You summed over the array.")],
        hint="Every number should be twice as large.",
    )


def test_the_right_answer_passes(capsys):
    report = check_double(lambda x: 2 * x)
    assert report.passed
    assert report.attempted
    assert report.hints == []
    report.expect_pass()
    assert capsys.readouterr().out == "check_double: all 3 passed\n  ✓ runs\n  ✓ keeps the shape\n  ✓ doubles\n"


def empty(x):
    """Double."""
    ...  # noqa: PIE790 (what an exercise looks like)


def passes(x):
    pass


def raises(x):
    raise NotImplementedError


def assigns(x):
    result = ...
    return result


@pytest.mark.parametrize("stub", [..., None, empty, passes, raises, assigns, lambda x: ...])
def test_an_untouched_stub_is_not_an_error(stub, capsys):
    report = check_double(stub)
    assert not report.attempted
    assert not report.passed
    assert report.expectations == []
    assert capsys.readouterr().out.startswith("check_double: not attempted yet.")
    with pytest.raises(AssertionError, match="not attempted yet"):
        report.expect_pass()


def forgets_return(x):
    result = 2 * x
    result.sum()


def in_place(x):
    x *= 2
    return x


def broken(x):
    y = x
    return y.undefined


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x: x**2, "you squared"),
        (lambda x: x + x.sum(), "you summed"),
        (lambda x: 3 * x, "3 of 3 numbers are off, most at index (2,), by 3"),
        (lambda x: 2 * x + np.array([0, 0, 1e-3]), "1 of 3 numbers are off, most at index (2,)"),
        (lambda x: 2 * x[:2], "Expected shape (3,), that is (H,), got (2,)"),
        (lambda x: (2 * x)[:, None], "got (3, 1)"),
        (lambda x: np.full(3, np.nan), "NaN"),
        (lambda x: "six", "Expected numbers"),
        (lambda x: [[1], [2, 3]], "regular array"),
        (lambda x: {"a": 1}, "Expected numbers"),
        (lambda x, y: x, "TypeError"),
        (lambda: 1, "TypeError"),
        (forgets_return, "does it end in `return`?"),
        (in_place, "changed its argument `x` in place"),
        (broken, "AttributeError in line 3 of `broken`"),
        (broken, "Multiply by two."),
        (X, "Pass the function itself"),
        (3, "Pass the function itself"),
    ],
)
def test_a_wrong_answer_gets_a_hint_and_no_traceback(wrong, hint):
    report = assert_rejects(check_double, wrong, hint_contains=hint)
    with pytest.raises(AssertionError, match="✗"):
        report.expect_pass()


def test_the_reader_cannot_change_what_later_expectations_see():
    before = X.copy()
    check_double(in_place)
    np.testing.assert_array_equal(X, before)


def test_an_answer_that_the_check_cannot_use_is_not_a_traceback():
    @exercise("1.1", hint="Give a dictionary.")
    def check_keys(check, answer):
        check.true("has a key", answer["key"] == 1, hint="Look again.")

    report = assert_rejects(check_keys, [1, 2], hint_contains="Give a dictionary.")
    assert "TypeError" in report.hints[0]


def test_transposed_arrays_are_recognised():
    @exercise("1.1")
    def check_weights(check, W):
        check.shape("has the shape of W_ih", W, (8, 3), letters="(4H, I)")

    assert_rejects(check_weights, np.zeros((3, 8)), hint_contains="axes are in the wrong order")
    check_weights(np.zeros((8, 3))).expect_pass()


def test_a_mistake_that_is_right_on_these_inputs_does_no_harm():
    @exercise("1.1")
    def check_square(check, value):
        check.close("square of 1", value, 1.0, mistakes=[Mistake(1.0, "wrong hint")], hint="Multiply.")

    check_square(1.0).expect_pass()
    assert_rejects(check_square, 2.0, hint_contains="You got 2; the answer differs by 1")


def test_a_hint_is_told_once(capsys):
    @exercise("1.1")
    def check_two(check, value):
        check.true("first", value > 0, hint="Look at the sign.")
        check.true("second", value > 1, hint="Look at the sign.")

    assert check_two(-1).hints == ["Look at the sign."] * 2
    assert capsys.readouterr().out.count("Look at the sign.") == 1


def test_long_hints_are_wrapped(capsys):
    @exercise("1.1")
    def check_long(check, value):
        check.true("holds", value, hint="word " * 60)

    check_long(0)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 78


@pytest.mark.parametrize(
    ("value", "passed"),
    [(4, True), (np.int64(4), True), (4.0, True), (5, False), ("4", False), (np.array([4, 4]), False), ([4], False)],
)
def test_equal(value, passed):
    @exercise("1.1")
    def check_count(check, answer):
        check.equal("number of gates", answer, 4, mistakes=[Mistake(3, "That is a GRU.")], hint="Count them.")

    assert check_count(value).passed is passed
    assert_rejects(check_count, 3, hint_contains="GRU")


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        ({"W": np.zeros(2), "b": [1, 2]}, True),
        ({"W": np.zeros(2), "b": (1, 2)}, True),
        ({"W": np.ones(2), "b": [1, 2]}, False),
        ({"W": np.zeros(3), "b": [1, 2]}, False),
        ({"W": np.zeros(2)}, False),
    ],
)
def test_equal_looks_into_containers(value, passed):
    @exercise("1.1")
    def check_shapes(check, answer):
        check.equal("parameters", answer, {"W": np.zeros(2), "b": [1, 2]}, hint="Compare.")

    assert check_shapes(value).passed is passed


@pytest.mark.parametrize(
    "argument", [float("nan"), np.array([np.nan]), np.random.default_rng(0), [np.nan, "a"], object()]
)
def test_arguments_that_are_hard_to_compare_do_not_count_as_changed(argument):
    @exercise("1.1")
    def check_anything(check, answer):
        check.call("runs", answer, argument, key=argument)

    check_anything(lambda x, key: 1).expect_pass()


def test_changed_keyword_arguments_are_named():
    @exercise("1.1")
    def check_state(check, answer):
        check.call("runs", answer, state={"h": np.zeros(2)})

    def careless(state):
        state["h"] += 1
        return state

    assert_rejects(check_state, careless, hint_contains="changed its argument `state`")


def test_several_answers_count_as_attempted_when_one_is():
    @exercise("1.1")
    def check_pair(check, first, second):
        check.attempted(first, second)
        check.close("sum", first + second, 3.0, hint="Add.")

    assert not check_pair(..., ...).attempted
    assert not check_pair(1.0, ...).attempted
    check_pair(1.0, 2.0).expect_pass()


def test_a_check_that_expects_nothing_is_a_mistake_of_its_author():
    @exercise("1.1")
    def check_nothing(check, answer):
        pass

    with pytest.raises(RuntimeError, match="states no expectation"):
        check_nothing(1)


@pytest.mark.parametrize("chapter", ["", "2", "2.3.1", "two.three", "2.x"])
def test_chapters_have_two_numbers(chapter):
    with pytest.raises(ValueError, match=r"must look like '2\.3'"):
        exercise(chapter)


def test_checks_are_called_checks():
    with pytest.raises(ValueError, match="must start with 'check_'"):

        @exercise("1.1")
        def double(check, answer):
            pass


def test_interrupting_still_works():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_double(interrupted)


def test_reports_are_recorded_only_inside_the_block():
    with recorded_reports() as reports:
        check_double(empty)
    check_double(empty)
    assert [report.title for report in reports] == ["check_double"]


@pytest.mark.parametrize(
    ("answer", "hint", "message"),
    [
        (lambda x: 2 * x, "squared", "accepted a wrong answer"),
        (lambda x: x**2, "transposed", "no hint"),
        (empty, "squared", "untouched stub"),
    ],
)
def test_assert_rejects_can_fail(answer, hint, message):
    with pytest.raises(AssertionError, match=message):
        assert_rejects(check_double, answer, hint_contains=hint)


def test_a_report_shows_once_in_a_notebook(capsys):
    report = Report("check_demo", "1.1")
    report._ipython_display_()
    assert capsys.readouterr().out == ""
