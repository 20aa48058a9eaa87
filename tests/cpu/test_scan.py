"""The compiled scans: equal to the reference, to each other, and the same bits on any number of threads."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba.cpu import scan as cpu
from lstm_numba.gradcheck import relative_error
from lstm_numba.reference import scan as reference
from tests.conftest import TOLERANCE
from tests.recurrences import everything, random_problem


@given(
    cell=st.sampled_from(["mingru", "minlstm"]),
    T=st.integers(1, 7),
    B=st.integers(0, 4),
    I=st.integers(1, 5),
    H=st.integers(1, 19),
    bias=st.booleans(),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_cells_equal_the_reference(cell, T, B, I, H, bias, dtype, seed):
    problem = random_problem(np.random.default_rng(seed), cell, T, B, I, H, dtype, bias)
    ours, expected = (everything(module, cell, *problem) for module in (cpu, reference))
    assert ours.keys() == expected.keys()
    for name, value in ours.items():
        assert value.dtype == expected[name].dtype == np.dtype(dtype), name
        assert relative_error(value, expected[name]) < TOLERANCE[dtype], name


@given(
    T=st.integers(1, 40),
    N=st.integers(1, 150),
    chunk=st.integers(1, 45),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_three_ways_to_scan(T, N, chunk, dtype, seed):
    """Cutting time into pieces of any length changes rounding only; sharing the lanes changes nothing."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(-1, 1, (T, N)).astype(dtype)
    b, dy = rng.normal(size=(2, T, N)).astype(dtype)
    h0, dh_n = rng.normal(size=(2, N)).astype(dtype)
    h = reference.linear_scan(a, b, h0)
    _, db, dh0 = reference.linear_scan_grad(dy, dh_n, a, h)
    results = {}
    for method in cpu.METHODS:
        ours = cpu.linear_scan(a, b, h0, method, chunk=chunk)
        ours_db, ours_dh0 = cpu.linear_scan_grad(dy, dh_n, a, method, chunk=chunk)
        assert relative_error(ours, h[1:]) < TOLERANCE[dtype]
        assert relative_error(ours_db, db) < TOLERANCE[dtype]
        assert relative_error(ours_dh0, dh0) < TOLERANCE[dtype]
        results[method] = ours, ours_db
    for one, two in zip(results["sequential"], results["lanes"], strict=True):
        np.testing.assert_array_equal(one, two)


def test_composing_steps_is_associative(rng):
    """Three steps, bracketed both ways, are one step."""

    def compose(later, earlier):
        return later[0] * earlier[0], later[0] * earlier[1] + later[1]

    first, second, third = rng.normal(size=(3, 2, 10))
    one = compose(compose(third, second), first)
    two = compose(third, compose(second, first))
    np.testing.assert_allclose(one, two, rtol=1e-12)
    a, b = (np.stack(parts) for parts in zip(first, second, third, strict=True))
    h0 = rng.normal(size=10)
    np.testing.assert_allclose(cpu.linear_scan(a, b, h0)[-1], one[0] * h0 + one[1], rtol=1e-12)


PROGRAM = """
import hashlib, sys
import numpy as np
import lstm_numba as ln
from lstm_numba.cpu import scan, threads

threads.SERIAL_FLOPS = 0  # small problems use all threads too
ln.set_num_threads(int(sys.argv[1]))
rng = np.random.default_rng(0)
digest = hashlib.sha256()
a, b = rng.uniform(0, 1, (2, 300, 130))
for method in scan.METHODS:
    for reverse in (False, True):
        digest.update(scan.linear_scan(a, b, b[0], method, reverse=reverse, chunk=64).tobytes())
for layer in (ln.MinGRU(3, 40, seed=0, dtype="float64"), ln.SLSTM(3, 8, seed=0, dtype="float64"),
              ln.MLSTM(3, 8, 2, seed=0, dtype="float64")):
    y, _ = layer(rng.normal(size=(20, 5, 3)))
    layer.backward(y)
    for value in (y, *layer.grads.values()):
        digest.update(value.tobytes())
print(ln.get_num_threads(), digest.hexdigest())
"""


def test_results_do_not_depend_on_the_number_of_threads():
    outputs = []
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, threads],
            env={**_environment(), "NUMBA_NUM_THREADS": "2"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.split())
    assert [threads for threads, _ in outputs] == ["1", "2"]
    assert outputs[0][1] == outputs[1][1]


def _environment():
    import os

    return {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_NUM")}


@pytest.mark.parametrize("chunk", [7, 32])
def test_counted_operations_are_those_of_the_algorithm(chunk):
    """Counted once more, with numbers that count what is done to them."""

    class Counted(float):
        done = 0

        def __mul__(self, other):
            Counted.done += 1
            return Counted(float(self) * float(other))

        def __add__(self, other):
            Counted.done += 1
            return Counted(float(self) + float(other))

    T = 100
    a = np.array([[Counted(0.5)] for _ in range(T)], dtype=object)
    b = np.array([[Counted(1.0)] for _ in range(T)], dtype=object)
    pieces = -(-T // chunk)
    A, B = np.empty(1, object), np.empty(1, object)
    starts = np.array([Counted(0)], dtype=object)
    for piece in range(pieces):
        first, last = piece * chunk, min(piece * chunk + chunk, T)
        if piece < pieces - 1:
            cpu._condense.py_func(a, b, A, B, first, last, False)
        carry = starts.copy()
        cpu._run.py_func(np.empty_like(b), a, b, carry, first, last, 0, 1, False)
        if piece < pieces - 1:
            starts = np.array([A[0] * starts[0] + B[0]], dtype=object)
    assert cpu.count_operations(T, 1, "chunks", chunk) == Counted.done
    assert float(starts[0] * 0 + carry[0]) == pytest.approx(2.0, abs=1e-9)


def test_infinite_and_closed_gates(rng):
    """Gates saturated to 0 or 1, in float32 too: kept exactly, written exactly, never 0 / 0."""
    for cell, rows in (("mingru", 2), ("minlstm", 3)):
        x, (h0,), _, _, _ = random_problem(rng, cell, 3, 2, 2, 1, "float32")
        for gates in ((-1e4, 1e4), (1e4, -1e4), (-1e4, -1e4)):
            bias = np.array([*gates, 0][:rows] if cell == "minlstm" else [gates[0], 0], np.float32)
            weights = np.zeros((rows, 2), np.float32), bias
            y, _, _ = getattr(cpu, f"{cell}_forward")(x, (h0,), weights, False)
            assert np.isfinite(y).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, b, h: cpu.linear_scan(a, b, h, "tree"), "method: expected one of 'sequential', 'lanes', 'chunks'"),
        (
            lambda a, b, h: cpu.linear_scan(a[1:], b, h),
            r"a: expected the shape of b, \(T, N\) = \(4, 3\), got",
        ),
        (lambda a, b, h: cpu.linear_scan(a, b, h[1:]), r"h0: expected shape \(N=3,\), got \(2,\)"),
        (lambda a, b, h: cpu.linear_scan(a, b, h, "chunks", chunk=0), "chunk: expected at least 1, got 0"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((4, 3)), np.zeros((4, 3)), np.zeros(3))
