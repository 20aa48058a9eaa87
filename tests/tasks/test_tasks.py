"""Every generator against its definition, written again step by step; baselines against samples; criteria can fail."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba import tasks
from lstm_numba.tasks.reber import SYMBOLS

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 7)
MODULES = [f"lstm_numba.tasks.{module.name}" for module in pkgutil.iter_modules(tasks.__path__)]


def generator(seed):
    return np.random.default_rng(seed)


def check_frame(batch, steps=None):
    """What holds for every task: shapes agree, steps after the end are zero and do not count."""
    T, B, _ = batch.x.shape
    assert batch.lengths.shape == (B,)
    assert batch.mask.shape == (T, B)
    assert batch.lengths.max() == T
    for b in range(B):
        assert not batch.x[batch.lengths[b] :, b].any()
        assert not batch.mask[batch.lengths[b] :, b].any()
        assert batch.mask[batch.lengths[b] - 1, b]


def symbols_of(batch, b):
    """Numbers of the one-hot symbols of one sequence; every row must hold exactly one."""
    rows = batch.x[: batch.lengths[b], b]
    assert (rows.sum(axis=1) == 1).all()
    assert set(np.unique(rows)) <= {0, 1}
    return rows.argmax(axis=1).tolist()


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_every_task_has_a_baseline_and_a_criterion():
    generators = [name for name in tasks.__all__ if f"{name}_solved" in tasks.__all__]
    assert len(generators) >= 10
    assert {f"{name}_baseline_loss" for name in generators} <= set(tasks.__all__)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: tasks.adding(rng, 4, 40),
        lambda rng: tasks.adding(rng, 4, 40, variant="2016"),
        lambda rng: tasks.multiplication(rng, 4, 40),
        lambda rng: tasks.temporal_order(rng, 4, 40, marks=3),
        lambda rng: tasks.long_lag(rng, 4, 10, variant="2b"),
        lambda rng: tasks.long_lag(rng, 4, 10, variant="2c"),
        lambda rng: tasks.two_sequences(rng, 4, 40, variant="3c"),
        lambda rng: tasks.embedded_reber(rng, 4),
        lambda rng: tasks.continual_reber(rng, 4, 50),
        lambda rng: tasks.copy_memory(rng, 4, 10),
        lambda rng: tasks.selective_copy(rng, 4, 20),
        lambda rng: tasks.counting(rng, 4),
        lambda rng: tasks.parity(rng, 4),
        lambda rng: tasks.associative_recall(rng, 4),
        lambda rng: tasks.swapped_cups(rng, 4),
    ],
)
def test_a_seed_gives_the_same_data_again(draw):
    one, same, other = draw(generator(3)), draw(generator(3)), draw(generator(4))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.x.shape != other.x.shape or (one.x != other.x).any() or (one.y != other.y).any()
    assert one.x.dtype == np.float32
    with pytest.raises(TypeError, match="rng: expected a numpy Generator"):
        draw(3)


# ---------------------------------------------------------------- adding and multiplication


@given(seeds, sizes, st.integers(24, 60), st.sampled_from(["kept", "neutral", "never"]), st.booleans())
def test_marked_pairs_of_1997(seed, B, T, first_pair, multiply):
    draw = tasks.multiplication if multiply else tasks.adding
    batch = draw(generator(seed), B, T, first_pair=first_pair, dtype="float64")
    neutral, low = (1.0, 0.0) if multiply else (0.0, -1.0)
    check_frame(batch)
    for b in range(B):
        length = batch.lengths[b]
        values, markers = batch.x[:length, b, 0], batch.x[:length, b, 1]
        assert T <= length <= T + T // 10
        assert values.min() >= low
        assert values.max() <= 1
        assert markers[0] == markers[-1] == -1
        marked = [t for t in range(1, length - 1) if markers[t] == 1]
        assert all(markers[t] == 0 for t in range(1, length - 1) if t not in marked)
        assert len(marked) in ((2,) if first_pair == "never" else (1, 2))
        assert min(marked) < 10 or len(marked) == 1
        assert max(marked) <= T // 2 - 2
        answers = [values[t] for t in marked] + [neutral] * (2 - len(marked))
        expected = answers[0] * answers[1] if multiply else 0.5 + sum(answers) / 4
        assert batch.y[b, 0] == pytest.approx(expected)
        if first_pair == "neutral" and len(marked) == 1:
            assert values[0] == neutral


@given(seeds, sizes, st.integers(2, 40))
def test_adding_of_2016(seed, B, T):
    batch = tasks.adding(generator(seed), B, T, variant="2016", dtype="float64")
    check_frame(batch)
    for b in range(B):
        marked = [t for t in range(T) if batch.x[t, b, 1]]
        assert len(marked) == 2
        assert marked[0] < T // 2 <= marked[1]
        assert batch.y[b, 0] == batch.x[marked[0], b, 0] + batch.x[marked[1], b, 0]


@pytest.mark.parametrize("first_pair", ["kept", "neutral", "never"])
def test_marked_pairs_baselines(first_pair):
    batch = tasks.adding(generator(1), 40_000, 24, first_pair=first_pair)
    assert batch.y.var() == pytest.approx(tasks.adding_baseline_loss(24, first_pair=first_pair), rel=0.03)
    batch = tasks.multiplication(generator(2), 40_000, 24, first_pair=first_pair)
    assert batch.y.var() == pytest.approx(tasks.multiplication_baseline_loss(24, first_pair=first_pair), rel=0.03)
    batch = tasks.adding(generator(3), 40_000, 10, variant="2016")
    assert batch.y.var() == pytest.approx(tasks.adding_baseline_loss(variant="2016"), rel=0.03)


# ---------------------------------------------------------------- temporal order


@given(seeds, sizes, st.sampled_from([20, 50, 100, 200]), st.sampled_from([2, 3]))
def test_temporal_order(seed, B, T, marks):
    batch = tasks.temporal_order(generator(seed), B, T, marks=marks)
    check_frame(batch)
    windows = {2: [(10, 20), (50, 60)], 3: [(10, 20), (33, 43), (66, 76)]}[marks]
    for b in range(B):
        symbols = symbols_of(batch, b)
        assert T <= len(symbols) <= T + T // 10
        assert symbols[0] == 0
        assert symbols[-1] == 1
        assert not {0, 1} & set(symbols[1:-1])
        places = [t for t, s in enumerate(symbols) if s >= 6]
        assert len(places) == marks
        for place, (low, high) in zip(places, windows, strict=True):
            assert round(low * T / 100) <= place <= round(high * T / 100)
        assert batch.y[b] == int("".join(str(symbols[t] - 6) for t in places), 2)


def test_temporal_order_baseline_is_the_entropy_of_the_classes():
    for marks in (2, 3):
        y = tasks.temporal_order(generator(0), 20_000, 20, marks=marks).y
        share = np.bincount(y) / len(y)
        assert len(share) == 2**marks
        assert -(share * np.log(share)).sum() == pytest.approx(
            tasks.temporal_order_baseline_loss(marks=marks), rel=1e-3
        )


# ---------------------------------------------------------------- long lags


@given(seeds, sizes, st.integers(2, 30), st.sampled_from(["2a", "2b"]))
def test_long_lag_with_targets_at_every_step(seed, B, p, variant):
    batch = tasks.long_lag(generator(seed), B, p, variant=variant)
    check_frame(batch)
    for b in range(B):
        sequence = [*symbols_of(batch, b), int(batch.y[-1, b])]
        assert len(sequence) == p + 1
        assert sequence[0] == sequence[-1]
        assert sequence[0] in (p - 1, p)  # x or y
        assert sequence[1:] == batch.y[:, b].tolist()
        assert all(0 <= s <= p - 2 for s in sequence[1:-1])
        if variant == "2a":
            assert sequence[1:-1] == list(range(p - 1))


@given(seeds, sizes, st.integers(1, 30), st.integers(0, 30))
def test_long_lag_with_a_trigger(seed, B, p, q):
    batch = tasks.long_lag(generator(seed), B, p, variant="2c", q=q)
    check_frame(batch)
    for b in range(B):
        symbols = symbols_of(batch, b)
        assert len(symbols) >= q + 3
        assert symbols[0] == p + 1
        assert symbols[1] == p + 2 + batch.y[b]
        assert symbols[-1] == p
        assert all(0 <= s < p for s in symbols[2:-1])


def test_long_lag_lengths_follow_the_text():
    lengths = tasks.long_lag(generator(0), 20_000, 3, variant="2c", q=50).lengths
    assert lengths.min() == 53
    assert lengths.mean() == pytest.approx(50 + 12, abs=0.3)
    with pytest.raises(ValueError, match="q: expected None"):
        tasks.long_lag(generator(0), 1, 3, variant="2a", q=50)


# ---------------------------------------------------------------- two sequences


@given(seeds, sizes, st.integers(5, 60), st.integers(1, 5), st.sampled_from(["3a", "3b", "3c"]))
def test_two_sequences(seed, B, T, N, variant):
    batch = tasks.two_sequences(generator(seed), B, T, N, variant=variant, dtype="float64")
    check_frame(batch)
    assert set(np.unique(batch.clean)) <= ({0.2, 0.8} if variant == "3c" else {0.0, 1.0})
    for b in range(B):
        first_class = batch.clean[b, 0] == (0.2 if variant == "3c" else 1.0)
        assert T <= batch.lengths[b] <= T + T // 10
        if variant == "3a":
            assert (batch.x[:N, b, 0] == (1 if first_class else -1)).all()
    if variant != "3c":
        np.testing.assert_array_equal(batch.y, batch.clean)


def test_two_sequences_noise_is_given_by_its_variance():
    batch = tasks.two_sequences(generator(5), 4000, 10, 3, variant="3c")
    assert batch.x[3:10].var() == pytest.approx(0.2, rel=0.03)
    sign = np.where(batch.clean == np.float32(0.2), 1, -1)
    assert (batch.x[:3] - sign).var() == pytest.approx(0.2, rel=0.05)
    assert (batch.y - batch.clean).var() == pytest.approx(0.1, rel=0.08)
    assert batch.clean.var() == pytest.approx(tasks.two_sequences_baseline_loss(variant="3c"), rel=1e-2)


# ---------------------------------------------------------------- Reber

NEXT = {  # written down from the figure of the automaton, state by state
    "0B": 1, "1T": 2, "1P": 3, "2S": 2, "2X": 4, "3T": 3, "3V": 5, "4X": 3, "4S": 6, "5P": 4, "5V": 6, "6E": 7,
}  # fmt: skip


def reber_state(text):
    """State after reading a Reber string from its start, or None if it is illegal."""
    state = 0
    for letter in text:
        state = NEXT.get(f"{state}{letter}")
        if state is None:
            return None
    return state


def legal_after(prefix):
    """The letters that may follow a prefix of an embedded string."""
    if prefix == "":
        return set("B")
    if len(prefix) == 1:
        return set("TP")
    inside = prefix[2:]
    end = inside.find("E")
    if end < 0:
        return {key[1] for key in NEXT if key[0] == str(reber_state(inside))}
    return set(prefix[1]) if len(inside) == end + 1 else set("E")


@given(seeds)
def test_reber_strings(seed):
    for text in tasks.reber_strings(generator(seed), 5, embedded=False):
        assert reber_state(text) == 7
    for text in tasks.reber_strings(generator(seed), 5):
        assert text[0] == "B"
        assert text[1] == text[-2]
        assert text[-1] == "E"
        assert reber_state(text[2:-2]) == 7


@given(seeds, sizes)
def test_embedded_reber_targets_are_the_legal_symbols(seed, B):
    batch = tasks.embedded_reber(generator(seed), B)
    check_frame(batch)
    for b in range(B):
        text = "".join(SYMBOLS[s] for s in symbols_of(batch, b))
        for t in range(len(text)):
            assert {SYMBOLS[k] for k in np.flatnonzero(batch.y[t, b])} == legal_after(text[: t + 1])
        assert legal_after(text) == {"E"}


@given(seeds)
def test_continual_reber_is_embedded_strings_in_a_row(seed):
    batch = tasks.continual_reber(generator(seed), 2, 80)
    for b in range(2):
        text = "".join(SYMBOLS[s] for s in symbols_of(batch, b))
        start = 0
        for t in range(80):
            so_far = text[start : t + 1]
            legal = legal_after(so_far)
            if so_far.count("E") == 2:  # one E ends the inner string, the second the outer one
                legal, start = {"B"}, t + 1
            assert {SYMBOLS[k] for k in np.flatnonzero(batch.y[t, b])} == legal


def test_reber_lengths_and_baselines():
    rng = generator(0)
    lengths = [len(text) for text in tasks.reber_strings(rng, 20_000)]
    assert min(lengths) == 9
    assert np.mean(lengths) == pytest.approx(12, abs=0.1)
    for continual in (False, True):
        batch = tasks.continual_reber(rng, 200, 2000) if continual else tasks.embedded_reber(rng, 20_000)
        y = batch.y[batch.mask]
        assert y.var(axis=0).mean() == pytest.approx(tasks.reber_baseline_loss(continual=continual), rel=0.01)


def test_continual_reber_run_stops_at_the_first_error():
    batch = tasks.continual_reber(generator(0), 2, 20)
    prediction = batch.y * 0.98 + 0.01
    prediction[7, 1, 3] += 0.6 if batch.y[7, 1, 3] == 0 else -0.6
    assert tasks.continual_reber_run(prediction, batch).tolist() == [20, 7]


# ---------------------------------------------------------------- copying


@given(seeds, sizes, st.integers(1, 30), st.integers(1, 6), st.integers(2, 9))
def test_copy_memory(seed, B, T, tokens, vocabulary):
    batch = tasks.copy_memory(generator(seed), B, T, tokens=tokens, vocabulary=vocabulary)
    check_frame(batch)
    for b in range(B):
        symbols = symbols_of(batch, b)
        kept, blank = symbols[:tokens], [vocabulary]
        assert symbols == kept + blank * (T - 1) + [vocabulary + 1] + blank * tokens
        assert batch.y[:, b].tolist() == blank * (T + tokens) + kept
        assert all(s < vocabulary for s in kept)


@given(seeds, sizes, st.integers(4, 30), st.integers(1, 4), st.integers(2, 9))
def test_selective_copy(seed, B, T, tokens, vocabulary):
    batch = tasks.selective_copy(generator(seed), B, T, tokens=tokens, vocabulary=vocabulary)
    check_frame(batch)
    for b in range(B):
        symbols = symbols_of(batch, b)
        assert symbols[T:] == [vocabulary + 1] * tokens
        assert [s for s in symbols[:T] if s != vocabulary] == batch.y[T:, b].tolist()
    assert batch.mask[T:].all()
    assert not batch.mask[:T].any()


def test_selective_copy_uses_every_place():
    batch = tasks.selective_copy(generator(0), 4000, 10, tokens=3, vocabulary=5)
    share = (batch.x[:10, :, :5].sum(axis=2)).mean(axis=1)
    np.testing.assert_allclose(share, 0.3, atol=0.03)


# ---------------------------------------------------------------- counting, parity, recall


@given(seeds, sizes, st.integers(1, 6), st.integers(0, 6), st.sampled_from([2, 3]))
def test_counting(seed, B, shortest, more, letters):
    batch = tasks.counting(generator(seed), B, shortest + more, shortest=shortest, letters=letters)
    check_frame(batch)
    names = "Sabc"[: letters + 1] + "."
    for b in range(B):
        text = "".join(names[s] for s in symbols_of(batch, b))
        n = text.count("a")
        assert shortest <= n <= shortest + more
        assert text == "S" + "".join(letter * n for letter in "abc"[:letters])
        for t in range(len(text)):
            following = (text + ".")[t + 1]
            legal = {"a", "b"} if text[t] == "a" else {following}
            assert {names[k] for k in np.flatnonzero(batch.y[t, b])} == legal


@pytest.mark.parametrize("letters", [2, 3])
def test_counting_baseline(letters):
    batch = tasks.counting(generator(0), 20_000, 7, shortest=2, letters=letters)
    x, y = batch.x[batch.mask], batch.y[batch.mask]
    error = 0.0
    for symbol in range(letters + 1):
        rows = y[x[:, symbol] == 1]
        error += len(rows) * rows.var(axis=0).mean()
    baseline = tasks.counting_baseline_loss(7, shortest=2, letters=letters)
    assert error / len(y) == pytest.approx(baseline, rel=0.02)


@given(seeds, sizes, st.integers(1, 30), st.booleans())
def test_parity(seed, B, longest, every_step):
    batch = tasks.parity(generator(seed), B, longest, shortest=1, every_step=every_step)
    check_frame(batch)
    for b in range(B):
        odd = 0
        for t in range(batch.lengths[b]):
            odd ^= int(batch.x[t, b, 0])
            assert batch.y[t, b] == odd
        assert batch.mask[:, b].sum() == (batch.lengths[b] if every_step else 1)


@given(seeds, sizes, st.integers(1, 5), st.integers(0, 10))
def test_associative_recall(seed, B, pairs, more):
    batch = tasks.associative_recall(generator(seed), B, 4 * pairs + 2 * more, pairs=pairs, vocabulary=20)
    for b in range(B):
        symbols = symbols_of(batch, b)
        book = dict(zip(symbols[0 : 2 * pairs : 2], symbols[1 : 2 * pairs : 2], strict=True))
        assert len(book) == pairs
        assert all(1 <= key < 10 <= value < 20 for key, value in book.items())
        asked = np.flatnonzero(batch.mask[:, b])
        assert sorted(symbols[t] for t in asked) == sorted(book)
        assert all(t >= 2 * pairs and batch.y[t, b] == book[symbols[t]] for t in asked)
        assert not any(symbols[t] for t in range(2 * pairs, len(symbols)) if t not in asked)


@given(seeds, sizes, st.integers(2, 30), st.integers(2, 6))
def test_swapped_cups(seed, B, T, cups):
    batch = tasks.swapped_cups(generator(seed), B, T, cups=cups)
    check_frame(batch)
    for b in range(B):
        start, *moves = symbols_of(batch, b)
        row = [k == start for k in range(cups)]
        assert batch.y[0, b] == row.index(True)
        for t, move in enumerate(moves, start=1):
            k = move - cups
            assert 0 <= k < cups
            if k < cups - 1:
                row[k], row[k + 1] = row[k + 1], row[k]
            assert batch.y[t, b] == row.index(True)
        assert batch.mask[:, b].tolist() == [False] + [True] * (T - 1)


def test_swapped_cups_baseline():
    batch = tasks.swapped_cups(generator(0), 20_000, 9, cups=4)
    share = np.bincount(batch.y[batch.mask]) / batch.mask.sum()
    np.testing.assert_allclose(share, 0.25, atol=0.01)
    assert tasks.swapped_cups_baseline_loss(cups=4) == pytest.approx(-np.log(share).mean(), abs=1e-3)


# ---------------------------------------------------------------- criteria and errors


def test_criteria_reject_a_wrong_answer():
    batch = tasks.copy_memory(generator(0), 2, 5)
    prediction = np.eye(10)[batch.y]
    prediction[-1, 0] = np.roll(prediction[-1, 0], 1)
    assert tasks.copy_memory_solved(prediction, batch).tolist() == [False, True]
    batch = tasks.counting(generator(0), 2)
    assert not tasks.counting_solved(1 - batch.y, batch).any()
    batch = tasks.parity(generator(0), 2, every_step=True)
    assert not tasks.parity_solved(np.eye(2)[1 - batch.y], batch).any()
    batch = tasks.swapped_cups(generator(0), 2)
    assert not tasks.swapped_cups_solved(np.eye(5)[(batch.y + 1) % 5], batch).any()
    batch = tasks.temporal_order(generator(0), 2)
    assert not tasks.temporal_order_solved(0.6 * np.eye(4)[batch.y], batch).any()
    batch = tasks.long_lag(generator(0), 2, 5)
    wrong = np.eye(6)[batch.y]
    wrong[1, 0, 0] = 0.3
    assert tasks.long_lag_solved(wrong, batch).tolist() == [False, True]
    assert tasks.long_lag_solved(wrong, batch, variant="2b").tolist() == [True, True]
    batch = tasks.two_sequences(generator(0), 2, variant="3c")
    assert not tasks.two_sequences_solved(batch.clean + 0.11, batch, variant="3c").any()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda rng: tasks.adding(rng, 1, 23), "T: expected at least 24, got 23"),
        (lambda rng: tasks.adding(rng, 1, 30, first_pair="x"), "first_pair: expected one of 'kept'"),
        (lambda rng: tasks.temporal_order(rng, 1, marks=4), "marks: expected one of 2, 3, got 4"),
        (lambda rng: tasks.two_sequences(rng, 1, 5, 6), "N: expected at most T = 5, got 6"),
        (lambda rng: tasks.parity(rng, 1, 5, shortest=6), "shortest: expected at most longest"),
        (lambda rng: tasks.associative_recall(rng, 1, 15, pairs=4), "T: expected at least 16"),
        (lambda rng: tasks.associative_recall(rng, 1, 17, pairs=4), "T: expected an even number"),
        (lambda rng: tasks.copy_memory(rng, 0), "B: expected at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw(generator(0))
