"""The LSTM family on the CPU: one scan, compiled anew for each choice of parts.

The options are frozen into the kernels as constants, so that LLVM removes the parts that a variant does not have.
The matrix products before and after the scan are NumPy's. Shapes as in :mod:`lstm_numba.reference.lstm_variants`.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from lstm_numba.cells import lstm_variant_step, lstm_variant_step_grad
from lstm_numba.jit import kernel
from lstm_numba.variants import ACTIVATIONS, VariantOptions, VariantWeights

_SLOTS = ("i", "f", "o", "g")  # how activations are stored: the gates side by side, for gate recurrence


class _Cache(NamedTuple):
    x: np.ndarray  # (T, B, I)
    h: np.ndarray  # (T + 1, B, H) slot 0 is the initial state
    c: np.ndarray  # (T + 1, B, H)
    values: np.ndarray  # (T, B, 4H) i, f, o, g


@njit(error_model="numpy", fastmath={"contract"})
def _add_product(z, a, W):
    """z += a @ W for vectors z and a. Four rows of W at a time: z is loaded and stored a quarter as often."""
    K, N = W.shape
    k = 0
    while k + 4 <= K:
        a0, a1, a2, a3 = a[k], a[k + 1], a[k + 2], a[k + 3]
        w0, w1, w2, w3 = W[k], W[k + 1], W[k + 2], W[k + 3]
        for n in range(N):
            z[n] += a0 * w0[n] + a1 * w1[n] + a2 * w2[n] + a3 * w3[n]
        k += 4
    while k < K:
        a0, w0 = a[k], W[k]
        for n in range(N):
            z[n] += a0 * w0[n]
        k += 1


@cache
def _kernels(options: VariantOptions):
    """Compile the two scans of one variant."""
    # Where each pre-activation starts, in units of H. A part without weights is never stored, and what is read in
    # its place is never used: 0 is as good as any.
    at_i, at_f, at_g, at_o = (options.blocks.index(name) if name in options.blocks else 0 for name in "ifgo")
    has_i, has_f, has_o = (name in options.gates for name in "ifo")
    recurrent = options.gate_recurrence
    parts = options._replace(
        input_activation=ACTIVATIONS.index(options.input_activation),  # type: ignore[arg-type]  # a code
        output_activation=ACTIVATIONS.index(options.output_activation),  # type: ignore[arg-type]
    )

    @kernel()
    def scan(
        h,  # (T + 1, B, H) out; slot 0 holds the initial state
        c,  # (T + 1, B, H) out; slot 0 holds the initial state
        values,  # (T, B, 4H) out: i, f, o, g
        z,  # (T, B, G*H) in: W_ih x + b; used up
        W_hh_T,  # (H, G*H)
        p,  # (3, H) peepholes of i, f, o
        W_gates_T,  # (3H, G*H)
    ):
        T, B, H = values.shape[0], values.shape[1], h.shape[2]
        for b in range(B):
            for t in range(T):
                z_t, c_prev, c_t, h_t, v = z[t, b], c[t, b], c[t + 1, b], h[t + 1, b], values[t, b]
                _add_product(z_t, h[t, b], W_hh_T)
                if recurrent and t > 0:
                    _add_product(z_t, values[t - 1, b, : 3 * H], W_gates_T)
                for j in range(H):
                    i, f, g, o, c_t[j], h_t[j] = lstm_variant_step(
                        parts,
                        z_t[at_i * H + j],
                        z_t[at_f * H + j],
                        z_t[at_g * H + j],
                        z_t[at_o * H + j],
                        c_prev[j],
                        p[0, j],
                        p[1, j],
                        p[2, j],
                    )
                    v[j], v[H + j], v[2 * H + j], v[3 * H + j] = i, f, o, g

    @kernel()
    def scan_grad(
        dz,  # (T, B, G*H) out
        dh,  # (B, H) in: gradient of the last h, out: gradient of the initial h
        dc,  # (B, H) in: gradient of the last c, out: gradient of the initial c
        dy,  # (T, B, H)
        c,  # (T + 1, B, H)
        values,  # (T, B, 4H)
        W_hh,  # (G*H, H)
        p,  # (3, H)
        W_gates,  # (G*H, 3H)
    ):
        T, B, H = dy.shape
        d_gates = np.zeros(3 * H, dy.dtype)
        for b in range(B):
            d_gates[:] = 0
            dh_b, dc_b = dh[b], dc[b]
            for t in range(T - 1, -1, -1):
                dz_t, dy_t, c_prev, c_t, v = dz[t, b], dy[t, b], c[t, b], c[t + 1, b], values[t, b]
                for j in range(H):
                    dz_i, dz_f, dz_g, dz_o, dc_b[j] = lstm_variant_step_grad(
                        parts,
                        dh_b[j] + dy_t[j],
                        dc_b[j],
                        d_gates[j],
                        d_gates[H + j],
                        d_gates[2 * H + j],
                        v[j],
                        v[H + j],
                        v[3 * H + j],
                        v[2 * H + j],
                        c_prev[j],
                        c_t[j],
                        p[0, j],
                        p[1, j],
                        p[2, j],
                    )
                    if has_i:
                        dz_t[at_i * H + j] = dz_i
                    if has_f:
                        dz_t[at_f * H + j] = dz_f
                    if has_o:
                        dz_t[at_o * H + j] = dz_o
                    dz_t[at_g * H + j] = dz_g
                dh_b[:] = 0
                _add_product(dh_b, dz_t, W_hh)
                if recurrent:
                    d_gates[:] = 0
                    _add_product(d_gates, dz_t, W_gates)

    return scan, scan_grad


def _spread(options: VariantOptions, weights: VariantWeights, H: int):
    """Peepholes as (3, H) and gate weights as (G*H, 3H), with zeros for what a variant does not have."""
    dtype = weights.W_hh.dtype
    p = np.zeros((3, H), dtype)
    W_gates = np.zeros((len(options.blocks) * H, 3 * H), dtype)
    for n, gate in enumerate(options.gates):
        if options.peepholes:
            p[_SLOTS.index(gate)] = weights.peepholes[n]
        if options.gate_recurrence:
            for m, source in enumerate(options.gates):
                W_gates[_rows(options.blocks, gate, H), _rows(_SLOTS, source, H)] = weights.W_gates[
                    n * H : (n + 1) * H, m * H : (m + 1) * H
                ]
    return p, W_gates


def _rows(order: tuple[str, ...], name: str, H: int) -> slice:
    position = order.index(name)
    return slice(position * H, (position + 1) * H)


def variant_forward(options, x, h0, c0, weights, training):
    """Run one layer of a variant: one matrix product, then the compiled scan."""
    T, B, I = x.shape
    H = h0.shape[1]
    h = np.empty((T + 1, B, H), x.dtype)
    c = np.empty((T + 1, B, H), x.dtype)
    values = np.empty((T, B, 4 * H), x.dtype)
    h[0], c[0] = h0, c0
    z = (x.reshape(T * B, I) @ weights.W_ih.T).reshape(T, B, len(options.blocks) * H)
    if weights.b_ih is not None:
        z += weights.b_ih + weights.b_hh
    p, W_gates = _spread(options, weights, H)
    scan, _ = _kernels(options)
    scan(h, c, values, z, np.ascontiguousarray(weights.W_hh.T), p, np.ascontiguousarray(W_gates.T))
    return h[1:].copy(), h[T].copy(), c[T].copy(), _Cache(x, h, c, values) if training else None


def variant_backward(options, dy, dh_n, dc_n, cache, weights):
    """Backpropagate through time: the compiled scan from the last step to the first, then the matrix products."""
    x, h, c, values = cache
    T, B, I = x.shape
    H = dy.shape[2]
    dz = np.empty((T, B, len(options.blocks) * H), x.dtype)
    dh0, dc0 = dh_n.copy(), dc_n.copy()
    p, W_gates = _spread(options, weights, H)
    _, scan_grad = _kernels(options)
    scan_grad(dz, dh0, dc0, dy, c, values, weights.W_hh, p, W_gates)

    rows = dz.reshape(T * B, len(options.blocks) * H)
    db = None if weights.b_ih is None else rows.sum(axis=0)
    grads = VariantWeights(
        W_ih=rows.T @ x.reshape(T * B, I),
        W_hh=rows.T @ h[:T].reshape(T * B, H),
        b_ih=db,
        b_hh=None if db is None else db.copy(),
        peepholes=_peephole_grads(options, dz, c) if options.peepholes else None,
        W_gates=_gate_weight_grads(options, dz, values) if options.gate_recurrence else None,
    )
    return (rows @ weights.W_ih).reshape(T, B, I), dh0, dc0, grads


def _peephole_grads(options, dz, c):
    H = c.shape[2]
    grads = np.empty((len(options.gates), H), dz.dtype)
    for n, gate in enumerate(options.gates):
        seen = c[1:] if gate == "o" else c[:-1]  # the output gate looks at the new cell state
        grads[n] = (dz[:, :, _rows(options.blocks, gate, H)] * seen).sum(axis=(0, 1))
    return grads


def _gate_weight_grads(options, dz, values):
    H = values.shape[2] // 4

    def gather(array, order):
        parts = [array[:, :, _rows(order, gate, H)] for gate in options.gates]
        return np.concatenate(parts, axis=2).reshape(-1, len(options.gates) * H)

    return gather(dz[1:], options.blocks).T @ gather(values[:-1], _SLOTS)  # no gates before the first step
