"""What `run_threads` writes down about shared memory, and what it draws from it."""

import numpy as np
from numba import cuda, float32

from lstm_numba.teaching.threads import draw_threads, run_threads


def reverse(x, y):
    first = cuda.shared.array((2, 3), float32)
    second = cuda.shared.array(8, float32)
    n = cuda.threadIdx.x
    first[n // 3, n % 3] = x[n]
    second[n] = x[n]
    cuda.syncthreads()
    if n < 3:
        y[n] = first[(5 - n) // 3, (5 - n) % 3] + first[0, 0]


X, Y, LIKE = np.arange(12.0), np.zeros(12), np.zeros((2, 3), np.float32)


def test_who_touches_shared_memory_between_which_barriers():
    trace = run_threads(reverse, 2, 6, X, Y, shared=True, seed=1)
    assert trace.shared_writers(0, LIKE).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (trace.shared_writers(1, LIKE) == -1).all()
    assert (trace.shared_reads(0, LIKE) == 0).all()
    assert trace.shared_reads(1, LIKE).tolist() == [[3, 0, 0], [1, 1, 1]]
    assert {touch.thread for touch in trace.shared if touch.block == 1} == set(range(6, 12))


def test_nothing_is_written_down_unasked():
    assert run_threads(reverse, 1, 6, X, Y).shared == []


def test_who_read_last():
    def shifted(x, y):
        n = cuda.grid(1)
        if n < 3:
            y[n] = x[n + 1]

    trace = run_threads(shifted, 2, 2, np.arange(5.0), np.zeros(3))
    assert trace.read_by("x").tolist() == [-1, 0, 1, 2, -1]
    assert trace.writers("y").tolist() == [0, 1, 2]


def test_blank_squares_and_numbers():
    figure = draw_threads([("a", np.array([[0, -1], [12, 3]])), ("b", np.arange(2))], columns=2)
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert texts == ["0", "12", "3", "0", "1"]
