"""The rungs of the ladder from Python loops to parallel compiled loops: one LSTM forward pass, written seven times.

Every rung is a function ``rung(x, W_ih, W_hh, b) -> y`` with ``x (T, B, I)``, ``W_ih (4H, I)``, ``W_hh (4H, H)``,
``b (4H,)`` (the sum of both biases), ``y (T, B, H)``, all float32; the states start at zero. They are here to be read
and timed side by side, by a chapter of the book and by ``python -m benchmarks ladder``; the package uses none of them.
"""

import math

import numpy as np
from numba import njit, prange

from lstm_numba import cells

# What a kernel of this package is compiled with: a fused multiply-add is allowed and nothing else, and a division by
# zero gives Inf instead of an exception.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}


def python_loops(x, W_ih, W_hh, b):
    """Rung 0: the equations, one number at a time, in plain Python."""
    T, B, I = x.shape
    H = W_hh.shape[1]
    xs, V, W, bias = x.tolist(), W_ih.tolist(), W_hh.tolist(), b.tolist()

    def sigmoid(z):
        return 1 / (1 + math.exp(-z))

    y = np.empty((T, B, H), x.dtype)
    for n in range(B):
        h, c = [0.0] * H, [0.0] * H
        for t in range(T):
            z = []
            for m in range(4 * H):
                total = bias[m]
                for k in range(I):
                    total += V[m][k] * xs[t][n][k]
                for k in range(H):
                    total += W[m][k] * h[k]
                z.append(total)
            for j in range(H):
                i, f, g, o = sigmoid(z[j]), sigmoid(z[H + j]), math.tanh(z[2 * H + j]), sigmoid(z[3 * H + j])
                c[j] = f * c[j] + i * g
                h[j] = o * math.tanh(c[j])
            y[t, n] = h
    return y


def numpy_steps(x, W_ih, W_hh, b):
    """Rung 1: one NumPy expression per equation and step, as in a textbook."""
    T, B, _ = x.shape
    H = W_hh.shape[1]

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    V_i, V_f, V_g, V_o = np.split(W_ih, 4)
    W_i, W_f, W_g, W_o = np.split(W_hh, 4)
    b_i, b_f, b_g, b_o = np.split(b, 4)
    h, c = np.zeros((B, H), x.dtype), np.zeros((B, H), x.dtype)
    y = []
    for t in range(T):
        i = sigmoid(x[t] @ V_i.T + h @ W_i.T + b_i)
        f = sigmoid(x[t] @ V_f.T + h @ W_f.T + b_f)
        g = np.tanh(x[t] @ V_g.T + h @ W_g.T + b_g)
        o = sigmoid(x[t] @ V_o.T + h @ W_o.T + b_o)
        c = f * c + i * g
        h = o * np.tanh(c)
        y.append(h)
    return np.stack(y)


def numpy_fused(x, W_ih, W_hh, b):
    """Rung 2: the input's product once for all steps, one product per step for all gates, no temporary arrays."""
    T, B, I = x.shape
    H = W_hh.shape[1]
    z_x = (x.reshape(T * B, I) @ W_ih.T + b).reshape(T, B, 4 * H)
    W_hh_T = np.ascontiguousarray(W_hh.T)
    y = np.empty((T, B, H), x.dtype)
    h, c = np.zeros((B, H), x.dtype), np.zeros((B, H), x.dtype)
    z, written = np.empty((B, 4 * H), x.dtype), np.empty((B, H), x.dtype)
    i, f, g, o = (z[:, gate * H : (gate + 1) * H] for gate in range(4))  # views: no gate is copied
    for t in range(T):
        np.matmul(h, W_hh_T, out=z)
        z += z_x[t]
        for gate in (i, f, o):
            np.negative(gate, out=gate)
            np.exp(gate, out=gate)
            gate += 1
            np.reciprocal(gate, out=gate)
        np.tanh(g, out=g)
        c *= f
        np.multiply(i, g, out=written)
        c += written
        h = y[t]
        np.tanh(c, out=h)
        h *= o
    return y


@njit(**OPTIONS)
def _scan_loops(z_x, W_hh, y):
    T, B, H = y.shape
    z, h, c = np.empty(4 * H, y.dtype), np.empty(H, y.dtype), np.empty(H, y.dtype)
    one = y.dtype.type(1)
    for n in range(B):
        h[:] = 0
        c[:] = 0
        for t in range(T):
            for m in range(4 * H):
                total = z_x[t, n, m]
                for k in range(H):
                    total += W_hh[m, k] * h[k]
                z[m] = total
            for j in range(H):
                i = one / (one + math.exp(-z[j]))
                f = one / (one + math.exp(-z[H + j]))
                g = math.tanh(z[2 * H + j])
                o = one / (one + math.exp(-z[3 * H + j]))
                c[j] = f * c[j] + i * g
                h[j] = o * math.tanh(c[j])
                y[t, n, j] = h[j]


def numba_loops(x, W_ih, W_hh, b):
    """Rung 3: the loops of rung 0, compiled."""
    z_x, y = _input_product(x, W_ih, b), _output(x, W_hh)
    _scan_loops(z_x, W_hh, y)
    return y


@njit(**OPTIONS)
def _scan_turned(z_x, W_hh_T, y):
    T, B, H = y.shape
    z, h, c = np.empty(4 * H, y.dtype), np.empty(H, y.dtype), np.empty(H, y.dtype)
    one = y.dtype.type(1)
    for n in range(B):
        h[:] = 0
        c[:] = 0
        for t in range(T):
            for m in range(4 * H):
                z[m] = z_x[t, n, m]
            for k in range(H):
                h_k = h[k]
                for m in range(4 * H):  # neighbours in memory, and no sum runs through this loop
                    z[m] += h_k * W_hh_T[k, m]
            for j in range(H):
                i = one / (one + math.exp(-z[j]))
                f = one / (one + math.exp(-z[H + j]))
                g = math.tanh(z[2 * H + j])
                o = one / (one + math.exp(-z[3 * H + j]))
                c[j] = f * c[j] + i * g
                h[j] = o * math.tanh(c[j])
                y[t, n, j] = h[j]


def numba_turned(x, W_ih, W_hh, b):
    """Rung 4: the two inner loops exchanged, so that the processor can do many of them at once."""
    z_x, y = _input_product(x, W_ih, b), _output(x, W_hh)
    _scan_turned(z_x, np.ascontiguousarray(W_hh.T), y)
    return y


@njit(**OPTIONS)
def _scan_activations(z_x, W_hh_T, y):
    T, B, H = y.shape
    z, h, c = np.empty(4 * H, y.dtype), np.empty(H, y.dtype), np.empty(H, y.dtype)
    for n in range(B):
        h[:] = 0
        c[:] = 0
        for t in range(T):
            for m in range(4 * H):
                z[m] = z_x[t, n, m]
            for k in range(H):
                h_k = h[k]
                for m in range(4 * H):
                    z[m] += h_k * W_hh_T[k, m]
            for j in range(H):
                _, _, _, _, c_j, h_j = cells.lstm_step(z[j], z[H + j], z[2 * H + j], z[3 * H + j], c[j])
                c[j] = c_j
                h[j] = h_j
                y[t, n, j] = h_j


def numba_activations(x, W_ih, W_hh, b):
    """Rung 5: exp and tanh as arithmetic of our own, so that the loop over the units is vectorised too."""
    z_x, y = _input_product(x, W_ih, b), _output(x, W_hh)
    _scan_activations(z_x, np.ascontiguousarray(W_hh.T), y)
    return y


@njit(parallel=True, **OPTIONS)
def _scan_race(z_x, W_hh_T, y):
    T, B, H = y.shape
    z, h, c = np.empty(4 * H, y.dtype), np.empty(H, y.dtype), np.empty(H, y.dtype)  # one buffer, many threads: the bug
    for n in prange(B):
        h[:] = 0
        c[:] = 0
        for t in range(T):
            for m in range(4 * H):
                z[m] = z_x[t, n, m]
            for k in range(H):
                h_k = h[k]
                for m in range(4 * H):
                    z[m] += h_k * W_hh_T[k, m]
            for j in range(H):
                _, _, _, _, c_j, h_j = cells.lstm_step(z[j], z[H + j], z[2 * H + j], z[3 * H + j], c[j])
                c[j] = c_j
                h[j] = h_j
                y[t, n, j] = h_j


def numba_race(x, W_ih, W_hh, b):
    """Rung 6, WRONG on purpose: ``range`` became ``prange``, but all threads write into the same buffers."""
    z_x, y = _input_product(x, W_ih, b), _output(x, W_hh)
    _scan_race(z_x, np.ascontiguousarray(W_hh.T), y)
    return y


@njit(parallel=True, **OPTIONS)
def _scan_parallel(z_x, W_hh_T, y):
    T, B, H = y.shape
    for n in prange(B):
        z, h, c = np.empty(4 * H, y.dtype), np.zeros(H, y.dtype), np.zeros(H, y.dtype)  # each sequence has its own
        for t in range(T):
            for m in range(4 * H):
                z[m] = z_x[t, n, m]
            for k in range(H):
                h_k = h[k]
                for m in range(4 * H):
                    z[m] += h_k * W_hh_T[k, m]
            for j in range(H):
                _, _, _, _, c_j, h_j = cells.lstm_step(z[j], z[H + j], z[2 * H + j], z[3 * H + j], c[j])
                c[j] = c_j
                h[j] = h_j
                y[t, n, j] = h_j


def numba_parallel(x, W_ih, W_hh, b):
    """Rung 6: the sequences of the batch shared out between threads, each with buffers of its own."""
    z_x, y = _input_product(x, W_ih, b), _output(x, W_hh)
    _scan_parallel(z_x, np.ascontiguousarray(W_hh.T), y)
    return y


def _input_product(x, W_ih, b):
    T, B, I = x.shape
    return (x.reshape(T * B, I) @ W_ih.T + b).reshape(T, B, len(W_ih))


def _output(x, W_hh):
    return np.empty((*x.shape[:2], W_hh.shape[1]), x.dtype)


RUNGS = {
    "Python loops": python_loops,
    "NumPy, gate by gate": numpy_steps,
    "NumPy, fused": numpy_fused,
    "Numba loops": numba_loops,
    "loops exchanged": numba_turned,
    "own exp and tanh": numba_activations,
    "prange": numba_parallel,
}


def problem(T, B, H, seed=0):
    """Random ``x, W_ih, W_hh, b`` with I = H, float32."""
    rng = np.random.default_rng(seed)
    bound = 1 / np.sqrt(H)
    x = rng.normal(size=(T, B, H)).astype(np.float32)
    W_ih, W_hh = (rng.uniform(-bound, bound, size=(4 * H, H)).astype(np.float32) for _ in range(2))
    return x, W_ih, W_hh, rng.uniform(-bound, bound, size=4 * H).astype(np.float32)
