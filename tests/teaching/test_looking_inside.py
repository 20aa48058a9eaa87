"""The protocol of chapter 2.7: its scanner agrees with Python's, its statistics with scikit-learn's."""

import io
import tokenize
from itertools import accumulate

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import lstm_numba as ln
from lstm_numba.gradcheck import central_difference
from lstm_numba.teaching import looking_inside as protocol

MODULES = (*sum(protocol.HELD_OUT.values(), ()), *protocol.TRAINING[:20])


def marks_of_tokenize(text):
    """Strings, docstrings and comments as the standard library's tokeniser sees them, and open brackets."""
    starts = [0, *accumulate(len(line) for line in text.splitlines(keepends=True))]
    found = {name: np.zeros(len(text), dtype=bool) for name in ("string", "docstring", "comment")}
    depth = np.zeros(len(text), dtype=int)
    opened = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        first, last = (starts[line - 1] + column for line, column in (token.start, token.end))
        if token.type == tokenize.COMMENT:
            found["comment"][first:last] = True
        elif token.type == tokenize.STRING:
            prefix = len(token.string) - len(token.string.lstrip("rRbBuUfF"))
            triple = token.string[prefix : prefix + 3] in ("'''", '"""')
            found["docstring" if triple else "string"][first + prefix : last - 1] = True
        elif token.type == tokenize.OP and token.string in "([{)]}":
            opened += 1 if token.string in "([{" else -1
            depth[first:] = opened
    return found | {"bracket": depth > 0}


@pytest.mark.skipif(not hasattr(tokenize, "STRING") or hasattr(tokenize, "FSTRING_START"), reason="f-strings are split")
@pytest.mark.parametrize("name", MODULES)
def test_the_scanner_agrees_with_tokenize(name):
    text = protocol.read_modules((name,))
    seen = protocol.marks(text)
    for key, value in marks_of_tokenize(text).items():
        np.testing.assert_array_equal(seen[key], value, err_msg=f"{name}: {key}")


def test_marks_of_a_small_text():
    text = 'def f(a):\n        return \'x\\\'y\'  # it\'s\n"""doc \' " \n"""\nz'
    seen = protocol.marks(text)
    assert "".join(c for c, s in zip(text, seen["string"], strict=True) if s) == "'x\\'y"
    assert "".join(c for c, s in zip(text, seen["comment"], strict=True) if s) == "# it's"
    assert "".join(c for c, s in zip(text, seen["docstring"], strict=True) if s) == '"""doc \' " \n""'
    assert seen["indent"][text.index("return")] == 8
    assert seen["deep"][text.index("return")]
    assert not seen["deep"][text.index("return") - 2]  # seven spaces so far
    assert seen["column"][text.index("\n") + 1] == 1
    assert seen["quote"][text.index("x")] == ord("'")
    assert not seen["quote"][-1]


def test_no_module_is_held_out_and_trained_on():
    names = [*protocol.TRAINING, *sum(protocol.HELD_OUT.values(), ())]
    assert len(names) == len(set(names))


def test_generated_source_is_python_and_depends_on_the_seed_only():
    text = protocol.generated_source(np.random.default_rng(3), 6000)
    assert text == protocol.generated_source(np.random.default_rng(3), 6000)
    assert text != protocol.generated_source(np.random.default_rng(4), 6000)
    compile(text[: text.rindex("\ndef ") + 1], "generated", "exec")
    assert all(0 < protocol.marks(text)[name].mean() < 1 for name in protocol.PROPERTIES if name != "late")


def test_foreign_characters_are_refused():
    with pytest.raises(ValueError, match="printable ASCII"):
        protocol.encode("naïve")


def test_auc_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    label = rng.random(300) < 0.2
    values = np.round(rng.normal(size=(300, 5)) + label[:, None] * np.arange(5), 1)
    expected = [roc_auc_score(label, values[:, k]) for k in range(5)]
    np.testing.assert_allclose(protocol.auc(values, label), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("label", "message"), [(np.ones(4, bool), "both True and False"), (np.ones(3, bool), "shape")])
def test_auc_refuses_labels_that_do_not_fit(label, message):
    with pytest.raises(ValueError, match=message):
        protocol.auc(np.zeros((4, 2)), label)


@pytest.fixture
def model():
    return protocol.character_model(ln.LSTM(96, 7, seed=5), seed=6).eval()


def test_traces_are_the_layers_own(model):
    codes = protocol.encode("x = f('a')\ny = 2")[:, None]
    inside = protocol.traces(model, codes)
    y, (_, c) = model.layers[0](protocol.one_hot(codes))
    np.testing.assert_allclose(inside["h"], y, rtol=0, atol=1e-5)
    np.testing.assert_allclose(inside["c"][-1], c[0], rtol=0, atol=1e-5)
    again = inside["f"][1:] * inside["c"][:-1] + inside["i"][1:] * inside["g"][1:]
    np.testing.assert_allclose(inside["c"][1:], again, rtol=0, atol=1e-6)


def test_cell_states_in_pieces_are_those_of_one_reading(model):
    text = protocol.generated_source(np.random.default_rng(1), 700)
    whole = protocol.traces(model, protocol.encode("\n" * 300 + text)[:, None])["c"][300:, 0]
    pieces = protocol.cell_states(model, text, pieces=4, warm_up=300)
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-5)


def test_connectivity_is_the_norm_of_the_derivative():
    recurrent = ln.LSTM(96, 5, dtype="float64", seed=1)
    model = ln.Sequential(recurrent, ln.Dense(5, 96, dtype="float64", seed=2))
    codes = protocol.encode("f(1)=")
    G = protocol.connectivity(model, codes)
    t, s = 3, 1

    def log_p(row):
        x = protocol.one_hot(codes[:-1]).astype(np.float64)
        x[s] = row
        scores = model(x[:, None])[t, 0]
        return scores[codes[t + 1]] - np.log(np.exp(scores).sum())

    slope = central_difference(log_p, protocol.one_hot(codes)[s].astype(np.float64), 1e-6)
    assert G[t, s] == pytest.approx(np.linalg.norm(slope), rel=1e-6)
    assert not np.triu(G, 1).any()


def test_a_unit_that_is_cut_out_says_its_value(model):
    codes = protocol.encode("return x")[:, None]
    before, _ = protocol.run(model, codes)
    cut = protocol.cut_out(model, 2, 0.3)
    after, _ = protocol.run(cut, codes)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(protocol.run(model, codes)[0], before)  # the original is untouched
    # By hand: a step-by-step reading in which h[2] is overwritten before anybody reads it.
    weights = model.parameters
    h, c = np.zeros(7), np.zeros(7)
    for code in codes[:, 0]:
        h[2] = 0.3
        z = weights["0.weight_ih_l0"][:, code] + weights["0.weight_hh_l0"] @ h
        z = z + weights["0.bias_ih_l0"] + weights["0.bias_hh_l0"]
        i, f, g, o = np.split(z, 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    h[2] = 0.3
    np.testing.assert_allclose(after[-1, 0], weights["1.weight"] @ h + weights["1.bias"], rtol=0, atol=1e-5)
