"""Readings of Experiment 1 of 1997: string sets, diagnosis against NumPy, tables made from stored trials."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from lstm_numba.historic import Architecture, Network
from lstm_numba.reference import lstm1997
from lstm_numba.teaching import reber_1997
from lstm_numba.teaching.reber_1997 import READINGS, Reading, Trained, diagnose, string_sets
from lstm_numba.teaching.rerun_1997 import ROWS

STORED = Path(__file__).parents[2] / "benchmarks" / "results" / "reber_1997.json"


@pytest.fixture(scope="module")
def stored():
    return json.loads(STORED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("different", [False, True])
def test_no_test_string_is_a_training_string(different):
    strings, lengths, legal = string_sets(1, different)
    texts = ["".join("BTPSXVE"[s] for s in strings[n, : lengths[n] + 1]) for n in range(512)]
    assert not set(texts[:256]) & set(texts[256:])
    assert (len(set(texts)) == 512) == different
    for n, text in enumerate(texts):
        assert text.startswith("B")
        assert text[1] == text[-2]
        assert text.endswith("E")
        assert legal[n, np.arange(lengths[n]), strings[n, 1 : lengths[n] + 1]].all()
        assert legal[n, lengths[n] - 2].sum() == 1  # the far symbol is certain for whoever remembers
    if different:
        assert abs(lengths[:256].mean() - lengths[256:].mean()) < 1.5


def test_a_reading_that_no_kernel_runs_is_refused():
    with pytest.raises(ValueError, match="at_once and open_gates"):
        Reading(at_once=True, whole=True)


def test_diagnosis_agrees_with_numpy(rng):
    strings, lengths, legal = string_sets(0)
    sets = (strings[:30], lengths[:30], legal[:30])
    network = Network(Architecture(7, 7, 3, 2, "gates"), rng, 1.5)
    found = diagnose(Trained(network, np.zeros((7, 8)), np.array([2.0, 1.0]), sets, np.zeros((2, 2))))
    H = network.architecture.hidden
    W = np.hstack([network.W[H + 1 :, :H].T, network.W[: H + 1, :H].T])
    far, inner, slopes = [], [], []
    for symbols, length, allowed in zip(*sets, strict=True):
        ran = lstm1997.run(np.eye(7)[symbols[:length]], W, network.V[:, :7].T, 3)
        right = [ran.answers[t][allowed[t]].min() > ran.answers[t][~allowed[t]].max() for t in range(length)]
        far.append(right.pop(length - 2))
        inner.append(all(right))
        h = 2 * lstm1997.logistic(ran.s[length - 2]) - 1
        slopes.append(np.mean(1 - h**2))
    assert found["far"] == pytest.approx(np.mean(far))
    assert found["inner"] == pytest.approx(np.mean(inner))
    assert found["slope"] == pytest.approx(np.mean(slopes))


def test_a_solved_network_has_nothing_wrong():
    found = reber_1997.trial(3, 2, (-1, -2, -3), 0.5, Reading(whole=True), 3, cap=10_000)
    assert found["after"] == found["seen"] < 10_000
    assert found["far"] == found["inner"] == 1.0
    assert 0 < found["slope"] < 1


def test_table_and_figure_count_what_is_stored():
    def trials(*after):
        return [{"after": n, "far": 1.0 if n else 0.5, "inner": 1.0, "slope": 0.1} for n in after]

    some = {"hs97-1-5": trials(None, None, 400), "hs97-1-5@whole": trials(100, 300)}
    assert reber_1997.reading_rows(some) == [
        ["as printed", "1 of 3", "400", "100%", "50%", "0.10"],
        ["the whole gradient", "2 of 2", "200", "100%", "100%", "0.10"],
    ]
    fig, alt = reber_1997.far_figure(some)
    assert "as printed 1 of 3, the whole gradient 2 of 2" in alt
    assert len(fig.axes[0].get_yticklabels()) == 2
    plt.close(fig)


def test_stored_trials_are_those_of_table_1_and_repeat(stored):
    assert not stored["provenance"]["sources_modified"]
    assert {"hs97-1-5" + end for end in READINGS} <= set(stored["rows"])
    for name, trials in stored["rows"].items():
        assert ROWS[name].table == 1
        assert trials
        assert len({trial["seed"] for trial in trials}) == len(trials)
        for trial in trials:
            solved = trial["after"] is not None
            assert (trial["far"] == trial["inner"] == 1.0) == solved
    quick = min(stored["rows"]["hs97-1-5@whole"], key=lambda trial: trial["seen"])
    again = reber_1997.trial(3, 2, (-1, -2, -3), 0.5, Reading(whole=True), quick["seed"], cap=60_000)
    assert again["after"] == quick["after"]
