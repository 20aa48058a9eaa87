"""What makes an LSTM learn: the small studies of chapter 2.5, used by the page and by ``benchmarks.making_it_learn``.

Each study is a dictionary of conditions and a function of one condition and a seed that returns plain numbers, so
that a page can run a few of them and the benchmark all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from math import comb
from typing import Any, NamedTuple

import numpy as np

import lstm_numba as ln
from lstm_numba.cpu import lstm as kernels

__all__ = [
    "STUDIES",
    "Study",
    "chrono",
    "collect",
    "learning_rate_test",
    "median_interval",
    "recall",
    "set_forget_bias",
    "suggested_rate",
    "truncated_gradient",
]

# ---------------------------------------------------------------- statistics


def median_interval(values: Sequence[float], confidence: float = 0.9) -> tuple[float, float, float]:
    """Return the median and a confidence interval for it that assumes nothing about the distribution.

    The k-th smallest and the k-th largest of n values enclose the median of the distribution unless fewer than k of
    them fall on one side, which has a binomial probability. The largest k that keeps the confidence is used.

    Parameters
    ----------
    values
        At least five numbers, infinities allowed.
    confidence
        The least probability that the interval covers the median.

    Returns
    -------
    median, low, high : float

    Examples
    --------
    >>> median_interval([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    (3.5, 1.0, 6.0)
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    if n < 5:
        raise ValueError(f"values: expected at least 5 numbers, got {n}")
    k = 1
    while 2 * (k + 1) <= n and 1 - 2 * sum(comb(n, j) for j in range(k + 1)) / 2**n >= confidence:
        k += 1
    return float(np.median(ordered)), float(ordered[k - 1]), float(ordered[n - k])


# ---------------------------------------------------------------- a network with a state


class Tagger:
    """An LSTM layer and a read-out for every step, with the state in and out.

    Parameters
    ----------
    input_size, hidden_size
        Sizes of the LSTM.
    seed
        Seed of the initial weights.
    """

    def __init__(self, input_size: int, hidden_size: int, seed: int) -> None:
        self.lstm = ln.LSTM(input_size, hidden_size, seed=seed)
        self.dense = ln.Dense(hidden_size, 1, seed=seed + 1)

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """All parameters by name."""
        return {**self.lstm.parameters, **self.dense.parameters}

    @property
    def grads(self) -> Mapping[str, np.ndarray]:
        """Gradients by the same names."""
        return {**self.lstm.grads, **self.dense.grads}

    def __call__(self, x, state=None):
        """Return the predictions (T, B, 1) and the state after the last step."""
        y, state = self.lstm(x, state)
        return self.dense(y), state

    def backward(self, d: np.ndarray) -> None:
        """Fill :attr:`grads` from the gradient of the predictions; what was there is dropped."""
        self.lstm.zero_grad()
        self.dense.zero_grad()
        self.lstm.backward(self.dense.backward(d))


def set_forget_bias(lstm: ln.LSTM, value: float) -> None:
    """Set the forget bias of every unit: all of it in ``bias_ih``, none in ``bias_hh``."""
    H = lstm.hidden_size
    lstm.parameters["bias_ih_l0"][H : 2 * H] = value
    lstm.parameters["bias_hh_l0"][H : 2 * H] = 0


def chrono(lstm: ln.LSTM, longest: int, rng: np.random.Generator) -> None:
    """Give the units time scales from 2 to ``longest`` steps (Tallec and Ollivier, 2018).

    The forget bias is ``log(u)`` with ``u`` drawn from U(1, longest - 1), the input bias its negative.
    """
    H = lstm.hidden_size
    spread = np.log(rng.uniform(1, longest - 1, size=H))
    lstm.parameters["bias_ih_l0"][:H] = -spread
    lstm.parameters["bias_ih_l0"][H : 2 * H] = spread
    lstm.parameters["bias_hh_l0"][: 2 * H] = 0


# ---------------------------------------------------------------- tasks


def recall(rng: np.random.Generator, B: int, T: int) -> tuple[np.ndarray, np.ndarray]:
    """Tell at the end which sign came first: x (T, B, 1) is +1 or -1 and then noise; the target is (B, 1)."""
    x = 0.3 * rng.normal(size=(T, B, 1))
    x[0] = rng.choice([-1.0, 1.0], size=(B, 1))
    return x.astype(np.float32), x[0].astype(np.float32)


def _last_step_loss(prediction: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    d = np.zeros_like(prediction)
    loss, d[-1] = ln.mse_loss(prediction[-1], target)
    return loss, d


def _recall_run(model: Tagger, optimiser, rng, B: int, T: int, updates: int, clip: Callable | None) -> np.ndarray:
    """Train on fresh batches and return the losses; what comes after a loss that is not finite is infinite."""
    losses = np.full(updates, np.inf)
    for step in range(updates):
        x, target = recall(rng, B, T)
        prediction, _ = model(x)
        loss, d = _last_step_loss(prediction, target)
        if not np.isfinite(loss) or loss > 1e6:
            break
        losses[step] = loss
        model.backward(d)
        if clip is not None:
            clip(model.grads)
        optimiser.step()
    return losses


class Study(NamedTuple):
    """Conditions by name, and what is measured under one of them with one seed."""

    conditions: dict[str, dict]
    measure: Callable[..., dict]


# ---------------------------------------------------------------- 1 memory at the start

LAGS = (10, 30, 90)
UPDATES = 200
SOLVED = 0.1  # a tenth of what guessing costs


def memory(start: str, lag: int, seed: int, updates: int = UPDATES, H: int = 16, B: int = 16) -> dict:
    """Train the recall task from one way to start; how many updates until the loss stays below a tenth?"""
    rng = np.random.default_rng(seed)
    model = Tagger(1, H, seed)
    if start == "chrono":
        chrono(model.lstm, lag, rng)
    elif start != "default":
        set_forget_bias(model.lstm, float(start))
    optimiser = ln.Adam(model, lr=0.01)
    losses = _recall_run(model, optimiser, rng, B, lag, updates, lambda grads: ln.clip_grad_norm(grads, 1.0))
    return {"updates": first_below(losses, SOLVED), "final": float(np.mean(losses[-20:]))}


def first_below(losses: np.ndarray, level: float, width: int = 20) -> int | None:
    """Return after how many updates the mean of the last ``width`` losses is below a level, or None."""
    means = np.convolve(losses, np.ones(width) / width, mode="valid")
    below = np.flatnonzero(means < level)
    return int(below[0]) + width if below.size else None


# ---------------------------------------------------------------- 2 clipping


def _clip_values(grads: Mapping[str, np.ndarray], limit: float) -> None:
    for grad in grads.values():
        np.clip(grad, -limit, limit, out=grad)


CLIPS: dict[str, Callable | None] = {
    "no clipping": None,
    "norm at most 1": lambda grads: ln.clip_grad_norm(grads, 1.0),
    "each entry at most 0.1": lambda grads: _clip_values(grads, 0.1),
}
RATES = (0.001, 0.003, 0.01, 0.03)


def clipping(clip: str, rate: float, seed: int, updates: int = 200, lag: int = 40, H: int = 16) -> dict:
    """Train with plain SGD and momentum from recurrent weights that are twice as large as usual."""
    model = Tagger(1, H, seed)
    set_forget_bias(model.lstm, 3.0)
    model.lstm.parameters["weight_hh_l0"][...] *= 2
    optimiser = ln.SGD(model, lr=rate, momentum=0.9)
    norms: list[float] = []

    def watched(grads):
        norms.append(ln.training.clipping.global_norm(grads))
        limit = CLIPS[clip]
        if limit is not None:
            limit(grads)

    losses = _recall_run(model, optimiser, np.random.default_rng(seed), 16, lag, updates, watched)
    final = float(np.mean(losses[-20:]))
    return {
        "final": final if np.isfinite(final) else None,
        "norm_median": float(np.median(norms)),
        "norm_largest": float(np.max(norms)) if np.isfinite(norms).all() else None,
    }


# ---------------------------------------------------------------- 3 truncation

DELAY = 4
CHUNKS = (2, 4, 6, 12)


def truncation(chunk: int, carry: bool, seed: int, steps: int = 4800, H: int = 24, B: int = 16) -> dict:
    """Repeat a stream of signs, four steps late; learn from chunks, with or without the state of the chunk before."""
    rng = np.random.default_rng(seed)
    model = Tagger(1, H, seed)
    set_forget_bias(model.lstm, 1.0)
    optimiser = ln.Adam(model, lr=0.01)
    past = rng.choice([-1.0, 1.0], size=(DELAY, B, 1))
    state, losses = None, []
    for _ in range(steps // chunk):
        both = np.concatenate([past, rng.choice([-1.0, 1.0], size=(chunk, B, 1))]).astype(np.float32)
        past = both[-DELAY:]
        prediction, after = model(both[DELAY:], state)
        loss, d = ln.mse_loss(prediction, both[:-DELAY])
        state = after if carry else None
        losses.append(loss)
        model.backward(d)
        ln.clip_grad_norm(model.grads, 1.0)
        optimiser.step()
    return {"final": float(np.mean(losses[-max(1, 480 // chunk) :]))}


def truncated_gradient(lstm: ln.LSTM, x: np.ndarray, d_last: np.ndarray, keep: int) -> np.ndarray:
    """Return the gradient of all parameters, in one row, of a loss on the last step when only ``keep`` steps count.

    The state is passed on through the whole sequence; the gradient stops ``keep`` steps before the end.
    """
    T = len(x)
    state = None
    if keep < T:
        lstm.eval()
        _, state = lstm(x[: T - keep])
    lstm.train()
    lstm.zero_grad()
    y, _ = lstm(x[T - keep :], state)
    dy = np.zeros_like(y)
    dy[-1] = d_last
    lstm.backward(dy)
    return np.concatenate([grad.ravel() for grad in lstm.grads.values()])


# ---------------------------------------------------------------- 4 dropout

DROPOUTS = ("none", "output, every step anew", "output, one mask", "recurrent, every step anew", "recurrent, one mask")


def dropout(kind: str, seed: int, rate: float = 0.3, updates: int = 300, H: int = 32, T: int = 12) -> dict:
    """Learn from 100 noisy sequences with one kind of dropout; the loss there, on new sequences, and left on.

    The target is the mean of the marked values of a sequence plus noise, so that there is something to learn by heart.
    """
    rng = np.random.default_rng(seed)
    data = _noisy_means(rng, 100, T), _noisy_means(rng, 1000, T, noise=0.0)
    model = Tagger(2, H, seed)
    set_forget_bias(model.lstm, 2.0)
    optimiser = ln.Adam(model, lr=0.01)
    for _ in range(updates):
        chosen = rng.integers(0, 100, size=25)
        x, target = data[0][0][:, chosen], data[0][1][chosen]
        prediction, caches, masks = dropout_forward(model, x, kind, rate, rng)
        _, d = ln.mse_loss(prediction, target)
        dropout_backward(model, d, caches, masks)
        ln.clip_grad_norm(model.grads, 1.0)
        optimiser.step()

    def loss(part, mode):
        prediction, *_ = dropout_forward(model, part[0], mode, rate, rng)
        return float(ln.mse_loss(prediction, part[1])[0])

    return {"train": loss(data[0], "none"), "test": loss(data[1], "none"), "left_on": loss(data[1], kind)}


def _noisy_means(rng: np.random.Generator, B: int, T: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    values = rng.normal(size=(T, B))
    marks = rng.random((T, B)) < 0.25
    marks[rng.integers(0, T, size=B), np.arange(B)] = True
    target = (values * marks).sum(axis=0) / marks.sum(axis=0) + noise * rng.normal(size=B)
    return np.stack([values, marks], axis=2).astype(np.float32), target[:, None].astype(np.float32)


def dropout_forward(model: Tagger, x: np.ndarray, kind: str, rate: float, rng: np.random.Generator):
    """Run step by step, with masks on the recurrent or on the last hidden state; return what backward needs."""
    T, B, _ = x.shape
    H = model.lstm.hidden_size
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights: Any = [model.lstm.parameters[name] for name in names]
    masks = np.ones((T, B, H), np.float32)
    if kind != "none":
        shape = (T, B, H) if "anew" in kind else (1, B, H)
        masks *= (rng.random(shape) >= rate).astype(np.float32) / np.float32(1 - rate)
    recurrent = kind.startswith("recurrent")
    h = c = np.zeros((B, H), np.float32)
    caches, total = [], np.zeros((B, H), np.float32)
    for t in range(T):
        read = h * masks[t] if recurrent else h
        _, h, c, cache = kernels.lstm_forward(np.ascontiguousarray(x[t : t + 1]), read, c, *weights, True)  # type: ignore[call-arg]
        caches.append(cache)
        total += (h if recurrent else h * masks[t]) / np.float32(T)  # the read-out sees the mean over time
    return model.dense(total), caches, (masks, recurrent)


def dropout_backward(model: Tagger, d: np.ndarray, caches: list, masks: tuple) -> None:
    """Backpropagate :func:`dropout_forward` into ``model.grads``."""
    mask, recurrent = masks
    T = len(caches)
    model.lstm.zero_grad()
    model.dense.zero_grad()
    d_total = model.dense.backward(d) / np.float32(T)
    W_ih, W_hh = model.lstm.parameters["weight_ih_l0"], model.lstm.parameters["weight_hh_l0"]
    dh = np.zeros_like(d_total)
    dc = np.zeros_like(d_total)
    grads = model.lstm.grads
    for t in reversed(range(T)):
        dy = d_total if recurrent else d_total * mask[t]
        _, dh, dc, dW_ih, dW_hh, db = kernels.lstm_backward(dy[None], dh, dc, caches[t], W_ih, W_hh)
        if recurrent:
            dh = dh * mask[t]
        for name, value in (("weight_ih_l0", dW_ih), ("weight_hh_l0", dW_hh), ("bias_ih_l0", db), ("bias_hh_l0", db)):
            grads[name][...] += value


# ---------------------------------------------------------------- 5 learning rate

GRID = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


def _rate_setting(seed: int, rate: float) -> tuple[Tagger, ln.Adam, np.random.Generator]:
    model = Tagger(2, 16, seed)
    set_forget_bias(model.lstm, 2.0)
    return model, ln.Adam(model, lr=rate), np.random.default_rng(seed)


def _rate_step(model: Tagger, optimiser: ln.Adam, rng: np.random.Generator) -> float:
    """One update on a fresh batch: the mean of the marked values, told at the last step."""
    x, target = _noisy_means(rng, 25, 20, noise=0.0)
    prediction, _ = model(x)
    loss, d = _last_step_loss(prediction, target)
    if np.isfinite(loss):
        model.backward(d)
        ln.clip_grad_norm(model.grads, 1.0)
        optimiser.step()
    return loss


def learning_rate(rate: float, seed: int, updates: int = 300) -> dict:
    """Train with Adam at one learning rate; the mean loss of the last 20 updates."""
    setting = _rate_setting(seed, rate)
    return {"final": float(np.mean([_rate_step(*setting) for _ in range(updates)][-20:]))}


def learning_rate_test(seed: int, low: float = 1e-5, high: float = 3.0, updates: int = 120):
    """Train while the learning rate rises from step to step; return the rates and the losses (Smith, 2017)."""
    model, optimiser, rng = _rate_setting(seed, low)
    rates = np.geomspace(low, high, updates)
    losses: list[float] = []
    for rate in rates:
        optimiser.lr = rate
        losses.append(_rate_step(model, optimiser, rng))
    return rates, np.array(losses)


def suggested_rate(rates: np.ndarray, losses: np.ndarray, decay: float = 0.9) -> float:
    """Return a tenth of the rate at which the smoothed loss is lowest, a common rule of thumb."""
    smooth, average = [], 0.0
    for step, loss in enumerate(losses, start=1):
        average = decay * average + (1 - decay) * loss
        smooth.append(average / (1 - decay**step))
    return float(rates[int(np.argmin(smooth))]) / 10


def rate_finder(seed: int) -> dict:
    """Run one learning-rate test and train at what it suggests."""
    suggestion = suggested_rate(*learning_rate_test(seed))
    return {"suggested": suggestion, **learning_rate(suggestion, seed)}


def collect(study: str, seeds: int) -> dict[str, list[dict]]:
    """Run a study with the seeds 0, 1, ...: a list of what was measured for each of its conditions."""
    conditions, measure = STUDIES[study]
    return {name: [measure(**settings, seed=seed) for seed in range(seeds)] for name, settings in conditions.items()}


#: All studies by name.
STUDIES: dict[str, Study] = {
    "memory": Study(
        {
            f"{start}, lag {lag}": {"start": start, "lag": lag}
            for start in ("default", "1", "3", "5", "chrono")
            for lag in LAGS
        },
        memory,
    ),
    "clipping": Study(
        {f"{clip}, rate {rate:g}": {"clip": clip, "rate": rate} for clip in CLIPS for rate in RATES}, clipping
    ),
    "truncation": Study(
        {
            f"chunks of {chunk}, {'state carried' if carry else 'state dropped'}": {"chunk": chunk, "carry": carry}
            for chunk in CHUNKS
            for carry in (True, False)
        },
        truncation,
    ),
    "dropout": Study({kind: {"kind": kind} for kind in DROPOUTS}, dropout),
    "learning rate": Study({f"rate {rate:g}": {"rate": rate} for rate in GRID}, learning_rate),
    "finder": Study({"learning-rate test": {}}, rate_finder),
}
