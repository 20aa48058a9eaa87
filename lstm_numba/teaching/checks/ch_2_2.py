"""Checks of chapter 2.2, the forward pass in code."""

from itertools import pairwise, permutations

import numpy as np

from lstm_numba import LSTM
from lstm_numba.reference.lstm import lstm_forward, sigmoid
from lstm_numba.teaching import Check, Mistake, exercise

__all__ = [
    "check_find_order",
    "check_from_keras",
    "check_last_valid",
    "check_parameter_count",
    "check_stack",
    "check_step",
]


def _count(I, H, num_layers, bias=True, *, gates=4, biases=2, stacked=True, recurrent=True):
    """Count parameters; the keyword arguments produce the known miscounts."""
    total = 0
    for layer in range(num_layers):
        width = I if layer == 0 or not stacked else H
        total += gates * H * (width + H * recurrent + biases * bias)
    return total


@exercise("2.2")
def check_parameter_count(check: Check, count) -> None:
    """Check ``count(I, H, num_layers, bias)`` against the arrays of real layers."""
    for I, H, num_layers, bias in ((10, 20, 1, True), (10, 20, 2, True), (7, 5, 3, False)):
        layer = LSTM(I, H, num_layers=num_layers, bias=bias)
        truth = sum(array.size for array in layer.parameters.values())
        call = f"I={I}, H={H}, num_layers={num_layers}, bias={bias}"
        value = check.call(f"runs for {call}", count, I, H, num_layers, bias)
        args = (I, H, num_layers, bias)
        check.equal(
            f"counts {call}",
            value,
            truth,
            mistakes=[
                Mistake(_count(*args, biases=1), "One bias vector is missing: PyTorch keeps b_ih and b_hh."),
                Mistake(_count(*args, stacked=False), "A second layer reads hidden states, so its input size is H."),
                Mistake(_count(*args, gates=1), "That is one block of rows. The matrices hold four: i, f, g and o."),
                Mistake(_count(*args, recurrent=False), "The recurrent weights W_hh, shape (4H, H), are missing."),
                Mistake(_count(I, H, num_layers, True), "With bias=False there is no bias vector to count."),
                Mistake(_count(I, H, 1, bias), "That counts the first layer only."),
            ],
            hint="Add up the sizes of W_ih (4H, I), W_hh (4H, H) and two biases (4H,), layer by layer.",
        )


def _blocks(z, order):
    return dict(zip(order, np.split(z, 4, axis=-1), strict=True))


def _step(x, h, c, W_ih, W_hh, b, order="ifgo", squash=np.tanh, show=np.tanh):
    z = _blocks(x @ W_ih.T + h @ W_hh.T + b, order)
    c_new = sigmoid(z["f"]) * c + sigmoid(z["i"]) * squash(z["g"])
    return sigmoid(z["o"]) * show(c_new), c_new


@exercise("2.2")
def check_step(check: Check, step) -> None:
    """Check ``step(x, h, c, W_ih, W_hh, b) -> h, c`` on a small batch."""
    rng = np.random.default_rng(22)
    B, I, H = 3, 2, 4
    x, h, c = rng.normal(size=(B, I)), rng.normal(size=(B, H)), rng.normal(size=(B, H))
    W_ih, W_hh, b = rng.normal(size=(4 * H, I)), rng.normal(size=(4 * H, H)), rng.normal(size=4 * H)
    args = (x, h, c, W_ih, W_hh, b)
    result = check.call("runs on a batch of 3", step, *args)
    if not isinstance(result, tuple) or len(result) != 2:
        check.fail("returns a pair", "Return the two arrays h and c, in this order: `return h, c`.")
    h_new = check.shape("h has one row for each sequence", result[0], (B, H), letters="(B, H)")
    c_new = check.shape("c has one row for each sequence", result[1], (B, H), letters="(B, H)")
    h_true, c_true = _step(*args)
    if np.allclose(h_new, c_true) and np.allclose(c_new, h_true):
        check.fail("h comes first", "The two results are right and swapped: return h, then c.")
    orders = [
        Mistake(
            _step(*args, order=order)[1],
            f"The blocks were read in the order {', '.join(order)}. The rows are stacked as i, f, g, o.",
        )
        for order in map("".join, permutations("ifgo"))
        if order != "ifgo"
    ]
    keep = sigmoid(_blocks(x @ W_ih.T + h @ W_hh.T + b, "ifgo")["f"])
    c_right = check.close(
        "c keeps a part of the old and adds a part of the new",
        c_new,
        c_true,
        mistakes=[
            Mistake(_step(*args, squash=sigmoid)[1], "The candidate g is squashed by tanh, not by the sigmoid."),
            Mistake(_step(*args, squash=lambda z: z)[1], "The candidate g needs its tanh."),
            Mistake(_step(x, h, c, W_ih, W_hh, 0 * b)[1], "The bias is missing from the pre-activation."),
            Mistake(_step(x, 0 * h, c, W_ih, W_hh, b)[1], "The recurrent term W_hh h is missing."),
            Mistake(c_true - keep * c, "The old cell state is missing: add f * c."),
            Mistake(c_true + (1 - keep) * c, "The old cell state must pass the forget gate: f * c, not c."),
            *orders,
        ],
        hint="c_new = f * c + i * g, all of shape (B, H). Print the four blocks and compare.",
    )
    o = sigmoid(_blocks(x @ W_ih.T + h @ W_hh.T + b, "ifgo")["o"])
    check.close(
        "h shows a part of tanh(c)",
        h_new,
        h_true,
        mistakes=[
            Mistake(o * c_true, "h is o * tanh(c): the tanh is missing."),
            Mistake(o * np.tanh(c), "h reads the new cell state, not the old one."),
            Mistake(np.tanh(c_true), "The output gate o is missing."),
        ],
        hint="h_new = o * tanh(c_new)." if c_right else "Repair c first; h is computed from it.",
    )


def _layers(rng, sizes):
    return [
        tuple(rng.normal(size=shape) for shape in ((4 * H, I), (4 * H, H), (4 * H,), (4 * H,)))
        for I, H in pairwise(sizes)
    ]


@exercise("2.2")
def check_stack(check: Check, stack) -> None:
    """Check ``stack(x, layers) -> y, h_n, c_n`` for three layers from zero states."""
    rng = np.random.default_rng(23)
    T, B, I, H = 4, 2, 5, 3
    x, layers = rng.normal(size=(T, B, I)), _layers(rng, [I, H, H, H])
    y, h_n, c_n = x, [], []
    zeros = np.zeros((B, H))
    for W_ih, W_hh, b_ih, b_hh in layers:
        y, h, c, _ = lstm_forward(y, zeros, zeros, W_ih, W_hh, b_ih, b_hh, False)
        h_n.append(h)
        c_n.append(c)
    W_ih, W_hh, b_ih, b_hh = layers[0]
    y_first = lstm_forward(x, zeros, zeros, W_ih, W_hh, b_ih, b_hh, False)[0]
    result = check.call(
        "runs for three layers",
        stack,
        x,
        layers,
        hint="Does layer 1 read the output of layer 0? Its W_ih has H columns, the input has I features.",
    )
    if not isinstance(result, tuple) or len(result) != 3:
        check.fail("returns three arrays", "Return y, h_n and c_n.")
    y_got = check.shape("y has the shape of one layer's output", result[0], (T, B, H), letters="(T, B, H)")
    check.close(
        "y is the output of the last layer",
        y_got,
        y,
        mistakes=[Mistake(y_first, "That is the output of the first layer.")],
        hint="Call lstm_forward once for each layer and feed y into the next call.",
    )
    axes = "(num_layers, B, H)"
    hint = "Keep the final state of every layer: append inside the loop, np.stack after it."
    h_got = check.shape("h_n has an entry for each layer", result[1], (3, B, H), hint=hint, letters=axes)
    c_got = check.shape("c_n has an entry for each layer", result[2], (3, B, H), hint=hint, letters=axes)
    swapped = Mistake(np.stack(c_n), "These are the cell states: lstm_forward returns y, h_n, c_n, cache.")
    for name, got, true, others in (("h_n", h_got, h_n, [swapped]), ("c_n", c_got, c_n, [])):
        check.close(
            f"{name} holds the layers from first to last",
            got,
            np.stack(true),
            mistakes=[Mistake(np.stack(true[::-1]), "The layers are in reverse order."), *others],
            hint="Entry l is the final state of layer l.",
        )


def _keras_forward(x, kernel, recurrent, bias):
    """Compute a Keras LSTM, batch first, from its own arrays: blocks i, f, c, o along the columns."""
    B, T, _ = x.shape
    H = recurrent.shape[0]
    h, c, y = np.zeros((B, H)), np.zeros((B, H)), np.empty((B, T, H))
    for t in range(T):
        z_i, z_f, z_c, z_o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(z_f) * c + sigmoid(z_i) * np.tanh(z_c)
        h = y[:, t] = sigmoid(z_o) * np.tanh(c)
    return y


@exercise("2.2")
def check_from_keras(check: Check, from_keras) -> None:
    """Check ``from_keras(kernel, recurrent_kernel, bias)``: a state dict for ``ln.LSTM``."""
    rng = np.random.default_rng(24)
    B, T, I, H = 2, 5, 3, 4
    kernel, recurrent, bias = rng.normal(size=(I, 4 * H)), rng.normal(size=(H, 4 * H)), rng.normal(size=4 * H)
    state = check.call("runs on the three arrays of Keras", from_keras, kernel, recurrent, bias)
    layer = LSTM(I, H, batch_first=True, dtype="float64").eval()
    wanted = {name: array.shape for name, array in layer.parameters.items()}
    if not isinstance(state, dict) or set(state) != set(wanted):
        got = sorted(state) if isinstance(state, dict) else type(state).__name__
        check.fail("returns a state dict", f"Expected a dict with the keys {sorted(wanted)}, got {got}.")
    for name, shape in wanted.items():
        letters = {2: "(4H, I)" if "ih" in name else "(4H, H)", 1: "(4H,)"}[len(shape)]
        check.shape(f"{name} has its shape", state[name], shape, letters=letters, hint="Keras multiplies x @ kernel.")
    for name, source in (("weight_ih_l0", kernel), ("weight_hh_l0", recurrent)):
        by_order = [
            Mistake(
                np.concatenate([_blocks(source, "ifgo")[gate] for gate in order], axis=1).T,
                "Keras stacks i, f, c, o, and its c is our g: nothing has to be reordered.",
            )
            for order in map("".join, permutations("ifgo"))
            if order != "ifgo"
        ]
        check.close(
            f"{name} is a transpose",
            state[name],
            source.T,
            mistakes=[
                Mistake(source.reshape(4 * H, -1), "reshape keeps the order in memory; you need the transpose, .T."),
                *by_order,
            ],
            hint="Row k of ours is column k of theirs.",
        )
    check.close(
        "the two biases add up to Keras's one",
        np.asarray(state["bias_ih_l0"]) + np.asarray(state["bias_hh_l0"]),
        bias,
        mistakes=[
            Mistake(2 * bias, "The bias is counted twice, since ours are added. Put it in one and zeros in the other."),
            Mistake(0 * bias, "The bias is lost."),
        ],
        hint="Only b_ih + b_hh enters the equations.",
    )
    layer.load_state_dict({name: np.asarray(array, dtype=np.float64) for name, array in state.items()})
    x = rng.normal(size=(B, T, I))
    check.close(
        "the layer computes what Keras computes",
        layer(x)[0],
        _keras_forward(x, kernel, recurrent, bias),
        hint="Repair the arrays above first.",
    )


@exercise("2.2")
def check_last_valid(check: Check, last_valid) -> None:
    """Check ``last_valid(y, lengths)``: the output at each sequence's own last step."""
    rng = np.random.default_rng(25)
    T, B, H = 6, 4, 3
    y, lengths = rng.normal(size=(T, B, H)), np.array([6, 2, 5, 1])
    result = check.call(
        "runs on a batch of 4", last_valid, y, lengths, hint="A sequence of length n ends at index n - 1."
    )
    every = y[lengths - 1]
    array = check.shape(
        "one row for each sequence",
        result,
        (B, H),
        letters="(B, H)",
        hint="y[lengths - 1] picks whole time steps; pick the sequence as well, with a second index."
        if np.shape(result) == every.shape
        else "",
    )
    b = np.arange(B)
    check.close(
        "each row is taken at that sequence's last step",
        array,
        y[lengths - 1, b],
        mistakes=[
            Mistake(y[-1], "y[-1] is the last step of the padded array; the short sequences ended earlier."),
            Mistake(y[lengths - 2, b], "One step too early: length n ends at index n - 1."),
            Mistake(y[np.minimum(lengths, T - 1), b], "One step too late: length n ends at index n - 1."),
            Mistake(y[0], "That is the first step."),
        ],
        hint="Index with two arrays at once: y[steps, np.arange(B)].",
    )


@exercise("2.2")
def check_find_order(check: Check, find_order) -> None:
    """Check ``find_order(W_ih, W_hh, b, x, y)``: the order of the blocks, such as ``"iofg"``."""
    rng = np.random.default_rng(26)
    T, B, I, H = 5, 2, 3, 4
    for order in ("iofg", "gifo", "ifgo"):
        W_ih, W_hh, b = rng.normal(size=(4 * H, I)), rng.normal(size=(4 * H, H)), rng.normal(size=4 * H)
        x, zeros = rng.normal(size=(T, B, I)), np.zeros((B, H))
        y, *_ = lstm_forward(x, zeros, zeros, W_ih, W_hh, b, 0 * b, False)
        shuffled = [np.concatenate([_blocks(a.T, "ifgo")[gate].T for gate in order]) for a in (W_ih, W_hh, b)]
        answer = check.call(
            f"runs on unknown weights ({len(check.report.expectations) // 2 + 1})", find_order, *shuffled, x, y
        )
        inverse = "".join("ifgo"[order.index(gate)] for gate in "ifgo")
        mistakes = [Mistake("ifgo", "That is our own order. Compare the outputs: these weights are from elsewhere.")]
        if inverse != order:
            mistakes.append(
                Mistake(inverse, "That is the inverse permutation. Name the blocks as they lie in the array.")
            )
        check.equal(
            f"finds the order ({len(check.report.expectations) // 2 + 1})",
            answer,
            order,
            mistakes=[m for m in mistakes if m.value != order],
            hint='Return four letters, such as "iofg": the gate of the first block first.',
        )
