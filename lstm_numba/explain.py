"""`explain`: which kernel a layer would use for a given input, why, how much work that is and what limits it."""

import textwrap
from dataclasses import dataclass
from typing import Any

from lstm_numba import backend as backends
from lstm_numba.layers.stack import RecurrentStack

# Numbers per unit and step that the backward pass needs beside input and output: the gates, and the LSTM's cell state
# or the recurrent share of the GRU's candidate.
_SAVED = {"lstm": 5, "gru": 4, "gru_reset_before": 3, "rnn_tanh": 0, "rnn_relu": 0}


@dataclass(frozen=True)
class LayerPlan:
    """One layer and direction of an :class:`Explanation`."""

    name: str  # "layer 0", "layer 0 reverse", ...
    kernel: str
    reason: str
    flops: int  # multiplications and additions of the matrix products
    weight_bytes: int
    activation_bytes: int  # input, output and saved state, read or written once
    threads: int | None = None  # how many threads share the layer; None: the kernel does not say
    sharing: str = ""  # ... and how, in words
    lanes: float | None = None  # share of the vector registers' lanes that hold a hidden unit
    gflops: float | None = None  # predicted speed of the matrix products, 1e9 operations per second; None: not measured
    peak_gflops: float | None = None  # the largest tile on data in the L1 cache, same threads
    limit: str = ""  # what keeps the prediction below it, in words


@dataclass(frozen=True)
class Explanation:
    """What ``explain`` found; printing it gives a table.

    The operation count covers the matrix products of the forward pass (2 per weight, step and sequence); the
    backward pass does twice as many. Bytes count every array once, so ``flops / (weight_bytes +
    activation_bytes)`` is an upper bound of the arithmetic intensity.
    """

    backend: str
    dtype: str
    training: bool
    layers: tuple[LayerPlan, ...]

    @property
    def flops(self) -> int:
        """Total of all layers, forward pass."""
        return sum(plan.flops for plan in self.layers)

    @property
    def bytes(self) -> int:
        """Total of all layers, forward pass."""
        return sum(plan.weight_bytes + plan.activation_bytes for plan in self.layers)

    def __str__(self) -> str:
        mode = "training" if self.training else "inference"
        lines = [
            f"backend {self.backend!r}, {self.dtype}, {mode}",
            f"  {'':<16} {'kernel':<12} {'MFLOP':>9} {'weights/KiB':>12} {'activations/KiB':>16}",
        ]
        for plan in self.layers:
            lines.append(
                f"  {plan.name:<16} {plan.kernel:<12} {plan.flops / 1e6:9.3f}"
                f" {plan.weight_bytes / 1024:12.1f} {plan.activation_bytes / 1024:16.1f}"
            )
        for kernel, reason in dict.fromkeys((plan.kernel, plan.reason) for plan in self.layers):
            lines += textwrap.wrap(f"{kernel}: {reason}", 78, initial_indent="  ", subsequent_indent="    ")
        for plan in self.layers:
            text = f"{plan.name}: {plan.sharing}"
            if plan.lanes is not None:
                text += f", {plan.lanes:.0%} of the vector lanes in use"
            if plan.gflops is not None and plan.peak_gflops is not None:
                text += f"; products at up to {plan.gflops:.0f} of {plan.peak_gflops:.0f} GFLOP/s, limit: {plan.limit}"
            if plan.sharing:
                lines += textwrap.wrap(text, 78, initial_indent="  ", subsequent_indent="    ")
        return "\n".join(lines)


def explain(layer: RecurrentStack, shape: tuple[int, ...], *, measure: bool = False) -> Explanation:
    """Say which kernel runs for an input of this shape, why, and how much work the forward pass is.

    On the CPU also how threads share the work, with ``backend="cuda"`` how blocks do, and for which chip: that of the
    GPU in use, or an H100 where there is none. With ``measure`` this machine's multiplication speed is measured, and
    from it the speed is predicted that the forward pass' matrix products can reach, with the reason why it is not
    more; see :mod:`lstm_numba.cpu.estimate`. Gates and memory for activations are not in the prediction.

    Parameters
    ----------
    layer
        A recurrent layer.
    shape
        Shape of the input: (T, B, I), (B, T, I) with ``batch_first``, or (T, I).
    measure
        Spend some hundredths of a second per layer on measuring, for which the machine should be idle. Kernels
        without vector tiles have no prediction.

    Returns
    -------
    Explanation
        Kernel, reason, operations and bytes per layer; ``print`` it for a table.

    Raises
    ------
    TypeError, ValueError
        If ``layer`` is no recurrent layer or ``shape`` does not fit it.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> plan = ln.explain(ln.LSTM(10, 20), (3, 5, 10))
    >>> plan.layers[0].kernel, plan.flops
    ('tiled', 72000)
    """
    if not isinstance(layer, RecurrentStack):
        raise TypeError(f"layer: expected a recurrent layer, got {type(layer).__name__}")
    if len(shape) not in (2, 3) or shape[-1] != layer.input_size or shape[0] < 1:
        axes = "(B, T, I)" if layer.batch_first else "(T, B, I)"
        raise ValueError(f"shape: expected {axes} or (T, I) with I={layer.input_size}, got {tuple(shape)}")
    if len(shape) == 2:
        T, B = shape[0], 1
    else:
        B, T = shape[:2] if layer.batch_first else shape[1::-1]
    H, P, item = layer.hidden_size, layer._state_width, layer.dtype.itemsize
    kept_steps = min(T, layer.checkpoint or T) if layer.training else 0
    saved = kept_steps * B * _SAVED[layer._cell] * H
    plans = []
    overlap = layer._overlap(T, B)
    for number in range(layer.num_layers):
        I = layer._layer_input_size(number)
        problem = layer._problem(number, T, B)
        route = backends.choose(layer.backend, problem)
        estimate = backends.load_estimate(route)
        work: dict[str, Any] = {} if estimate is None else estimate.describe_work(problem)._asdict()
        speed = estimate.predict_speed(problem) if measure and estimate is not None else None
        work |= {} if speed is None else speed._asdict()
        work |= {} if overlap is None else {"threads": overlap.threads, "sharing": str(overlap)}
        for direction, weights in zip(layer._directions, layer._layer_weights[number], strict=True):
            plans.append(
                LayerPlan(
                    name=f"layer {number}{direction.replace('_', ' ')}",
                    kernel=route.kernel,
                    reason=route.reason,
                    flops=2 * T * B * sum(w.size for w in weights if w is not None and w.ndim == 2),
                    weight_bytes=sum(w.nbytes for w in weights if w is not None),
                    activation_bytes=(T * B * (I + P) + saved) * item,
                    **work,
                )
            )
    return Explanation(layer.backend, layer.dtype.name, layer.training, tuple(plans))
