"""The contract's reference: directions and lengths put together from single runs, against doing it by hand."""

import numpy as np
import pytest

from lstm_numba.contract import CELLS, Weights
from lstm_numba.gradcheck import complex_step, relative_error
from lstm_numba.reference.layer import layer_forward, layer_gradients

BLOCKS = {"lstm": 4, "gru": 3, "gru_reset_before": 3, "rnn_tanh": 1, "rnn_relu": 1}
T, B, I, H = 5, 3, 2, 4
LENGTHS = np.array([3, 5, 1])


def problem_of(rng, cell, projection, bias=True):
    """Input, state and weights of a layer with both directions."""
    rows, P = BLOCKS[cell] * H, projection or H
    shapes = [(rows, I), (rows, P), (rows,) if bias else None, (rows,) if bias else None]
    shapes += [(P, H) if projection else None]
    weights = tuple(Weights(*(None if s is None else rng.normal(size=s) for s in shapes)) for _ in range(2))
    widths = (P, H) if cell == "lstm" else (P,)
    return rng.normal(size=(T, B, I)), tuple(rng.normal(size=(2, B, width)) for width in widths), weights


KINDS = [*((cell, 0) for cell in CELLS), ("lstm", 2)]


@pytest.mark.parametrize(("cell", "projection"), KINDS)
def test_lengths_cut_each_sequence(rng, cell, projection):
    x, state, weights = problem_of(rng, cell, projection)
    y, final, cache = layer_forward(cell, x, state, weights, LENGTHS, False)
    assert cache is None
    for b, n in enumerate(LENGTHS):
        alone, alone_final, _ = layer_forward(
            cell, x[:n, b : b + 1], tuple(s[:, b : b + 1] for s in state), weights, None, False
        )
        np.testing.assert_array_equal(y[:n, b], alone[:, 0])
        assert not y[n:, b].any()
        for part, alone_part in zip(final, alone_final, strict=True):
            np.testing.assert_array_equal(part[:, b], alone_part[:, 0])


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize(("cell", "projection"), KINDS)
def test_gradients_equal_the_complex_step(rng, cell, projection, lengths):
    x, state, weights = problem_of(rng, cell, projection)
    y, final, cache = layer_forward(cell, x, state, weights, lengths, True)
    dy, dfinal = rng.normal(size=y.shape), tuple(rng.normal(size=part.shape) for part in final)
    dx, dstate, grads = layer_gradients(cell, dy, dfinal, cache, weights)

    def loss(x, state, weights):
        y, final, _ = layer_forward(cell, x, state, weights, lengths, False)
        valid = np.arange(T)[:, None] < (np.full(B, T) if lengths is None else lengths)
        return (y * dy * valid[:, :, None]).sum() + sum((f * d).sum() for f, d in zip(final, dfinal, strict=True))

    pairs = [(dx, complex_step(lambda value: loss(value, state, weights), x))]
    for n, part in enumerate(state):
        replaced = lambda value, n=n: loss(x, (*state[:n], value, *state[n + 1 :]), weights)  # noqa: E731
        pairs.append((dstate[n], complex_step(replaced, part)))
    for d in range(2):
        for name, weight in weights[d]._asdict().items():
            if weight is None:
                assert getattr(grads[d], name) is None
                continue

            def replaced(value, d=d, name=name):
                changed = list(weights)
                changed[d] = weights[d]._replace(**{name: value})
                return loss(x, state, tuple(changed))

            pairs.append((getattr(grads[d], name), complex_step(replaced, weight)))
    assert all(relative_error(ours, expected) < 1e-12 for ours, expected in pairs)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_is_not_read(rng, cell):
    x, state, weights = problem_of(rng, cell, 0, bias=False)
    clean = layer_forward(cell, x, state, weights, LENGTHS, False)
    for b, n in enumerate(LENGTHS):
        x[n:, b] = np.nan
    dirty = layer_forward(cell, x, state, weights, LENGTHS, True)
    np.testing.assert_array_equal(dirty[0], clean[0])
    dy = np.ones_like(dirty[0])
    for b, n in enumerate(LENGTHS):
        dy[n:, b] = np.nan
    dx, dstate, grads = layer_gradients(cell, dy, dirty[1], dirty[2], weights)
    gradients = [dx, *dstate, *(g for direction in grads for g in direction if g is not None)]
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert grads[0].b_ih is None
