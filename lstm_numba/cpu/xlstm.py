"""The two cells of the xLSTM on the CPU. Shapes as in :mod:`lstm_numba.reference.xlstm`.

The input's share of all pre-activations is one matrix product before the loops, the gradients of the weights are one
matrix product each after them. The sLSTM's gates look at ``h_{t-1}``, so its loop multiplies by the recurrent weights
at every step; threads share the sequences. The mLSTM has no recurrent weights; threads share the heads of all
sequences, each of which carries a matrix through time. The backward pass needs that matrix at every step again. It is
stored at every ``STRIDE``-th step only and computed a second time in between.

What one thread does is an ordinary function. The parallel loop around it is kept short, because Numba looks for more
parallelism in everything a parallel function contains, and takes long to do so.
"""

import math

import numpy as np
from numba import njit, prange

from lstm_numba.cells import (
    dsigmoid,
    exponential_gates,
    exponential_gates_grad,
    sigmoid,
    slstm_step,
    slstm_step_grad,
)
from lstm_numba.cpu.scan import project, project_grad
from lstm_numba.cpu.threads import threads_for
from lstm_numba.inner import INNER
from lstm_numba.jit import kernel

STRIDE = 16  # steps between stored matrices

_UNIT = INNER | {"fastmath": {"contract"}}
# Sums over the units of a head may run in vector registers: in another order, but always in the same.
_SUMS = {"contract", "reassoc"}


@njit(**_UNIT)
def _add_product(target, a, W):
    """``target += a @ W``, four rows of W at a time so that ``target`` is read and written less often."""
    K, N = W.shape
    for k in range(0, K - 3, 4):
        a_0, a_1, a_2, a_3 = a[k], a[k + 1], a[k + 2], a[k + 3]
        for n in range(N):
            target[n] += a_0 * W[k, n] + a_1 * W[k + 1, n] + a_2 * W[k + 2, n] + a_3 * W[k + 3, n]
    for k in range(K // 4 * 4, K):
        for n in range(N):
            target[n] += a[k] * W[k, n]


# -- sLSTM ---------------------------------------------------------------------------------------------------------


@njit(**_UNIT)
def _slstm_sequence(h, c, n, m, values, z, W_hh_T, s):
    """All steps of sequence ``s``; arrays as in :func:`_slstm_scan`."""
    H = h.shape[2]
    m_s = m[s]
    for t in range(values.shape[0]):
        z_t, v = z[t, s], values[t, s]
        c_prev, n_prev, c_t, n_t, h_t = c[t, s], n[t, s], c[t + 1, s], n[t + 1, s], h[t + 1, s]
        _add_product(z_t, h[t, s], W_hh_T)
        for j in range(H):
            i, f, g, o, c_t[j], n_t[j], m_s[j], h_t[j] = slstm_step(
                z_t[j], z_t[H + j], z_t[2 * H + j], z_t[3 * H + j], c_prev[j], n_prev[j], m_s[j]
            )
            v[j], v[H + j], v[2 * H + j], v[3 * H + j] = i, f, g, o


@njit(**_UNIT)
def _slstm_sequence_grad(dz, dh, dc, dn, dy, values, z, c, n, W_hh, s):
    """All steps of sequence ``s``, back."""
    T, _, H = dy.shape
    dh_s, dc_s, dn_s = dh[s], dc[s], dn[s]
    for t in range(T - 1, -1, -1):
        dz_t, v, z_t, dy_t = dz[t, s], values[t, s], z[t, s], dy[t, s]
        c_prev, n_prev, c_t, n_t = c[t, s], n[t, s], c[t + 1, s], n[t + 1, s]
        for j in range(H):
            dz_t[j], dz_t[H + j], dz_t[2 * H + j], dz_t[3 * H + j], dc_s[j], dn_s[j] = slstm_step_grad(
                dh_s[j] + dy_t[j],
                dc_s[j],
                dn_s[j],
                v[j],
                v[H + j],
                v[2 * H + j],
                v[3 * H + j],
                z_t[H + j],
                c_prev[j],
                n_prev[j],
                c_t[j],
                n_t[j],
            )
        dh_s[:] = 0
        _add_product(dh_s, dz_t, W_hh)


@kernel(parallel=True)
def _slstm_scan(h, c, n, m, values, z, W_hh_T):
    """``h, c, n`` (T + 1, B, H) and ``m`` (B, H) start with the initial state; ``z`` (T, B, 4H) the input's share."""
    for s in prange(m.shape[0]):
        _slstm_sequence(h, c, n, m, values, z, W_hh_T, s)


@kernel(parallel=True)
def _slstm_scan_grad(dz, dh, dc, dn, dy, values, z, c, n, W_hh):
    """``dh, dc, dn`` (B, H): in, gradients of the final state; out, of the initial one."""
    for s in prange(dh.shape[0]):
        _slstm_sequence_grad(dz, dh, dc, dn, dy, values, z, c, n, W_hh, s)


def slstm_forward(x, state, weights, training):
    """Run one sLSTM layer: a matrix product for all steps, then the compiled loop."""
    T, B, _ = x.shape
    H = state[0].shape[1]
    W_ih, W_hh, *bias = weights
    h, c, n = (np.empty((T + 1, B, H), x.dtype) for _ in range(3))
    h[0], c[0], n[0] = state[:3]
    m = state[3].copy()
    z = project(x, (W_ih, *bias))
    values = np.empty((T, B, 4 * H), x.dtype)
    with threads_for(8 * T * B * H * H):
        _slstm_scan(h, c, n, m, values, z, np.ascontiguousarray(W_hh.T))
    final = h[T].copy(), c[T].copy(), n[T].copy(), m
    return h[1:].copy(), final, (x, h, c, n, values, z) if training else None


def slstm_backward(dy, dstate, cache, weights):
    """Backpropagate through time: the compiled loop from the last step to the first, then the matrix products."""
    x, h, c, n, values, z = cache
    T, B, H = dy.shape
    W_ih, W_hh, *bias = weights
    dh, dc, dn = (part.copy() for part in dstate)
    dz = np.empty_like(z)
    with threads_for(8 * T * B * H * H):
        _slstm_scan_grad(dz, dh, dc, dn, dy, values, z, c, n, W_hh)
    dx, (dW_ih, *db) = project_grad(dz, x, (W_ih, *bias))
    dW_hh = np.matmul(dz.reshape(T * B, 4 * H).T, h[:T].reshape(T * B, H))
    return dx, (dh, dc, dn), (dW_ih, dW_hh, *db)


# -- mLSTM ---------------------------------------------------------------------------------------------------------


@njit(**_UNIT)
def _write(C, n, C_prev, n_prev, k, v, i, f, scale):
    """``C = f C_prev + i v k^T`` and ``n = f n_prev + i k``; the key is multiplied by ``scale``."""
    D = n.shape[0]
    i = i * scale
    for r in range(D):
        iv, row, row_prev = i * v[r], C[r], C_prev[r]
        for j in range(D):
            row[j] = f * row_prev[j] + iv * k[j]
    for j in range(D):
        n[j] = f * n_prev[j] + i * k[j]


@njit(error_model="numpy", fastmath=_SUMS)
def _dot(a, b):
    total = a[0] * b[0]
    for j in range(1, a.shape[0]):
        total += a[j] * b[j]
    return total


@njit(**_UNIT)
def _head(z_t, head, H, D, heads):
    """Parts of one step's projections that belong to a head: ``q, k, v, z_o, z_i, z_f``."""
    low, high = head * D, head * D + D
    return (
        z_t[low:high],
        z_t[H + low : H + high],
        z_t[2 * H + low : 2 * H + high],
        z_t[3 * H + low : 3 * H + high],
        z_t[4 * H + head],
        z_t[4 * H + heads + head],
    )


@njit(**_UNIT)
def _copy(target, source):
    for r in range(target.shape[0]):
        for j in range(target.shape[1]):
            target[r, j] = source[r, j]


@njit(error_model="numpy", fastmath=_SUMS)
def _mlstm_head(y, C, n, m, gates, stored_C, stored_n, z, s, head, scale, stride):
    """All steps of one head of one sequence; returns the last scale."""
    T, _, H = y.shape
    heads, D = gates.shape[2], n.shape[0]
    for t in range(T):
        q, k, v, z_o, z_i, z_f = _head(z[t, s], head, H, D, heads)
        if stored_C.shape[0] > 0 and t % stride == 0:
            _copy(stored_C[t // stride, s, head], C)
            _copy(stored_n[t // stride, s, head : head + 1], n.reshape(1, D))
        i, f, m = exponential_gates(z_i, z_f, m)
        gates[t, s, head, 0], gates[t, s, head, 1], gates[t, s, head, 2] = i, f, m
        _write(C, n, C, n, k, v, i, f, scale)
        size, floor = abs(_dot(n, q)), math.exp(-m)
        inverse = type(size)(1) / (size if size > floor else floor)
        for r in range(D):
            y[t, s, head * D + r] = sigmoid(z_o[r]) * _dot(C[r], q) * inverse
    return m


@njit(error_model="numpy", fastmath=_SUMS)
def _mlstm_head_grad(dz, dC, dn, dy, gates, stored_C, stored_n, z, s, head, scale, stride):
    """All steps of one head of one sequence, back."""
    T, _, H = dy.shape
    heads, D = gates.shape[2], dn.shape[0]
    C = np.empty((stride + 1, D, D), dy.dtype)  # this piece of time, computed again
    n = np.empty((stride + 1, D), dy.dtype)
    d_read = np.empty(D, dy.dtype)
    dq = np.empty(D, dy.dtype)
    dk = np.empty(D, dy.dtype)
    for piece in range((T - 1) // stride, -1, -1):
        first, last = piece * stride, min(piece * stride + stride, T)
        _copy(C[0], stored_C[piece, s, head])
        _copy(n[:1], stored_n[piece, s, head : head + 1])
        for t in range(first, last):
            _, k, v, _, _, _ = _head(z[t, s], head, H, D, heads)
            i, f = gates[t, s, head, 0], gates[t, s, head, 1]
            _write(C[t - first + 1], n[t - first + 1], C[t - first], n[t - first], k, v, i, f, scale)
        for t in range(last - 1, first - 1, -1):
            q, k, v, z_o, _, z_f = _head(z[t, s], head, H, D, heads)
            dq_out, dk_out, dv_out, dz_o, _, _ = _head(dz[t, s], head, H, D, heads)
            i, f = gates[t, s, head, 0], gates[t, s, head, 1]
            C_t, n_t, C_prev, n_prev = C[t - first + 1], n[t - first + 1], C[t - first], n[t - first]
            overlap, floor = _dot(n_t, q), math.exp(-gates[t, s, head, 2])
            zero = type(overlap)(0)
            counts = abs(overlap) > floor
            inverse = type(overlap)(1) / (abs(overlap) if counts else floor)

            d_size = zero
            for r in range(D):
                o, read = sigmoid(z_o[r]), _dot(C_t[r], q) * inverse
                dh = dy[t, s, head * D + r]
                dz_o[r] = dh * read * dsigmoid(o)
                d_read[r] = dh * o * inverse  # with respect to C q
                d_size -= d_read[r] * read
            d_overlap = zero
            if counts:
                d_overlap = d_size if overlap > zero else -d_size

            for j in range(D):
                dq[j] = d_overlap * n_t[j]
                dn[j] += d_overlap * q[j]
                dk[j] = dn[j]
            _add_product(dq, d_read, C_t)
            di, df = _dot(dn, k) * scale, _dot(dn, n_prev)
            for r in range(D):
                row, row_prev, g, v_r = dC[r], C_prev[r], d_read[r], v[r]
                along, kept = zero, zero
                for j in range(D):
                    row[j] += g * q[j]
                    along += row[j] * k[j]
                    kept += row[j] * row_prev[j]
                    dk[j] += row[j] * v_r
                    row[j] *= f
                along *= scale
                dv_out[r] = i * along
                di += v_r * along
                df += kept
            for j in range(D):
                dq_out[j] = dq[j]
                dk_out[j] = i * scale * dk[j]
                dn[j] *= f
            dz[t, s, 4 * H + head], dz[t, s, 4 * H + heads + head] = exponential_gates_grad(di, df, i, f, z_f)


@kernel(parallel=True)
def _mlstm_scan(y, C, n, m, gates, stored_C, stored_n, z, scale, stride):
    """``C, n, m`` are the state, before and after; ``gates`` (T, B, N, 3) receives i, f, m of all steps."""
    B, heads = m.shape
    for part in prange(B * heads):
        s, head = part // heads, part % heads
        m[s, head] = _mlstm_head(
            y, C[s, head], n[s, head], m[s, head], gates, stored_C, stored_n, z, s, head, scale, stride
        )


@kernel(parallel=True)
def _mlstm_scan_grad(dz, dC, dn, dy, gates, stored_C, stored_n, z, scale, stride):
    """``dC, dn``: in, gradients of the final memory; out, of the initial one."""
    B, heads = dn.shape[:2]
    for part in prange(B * heads):
        s, head = part // heads, part % heads
        _mlstm_head_grad(dz, dC[s, head], dn[s, head], dy, gates, stored_C, stored_n, z, s, head, scale, stride)


def mlstm_forward(x, state, weights, training):
    """Run one mLSTM layer: a matrix product for all steps, then the compiled loop over them."""
    T, B, _ = x.shape
    C, n, m = (part.copy() for part in state)
    heads, D = n.shape[1:]
    z = project(x, weights)
    y = np.empty((T, B, heads * D), x.dtype)
    gates = np.empty((T, B, heads, 3), x.dtype)
    pieces = -(-T // STRIDE) if training else 0
    stored_C, stored_n = np.empty((pieces, *C.shape), x.dtype), np.empty((pieces, *n.shape), x.dtype)
    with threads_for(5 * T * C.size):
        _mlstm_scan(y, C, n, m, gates, stored_C, stored_n, z, x.dtype.type(D**-0.5), STRIDE)
    return y, (C, n, m), (x, z, gates, stored_C, stored_n) if training else None


def mlstm_backward(dy, dstate, cache, weights):
    """Backpropagate through time, piece by piece from the end."""
    x, z, gates, stored_C, stored_n = cache
    dC, dn = (part.copy() for part in dstate)
    D = dn.shape[2]
    dz = np.empty_like(z)
    with threads_for(15 * len(x) * dC.size):
        _mlstm_scan_grad(dz, dC, dn, dy, gates, stored_C, stored_n, z, x.dtype.type(D**-0.5), STRIDE)
    dx, grads = project_grad(dz, x, weights)
    return dx, (dC, dn), grads
