"""Matrix products of layers: NumPy's numbers for every shape, and the same bits in any number of threads."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.cpu import product as cpu
from lstm_numba.gradcheck import relative_error
from lstm_numba.reference import product as reference
from tests.conftest import TOLERANCE

# One number; no whole vector anywhere; several panels, blocks of the sum and blocks of rows; whole vectors only.
SHAPES = [(1, 1, 1), (7, 5, 3), (120, 130, 300), (64, 96, 48)]


@pytest.fixture
def always_compiled(monkeypatch):
    """Small products too."""
    monkeypatch.setattr(cpu, "_SMALL", 0)


def draw(rng, M, N, K, dtype):
    return [rng.normal(size=shape).astype(dtype) for shape in ((M, K), (N, K), (N,), (M, N))]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("always_compiled")
def test_equals_numpy(rng, dtype, shape):
    x, weight, bias, dy = draw(rng, *shape, dtype)
    exact = [array.astype("f8") for array in (x, weight, bias, dy)]
    for b, b_exact in ((bias, exact[2]), (None, None)):
        expected = reference.linear_forward(exact[0], exact[1], b_exact)
        assert relative_error(cpu.linear_forward(x, weight, b), expected) < TOLERANCE[dtype]
    dweight, dbias = np.ones_like(weight), np.ones_like(bias)
    dx = cpu.linear_backward(dy, x, weight, dweight, dbias)
    dweight_r, dbias_r = np.ones(weight.shape), np.ones(bias.shape)
    dx_r = reference.linear_backward(exact[3], exact[0], exact[1], dweight_r, dbias_r)
    for ours, theirs in ((dx, dx_r), (dweight, dweight_r), (dbias, dbias_r)):
        assert relative_error(ours, theirs) < TOLERANCE[dtype]
    before = dbias.copy()
    cpu.linear_backward(dy, x, weight, dweight)
    np.testing.assert_array_equal(dbias, before)


@pytest.mark.parametrize("shape", [*SHAPES, (130, 110, 300)])
@pytest.mark.usefixtures("always_compiled")
def test_both_ways_give_the_same_bits(rng, monkeypatch, dtype, shape):
    x, weight, bias, dy = draw(rng, *shape, dtype)
    results = []
    for flipped in (False, True):
        monkeypatch.setattr(cpu, "_pays_to_flip", lambda M, N, K, flipped=flipped: flipped)
        dx = cpu.linear_backward(dy, x, weight, np.zeros_like(weight))
        results.append([cpu.linear_forward(x, weight, bias), cpu.linear_forward(x, weight), dx])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("always_compiled")
def test_what_is_not_contiguous(rng):
    x, weight, bias, dy = draw(rng, 40, 30, 20, "float32")
    turned = np.asfortranarray(x)
    np.testing.assert_array_equal(cpu.linear_forward(turned, weight, bias), cpu.linear_forward(x, weight, bias))
    dweight, again = np.zeros_like(weight), np.zeros_like(weight)
    dx = cpu.linear_backward(dy, x, weight, dweight)
    np.testing.assert_array_equal(cpu.linear_backward(np.asfortranarray(dy), turned, weight, again), dx)
    np.testing.assert_array_equal(again, dweight)


@pytest.mark.skipif(ln.get_num_threads() < 2, reason="needs two threads")
@pytest.mark.parametrize(
    ("M", "flipped"),
    [
        (30, True),
        (30, False),  # threads share the panels
        (300, False),  # threads share the rows
    ],
)
def test_threads_do_not_change_a_bit(rng, monkeypatch, M, flipped):
    monkeypatch.setattr(cpu, "_pays_to_flip", lambda M, N, K: flipped)
    monkeypatch.setattr(cpu, "SERIAL_FLOPS", 0)
    monkeypatch.setattr(cpu, "_SMALL", 0)
    x, weight, bias, dy = draw(rng, M, 200, 300, "float32")

    def everything():
        dweight, dbias = np.zeros_like(weight), np.zeros_like(bias)
        return [cpu.linear_forward(x, weight, bias), cpu.linear_backward(dy, x, weight, dweight, dbias), dweight, dbias]

    several = everything()
    before = ln.get_num_threads()
    ln.set_num_threads(1)
    try:
        alone = everything()
    finally:
        ln.set_num_threads(before)
    for a, b in zip(several, alone, strict=True):
        np.testing.assert_array_equal(a, b)
