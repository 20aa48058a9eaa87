"""The text that several studies read: parts that do not share paragraphs, and symbol numbers."""

import numpy as np

from lstm_numba.teaching.fair_fight.tasks import TASKS as FAIR_TASKS
from lstm_numba.teaching.letters import ALPHABET, PARTS, SYMBOLS, documentation, numbers, parts
from lstm_numba.teaching.variants_study import TASKS


def as_text(symbols):
    return "".join((ALPHABET + "#")[symbol] for symbol in symbols)


def test_the_test_text_is_not_in_the_training_text():
    rng = np.random.default_rng(4)
    train, test = (as_text(documentation()[part]) for part in ("train", "test"))
    pieces = [test[at : at + 100] for at in rng.integers(0, len(test) - 100, 300)]
    assert np.mean([piece in train for piece in pieces]) < 0.02  # whole paragraphs are there once only


def test_numbers_name_the_letters_and_nothing_gets_lost():
    assert as_text(numbers("Ab_z.\n\u00e9")) == "ab_z.\n#"
    pieces = parts(np.arange(1000))
    assert [len(pieces[name]) for name in PARTS] == [900, 50, 50]
    assert np.concatenate([pieces[name] for name in PARTS]).tolist() == list(range(1000))


def test_both_studies_read_the_same_text():
    train = as_text(documentation()["train"])
    piece = next(TASKS["text"].samples(np.random.default_rng(0))).target
    fair = FAIR_TASKS["characters"].draw(np.random.default_rng(0), 2, "train", 60).y
    assert SYMBOLS == TASKS["text"].outputs == FAIR_TASKS["characters"].outputs
    for b in range(2):
        assert as_text(piece[:, b]) in train
        assert as_text(fair[:, b]) in train
