"""The LSTM family in NumPy, straight from the equations of Greff et al. (2017), one time step at a time.

``x`` has shape (T, B, I), states (B, H); the weights are described in :class:`lstm_numba.variants.VariantWeights`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lstm_numba.variants import VariantWeights


def sigmoid(z):
    """Logistic function, elementwise, for complex arguments too."""
    with np.errstate(over="ignore"):  # exp(-z) may overflow to inf; 1 / (1 + inf) is the right answer, 0
        return 1 / (1 + np.exp(-z))


# name -> (function of the argument, derivative as a function of the argument)
_ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "identity": (lambda z: z, np.ones_like),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "sigmoid in [-1, 1]": (lambda z: 2 * sigmoid(z) - 1, lambda z: 2 * sigmoid(z) * (1 - sigmoid(z))),
    "sigmoid in [-2, 2]": (lambda z: 4 * sigmoid(z) - 2, lambda z: 4 * sigmoid(z) * (1 - sigmoid(z))),
}


class Step(NamedTuple):
    """What the backward pass needs from one time step; every entry (B, H) but ``gates_prev`` (B, N*H)."""

    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    z_g: np.ndarray
    c: np.ndarray
    c_prev: np.ndarray
    h_prev: np.ndarray
    gates_prev: np.ndarray


def variant_forward(
    options,
    x,  # (T, B, I)
    h0,  # (B, H)
    c0,  # (B, H)
    weights,  # VariantWeights
    training,
):
    """Run one layer of a variant. Returns ``y (T, B, H), h_n (B, H), c_n (B, H), cache``."""
    T, B, _ = x.shape
    H = h0.shape[1]
    dtype = np.result_type(x, h0, c0, *(weight for weight in weights if weight is not None))
    squash_g, _ = _ACTIVATIONS[options.input_activation]
    squash_c, _ = _ACTIVATIONS[options.output_activation]
    y = np.empty((T, B, H), dtype)
    h, c = h0.astype(dtype), c0.astype(dtype)
    one = np.ones((B, H), dtype)
    gates_prev = np.zeros((B, len(options.gates) * H), dtype)
    steps = []

    for t in range(T):
        rows = x[t] @ weights.W_ih.T + h @ weights.W_hh.T  # (B, G*H)
        if weights.b_ih is not None:
            rows = rows + weights.b_ih + weights.b_hh
        z = dict(zip(options.blocks, np.split(rows, len(options.blocks), axis=1), strict=True))
        if options.gate_recurrence:
            recurrent = gates_prev @ weights.W_gates.T  # (B, N*H)
            for name, part in zip(options.gates, np.split(recurrent, len(options.gates), axis=1), strict=True):
                z[name] = z[name] + part
        p = dict(zip(options.gates, weights.peepholes, strict=True)) if options.peepholes else {}

        i = sigmoid(z["i"] + p.get("i", 0) * c) if options.input_gate else one
        f = sigmoid(z["f"] + p.get("f", 0) * c) if "f" in z else one
        f = 1 - i if options.coupled else f
        g = squash_g(z["g"])
        c_prev, c = c, f * c + i * g
        o = sigmoid(z["o"] + p.get("o", 0) * c) if options.output_gate else one
        h_prev, h = h, o * squash_c(c)

        y[t] = h
        steps.append(Step(i, f, g, o, z["g"], c, c_prev, h_prev, gates_prev))
        values = {"i": i, "f": f, "o": o}
        gates_prev = np.concatenate([np.empty((B, 0), dtype), *(values[name] for name in options.gates)], axis=1)

    return y, h.copy(), c.copy(), (x, steps) if training else None


def variant_backward(
    options,
    dy,  # (T, B, H) gradient of the loss with respect to y
    dh_n,  # (B, H)   ... with respect to the last hidden state, on top of dy
    dc_n,  # (B, H)   ... with respect to the last cell state
    cache,
    weights,  # VariantWeights
):
    """Backpropagation through time for :func:`variant_forward`. Returns ``dx, dh0, dc0, grads``."""
    x, steps = cache
    _, slope_g = _ACTIVATIONS[options.input_activation]
    squash_c, slope_c = _ACTIVATIONS[options.output_activation]
    H = dy.shape[2]
    dx = np.empty_like(x)
    grads = VariantWeights(*(None if weight is None else np.zeros_like(weight) for weight in weights))
    dh, dc = dh_n, dc_n
    d_gates = dict.fromkeys(options.gates, 0)  # arrives from the gates of the next step
    p = dict(zip(options.gates, weights.peepholes, strict=True)) if options.peepholes else {}

    for t in reversed(range(len(steps))):
        i, f, g, o, z_g, c, c_prev, h_prev, gates_prev = steps[t]
        dz = {}

        dh = dh + dy[t]
        dc = dc + dh * o * slope_c(c)
        if options.output_gate:
            dz["o"] = (dh * squash_c(c) + d_gates["o"]) * o * (1 - o)
            dc = dc + dz["o"] * p.get("o", 0)
        if options.coupled:
            dz["i"] = (dc * (g - c_prev) + d_gates["i"]) * i * (1 - i)  # c = (1 - i) c_prev + i g
        else:
            if options.input_gate:
                dz["i"] = (dc * g + d_gates["i"]) * i * (1 - i)
            if options.forget_gate:
                dz["f"] = (dc * c_prev + d_gates["f"]) * f * (1 - f)
        dz["g"] = dc * i * slope_g(z_g)
        dc = dc * f
        for name in options.gates:
            if name != "o":
                dc = dc + dz[name] * p.get(name, 0)

        rows = np.concatenate([dz[name] for name in options.blocks], axis=1)  # (B, G*H)
        grads.W_ih[...] += rows.T @ x[t]
        grads.W_hh[...] += rows.T @ h_prev
        if grads.b_ih is not None:
            grads.b_ih[...] += rows.sum(axis=0)
            grads.b_hh[...] += rows.sum(axis=0)
        for n, name in enumerate(options.gates if options.peepholes else ()):
            grads.peepholes[n] += (dz[name] * (c if name == "o" else c_prev)).sum(axis=0)
        if options.gate_recurrence:
            gate_rows = np.concatenate([dz[name] for name in options.gates], axis=1)  # (B, N*H)
            grads.W_gates[...] += gate_rows.T @ gates_prev
            back = gate_rows @ weights.W_gates  # (B, N*H)
            d_gates = {name: back[:, n * H : (n + 1) * H] for n, name in enumerate(options.gates)}
        dx[t] = rows @ weights.W_ih
        dh = rows @ weights.W_hh

    return dx, dh, dc, grads
