"""The bug zoo: a small training program made of replaceable parts, and famous mistakes planted into the parts.

:class:`Program` is a complete program that trains an LSTM: data, initial weights, forward and backward pass, dropout,
clipping, state handling. Every part is one function of this module or of :mod:`lstm_numba.reference`. A :class:`Bug`
replaces lines in the source of one or two parts, so the healthy program and the broken one differ in nothing else,
and the difference can be shown. :data:`ZOO` is the catalogue; :data:`DETECTORS` are the ways to find a bug.

>>> from lstm_numba.teaching.bugs import DETECTORS, HEALTHY, ZOO
>>> broken = ZOO["belt cut"].program
>>> DETECTORS["gradient check"].finds(HEALTHY), DETECTORS["gradient check"].finds(broken)
(False, True)
"""

import difflib
import inspect
import itertools
import linecache
import textwrap
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from lstm_numba.cpu import lstm as compiled
from lstm_numba.gradcheck import central_difference, relative_error
from lstm_numba.reference.lstm import lstm_backward, lstm_forward
from lstm_numba.training import Adam, global_norm

__all__ = ["DETECTORS", "HEALTHY", "TASKS", "ZOO", "Bug", "Detector", "Program", "Run", "honest_loss", "plant", "train"]

# ---------------------------------------------------------------- the parts, healthy


def initialise(rng, I, H):
    """Draw the weights of one layer."""
    bound = 1 / np.sqrt(H)
    shapes = {"W_ih": (4 * H, I), "W_hh": (4 * H, H), "b_ih": (4 * H,), "b_hh": (4 * H,)}
    return {name: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()}


def time_major(x):
    """Turn a batch of sequences (B, T, features) into (T, B, features)."""
    return x.transpose(1, 0, 2)


def next_state(h, c, continues):
    """Return the state in which the next batch starts."""
    if continues:  # the next batch goes on where this one stopped
        return h, c
    return np.zeros_like(h), np.zeros_like(c)


def dropout(y, rng, rate, training):
    """Return the outputs with some of them zeroed, and the mask."""
    if not training:
        return y, np.ones_like(y)
    mask = (rng.random(y.shape) >= rate) / (1 - rate)
    return y * mask, mask


def answers_at(lengths, T):
    """Mark the steps at which the answers are read: (T, B), one mark per sequence."""
    last = np.asarray(lengths) - 1
    return (np.arange(T)[:, None] == last).astype(float)


def scale(series, n_train):
    """Bring a series to mean 0 and variance 1."""
    known = series[:n_train]
    return (series - known.mean()) / known.std()


def inputs_and_targets(series):
    """Pair every value with the one after it."""
    return series[:-1], series[1:]


def clear(grads):
    """Prepare the gradients for the next batch."""
    for grad in grads.values():
        grad[...] = 0


def clip(grads, max_norm):
    """Shorten the gradient to ``max_norm``, in place."""
    norm = global_norm(grads)
    for grad in grads.values():
        grad *= min(1.0, max_norm / (norm + 1e-12))


@dataclass(frozen=True)
class Program:
    """A training program: one function for each thing that can be wrong."""

    initialise: Callable = initialise
    forward: Callable = lstm_forward
    backward: Callable = lstm_backward
    time_major: Callable = time_major
    next_state: Callable = next_state
    dropout: Callable = dropout
    answers_at: Callable = answers_at
    scale: Callable = scale
    inputs_and_targets: Callable = inputs_and_targets
    clear: Callable = clear
    clip: Callable = clip


#: The program without a bug.
HEALTHY = Program()

# ---------------------------------------------------------------- planting


def plant(function: Callable, *edits: tuple[str, str]) -> Callable:
    """Return a copy of a function in whose source some text is replaced.

    Parameters
    ----------
    function
        A function of a module.
    *edits
        Pairs of old and new text; the old text must occur exactly once.

    Returns
    -------
    callable
        A function of the same name. ``inspect.getsource`` and tracebacks show its changed source.

    Raises
    ------
    ValueError
        If the old text of an edit does not occur exactly once.

    Examples
    --------
    >>> from lstm_numba.teaching.bugs import plant, time_major
    >>> import numpy as np
    >>> wrong = plant(time_major, ("x.transpose(1, 0, 2)", "x.reshape(x.shape[1], x.shape[0], x.shape[2])"))
    >>> bool((wrong(np.arange(6).reshape(2, 3, 1)) == time_major(np.arange(6).reshape(2, 3, 1))).all())
    False
    """
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in edits:
        if source.count(old) != 1:
            raise ValueError(f"edits: {old!r} occurs {source.count(old)} times in {function.__name__}, expected once")
        source = source.replace(old, new)
    name = f"<{function.__name__}, planted {zlib.crc32(source.encode()):08x}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    scope = dict(function.__globals__)
    exec(compile(source, name, "exec"), scope)
    return scope[function.__name__]


@dataclass(frozen=True)
class Bug:
    """One mistake: what it is called, where it sits, and how people meet it.

    Attributes
    ----------
    name : str
        Short name.
    family : str
        ``"cell"``, ``"backward"``, ``"loop"`` or ``"data"``.
    task : str
        The task of :data:`TASKS` on which somebody would meet it.
    edits : mapping of str to tuple
        Part of :class:`Program` to pairs of healthy and planted text.
    story : str
        How the mistake is made.
    repair : str
        How it is found and what to do.
    """

    name: str
    family: str
    task: str
    edits: Mapping[str, tuple[tuple[str, str], ...]]
    story: str
    repair: str

    @property
    def program(self) -> Program:
        """The healthy program with this bug planted."""
        return replace(HEALTHY, **{part: plant(getattr(HEALTHY, part), *edits) for part, edits in self.edits.items()})

    def difference(self) -> str:
        """Return the planted lines as a difference: ``-`` healthy, ``+`` planted."""
        lines = []
        program = self.program
        for part in self.edits:
            old, new = (inspect.getsource(getattr(p, part)).splitlines() for p in (HEALTHY, program))
            changed = [line for line in difflib.ndiff(old, new) if line[0] in "+-"]
            lines += [f"{line[0]} {line[2:].strip()}" for line in changed]
        return "\n".join(lines)


_CATALOGUE = (
    Bug(
        "gates swapped",
        "cell",
        "echo",
        {
            "forward": (("z_i, z_f, z_g, z_o = np.split", "z_i, z_f, z_o, z_g = np.split"),),
            "backward": (("[dz_i, dz_f, dz_g, dz_o]", "[dz_i, dz_f, dz_o, dz_g]"),),
        },
        "Weights are loaded from a library that stacks the gates in another order, here i, f, o, g.",
        "Compare outputs with the library that made the weights. No self-test can see it: this *is* an LSTM.",
    ),
    Bug(
        "no tanh on the way out",
        "cell",
        "echo",
        {
            "forward": (("o * np.tanh(c[t + 1])", "o * c[t + 1]"),),
            "backward": (("a = np.tanh(c[t + 1])", "a = c[t + 1]"), ("dh * o * (1 - a**2)", "dh * o")),
        },
        "The last tanh of the cell is forgotten, and the backward pass is derived from the wrong forward pass.",
        "Compare with an independent implementation. The gradient is the right gradient of the wrong model.",
    ),
    Bug(
        "bias added twice",
        "cell",
        "echo",
        {"forward": (("z = z + b_ih + b_hh", "z = z + (b_ih + b_hh) + b_hh"),)},
        "One place merges the two biases, and another adds the second one again.",
        "The gradient check finds it: the forward pass is twice as steep in one bias as the backward pass believes.",
    ),
    Bug(
        "cell state in float16",
        "cell",
        "echo",
        {"forward": (("= f * c[t] + i * g", "= (f * c[t] + i * g).astype(np.float16)"),)},
        "Everything is cast to half precision to save memory, the running sum included.",
        "Compare with float64 at a tolerance that float32 keeps. Keep the sum in float32 whatever the rest is.",
    ),
    Bug(
        "belt cut",
        "backward",
        "echo",
        {"backward": (("dc = dc * f", "dc = np.zeros_like(dc)"),)},
        "The gradient that goes along the cell state to the step before is never handed on.",
        "The gradient check, with a loss that needs more than one step.",
    ),
    Bug(
        "slope at the wrong place",
        "backward",
        "echo",
        {"backward": (("dh * o * (1 - a**2)", "dh * o * (1 - c[t + 1] ** 2)"),)},
        "The slope of tanh is 1 - a² in terms of its value a. Here it is fed the argument.",
        "The gradient check, at cell states that are not small: for small c the two slopes agree.",
    ),
    Bug(
        "late hidden state",
        "backward",
        "echo",
        {"backward": (("dz.T @ h[t]", "dz.T @ h[t + 1]"),)},
        "The recurrent weights read the hidden state of the step before; the code takes the new one.",
        "The gradient check. Only dW_hh is wrong, so the line is its own.",
    ),
    Bug(
        "overwritten, not summed",
        "backward",
        "echo",
        {"backward": (("dW_ih += dz.T", "dW_ih = dz.T"),)},
        "The gradient of a shared weight is a sum over time. An = for a += keeps one term.",
        "The gradient check, with more than one time step.",
    ),
    Bug(
        "gradients not cleared",
        "loop",
        "echo",
        {"clear": (("grad[...] = 0", "pass"),)},
        "zero_grad is forgotten, and every step follows the sum of all gradients so far.",
        "Compute the gradient of one batch twice. It must come out the same.",
    ),
    Bug(
        "clipped one by one",
        "loop",
        "echo",
        {
            "clip": (("max_norm / (norm", "max_norm / (np.linalg.norm(grad)"),),
        },
        "Every array is cut to the norm by itself. The step then points somewhere else.",
        "Compare the directions before and after clipping: their cosine must be 1.",
    ),
    Bug(
        "wrong fan-in",
        "loop",
        "echo",
        {"initialise": (("np.sqrt(H)", "np.sqrt(I)"),)},
        "The recurrent weights are scaled by the number of inputs instead of the number of units.",
        "Look at the size of W_hh h for two widths. It must not grow with the width.",
    ),
    Bug(
        "state leaks",
        "data",
        "echo",
        {"next_state": (("if continues:", "if True:"),)},
        "The state is made once, before the loop, and every new sequence starts in the state of an old one.",
        "Run the same batch twice. The outputs must be the same.",
    ),
    Bug(
        "state dropped",
        "data",
        "stream",
        {"next_state": (("if continues:", "if False:"),)},
        "A long stream is cut into chunks, and every chunk starts from zero.",
        "Run a sequence whole and in two halves. The outputs must be the same.",
    ),
    Bug(
        "reshape for transpose",
        "data",
        "echo",
        {"time_major": (("x.transpose(1, 0, 2)", "x.reshape(x.shape[1], x.shape[0], x.shape[2])"),)},
        "The shape is right, the content is not: time steps of different sequences are mixed.",
        "Change one sequence of a batch. The outputs of the others must not move.",
    ),
    Bug(
        "last step of the padding",
        "data",
        "ragged",
        {"answers_at": (("np.asarray(lengths) - 1", "np.full(len(lengths), T - 1)"),)},
        "Short sequences are padded, and the answer is read at the end of the padding.",
        "Pad more. No answer may change.",
    ),
    Bug(
        "target off by one",
        "data",
        "forecast",
        {"inputs_and_targets": (("return series[:-1]", "return series[1:]"),)},
        "The value to be predicted is among the inputs.",
        "Change the value to be predicted. No input up to that step may move.",
    ),
    Bug(
        "scaler sees the future",
        "data",
        "forecast",
        {"scale": (("known = series[:n_train]", "known = series"),)},
        "Mean and spread are taken from the whole series, the part kept for testing included.",
        "Change the test part. The training inputs must not move.",
    ),
    Bug(
        "dropout never off",
        "data",
        "echo with dropout",
        {"dropout": (("if not training:", "if rate == 0:"),)},
        "The mode is never switched to evaluation, or the layer ignores it.",
        "Ask for the same prediction twice. The answers must be the same.",
    ),
)

#: All bugs by name.
ZOO: dict[str, Bug] = {bug.name: bug for bug in _CATALOGUE}

# ---------------------------------------------------------------- the tasks

T, B, H, DELAY = 12, 8, 16, 2
MAX_NORM = 0.1  # below the norm of most gradients at first, so that clipping does something


class Batch(NamedTuple):
    """Sequences (B, T, 1), targets (B, T, 1), where the loss looks (T, B), and whether the next batch goes on."""

    x: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    continues: bool = False


def _echo(program: Program, rng: np.random.Generator, honest: bool) -> Iterator[Batch]:
    """Repeat the input of two steps ago; every batch has new sequences."""
    while True:
        x = rng.choice([-1.0, 1.0], size=(B, T, 1))
        target = np.concatenate([np.zeros((B, DELAY, 1)), x[:, :-DELAY]], axis=1)
        yield Batch(x, target, np.ones((T, B)))


def _stream(program: Program, rng: np.random.Generator, honest: bool) -> Iterator[Batch]:
    """The same on streams without end, cut into chunks of half the length."""
    chunk = T // 2
    past = rng.choice([-1.0, 1.0], size=(B, DELAY, 1))
    while True:
        x = rng.choice([-1.0, 1.0], size=(B, chunk, 1))
        both = np.concatenate([past, x], axis=1)
        past = both[:, -DELAY:]
        yield Batch(x, both[:, :-DELAY], np.ones((chunk, B)), continues=True)


def _ragged(program: Program, rng: np.random.Generator, honest: bool) -> Iterator[Batch]:
    """Tell at the end of a sequence what its first input was; lengths from 3 to 12, zeros behind."""
    padded = T + 12 * honest  # in use, the longest sequence of a batch is another one
    while True:
        lengths = rng.integers(3, T + 1, size=B)
        real = np.arange(padded) < lengths[:, None]
        x = (rng.choice([-1.0, 1.0], size=(B, padded)) * real)[..., None]
        target = np.repeat(x[:, :1], padded, axis=1)
        yield Batch(x, target, program.answers_at(lengths, padded))


N_TRAIN, N_TEST, NOISE = 240, 240, 0.4


def _series(rng: np.random.Generator) -> np.ndarray:
    """A wave and noise; the level rises towards the end, as it does in life."""
    t = np.arange(N_TRAIN + N_TEST)
    return np.sin(2 * np.pi * t / 12) + 0.3 * (t >= N_TRAIN) + NOISE * rng.normal(size=t.size)


def noise_floor(seed: int) -> float:
    """Return the best possible training loss of the forecasting task: the noise, in units of the scaled series."""
    return NOISE**2 / float(_series(np.random.default_rng(seed))[:N_TRAIN].var())


def _forecast(program: Program, rng: np.random.Generator, honest: bool) -> Iterator[Batch]:
    """Predict the next value of a noisy series: windows of its first half, or of its second half if honest."""
    series = _series(rng)
    used = HEALTHY if honest else program  # an honest test scales and pairs as it must be done
    scaled = used.scale(series, N_TRAIN)
    part = scaled[N_TRAIN:] if honest else scaled[:N_TRAIN]
    inputs, targets = used.inputs_and_targets(part)
    while True:
        starts = rng.integers(0, len(inputs) - T, size=B)[:, None] + np.arange(T)
        yield Batch(inputs[starts][..., None], targets[starts][..., None], np.ones((T, B)))


class Task(NamedTuple):
    """How batches are made, and the dropout rate."""

    batches: Callable[[Program, np.random.Generator, bool], Iterator[Batch]]
    rate: float = 0.0


TASKS: dict[str, Task] = {
    "echo": Task(_echo),
    "echo with dropout": Task(_echo, rate=0.3),
    "stream": Task(_stream),
    "ragged": Task(_ragged),
    "forecast": Task(_forecast),
}

# ---------------------------------------------------------------- running a program


class Run(NamedTuple):
    """A finished training: the loss of every step, and the weights."""

    losses: np.ndarray
    weights: dict[str, np.ndarray]


def _fast(program: Program) -> Program:
    """The same program; a healthy cell is computed by the compiled kernel, which is equal to the reference."""
    forward = compiled.lstm_forward if program.forward is lstm_forward else program.forward
    backward = compiled.lstm_backward if program.backward is lstm_backward else program.backward
    if forward is compiled.lstm_forward and backward is compiled.lstm_backward:
        return replace(program, forward=forward, backward=backward)
    return program


def loss_and_gradients(
    program: Program,
    weights: Mapping[str, np.ndarray],
    batch: Batch,
    state: tuple[np.ndarray, np.ndarray],
    grads: Mapping[str, np.ndarray] | None,
    rng: np.random.Generator,
    rate: float = 0.0,
) -> tuple[float, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Run a program on one batch; add to ``grads`` unless it is None, which means evaluation.

    Returns
    -------
    loss : float
        Mean squared error where the batch looks.
    prediction : ndarray (T, B, 1)
        What the program says at every step.
    state : tuple of ndarray
        ``(h, c)`` after the last step.
    """
    training = grads is not None
    x, target = (np.ascontiguousarray(program.time_major(a)) for a in (batch.x, batch.target))
    cell = [weights[name] for name in ("W_ih", "W_hh", "b_ih", "b_hh")]
    y, h, c, cache = program.forward(x, *state, *cell, training)
    shown, mask = program.dropout(y, rng, rate, training)
    prediction = shown @ weights["W_out"].T + weights["b_out"]
    share = (batch.weight / batch.weight.sum())[..., None]
    error = prediction - target
    loss = float((share * error**2).sum())
    if grads is not None:
        d = 2 * share * error
        dy = np.ascontiguousarray((d @ weights["W_out"]) * mask)
        zeros = np.zeros_like(h)
        *_, dW_ih, dW_hh, db = program.backward(dy, zeros, zeros, cache, cell[0], cell[1])
        new = {"W_ih": dW_ih, "W_hh": dW_hh, "b_ih": db, "b_hh": db}
        new |= {"W_out": np.einsum("tbo,tbh->oh", d, shown), "b_out": d.sum(axis=(0, 1))}
        for name, value in new.items():
            grads[name][...] += value
    return loss, prediction, (h, c)


def start(program: Program, rng: np.random.Generator, I: int = 1) -> dict[str, np.ndarray]:
    """Draw all weights of a program, the read-out included."""
    weights = program.initialise(rng, I, H)
    bound = 1 / np.sqrt(H)
    return weights | {"W_out": rng.uniform(-bound, bound, (1, H)), "b_out": np.zeros(1)}


def train(program: Program, task: str, seed: int, steps: int = 200, lr: float = 0.01) -> Run:
    """Train a program with Adam and return its loss curve.

    Parameters
    ----------
    program
        Healthy or not.
    task
        A name of :data:`TASKS`.
    seed
        Seed of weights, data and dropout.
    steps
        Number of batches.
    lr
        Learning rate.

    Returns
    -------
    Run
        The losses as the program itself reports them, and the weights.
    """
    return _train(program, TASKS[task], seed, steps, lr)


def _train(program: Program, task: Task, seed: int, steps: int, lr: float) -> Run:
    program = _fast(program)
    rng = np.random.default_rng(seed)
    weights = start(program, rng)
    grads = {name: np.zeros_like(value) for name, value in weights.items()}
    optimiser = Adam(SimpleNamespace(parameters=weights, grads=grads), lr=lr)
    batches = task.batches(program, rng, False)
    state = np.zeros((B, H)), np.zeros((B, H))
    losses = []
    for _ in range(steps):
        batch = next(batches)
        program.clear(grads)
        loss, _, state = loss_and_gradients(program, weights, batch, state, grads, rng, task.rate)
        state = program.next_state(*state, batch.continues)
        program.clip(grads, MAX_NORM)
        optimiser.step()
        losses.append(loss)
    return Run(np.array(losses), weights)


def honest_loss(program: Program, task: str, weights: Mapping[str, np.ndarray], seed: int, batches: int = 50) -> float:
    """Return the loss of a trained program in use: new data, prepared as it must be.

    The cell, the dropout, the state handling and the place of the answer are the program's own. Scaling and the
    pairing of inputs and targets are the healthy ones: a test that repeats those mistakes would praise them.
    """
    program = _fast(program)
    rng = np.random.default_rng([seed, 1])
    state = np.zeros((B, H)), np.zeros((B, H))
    source, losses = TASKS[task].batches(program, rng, True), []
    for _ in range(batches):
        batch = next(source)
        loss, _, state = loss_and_gradients(program, weights, batch, state, None, rng, TASKS[task].rate)
        state = program.next_state(*state, batch.continues)
        losses.append(loss)
    return float(np.mean(losses))


# ---------------------------------------------------------------- the detectors


@dataclass(frozen=True)
class Detector:
    """One test of a program: a number that is 0 for a healthy program, up to rounding.

    Attributes
    ----------
    name : str
        Short name.
    question : str
        What is asked of the program.
    measure : callable
        From a program to the number.
    tolerance : float
        The largest number that passes.
    """

    name: str
    question: str
    measure: Callable[[Program], float]
    tolerance: float

    def finds(self, program: Program) -> bool:
        """Whether the program fails the test; NaN fails."""
        return not self.measure(program) <= self.tolerance


def _problem(T: int = 5, B: int = 2, I: int = 2, H: int = 3) -> tuple[dict[str, np.ndarray], tuple[np.ndarray, ...]]:
    """Random arrays for the cell and a random weighting of its three outputs."""
    rng = np.random.default_rng(24)
    shapes = {"x": (T, B, I), "h0": (B, H), "c0": (B, H)}
    shapes |= {"W_ih": (4 * H, I), "W_hh": (4 * H, H), "b_ih": (4 * H,), "b_hh": (4 * H,)}
    arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return arrays, (rng.normal(size=(T, B, H)), rng.normal(size=(B, H)), rng.normal(size=(B, H)))


def gradient_errors(program: Program, steps: int = 5) -> dict[str, float]:
    """Relative error of every gradient of a program's cell against central differences of its own forward pass.

    Parameters
    ----------
    program
        Healthy or not.
    steps
        Length of the sequences. With a single step a mistake cannot travel, which shows where it starts.
    """
    arrays, d = _problem(steps)

    def loss(name: str, value: np.ndarray) -> float:
        outputs = program.forward(**{**arrays, name: value}, training=False)
        return float(sum((w * v).sum() for w, v in zip(d, outputs[:3], strict=True)))

    *_, cache = program.forward(**arrays, training=True)
    *gradients, db = program.backward(*d, cache, arrays["W_ih"], arrays["W_hh"])
    return {
        name: relative_error(mine, central_difference(partial(loss, name), arrays[name]))
        for name, mine in zip(arrays, [*gradients, db, db], strict=True)
    }


def _gradient_check(program: Program) -> float:
    return max(gradient_errors(program).values())


def _oracle(program: Program) -> float:
    arrays, _ = _problem()
    ours, theirs = program.forward(**arrays, training=False), lstm_forward(**arrays, training=False)
    return max(relative_error(a, b) for a, b in zip(ours[:3], theirs[:3], strict=True))


def _a_batch(program: Program, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], Batch]:
    weights = start(program, rng)
    x, target = rng.normal(size=(2, B, T, 1))
    return weights, Batch(x, target, np.ones((T, B)))


def _zero_state() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((B, H)), np.zeros((B, H))


def _same_twice(program: Program) -> float:
    """Two turns of the loop without an update, in training and in evaluation; nothing may differ."""
    program, rng = _fast(program), np.random.default_rng(25)
    weights, batch = _a_batch(program, rng)
    grads = {name: np.zeros_like(value) for name, value in weights.items()}
    seen, state = [], _zero_state()
    for _ in range(2):
        program.clear(grads)
        _, prediction, state = loss_and_gradients(program, weights, batch, state, grads, np.random.default_rng(0), 0.3)
        state = program.next_state(*state, batch.continues)
        seen.append([prediction, *(grad.copy() for grad in grads.values())])
    for turn in range(2):  # the random numbers go on, as they do in use
        _, prediction, _ = loss_and_gradients(program, weights, batch, _zero_state(), None, rng, 0.3)
        seen[turn].append(prediction)
    return max(relative_error(a, b) for a, b in zip(*seen, strict=True))


def _others_still(program: Program) -> float:
    """Change sequence 0; the outputs of all the other sequences must not move."""
    program, rng = _fast(program), np.random.default_rng(26)
    weights, batch = _a_batch(program, rng)
    changed = batch._replace(x=np.concatenate([-batch.x[:1], batch.x[1:]]))
    outputs = [loss_and_gradients(program, weights, b, _zero_state(), None, rng)[1][:, 1:] for b in (batch, changed)]
    return relative_error(*outputs)


def _whole_and_halves(program: Program) -> float:
    """A stream in one piece and in two pieces."""
    program, rng = _fast(program), np.random.default_rng(27)
    weights, batch = _a_batch(program, rng)
    state, halves = _zero_state(), []
    whole = loss_and_gradients(program, weights, batch, state, None, rng)[1]
    for steps in (slice(0, T // 2), slice(T // 2, T)):
        part = Batch(batch.x[:, steps], batch.target[:, steps], batch.weight[steps], continues=True)
        _, prediction, state = loss_and_gradients(program, weights, part, state, None, rng)
        state = program.next_state(*state, part.continues)
        halves.append(prediction)
    # A program that mixes its sequences has no order to compare in; it is compared step by step all the same.
    return relative_error(whole, np.concatenate(halves))


def _more_padding(program: Program) -> float:
    """Short sequences in a batch that is padded more or less; the answers must not move."""
    program, rng = _fast(program), np.random.default_rng(28)
    weights, batch = _a_batch(program, rng)
    lengths = rng.integers(3, T, size=B)
    answers = []
    for padded in (T, T + 5):
        x = np.zeros((B, padded, 1))
        x[:, :T] = batch.x * (np.arange(T) < lengths[:, None])[..., None]
        marks = program.answers_at(lengths, padded)
        longer = Batch(x, np.zeros_like(x), marks)
        prediction = loss_and_gradients(program, weights, longer, _zero_state(), None, rng)[1]
        answers.append((prediction[..., 0] * marks).sum(axis=0))
    return relative_error(*answers)


def _no_future(program: Program) -> float:
    """What lies in the future may move neither the training inputs nor the inputs up to a step."""
    series = _series(np.random.default_rng(29))
    later = series.copy()
    later[N_TRAIN:] += 1.0
    before, after = (program.scale(s, N_TRAIN)[:N_TRAIN] for s in (series, later))
    scaled = relative_error(before, after)

    step = 7
    _, targets = program.inputs_and_targets(series)
    position = int(np.flatnonzero(series == targets[step])[0])  # where the value to be predicted at this step stands
    other = series.copy()
    other[position] += 1.0
    inputs = [program.inputs_and_targets(s)[0][: step + 1] for s in (series, other)]
    return max(scaled, relative_error(*inputs))


def _same_direction(program: Program) -> float:
    """One minus the cosine between the gradient before and after clipping."""
    rng = np.random.default_rng(30)
    before = {"large": 10 * rng.normal(size=(4, 3)), "small": rng.normal(size=5)}
    after = {name: grad.copy() for name, grad in before.items()}
    program.clip(after, 1.0)
    a, b = (np.concatenate([g.ravel() for g in grads.values()]) for grads in (before, after))
    return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _same_scale(program: Program) -> float:
    """How much larger W_hh h is in a layer of 256 units than in one of 16, for h of one size: log of the ratio."""
    rng = np.random.default_rng(31)
    spread = [np.std(program.initialise(rng, 1, width)["W_hh"] @ rng.choice([-1.0, 1.0], width)) for width in (16, 256)]
    return float(abs(np.log(spread[1] / spread[0])))


def _overfits(program: Program) -> float:
    """Share of the loss that is left after 200 steps on one and the same batch."""
    fixed = next(_echo(program, np.random.default_rng(32), False))
    task = Task(lambda program, rng, honest: itertools.repeat(fixed))
    losses = _train(program, task, seed=32, steps=200, lr=0.01).losses
    return float(losses[-1] / losses[0])


#: All detectors by name.
DETECTORS: dict[str, Detector] = {
    detector.name: detector
    for detector in (
        Detector("overfit", "Does it learn one batch by heart?", _overfits, 0.01),
        Detector("gradient check", "Is the gradient that of its own forward pass?", _gradient_check, 1e-6),
        Detector("oracle", "Are the outputs those of an independent LSTM?", _oracle, 1e-10),
        Detector("same twice", "Does the same batch give the same outputs and gradients?", _same_twice, 1e-10),
        Detector("others still", "Do the other sequences stand still when one is changed?", _others_still, 1e-10),
        Detector("halves", "Is a sequence in two halves the same as in one piece?", _whole_and_halves, 1e-10),
        Detector("more padding", "Do answers stay when the padding grows?", _more_padding, 1e-10),
        Detector("no future", "Are inputs free of what is to be predicted?", _no_future, 1e-10),
        Detector("direction", "Does clipping keep the direction?", _same_direction, 1e-10),
        Detector("scale", "Is the signal as large in a wide layer as in a narrow one?", _same_scale, 0.5),
    )
}
