"""Checks of chapter 0.1, how to use this book."""

from collections.abc import Callable

import numpy as np

from lstm_numba.teaching import Check, Mistake, exercise

__all__ = [
    "check_bits",
    "check_bits_per_character",
    "check_count",
    "check_gates",
    "check_shapes",
    "check_windows",
]


@exercise("0.1", hint="The price of probability p is the number of halvings that lead from 1 to p.")
def check_bits(check: Check, bits: Callable[[float], float]) -> None:
    """Expect the price in bits of an event of given probability."""
    for p in (0.5, 0.125, 0.3):
        price = check.call(f"runs for p = {p:g}", bits, p)
        check.close(
            f"price of p = {p:g}",
            price,
            -np.log2(p),
            mistakes=[
                Mistake(-np.log(p), "That is the price in nats. Bits need the logarithm to the base 2."),
                Mistake(np.log2(p), "The sign is wrong: a price is not negative, and log2(p) is, for p < 1."),
                Mistake(1 / p, "That is the number of equally likely choices. How many yes-or-no questions decide it?"),
            ],
            hint="The price is minus the logarithm of p to the base 2.",
        )


@exercise("0.1", hint="Three steps: pick one probability from each row, take its price, take the mean.")
def check_bits_per_character(check: Check, bits_per_character: Callable) -> None:
    """Expect the mean price in bits of the letters that came."""
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(5), 40)  # (N, V)
    target = rng.integers(0, 5, 40)
    picked = p[np.arange(40), target]
    got = check.call("runs on 40 letters of 5 kinds", bits_per_character, p, target)
    got = check.shape("is one number", got, (), hint="Average over all letters.")
    check.close(
        "mean price",
        got,
        -np.log2(picked).mean(),
        mistakes=[
            Mistake(-np.log(picked).mean(), "That is in nats. Bits need the logarithm to the base 2."),
            Mistake(-np.log2(picked).sum(), "That is the price of the whole text. *Per character* means the mean."),
            Mistake(np.log2(picked).mean(), "The sign is wrong: a price is not negative."),
            Mistake(
                -np.log2(picked.mean()),
                "That is the logarithm of the mean. Each letter is paid for by itself: first the logarithm, then "
                "the mean.",
            ),
            Mistake(-np.log2(p).mean(), "You priced every entry of p. Only the letter that came is paid for."),
            Mistake(
                -np.log2(p.max(axis=1)).mean(),
                "You priced the *likeliest* letter of each row, not the letter that came: target is not used.",
            ),
            Mistake(
                -(p * np.log2(p)).sum(axis=1).mean(),
                "That is the entropy, the price the player *expects*. The real price uses the letter that came.",
            ),
        ],
        hint="p[np.arange(N), target] picks the probability of the letter that came from each row.",
    )


@exercise(
    "0.1", hint="Take T + 1 letters from each start; the inputs are all but the last, the targets all but the first."
)
def check_windows(check: Check, windows: Callable) -> None:
    """Expect inputs and targets (T, B), shifted by one step."""
    ids = np.random.default_rng(2).integers(0, 30, 60)
    start, T = np.array([0, 17, 50]), 6
    pieces = ids[np.arange(T + 1)[:, None] + start]  # (T + 1, B)
    answer = check.call("runs on three starts", windows, ids, start, T)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        check.fail("returns two arrays", "Return the pair `inputs, targets`, each of shape (T, B).")
    hint = "Time comes first, then the sequences of the batch."
    inputs = check.shape("inputs are (T, B)", answer[0], (T, 3), letters="(T, B)", hint=hint)
    targets = check.shape("targets are (T, B)", answer[1], (T, 3), letters="(T, B)", hint=hint)
    check.close(
        "inputs begin at start", inputs, pieces[:-1], hint="Column b holds ids[start[b]], ids[start[b] + 1], ..."
    )
    check.close(
        "targets are the letters that follow",
        targets,
        pieces[1:],
        mistakes=[
            Mistake(
                pieces[:-1], "Input and target are the same: a model could copy and be perfect. Shift by one step."
            ),
            Mistake(
                np.vstack([pieces[1:-1], pieces[:1]]),
                "The last target is wrong: np.roll brings the first letter back. Read one letter more instead.",
            ),
            Mistake(
                ids[np.arange(T)[:, None] + start - 1],
                "You shifted the wrong way: the target is the letter that comes *next*.",
            ),
        ],
        hint="The target of the input at ids[n] is ids[n + 1].",
    )


@exercise("0.1", hint="The shape card has the parameters; y keeps all steps, h_n keeps all layers.")
def check_shapes(check: Check, shapes: Callable[..., dict]) -> None:
    """Expect the shapes of outputs and weights of a stacked LSTM."""
    for T, B, I, H, L in ((7, 5, 3, 4, 2), (2, 9, 6, 10, 3)):
        answer = check.call(f"runs for T, B, I, H, L = {T}, {B}, {I}, {H}, {L}", shapes, T, B, I, H, L)
        keys = {"y", "h_n", "weight_ih_l0", "weight_hh_l0", "weight_ih_l1"}
        if not isinstance(answer, dict) or set(answer) != keys:
            check.fail("has the five keys", f"Return a dict with exactly the keys {sorted(keys)}.")
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in answer.items()}
        check.equal(
            "y",
            given["y"],
            (T, B, H),
            mistakes=[
                Mistake((B, T, H), "Time comes first unless batch_first=True."),
                Mistake((T, B, I), "The last axis of the output counts hidden units, not inputs."),
                Mistake((T, B, 4 * H), "The four blocks stay inside the cell; h has H numbers."),
                Mistake((L, T, B, H), "y holds the states of the top layer only."),
                Mistake((B, H), "That is one step. y keeps all T of them."),
            ],
            hint="y holds h of the top layer, for each step and each sequence.",
        )
        check.equal(
            "h_n",
            given["h_n"],
            (L, B, H),
            mistakes=[
                Mistake((B, H), "Every layer has its own last state: one axis is missing."),
                Mistake((T, B, H), "h_n is the state after the last step only, of every layer."),
                Mistake((B, L, H), "The axis of the layers comes first."),
            ],
            hint="h_n holds the last state of every layer.",
        )
        check.equal(
            "weight_ih_l0",
            given["weight_ih_l0"],
            (4 * H, I),
            mistakes=[
                Mistake((I, 4 * H), "Rows and columns are exchanged: 4H rows."),
                Mistake((H, I), "There are four blocks of H rows."),
            ],
            hint="One row for each unit and gate, one column for each input.",
        )
        check.equal(
            "weight_hh_l0",
            given["weight_hh_l0"],
            (4 * H, H),
            mistakes=[
                Mistake((H, 4 * H), "Rows and columns are exchanged: 4H rows."),
                Mistake((H, H), "There are four blocks of H rows."),
            ],
            hint="One row for each unit and gate, one column for each unit of the previous state.",
        )
        check.equal(
            "weight_ih_l1",
            given["weight_ih_l1"],
            (4 * H, H),
            mistakes=[
                Mistake((4 * H, I), "The second layer does not see x. It reads the H outputs of the first layer.")
            ],
            hint="What does the second layer read?",
        )


@exercise("0.1", hint="Cut z into four blocks of H columns first, then squash each.")
def check_gates(check: Check, gates: Callable) -> None:
    """Expect the four activated gates from the stacked pre-activations."""
    z = np.random.default_rng(3).normal(0, 1.5, (2, 12))
    raw = dict(zip("ifgo", np.split(z, 4, axis=1), strict=True))
    right = {name: np.tanh(v) if name == "g" else _sigmoid(v) for name, v in raw.items()}
    answer = check.call("runs on B = 2, H = 3", gates, z)
    if not isinstance(answer, tuple | list) or len(answer) != 4:
        check.fail("returns four arrays", "Return `i, f, g, o`, each of shape (B, H).")
    for place, name in enumerate("ifgo"):
        got = check.shape(
            f"{name} has shape (B, H)",
            answer[place],
            (2, 3),
            letters="(B, H)",
            hint="The blocks lie side by side: split along axis 1.",
        )
        strided = z[:, place::4]
        mistakes = [
            Mistake(raw[name], "The squashing function is missing."),
            Mistake(_sigmoid(strided), "The gates are not interleaved: the first H columns all belong to i."),
            Mistake(np.tanh(strided), "The gates are not interleaved: the first H columns all belong to i."),
        ]
        if name == "g":
            mistakes.append(Mistake(_sigmoid(raw["g"]), "The candidate can be negative: it is a tanh, not a sigmoid."))
        else:
            mistakes.append(Mistake(np.tanh(raw[name]), "A gate lies between 0 and 1: it is a sigmoid, not a tanh."))
        others = {k: f(raw[k]) for k in "ifgo" if k != name for f in (_sigmoid,)}
        others["g"] = np.tanh(raw["g"])
        for other, value in others.items():
            if other != name:
                mistakes.append(Mistake(value, f"This is block {other}: the order is i, f, g, o."))
                mistakes.append(Mistake(_sigmoid(raw[other]), f"This is block {other}: the order is i, f, g, o."))
        if name == "g":
            mistakes += [Mistake(np.tanh(raw[k]), f"This is block {k}: the order is i, f, g, o.") for k in "ifo"]
        check.close(name, got, right[name], mistakes=mistakes, hint=f"{name} is block {place + 1} of four, squashed.")


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


@exercise("0.1", hint="Count the LSTM and the dense layer separately, then add.")
def check_count(check: Check, count: Callable[[int, int], int]) -> None:
    """Expect the number of parameters of the character model."""
    for V, H in ((31, 64), (5, 3)):
        total = check.call(f"runs for V = {V}, H = {H}", count, V, H)
        recurrent = 4 * H * (V + H + 2)
        check.equal(
            f"parameters for V = {V}, H = {H}",
            total,
            recurrent + V * (H + 1),
            mistakes=[
                Mistake(recurrent, "The dense layer is missing."),
                Mistake(recurrent + V * H, "The dense layer has a bias too: one for each letter."),
                Mistake(4 * H * (V + H + 1) + V * (H + 1), "The LSTM has two bias vectors, b_ih and b_hh."),
                Mistake(4 * H * (V + H) + V * (H + 1), "The two bias vectors of the LSTM are missing."),
                Mistake(H * (V + H + 2) + V * (H + 1), "The LSTM has four blocks of H rows: i, f, g, o."),
                Mistake(recurrent + H * (V + 1), "The dense layer goes from H to V: it has V rows and V biases."),
            ],
            hint="The LSTM has 4H rows with V + H weights and two biases; the dense layer V rows with H weights "
            "and one.",
        )
