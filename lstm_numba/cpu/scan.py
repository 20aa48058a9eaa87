"""Linear recurrences on the CPU, three ways, and the two cells that are one: minGRU and minLSTM.

``h_t = a_t * h_{t-1} + b_t`` is elementwise. Its N = B * H lanes have nothing to do with each other, and along time it
can be cut into pieces, because two steps in a row are one step of the same form:

``a_2 (a_1 h + b_1) + b_2 = (a_2 a_1) h + (a_2 b_1 + b_2)``.

* ``"sequential"``: one thread, one step after the other.
* ``"lanes"``: threads share the lanes. No operation more than sequential, and the same bits.
* ``"chunks"``: threads share pieces of time. First every piece is condensed to one step, then one thread walks from
  piece to piece, then every piece runs with its own initial state. More operations, for problems with few lanes.

The number of threads changes nothing in the results: lanes are independent wherever they are cut, and the pieces of
time have a fixed length. Shapes of the cells as in :mod:`lstm_numba.reference.scan`.
"""

import numpy as np
from numba import njit, prange

from lstm_numba.cells import mingru_gates, mingru_gates_grad, minlstm_gates, minlstm_gates_grad
from lstm_numba.cpu.threads import threads_for
from lstm_numba.inner import INNER
from lstm_numba.jit import kernel

METHODS = ("sequential", "lanes", "chunks")

CHUNK = 256  # steps in one piece of time, on every machine: the length of the pieces decides about rounding

_UNIT = INNER | {"fastmath": {"contract"}}


# -- the scan ------------------------------------------------------------------------------------------------------


@njit(**_UNIT)
def _run(h, a, b, carry, first, last, low, high, reverse):
    """Steps ``first`` to ``last`` of the lanes ``low`` to ``high``; ``carry`` (N,) is the state before and after.

    In reverse, step n stands at T - 1 - n and is multiplied by the coefficient of the step behind it; nothing is behind
    the last.
    """
    T = b.shape[0]
    state = carry[low:high]  # slices, so that the inner loops count from 0: only then are they vectorised
    for n in range(first, last):
        t = T - 1 - n if reverse else n
        h_t, b_t = h[t, low:high], b[t, low:high]
        if reverse and n == 0:
            for j in range(state.shape[0]):
                state[j] = state[j] + b_t[j]
                h_t[j] = state[j]
        else:
            a_t = a[t + 1, low:high] if reverse else a[t, low:high]
            for j in range(state.shape[0]):
                state[j] = a_t[j] * state[j] + b_t[j]
                h_t[j] = state[j]


@njit(**_UNIT)
def _condense(a, b, A, B, first, last, reverse):
    """One piece of time as one step: ``h_last = A * h_first + B`` for every lane."""
    T, N = b.shape
    A[:] = 1
    B[:] = 0
    for n in range(first, last):
        t = T - 1 - n if reverse else n
        b_t = b[t]
        if reverse and n == 0:
            for j in range(N):
                B[j] = b_t[j]
        else:
            a_t = a[t + 1] if reverse else a[t]
            for j in range(N):
                A[j] = a_t[j] * A[j]
                B[j] = a_t[j] * B[j] + b_t[j]


@kernel(parallel=True)
def _scan_lanes(h, a, b, carry, lanes, reverse):
    T, N = b.shape
    for piece in prange((N + lanes - 1) // lanes):
        _run(h, a, b, carry, 0, T, piece * lanes, min(piece * lanes + lanes, N), reverse)


@kernel(parallel=True)
def _scan_chunks(h, a, b, carry, steps, reverse):
    T, N = b.shape
    pieces = (T + steps - 1) // steps
    A = np.empty((pieces, N), b.dtype)
    B = np.empty((pieces, N), b.dtype)
    starts = np.empty((pieces, N), b.dtype)
    for piece in prange(pieces - 1):  # nobody needs the last one condensed
        _condense(a, b, A[piece], B[piece], piece * steps, piece * steps + steps, reverse)
    starts[0] = carry
    for piece in range(pieces - 1):
        for j in range(N):
            starts[piece + 1, j] = A[piece, j] * starts[piece, j] + B[piece, j]
    for piece in prange(pieces):
        _run(h, a, b, starts[piece], piece * steps, min(piece * steps + steps, T), 0, N, reverse)
    carry[:] = starts[pieces - 1]


def count_operations(T: int, N: int, method: str, chunk: int = CHUNK) -> int:
    """Multiplications and additions of one scan.

    Parameters
    ----------
    T, N
        Steps and lanes.
    method
        One of :data:`METHODS`.
    chunk
        Steps in one piece, for ``"chunks"``.

    Returns
    -------
    int

    Examples
    --------
    >>> count_operations(1024, 1, "sequential"), count_operations(1024, 1, "chunks")
    (2048, 4358)
    """
    _check_method(method)
    sequential = 2 * T * N
    if method != "chunks":
        return sequential
    pieces = -(-T // chunk)
    # Condensing takes three operations a step; from piece to piece there are two.
    return sequential + 3 * (pieces - 1) * chunk * N + 2 * (pieces - 1) * N


def linear_scan(
    a: np.ndarray,
    b: np.ndarray,
    h0: np.ndarray,
    method: str = "lanes",
    *,
    reverse: bool = False,
    chunk: int = CHUNK,
) -> np.ndarray:
    """Run ``h_t = a_t * h_{t-1} + b_t`` over all steps.

    Parameters
    ----------
    a, b
        Coefficients, (T, N), C-contiguous, of one dtype.
    h0
        State before the first step, (N,).
    method
        ``"sequential"``, ``"lanes"`` or ``"chunks"``; see the module.
    reverse
        Run ``h_t = a_{t+1} * h_{t+1} + b_t`` from the last step to the first, with ``h0`` added to the last: what the
        gradient of a scan is.
    chunk
        Steps in one piece of time, for ``"chunks"``.

    Returns
    -------
    ndarray
        ``h``, (T, N).

    Raises
    ------
    ValueError
        If the shapes do not fit or the method is unknown.

    Examples
    --------
    >>> a, b = np.full((4, 1), 0.5), np.ones((4, 1))
    >>> linear_scan(a, b, np.zeros(1))[:, 0]
    array([1.   , 1.5  , 1.75 , 1.875])
    """
    _check_method(method)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"a: expected the shape of b, (T, N) = {b.shape}, got {a.shape}")
    if h0.shape != b.shape[1:]:
        raise ValueError(f"h0: expected shape (N={b.shape[1]},), got {h0.shape}")
    if chunk < 1:
        raise ValueError(f"chunk: expected at least 1, got {chunk}")
    T, N = b.shape
    h, carry = np.empty_like(b), h0.copy()
    with threads_for(0 if method == "sequential" else count_operations(T, N, method, chunk)) as threads:
        if method == "chunks":
            _scan_chunks(h, a, b, carry, chunk, reverse)
        else:
            # Each thread one wide piece: narrow columns of a wide array are far apart in memory.
            _scan_lanes(h, a, b, carry, max(1, -(-N // threads)), reverse)
    return h


def linear_scan_grad(
    dy: np.ndarray, dh_n: np.ndarray, a: np.ndarray, method: str = "lanes", *, chunk: int = CHUNK
) -> tuple[np.ndarray, np.ndarray]:
    """Total derivatives of a loss with respect to all states of :func:`linear_scan`: a scan from the end.

    Parameters
    ----------
    dy
        Gradient with respect to every state, (T, N).
    dh_n
        Gradient with respect to the last state once more, (N,).
    a
        Coefficients of the scan, (T, N).
    method, chunk
        As in :func:`linear_scan`.

    Returns
    -------
    db : ndarray
        (T, N), with respect to ``b``. With respect to ``a_t`` it is ``db_t * h_{t-1}``.
    dh0 : ndarray
        (N,), with respect to the initial state.

    Examples
    --------
    >>> db, dh0 = linear_scan_grad(np.array([[0.0], [1.0]]), np.zeros(1), np.array([[0.5], [0.25]]))
    >>> db[:, 0], dh0
    (array([0.25, 1.  ]), array([0.125]))
    """
    db = linear_scan(a, dy, dh_n, method, reverse=True, chunk=chunk)
    return db, a[0] * db[0]


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(map(repr, METHODS))}, got {method!r}")


# -- the cells -----------------------------------------------------------------------------------------------------

# An exponential and the arithmetic around it, in operations: only decides when a second thread is woken.
_GATE_COST = 40


@kernel(parallel=True)
def _mingru_coefficients(a, b, z):
    T, B, H = a.shape
    for t in prange(T):
        for s in range(B):
            a_t, b_t, z_t = a[t, s], b[t, s], z[t, s]
            for j in range(H):
                a_t[j], b_t[j] = mingru_gates(z_t[j], z_t[H + j])


@kernel(parallel=True)
def _mingru_coefficients_grad(dz, dh, z, h, h0):
    T, B, H = dh.shape
    for t in prange(T):
        for s in range(B):
            dz_t, dh_t, z_t, h_prev = dz[t, s], dh[t, s], z[t, s], h[t - 1, s] if t > 0 else h0[s]
            for j in range(H):
                dz_t[j], dz_t[H + j] = mingru_gates_grad(dh_t[j], z_t[j], z_t[H + j], h_prev[j])


@kernel(parallel=True)
def _minlstm_coefficients(a, b, z):
    T, B, H = a.shape
    for t in prange(T):
        for s in range(B):
            a_t, b_t, z_t = a[t, s], b[t, s], z[t, s]
            for j in range(H):
                a_t[j], b_t[j] = minlstm_gates(z_t[j], z_t[H + j], z_t[2 * H + j])


@kernel(parallel=True)
def _minlstm_coefficients_grad(dz, dh, z, h, h0):
    T, B, H = dh.shape
    for t in prange(T):
        for s in range(B):
            dz_t, dh_t, z_t, h_prev = dz[t, s], dh[t, s], z[t, s], h[t - 1, s] if t > 0 else h0[s]
            for j in range(H):
                dz_t[j], dz_t[H + j], dz_t[2 * H + j] = minlstm_gates_grad(
                    dh_t[j], z_t[j], z_t[H + j], z_t[2 * H + j], h_prev[j]
                )


def mingru_forward(x, state, weights, training):
    """Run one minGRU layer: a matrix product, the gates of all steps at once, the scan."""
    return _forward(_mingru_coefficients, x, state, weights, training)


def mingru_backward(dy, dstate, cache, weights):
    """Backward of :func:`mingru_forward`: the scan from the end, the gates, the matrix products."""
    return _backward(_mingru_coefficients_grad, dy, dstate, cache, weights)


def minlstm_forward(x, state, weights, training):
    """Run one minLSTM layer, like :func:`mingru_forward`."""
    return _forward(_minlstm_coefficients, x, state, weights, training)


def minlstm_backward(dy, dstate, cache, weights):
    """Backward of :func:`minlstm_forward`."""
    return _backward(_minlstm_coefficients_grad, dy, dstate, cache, weights)


def _forward(coefficients, x, state, weights, training):
    h0 = state[0]
    (T, B, _), H = x.shape, h0.shape[1]
    z = project(x, weights)
    a, b = np.empty((T, B, H), x.dtype), np.empty((T, B, H), x.dtype)
    with threads_for(_GATE_COST * T * B * H):
        coefficients(a, b, z)
    h = linear_scan(a.reshape(T, B * H), b.reshape(T, B * H), h0.reshape(B * H)).reshape(T, B, H)
    return (h.copy() if training else h), (h[-1].copy(),), (x, z, a, h, h0.copy()) if training else None


def _backward(coefficients_grad, dy, dstate, cache, weights):
    x, z, a, h, h0 = cache
    T, B, H = dy.shape
    dh, dh0 = linear_scan_grad(dy.reshape(T, B * H), dstate[0].reshape(B * H), a.reshape(T, B * H))
    dz = np.empty_like(z)
    with threads_for(_GATE_COST * T * B * H):
        coefficients_grad(dz, dh.reshape(T, B, H), z, h, h0)
    dx, grads = project_grad(dz, x, weights)
    return dx, (dh0.reshape(B, H),), grads


def project(x, weights):
    """Pre-activations of all steps in one matrix product, ``x W^T + b``."""
    T, B, I = x.shape
    z = np.matmul(x.reshape(T * B, I), weights[0].T)
    if len(weights) > 1:
        z += weights[-1]
    return z.reshape(T, B, weights[0].shape[0])


def project_grad(dz, x, weights):
    """Backward of :func:`project`: ``dx`` and the gradients of W and, if there is one, b."""
    T, B, G = dz.shape
    rows, inputs = dz.reshape(T * B, G), x.reshape(T * B, x.shape[2])
    dW = np.matmul(rows.T, inputs)
    dx = np.matmul(rows, weights[0]).reshape(x.shape)
    return dx, (dW, rows.sum(axis=0)) if len(weights) > 1 else (dW,)
