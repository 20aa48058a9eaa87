"""Checks of chapter 3.1, GRU and small gated cells."""

import numpy as np

import lstm_numba as ln
from lstm_numba.teaching import Check, Mistake, exercise
from lstm_numba.teaching.small_cells import causal_bound, parameter_count


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


@exercise("3.1")
def check_count_parameters(check: Check, count_parameters) -> None:
    """A function from sizes, layers and directions to the number of parameters of a GRU."""
    I, H = 5, 7
    for num_layers, bidirectional in ((1, False), (2, False), (3, True)):
        layer = ln.GRU(I, H, num_layers, bidirectional=bidirectional, seed=0)
        expected = sum(p.size for p in layer.parameters.values())
        D = 1 + bidirectional
        narrow = D * num_layers * 3 * H * (I + H + 2)
        check.equal(
            f"GRU(5, 7, num_layers={num_layers}, bidirectional={bidirectional})",
            check.call(f"runs for {num_layers} layers", count_parameters, I, H, num_layers, bidirectional),
            expected,
            mistakes=[
                Mistake(expected - 3 * H * D * num_layers, "There are two bias vectors, as in PyTorch."),
                Mistake(
                    parameter_count("LSTM", I, H, num_layers=num_layers, bidirectional=bidirectional),
                    "That is an LSTM. A GRU has three blocks: r, z and n.",
                ),
                Mistake(narrow, "Only the first layer reads I numbers. What does the second one read?"),
                Mistake(
                    D * 3 * H * (I + H + 2) + D * (num_layers - 1) * 3 * H * (H + H + 2),
                    "The second layer reads the outputs of both directions: 2 H numbers.",
                ),
                *(
                    [Mistake(expected // 2, "Each direction has weights of its own: twice as many.")]
                    if bidirectional
                    else []
                ),
            ],
            hint="For each layer and direction 3 H (inputs + H + 2); a higher layer has H inputs per direction.",
        )


@exercise("3.1")
def check_gru_step(check: Check, gru_step) -> None:
    """One time step of a GRU, with either place of the reset gate."""
    rng = np.random.default_rng(31)
    H = 4
    for reset_after in (True, False):
        a, h = rng.normal(size=(3, 2, H)), rng.normal(size=(2, H))
        W_hh, b_hn = rng.normal(size=(3 * H, H)), rng.normal(size=H)
        place = "after" if reset_after else "before"
        check.close(
            f"new state, reset {place} the product",
            check.call(f"runs with reset_after={reset_after}", gru_step, a, h, W_hh, b_hn, reset_after),
            _step(a, h, W_hh, b_hn, reset_after),
            mistakes=[
                Mistake(
                    _step(a, h, W_hh, b_hn, not reset_after),
                    "The reset gate acts on the wrong side of the product: after it, r * (h W^T + b); "
                    "before it, (r * h) W^T + b.",
                ),
                Mistake(
                    _step(a, h, W_hh, b_hn, reset_after, keep=False),
                    "z and 1 - z are swapped: here z = 1 keeps the old state.",
                ),
                Mistake(
                    _step(a, h, W_hh, b_hn, reset_after, bias_outside=True),
                    "With the reset after the product, r multiplies the bias b_hn as well.",
                ),
                Mistake(
                    _step(a, h, W_hh, b_hn, reset_after, turned=True),
                    "The weights are the wrong way round: states are rows, so multiply by the transpose.",
                ),
            ],
            hint="r and z are sigmoids, n is a tanh, and h_new = (1 - z) * n + z * h.",
        )


def _step(a, h, W_hh, b_hn, reset_after, *, keep=True, bias_outside=False, turned=False):
    W_hr, W_hz, W_hn = (W if turned else W.T for W in np.split(W_hh, 3))
    r, z = _sigmoid(a[0] + h @ W_hr), _sigmoid(a[1] + h @ W_hz)
    if reset_after:
        recurrent = r * (h @ W_hn) + b_hn if bias_outside else r * (h @ W_hn + b_hn)
    else:
        recurrent = (r * h) @ W_hn + b_hn
    n = np.tanh(a[2] + recurrent)
    return (1 - z) * n + z * h if keep else z * n + (1 - z) * h


@exercise("3.1")
def check_to_pytorch(check: Check, to_pytorch) -> None:
    """Reorder blocks z, r, n, and turn a gate that overwrites into one that keeps."""
    rng = np.random.default_rng(32)
    for shape in ((6, 5), (9,)):
        W = rng.normal(size=shape)
        z, r, n = np.split(W, 3)
        check.close(
            f"weights of shape {shape}",
            check.call(f"runs for shape {shape}", to_pytorch, W),
            np.concatenate([r, -z, n]),
            mistakes=[
                Mistake(np.concatenate([r, z, n]), "The order is right. But there z = 1 overwrites, here it keeps."),
                Mistake(np.concatenate([-z, r, n]), "The sign is right. PyTorch's order is r, z, n."),
                Mistake(W, "Nothing has changed."),
                Mistake(
                    np.concatenate([r, 1 - z, n]),
                    "It is the gate that becomes 1 - z, not its weights: which weights turn sigmoid(a) into "
                    "1 - sigmoid(a)?",
                ),
                Mistake(np.concatenate([-r, -z, -n]), "Only the update gate changes its meaning."),
            ],
            hint="Split in three along axis 0, and use 1 - sigmoid(a) = sigmoid(-a) for the block of the update gate.",
        )


@exercise("3.1")
def check_update_grad(check: Check, update_grad) -> None:
    """The derivative of the loss with respect to the update gate's pre-activation."""
    rng = np.random.default_rng(33)
    dh, h_prev = rng.normal(size=(2, 3, 4))
    z, n = _sigmoid(rng.normal(size=(3, 4))), np.tanh(rng.normal(size=(3, 4)))
    slope = z * (1 - z)
    check.close(
        "derivative for the pre-activation of z",
        check.call("runs", update_grad, dh, z, n, h_prev),
        dh * (h_prev - n) * slope,
        mistakes=[
            Mistake(dh * (n - h_prev) * slope, "The sign is the other way round: z multiplies the old state."),
            Mistake(dh * h_prev * slope, "z also takes the candidate away: h = (1 - z) n + z h_prev."),
            Mistake(dh * (h_prev - n), "That is the derivative for z. One more factor leads through the sigmoid."),
            Mistake(dh * (h_prev - n) * (1 - z**2), "That is the slope of a tanh; z is a sigmoid."),
        ],
        hint="Differentiate (1 - z) n + z h_prev with respect to z, then multiply by the slope z (1 - z).",
    )


@exercise("3.1")
def check_counter(check: Check, counter) -> None:
    """Pre-activations with which one LSTM unit counts up at a and down at b."""
    sizes = {}
    for letter in "ab":
        z = check.call(f"runs for {letter!r}", counter, letter)
        check.shape(f"four numbers for {letter!r}", z, (4,), letters="(4,) in the order i, f, g, o")
        sizes[letter] = np.asarray(z, float)
    c, trace = 0.0, []
    for letter in "a" * 100 + "b" * 100:
        z_i, z_f, z_g, _ = sizes[letter]
        c = _sigmoid(z_f) * c + _sigmoid(z_i) * np.tanh(z_g)
        trace.append(c)
    after_one, top, end = trace[0], trace[99], trace[-1]
    check.true(
        "the first a adds about 1",
        abs(after_one - 1) < 0.01,
        hint="c becomes i * g. Open the input gate wide, and make the candidate tanh(z_g) nearly 1.",
    )
    check.true(
        "100 letters a make about 100",
        abs(top - 100) < 1,
        hint="Some of the count is lost on the way: the forget gate must be very close to 1.",
    )
    check.true(
        "after 100 letters b the count is back at 0",
        abs(end) < 1,
        hint="A b must subtract what an a adds: the same gates, and a candidate of nearly -1.",
    )


@exercise("3.1")
def check_best_causal(check: Check, best_causal) -> None:
    """The smallest error rate of a tagger that has not read the future."""
    for T, V in ((12, 8), (5, 2), (7, 3)):
        again = 1 - (1 - 1 / V) ** np.arange(T)[::-1]
        late = 1 - (1 - 1 / V) ** np.arange(1, T + 1)
        check.close(
            f"smallest error for T = {T}, {V} symbols",
            check.call(f"runs for T = {T}", best_causal, T, V),
            causal_bound(T, V),
            mistakes=[
                Mistake(
                    float(min(again.mean(), 1 - again.mean())),
                    "That is the best constant answer. Position is known: choose the better answer at each step.",
                ),
                Mistake(
                    float(again.mean()), "That is how often a symbol comes again, not how often the best guess errs."
                ),
                Mistake(
                    float(np.minimum(late, 1 - late).mean()),
                    "One step too many: after the last symbol 0 symbols follow, after the first T - 1.",
                ),
                Mistake(
                    1 - causal_bound(T, V), "That is the share of right answers; asked is the share of wrong ones."
                ),
            ],
            hint="With m symbols to come, the chance to see a given one again is 1 - (1 - 1/V)^m; the better of the "
            "two answers errs with the smaller of p and 1 - p; average over m = 0 ... T - 1.",
        )
