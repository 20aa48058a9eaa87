"""`explain`: which kernel a layer would use for a given input, why, and how much work that is."""

import textwrap
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Explanation:
    """What :func:`explain` found; printing it gives a table.

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
        return "\n".join(lines)


def explain(layer: RecurrentStack, shape: tuple[int, ...]) -> Explanation:
    """Say which kernel runs for an input of this shape, why, and how much work the forward pass is.

    Parameters
    ----------
    layer
        A recurrent layer.
    shape
        Shape of the input: (T, B, I), (B, T, I) with ``batch_first``, or (T, I).

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
    saved = T * B * _SAVED[layer._cell] * H if layer.training else 0
    plans = []
    for number in range(layer.num_layers):
        I = layer._layer_input_size(number)
        route = layer._route(number, T, B)
        for direction, weights in zip(layer._directions, layer._layer_weights[number], strict=True):
            plans.append(
                LayerPlan(
                    name=f"layer {number}{direction.replace('_', ' ')}",
                    kernel=route.kernel,
                    reason=route.reason,
                    flops=2 * T * B * sum(w.size for w in weights if w is not None and w.ndim == 2),
                    weight_bytes=sum(w.nbytes for w in weights if w is not None),
                    activation_bytes=(T * B * (I + P) + saved) * item,
                )
            )
    return Explanation(layer.backend, layer.dtype.name, layer.training, tuple(plans))
