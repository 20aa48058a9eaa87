"""Random problems for the tests of minGRU, minLSTM, sLSTM and mLSTM."""

import numpy as np

CELLS = {"mingru": "scan", "minlstm": "scan", "slstm": "xlstm", "mlstm": "xlstm"}  # name -> module


def random_problem(rng, cell, T, B, I, H, dtype="float64", bias=True, heads=1):
    """Return ``x, state, weights, dy, dstate`` of one layer, in the form that its kernels take."""

    def draw(*shape, scale=1.0):
        return (scale * rng.normal(size=shape)).astype(dtype)

    D = H // heads
    rows = {"mingru": 2 * H, "minlstm": 3 * H, "slstm": 4 * H, "mlstm": 4 * H + 2 * heads}[cell]
    weights = (draw(rows, I),)
    if cell == "slstm":
        weights += (draw(rows, H, scale=H**-0.5),)
    if bias:
        weights += (draw(rows),)
    if cell == "slstm":
        # A normaliser that did not come from a sum of gates could be zero, and the output infinite.
        state = draw(B, H), draw(B, H), (1 + rng.random((B, H))).astype(dtype), draw(B, H)
        dstate = draw(B, H), draw(B, H), draw(B, H)
    elif cell == "mlstm":
        state = draw(B, heads, D, D), draw(B, heads, D), draw(B, heads)
        dstate = draw(B, heads, D, D), draw(B, heads, D)
    else:
        state, dstate = (draw(B, H),), (draw(B, H),)
    return draw(T, B, I), state, weights, draw(T, B, H), dstate


def everything(module, cell, x, state, weights, dy, dstate):
    """Outputs and gradients of one layer, by name."""
    y, final, cache = getattr(module, f"{cell}_forward")(x, state, weights, True)
    dx, initial, grads = getattr(module, f"{cell}_backward")(dy, dstate, cache, weights)
    groups = {"state": final, "dstate0": initial, "grad": grads}
    parts = {f"{name}[{n}]": value for name, group in groups.items() for n, value in enumerate(group)}
    return {"y": y, "dx": dx} | parts


def relative_entries(actual, expected):
    """Largest error of any entry, relative to that entry."""
    return float(np.max(np.abs(actual - expected) / np.abs(expected)))
