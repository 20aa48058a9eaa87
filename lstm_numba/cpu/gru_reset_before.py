"""The GRU with its reset gate before the recurrent product (Cho et al., 2014). See :mod:`lstm_numba.contract`.

A step multiplies twice: the candidate's product ``W_hn (r * h)`` waits for the reset gate, which waits for the first
product. That does not fit the driver of :mod:`lstm_numba.cpu.forward`, which has one product per step, so this cell
has plain loops of its own. Only the recurrence is in them: the input's share of all pre-activations is one matrix
product before the loop, the gradients of the weights are one matrix product each after it.

Threads share the sequences of the batch and never add to the same number, so the result does not depend on them.
"""

from typing import NamedTuple

import numpy as np
from numba import carray, njit

from lstm_numba.cells import gru_reset, gru_reset_grad, gru_update, gru_update_grad
from lstm_numba.cpu import plan as p
from lstm_numba.cpu.launch import Kernel, available_threads, launch, release_threads, reserve_threads
from lstm_numba.cpu.simd import get, pointer_at, step
from lstm_numba.cpu.teams import SYNC_STRIDE
from lstm_numba.cpu.threads import SERIAL_FLOPS
from lstm_numba.inner import INNER

_UNIT = INNER | {"fastmath": {"contract"}}

# Two arrays that only this cell has, in entries of the plan that it has no other use for.
_RESET = p.M_SLOTS  # (D, T, B, H) r * h_prev
_WEIGHTS_N = p.PACKED_HR  # the block of the recurrent weights that multiplies it


class _Cache(NamedTuple):
    """What the backward pass needs."""

    x: np.ndarray  # (T, B, I) zero in the padding
    steps: np.ndarray  # (B,) length of every sequence
    h: np.ndarray  # (D, T + 2, B, H) hidden states, see _before_and_after
    gates: np.ndarray  # (D, T, B, 3H) activated gates r, z, n; the backward pass turns them into dz
    reset: np.ndarray  # (D, T, B, H) r * h_prev


# -- compiled ----------------------------------------------------------------------------------------------------


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


@njit(**_UNIT)
def _before_and_after(t, d):
    """Slots of h before and after step t. Slot t + 1 is step t's; direction 1 comes from the step behind it."""
    return (t + 2, t + 1) if d else (t, t + 1)


@njit(**_UNIT)
def _arrays(plan, like, d):
    """What both passes work on: ``steps, h, gates, reset`` of one direction."""
    T, B, H, D = get(plan, p.T), get(plan, p.B), get(plan, p.H), get(plan, p.D)
    steps = carray(pointer_at(get(plan, p.LENGTHS), plan), B)
    h = carray(pointer_at(get(plan, p.H_SLOTS), like), (D, T + 2, B, H))[d]
    gates = carray(pointer_at(get(plan, p.Z), like), (D, T, B, 3 * H))[d]
    reset = carray(pointer_at(get(plan, _RESET), like), (D, T, B, H))[d]
    return steps, h, gates, reset


@njit(**_UNIT)
def _sequences(plan, part):
    """One member's share of the batch."""
    B, members = get(plan, p.B), get(plan, p.MEMBERS)
    return range(B * part // members, B * (part + 1) // members)


def _scan(plan, like, d, phase, part, member):
    """All steps of some sequences: the input's share in ``gates`` becomes the activated gates, ``h`` is filled."""
    H = get(plan, p.H)
    steps, h, gates, reset = _arrays(plan, like, d)
    W_rz = carray(pointer_at(get(plan, p.PACKED_HH), like), (get(plan, p.D), H, 2 * H))[d]  # transposed
    W_n = carray(pointer_at(get(plan, _WEIGHTS_N), like), (get(plan, p.D), H, H))[d]  # transposed
    for b in _sequences(plan, part):
        for n in range(steps[b]):
            t = steps[b] - 1 - n if d else n
            before, after = _before_and_after(t, d)
            z, h_prev, rh = gates[t, b], h[before, b], reset[t, b]
            _add_product(z[: 2 * H], h_prev, W_rz)
            for j in range(H):
                z[j], rh[j] = gru_reset(z[j], h_prev[j])
            _add_product(z[2 * H :], rh, W_n)
            for j in range(H):
                z[H + j], z[2 * H + j], h[after, b, j] = gru_update(z[H + j], z[2 * H + j], h_prev[j])


def _scan_grad(plan, like, d, phase, part, member):
    """All steps of some sequences, back: the gates become dz, the gradient of the final state that of the initial."""
    T, B, H, D = get(plan, p.T), get(plan, p.B), get(plan, p.H), get(plan, p.D)
    steps, h, gates, _ = _arrays(plan, like, d)
    W_hh = pointer_at(get(plan, p.W_HH + d), like)
    W_rz, W_n = carray(W_hh, (2 * H, H)), carray(step(W_hh, 2 * H * H), (H, H))
    dy = carray(pointer_at(get(plan, p.DY), like), (T, B, D, H))
    dh_all = carray(pointer_at(get(plan, p.DH0), like), (D, B, H))
    drh = carray(step(pointer_at(get(plan, p.SCRATCH), like), member * H), H)
    for b in _sequences(plan, part):
        dh = dh_all[d, b]
        gates[steps[b] :, b] = 0
        for n in range(steps[b]):
            t = n if d else steps[b] - 1 - n
            before, _ = _before_and_after(t, d)
            z, h_prev, dy_t = gates[t, b], h[before, b], dy[t, b, d]
            r = z[:H]
            for j in range(H):
                z[H + j], z[2 * H + j], dh[j] = gru_update_grad(dh[j] + dy_t[j], z[H + j], z[2 * H + j], h_prev[j])
                drh[j] = 0
            _add_product(drh, z[2 * H :], W_n)
            for j in range(H):
                r[j], dh_prev = gru_reset_grad(drh[j], r[j], h_prev[j])  # r becomes dz_r
                dh[j] += dh_prev
            _add_product(dh, z[: 2 * H], W_rz)


_SCAN, _SCAN_GRAD = Kernel(_scan, set()), Kernel(_scan_grad, set())


# -- the contract ------------------------------------------------------------------------------------------------


def choose_sharing(T: int, B: int, H: int, D: int, threads: int) -> tuple[int, int]:
    """Directions that run at the same time, and threads that share the sequences of each."""
    if 2 * T * B * D * 3 * H * H < SERIAL_FLOPS:
        return 1, 1
    teams = min(D, threads)
    return teams, max(1, min(threads // teams, B))


def _launch(kernel: Kernel, cache: _Cache, arrays: dict[int, np.ndarray]) -> None:
    """Run a kernel on the arrays of a cache and on others, given by their entries in the plan."""
    D, T, B, H = cache.reset.shape
    teams, members = choose_sharing(T, B, H, D, available_threads())
    threads = reserve_threads(teams * members)
    try:
        if threads < teams * members:
            teams = members = 1
        plan = np.zeros(p.LENGTH, np.int64)
        plan[p.T], plan[p.B], plan[p.H], plan[p.D] = T, B, H, D
        plan[p.TEAMS], plan[p.MEMBERS], plan[p.PHASES] = teams, members, 1
        sync = np.zeros(D * SYNC_STRIDE * members, np.int64)
        scratch = np.empty((teams * members, H), cache.h.dtype)
        arrays = arrays | {p.SYNC: sync, p.SCRATCH: scratch, p.LENGTHS: cache.steps}
        arrays |= {p.H_SLOTS: cache.h, p.Z: cache.gates, _RESET: cache.reset}
        for name, array in arrays.items():
            plan[name] = array.ctypes.data
        launch(kernel.address(cache.h.dtype.name), plan, teams * members)
    finally:
        release_threads(threads)


def layer_forward(cell, x, state, weights, lengths, training):
    """See :mod:`lstm_numba.contract`."""
    T, B, I = x.shape
    D, _, H = state[0].shape
    sequences = np.arange(B)
    steps = np.full(B, T, np.int64) if lengths is None else lengths
    padding = None if lengths is None else np.arange(T)[:, None] >= steps
    if padding is not None:
        x = np.where(padding[:, :, None], x.dtype.type(0), x)  # padding may hold NaN, and 0 * NaN is NaN
    gates = np.empty((D, T, B, 3 * H), x.dtype)
    for d, w in enumerate(weights):
        np.matmul(x.reshape(T * B, I), w.W_ih.T, out=gates[d].reshape(T * B, 3 * H))
        if w.b_ih is not None:
            gates[d] += w.b_ih + w.b_hh
    h = np.zeros((D, T + 2, B, H), x.dtype)
    h[0, 0] = state[0][0]
    if D == 2:
        h[1, steps + 1, sequences] = state[0][1]
    cache = _Cache(x, steps, h, gates, np.zeros((D, T, B, H), x.dtype))
    W_hh_T = [w.W_hh.T for w in weights]
    packed = {
        p.PACKED_HH: np.ascontiguousarray([W[:, : 2 * H] for W in W_hh_T]),
        _WEIGHTS_N: np.ascontiguousarray([W[:, 2 * H :] for W in W_hh_T]),
    }
    _launch(_SCAN, cache, packed)
    y = np.concatenate([h[d, 1:-1] for d in range(D)], axis=2)
    if padding is not None:
        y[padding] = 0
    h_n = np.empty((D, B, H), x.dtype)
    h_n[0] = h[0, steps, sequences]
    if D == 2:
        h_n[1] = h[1, 1]
    return y, (h_n,), cache if training else None


def layer_backward(cell, dy, dstate, cache, weights, grads):
    """See :mod:`lstm_numba.contract`."""
    T, B, I = cache.x.shape
    H = dstate[0].shape[2]
    dh0 = dstate[0].copy()
    W_hh = {p.W_HH + d: w.W_hh for d, w in enumerate(weights)}
    _launch(_SCAN_GRAD, cache, {p.DY: dy, p.DH0: dh0, **W_hh})
    dx = np.zeros((T * B, I), dy.dtype)
    for d, (w, g) in enumerate(zip(weights, grads, strict=True)):
        dz = cache.gates[d].reshape(T * B, 3 * H)
        h_prev = (cache.h[1, 2:] if d else cache.h[0, :-2]).reshape(T * B, H)
        dx += dz @ w.W_ih
        g.W_ih[...] += dz.T @ cache.x.reshape(T * B, I)
        g.W_hh[: 2 * H] += dz[:, : 2 * H].T @ h_prev
        g.W_hh[2 * H :] += dz[:, 2 * H :].T @ cache.reset[d].reshape(T * B, H)
        if g.b_ih is not None:
            db = dz.sum(axis=0)
            g.b_ih[...] += db
            g.b_hh[...] += db
    return dx.reshape(T, B, I), (dh0,)
