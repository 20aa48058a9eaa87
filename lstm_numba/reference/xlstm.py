"""The two cells of the xLSTM in NumPy (Beck et al., 2024): sLSTM and mLSTM.

Both have an exponential input gate, which may be larger than any number a float can hold. What they remember is
therefore stored divided by ``e^m``, with a scale ``m`` that follows the largest gate. The scale cancels in the output.
It is part of the state, but no gradient passes through it: gradients of the stored memory hold for a fixed scale, which
is exact for every loss that sees the memory through the cell.

Both forget gates are sigmoids here; the paper also allows exponentials. Functions take and return tuples of weights and
states; an empty memory has ``m = -inf``.
"""

import numpy as np

from lstm_numba.reference.lstm import sigmoid


def log_sigmoid(z):
    """Logarithm of the logistic function, elementwise, of complex numbers too."""
    flipped = np.where(z.real > 0, -z, z)  # the branch whose exponential is at most 1
    return np.where(z.real > 0, 0, z) - np.log1p(np.exp(flipped))


def exponential_gates(
    z_i,  # pre-activation of the input gate e^z_i
    z_f,  # ... of the forget gate
    m,  # scale so far
):
    """Return the two gates in units of the new scale, and the new scale."""
    carried = log_sigmoid(z_f) + m
    m = np.maximum(carried.real, z_i.real)
    return np.exp(z_i - m), np.exp(carried - m), m


def slstm_forward(
    x,  # (T, B, I)
    state,  # h0, c0, n0, m0, each (B, H)
    weights,  # W_ih (4H, I), W_hh (4H, H) blocks i, f, g, o stacked, and b (4H,) if there is a bias
    training,
):
    """Run one sLSTM layer, step by step. Returns ``y, (h_n, c_n, n_n, m_n), cache``."""
    W_ih, W_hh, *bias = weights
    h, c, n, m = state
    y, steps = [], []
    for x_t in x:
        z_i, z_f, z_g, z_o = np.split(x_t @ W_ih.T + h @ W_hh.T + sum(bias), 4, axis=1)
        i, f, m = exponential_gates(z_i, z_f, m)
        g, o = np.tanh(z_g), sigmoid(z_o)
        h_prev, c_prev, n_prev = h, c, n
        c = f * c_prev + i * g
        n = f * n_prev + i
        h = o * c / n
        y.append(h)
        steps.append((x_t, i, f, g, o, sigmoid(z_f), h_prev, c_prev, n_prev, c, n))
    return np.stack(y), (h, c, n, m), steps if training else None


def slstm_backward(
    dy,  # (T, B, H)
    dstate,  # dh_n, dc_n, dn_n, each (B, H)
    cache,
    weights,
):
    """Backpropagation through time. Returns ``dx, (dh0, dc0, dn0), grads``, the last like ``weights``."""
    W_ih, W_hh = weights[:2]
    grads = tuple(np.zeros_like(weight) for weight in weights)
    dh, dc, dn = dstate
    dx = np.empty((*dy.shape[:2], W_ih.shape[1]), dy.dtype)
    for t in reversed(range(len(dy))):
        x_t, i, f, g, o, sigmoid_f, h_prev, c_prev, n_prev, c, n = cache[t]
        dh = dh + dy[t]
        do = dh * c / n
        dc = dc + dh * o / n
        dn = dn - dh * o * c / n**2
        di, df, dg = dc * g + dn, dc * c_prev + dn * n_prev, dc * i
        dz = np.concatenate([di * i, df * f * (1 - sigmoid_f), dg * (1 - g**2), do * o * (1 - o)], axis=1)
        for grad, seen in zip(grads, (x_t, h_prev), strict=False):
            grad[...] += dz.T @ seen
        if len(weights) == 3:
            grads[2][...] += dz.sum(axis=0)
        dx[t] = dz @ W_ih
        dh, dc, dn = dz @ W_hh, dc * f, dn * f
    return dx, (dh, dc, dn), grads


def mlstm_forward(
    x,  # (T, B, I)
    state,  # C0 (B, N, D, D), n0 (B, N, D), m0 (B, N): N heads of D = H / N units
    weights,  # W (4H + 2N, I) blocks q, k, v, o, i, f stacked, the gates i, f one per head, and b if there is a bias
    training,
):
    """Run one mLSTM layer, step by step. Returns ``y, (C_n, n_n, m_n), cache``."""
    C, n, m = state
    B, N, D = n.shape
    y, steps = [], []
    for x_t in x:
        z = x_t @ weights[0].T + (weights[1] if len(weights) == 2 else 0)
        q, k, v, z_o = (part.reshape(B, N, D) for part in np.split(z[:, : 4 * N * D], 4, axis=1))
        k = k * z.real.dtype.type(D**-0.5)
        z_i, z_f = np.split(z[:, 4 * N * D :], 2, axis=1)
        i, f, m = exponential_gates(z_i, z_f, m)
        C_prev, n_prev = C, n
        C = f[..., None, None] * C + i[..., None, None] * v[..., :, None] * k[..., None, :]
        n = f[..., None] * n + i[..., None] * k
        overlap = (n * q).sum(axis=-1, keepdims=True)  # (B, N, 1)
        with np.errstate(over="ignore"):  # a memory that is nearly empty has a huge e^-m, and the answer is 0
            floor = np.exp(-m)[..., None]
        counts = np.abs(overlap.real) > floor
        read = np.einsum("bnvk,bnk->bnv", C, q) / np.where(counts, np.sign(overlap.real) * overlap, floor)
        o = sigmoid(z_o)
        y.append((o * read).reshape(B, N * D))
        steps.append((x_t, q, k, v, o, i, f, sigmoid(z_f), C_prev, n_prev, C, n, overlap, floor, read))
    return np.stack(y), (C, n, m), steps if training else None


def mlstm_backward(
    dy,  # (T, B, H)
    dstate,  # dC_n (B, N, D, D), dn_n (B, N, D)
    cache,
    weights,
):
    """Backpropagation through time. Returns ``dx, (dC0, dn0), grads``, the last like ``weights``."""
    dC, dn = dstate
    B, N, D = dn.shape
    grads = tuple(np.zeros_like(weight) for weight in weights)
    dx = np.empty((*dy.shape[:2], weights[0].shape[1]), dy.dtype)
    for t in reversed(range(len(dy))):
        x_t, q, k, v, o, i, f, sigmoid_f, C_prev, n_prev, C, n, overlap, floor, read = cache[t]
        dh = dy[t].reshape(B, N, D)
        do = dh * read
        counts = np.abs(overlap) > floor
        scale = np.where(counts, np.abs(overlap), floor)
        d_sum = dh * o / scale  # of C q
        d_overlap = np.where(counts, -(d_sum * read).sum(axis=-1, keepdims=True) * np.sign(overlap), 0)
        dq = np.einsum("bnvk,bnv->bnk", C, d_sum) + d_overlap * n
        dC = dC + d_sum[..., :, None] * q[..., None, :]
        dn = dn + d_overlap * q
        dC_k = np.einsum("bnvk,bnk->bnv", dC, k)
        di = (v * dC_k).sum(axis=-1) + (dn * k).sum(axis=-1)
        df = (dC * C_prev).sum(axis=(-2, -1)) + (dn * n_prev).sum(axis=-1)
        dv = i[..., None] * dC_k
        dk = i[..., None] * (np.einsum("bnvk,bnv->bnk", dC, v) + dn) * dy.dtype.type(D**-0.5)
        wide = [part.reshape(B, N * D) for part in (dq, dk, dv, do * o * (1 - o))]
        dz = np.concatenate([*wide, di * i, df * f * (1 - sigmoid_f)], axis=1)
        grads[0][...] += dz.T @ x_t
        if len(weights) == 2:
            grads[1][...] += dz.sum(axis=0)
        dx[t] = dz @ weights[0]
        dC, dn = f[..., None, None] * dC, f[..., None] * dn
    return dx, (dC, dn), grads
