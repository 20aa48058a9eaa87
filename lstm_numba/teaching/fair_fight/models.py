"""The models that compete. A further one needs one entry: how to build it at a given width."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import lstm_numba as ln
from lstm_numba.teaching import small_cells


@dataclass(frozen=True)
class Model:
    """A competitor.

    Attributes
    ----------
    title : str
        For tables.
    build : callable
        ``build(inputs, width, outputs, seed) -> Sequential`` that maps x (T, B, inputs) to (T, B, outputs) and does not
        look into the future.
    widths : sequence of int
        Allowed widths, rising; the number of parameters rises with them.
    extra_flops : callable
        ``extra_flops(width, T)``: forward operations for one sequence of T steps that are not products with weights.
    """

    title: str
    build: Callable[[int, int, int, int], ln.Sequential]
    widths: Sequence[int] = range(1, 1025)
    extra_flops: Callable[[int, int], float] = lambda width, T: 0.0

    def parameters(self, inputs: int, width: int, outputs: int) -> int:
        """Count the parameters."""
        return sum(p.size for p in self.build(inputs, width, outputs, 0).parameters.values())

    def forward_flops(self, inputs: int, width: int, outputs: int, T: int) -> float:
        """Count the operations for one sequence of T steps: two for each entry of each weight matrix at each step."""
        matrices = sum(p.size for p in self.build(inputs, width, outputs, 0).parameters.values() if p.ndim == 2)
        return 2.0 * matrices * T + self.extra_flops(width, T)

    def training_flops(self, inputs: int, width: int, outputs: int, T: int) -> float:
        """Count a forward and a backward pass; the backward pass has two products for each one of the forward pass."""
        return 3.0 * self.forward_flops(inputs, width, outputs, T)


#: The competitors, by name.
MODELS: dict[str, Model] = {}


def register(name: str, model: Model) -> None:
    """Add a competitor.

    Parameters
    ----------
    name : str
        Not yet taken.
    model : Model
        The entry.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if name in MODELS:
        raise ValueError(f"name: {name!r} is taken")
    MODELS[name] = model


def width_for(model: Model, parameters: int, inputs: int, outputs: int) -> int:
    """Return the allowed width whose number of parameters comes closest to a budget.

    Parameters
    ----------
    model : Model
        The competitor.
    parameters : int
        The budget.
    inputs, outputs : int
        Of the task.

    Returns
    -------
    int

    Examples
    --------
    >>> width_for(MODELS["LSTM"], 2000, inputs=8, outputs=4)
    17
    """
    low, high = 0, len(model.widths) - 1
    while low < high:  # the first width with at least as many parameters
        middle = (low + high) // 2
        if model.parameters(inputs, model.widths[middle], outputs) < parameters:
            low = middle + 1
        else:
            high = middle
    near = model.widths[max(low - 1, 0) : low + 1]
    return min(near, key=lambda width: abs(model.parameters(inputs, width, outputs) - parameters))


class Stepper:
    """A model that is fed one time step at a time, and what it has to keep for that.

    Parameters
    ----------
    model : Sequential
        In inference mode. Each layer has ``stream()``, or ``step(x, state)``, or treats every step alike.

    Examples
    --------
    >>> import numpy as np
    >>> model = MODELS["GRU"].build(3, 8, 2, 0).eval()
    >>> x = np.random.default_rng(0).normal(size=(5, 1, 3)).astype(np.float32)
    >>> stepper = Stepper(model)
    >>> bool(np.allclose(np.stack([stepper.step(x_t) for x_t in x]), model(x), atol=1e-6)), stepper.nbytes
    (True, 32)
    """

    def __init__(self, model: ln.Sequential) -> None:
        self._steps: list[Callable[[np.ndarray], np.ndarray]] = []
        self._kept: list[Callable[[], int]] = []
        for layer in model.layers:
            if hasattr(layer, "stream"):
                stream = layer.stream()
                self._steps.append(stream.step)
                self._kept.append(partial(_stream_bytes, stream))
            elif hasattr(layer, "step"):
                carrier = _Carrier(layer)
                self._steps.append(carrier.step)
                self._kept.append(carrier.nbytes)
            else:
                self._steps.append(layer)

    def step(self, x: np.ndarray) -> np.ndarray:
        """Advance by one step, (B, inputs) to (B, outputs)."""
        for step in self._steps:
            x = step(x)
        return x

    @property
    def nbytes(self) -> int:
        """Bytes that are kept for the next step."""
        return sum(kept() for kept in self._kept)


class _Carrier:
    """A layer with ``step(x, state)`` together with its state."""

    def __init__(self, layer: Any) -> None:
        self._layer, self.state = layer, None

    def step(self, x: np.ndarray) -> np.ndarray:
        y, self.state = self._layer.step(x, self.state)
        return y

    def nbytes(self) -> int:
        return _bytes(self.state)


def _stream_bytes(stream: Any) -> int:
    return stream.nbytes if hasattr(stream, "nbytes") else _bytes(stream.state)


def _bytes(state: Any) -> int:
    if state is None:
        return 0
    return sum(part.nbytes for part in (state if isinstance(state, tuple) else (state,)))


def _recurrent(cell: str) -> Callable[[int, int, int, int], ln.Sequential]:
    return lambda inputs, width, outputs, seed: small_cells.network(cell, inputs, width, outputs, seed=seed)


register("RNN", Model("plain recurrent network", _recurrent("RNN")))
register("GRU", Model("GRU (reset after)", _recurrent("GRU after")))
register("LSTM", Model("LSTM", _recurrent("LSTM")))


def _min_lstm(inputs: int, width: int, outputs: int, seed: int) -> ln.Sequential:
    """Two layers: the gates of one see the input only, those of the second also what the first remembers."""
    layers = ln.MinLSTM(inputs, width, seed=seed), ln.MinLSTM(width, width, seed=seed + 10_000)
    for layer in layers:  # as for the other gated cells: the gate that keeps starts biased towards keeping
        layer.parameters["bias_ih_l0"][width : 2 * width] += small_cells.RETENTION
    return ln.Sequential(*layers, ln.Dense(width, outputs, seed=seed + 20_000))


_BLOCKS, _HEADS = 2, 2


def _transformer(inputs: int, width: int, outputs: int, seed: int) -> ln.Sequential:
    """A causal decoder of two pre-norm blocks with rotary positions: one cannot look up what came after a match."""
    blocks = [
        ln.TransformerEncoderLayer(
            width, _HEADS, 2 * width, activation="gelu", causal=True, rotary=True, seed=seed + 10_000 * (1 + k)
        )
        for k in range(_BLOCKS)
    ]
    embedding = ln.Dense(inputs, width, seed=seed)
    return ln.Sequential(embedding, *blocks, ln.LayerNorm(width), ln.Dense(width, outputs, seed=seed + 50_000))


def _attention_flops(width: int, T: int) -> float:
    """Scores and weighted sums: 2 products of ``width`` with each of the steps so far, in every block."""
    return _BLOCKS * 2 * 2.0 * width * T * (T + 1) / 2


register("minLSTM", Model("minLSTM, 2 layers", _min_lstm))
register(
    "Transformer",
    Model("causal Transformer, 2 blocks, 2 heads", _transformer, range(4, 1025, 4), _attention_flops),
)
