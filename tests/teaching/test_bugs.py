"""The zoo: every bug is planted where it says, every detector passes the healthy program and finds what it should."""

import inspect

import numpy as np
import pytest

from lstm_numba.gradcheck import relative_error
from lstm_numba.reference.lstm import lstm_backward, lstm_forward
from lstm_numba.teaching import bugs
from lstm_numba.teaching.bugs import DETECTORS, HEALTHY, TASKS, ZOO, plant

QUICK = [name for name in DETECTORS if name != "overfit"]  # half a second for each program

FOUND_BY = {
    "gates swapped": {"oracle"},
    "no tanh on the way out": {"oracle"},
    "bias added twice": {"oracle", "gradient check"},
    "cell state in float16": {"oracle", "gradient check"},
    "belt cut": {"gradient check"},
    "slope at the wrong place": {"gradient check"},
    "late hidden state": {"gradient check"},
    "overwritten, not summed": {"gradient check"},
    "gradients not cleared": {"same twice"},
    "clipped one by one": {"direction"},
    "wrong fan-in": {"scale"},
    "state leaks": {"same twice"},
    "state dropped": {"halves"},
    "reshape for transpose": {"others still", "halves", "more padding"},
    "last step of the padding": {"more padding"},
    "target off by one": {"no future"},
    "scaler sees the future": {"no future"},
    "dropout never off": {"same twice"},
}


def test_every_bug_has_its_row():
    assert set(FOUND_BY) == set(ZOO)


@pytest.mark.parametrize("name", list(DETECTORS))
def test_the_healthy_program_passes(name):
    assert not DETECTORS[name].finds(HEALTHY)


@pytest.mark.parametrize("name", list(ZOO))
def test_each_bug_is_found_by_the_right_detectors(name):
    program = ZOO[name].program
    assert {kind for kind in QUICK if DETECTORS[kind].finds(program)} == FOUND_BY[name]


@pytest.mark.parametrize("bug", ZOO.values(), ids=list(ZOO))
def test_a_bug_is_a_small_change_of_the_parts_it_names(bug):
    program = bug.program
    for part in HEALTHY.__dataclass_fields__:
        assert (getattr(program, part) is not getattr(HEALTHY, part)) == (part in bug.edits)
    assert 1 <= len(bug.difference().splitlines()) <= 6
    assert bug.task in TASKS
    assert bug.story.endswith(".")
    assert bug.repair.endswith(".")


def test_planted_code_can_be_read():
    wrong = plant(bugs.time_major, ("x.transpose(1, 0, 2)", "x.transpose(2, 0, 1)"))
    assert "x.transpose(2, 0, 1)" in inspect.getsource(wrong)
    assert "x.transpose(1, 0, 2)" in inspect.getsource(bugs.time_major)


@pytest.mark.parametrize("old", ["not in the source", "return"])
def test_an_edit_that_does_not_fit_once_is_refused(old):
    with pytest.raises(ValueError, match="occurs"):
        plant(bugs.dropout, (old, "anything"))


def test_nan_is_found():
    broken = bugs.Detector("demo", "?", lambda program: float("nan"), 1.0)
    assert broken.finds(HEALTHY)


def test_the_compiled_cell_is_the_reference():
    """Training computes a healthy cell with the compiled kernel."""
    fast, (arrays, d) = bugs._fast(HEALTHY), bugs._problem(T=4, B=2, I=3, H=5)
    results = []
    for forward, backward in ((lstm_forward, lstm_backward), (fast.forward, fast.backward)):
        y, h_n, c_n, cache = forward(**arrays, training=True)
        results.append([y, h_n, c_n, *backward(*d, cache, arrays["W_ih"], arrays["W_hh"])])
    assert fast.forward is not lstm_forward
    assert max(relative_error(a, b) for a, b in zip(*results, strict=True)) < 1e-10


@pytest.mark.parametrize("task", list(TASKS))
def test_training_is_repeatable_and_learns(task):
    first, again = (bugs.train(HEALTHY, task, seed=3, steps=150) for _ in range(2))
    np.testing.assert_array_equal(first.losses, again.losses)
    assert first.losses[-10:].mean() < first.losses[:5].mean() / 2
    assert np.isfinite(bugs.honest_loss(HEALTHY, task, first.weights, seed=3, batches=3))


def test_dropout_that_never_stops_leaves_the_training_curve_alone():
    curves = [bugs.train(p, "echo with dropout", 0, 20).losses for p in (HEALTHY, ZOO["dropout never off"].program)]
    np.testing.assert_array_equal(*curves)


def test_the_noise_floor_is_a_floor():
    """The best forecast is the wave itself; what it misses is the noise."""
    series = bugs._series(np.random.default_rng(5))[: bugs.N_TRAIN]
    wave = np.sin(2 * np.pi * np.arange(bugs.N_TRAIN) / 12)
    assert np.mean((series - wave) ** 2) / series.var() == pytest.approx(bugs.noise_floor(5), rel=0.2)
