"""Recurrent layers on arrays that lie on a GPU already: no copy of a sequence to the host and back.

Weights and their gradients stay where the layer has them, in NumPy arrays: each call copies the weights to the device,
and ``backward`` copies the gradients back. The input is not copied, so it must not change between the call and
``backward``.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from lstm_numba import backend as backends
from lstm_numba.layers.validation import check_shape

if TYPE_CHECKING:
    from lstm_numba.layers.stack import RecurrentStack


class DeviceSaved(NamedTuple):
    """What one training-mode call leaves behind for ``backward``."""

    T: int
    B: int
    batched: bool
    kernels: list[ModuleType]
    caches: list[Any]  # one per layer


def forward(stack: "RecurrentStack", x: Any, state: Any, lengths: Any) -> tuple[Any, Any, DeviceSaved | None]:
    """Run all layers; like ``RecurrentStack.__call__``, with what ``backward`` needs as a third result."""
    if stack.training and stack.dropout:
        raise ValueError(
            f"dropout: expected 0 for an array on the device in training mode, got {stack.dropout}; its masks are "
            "drawn on the host. Pass a NumPy array, or call eval()"
        )
    if stack.checkpoint is not None and stack.training:
        raise ValueError(
            f"checkpoint: expected None for an array on the device in training mode, got {stack.checkpoint}. Pass a "
            "NumPy array, or call eval()"
        )
    with backends.device_work(x) as work:
        array = work.take("x", x, stack.dtype)
        batched = array.ndim != 2
        if array.ndim not in (2, 3) or array.shape[-1] != stack.input_size:
            check_shape("x", array, stack._sequence_axes(None, None, {"I": stack.input_size}, batched))
        if 0 in array.shape:
            raise ValueError(f"x: expected at least one time step and one sequence on the device, got {array.shape}")
        y = _time_first(stack, work, array, batched)
        T, B, _ = y.shape
        parts = _zero_state(stack, work, B) if state is None else _read_state(stack, work, "state", state, B, batched)
        if lengths is not None:
            lengths = stack._read_lengths(lengths, T, B, batched)
        kernels = stack._kernels(T, B, lengths is not None)
        finals, caches = [], []
        for k, weights in enumerate(stack._layer_weights):
            y, final, cache = kernels[k].forward_on_device(
                stack._cell, y, stack._layer_state(parts, k, B), weights, lengths, stack.training
            )
            finals.append(final)
            caches.append(cache)
        saved = DeviceSaved(T, B, batched, kernels, caches) if stack.training else None
        return _give_sequence(stack, work, y, batched), _give_state(stack, work, finals, batched), saved


def backward(stack: "RecurrentStack", saved: DeviceSaved, dy: Any, dstate: Any) -> tuple[Any, Any]:
    """Take all layers back; gradients of the weights are added to the layer's NumPy arrays."""
    T, B, batched, kernels, caches = saved
    with backends.device_work(dy) as work:
        array = work.take("dy", dy, stack.dtype)
        check_shape("dy", array, stack._sequence_axes(B, T, {"H*directions": stack._features}, batched))
        gradient = _time_first(stack, work, array, batched)
        parts = (
            _zero_state(stack, work, B) if dstate is None else _read_state(stack, work, "dstate", dstate, B, batched)
        )
        initial: list[Any] = [()] * stack.num_layers
        for k in range(stack.num_layers - 1, -1, -1):
            gradient, initial[k], grads = kernels[k].gradients_on_device(
                stack._cell, gradient, stack._layer_state(parts, k, B), caches[k], stack._layer_weights[k]
            )
            for totals, news in zip(stack._layer_grads[k], grads, strict=True):
                for total, new in zip(totals, news, strict=True):
                    if total is not None:
                        total += work.download(new)
        return _give_sequence(stack, work, gradient, batched), _give_state(stack, work, initial, batched)


def _time_first(stack: "RecurrentStack", work: Any, array: Any, batched: bool) -> Any:
    if not batched:
        return array.reshape(array.shape[0], 1, array.shape[1])
    return work.swap(array) if stack.batch_first else array


def _zero_state(stack: "RecurrentStack", work: Any, B: int) -> tuple[Any, ...]:
    rows = stack.num_layers * len(stack._directions)
    return tuple(work.zeros((rows, B, width), stack.dtype) for width in _widths(stack))


def _widths(stack: "RecurrentStack") -> list[int]:
    """Of the parts of the state."""
    return [stack._state_width, stack.hidden_size] if stack._cell == "lstm" else [stack._state_width]


def _read_state(stack: "RecurrentStack", work: Any, name: str, state: Any, B: int, batched: bool) -> tuple[Any, ...]:
    pair = stack._cell == "lstm"
    if pair != isinstance(state, (tuple, list)) or (pair and len(state) != 2):
        raise TypeError(f"{name}: expected {'a pair (h, c) of arrays' if pair else 'one array h'}, got {type(state)}")
    parts = []
    for letter, width, value in zip("hc", _widths(stack), state if pair else (state,), strict=False):
        label = f"{name}[{letter}]" if pair else name
        array = work.take(label, value, stack.dtype)
        axes = {"num_layers*directions": stack.num_layers * len(stack._directions)} | ({"B": B} if batched else {})
        check_shape(label, array, axes | {"proj_size" if width != stack.hidden_size else "H": width})
        parts.append(array.reshape(array.shape[0], B, width))
    return tuple(parts)


def _give_sequence(stack: "RecurrentStack", work: Any, array: Any, batched: bool) -> Any:
    if not batched:
        return work.give(array.reshape(array.shape[0], array.shape[2]))
    return work.give(work.swap(array) if stack.batch_first else array)


def _give_state(stack: "RecurrentStack", work: Any, layers: list[Any], batched: bool) -> Any:
    joined = [work.join(parts) for parts in zip(*layers, strict=True)]
    if not batched:
        joined = [part.reshape(part.shape[0], part.shape[2]) for part in joined]
    given = tuple(work.give(part) for part in joined)
    return given if stack._cell == "lstm" else given[0]
