"""The kernels on tensors: layers, directions and dropout masks in a row, through the contract of the backends.

Unlike a layer of ``lstm_numba``, nothing here remembers the last call: autograd may ask for the gradient of any earlier
call, in any order, or never.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lstm_numba import backend as backends
from lstm_numba.contract import LayerWeights, Weights

# Which backend works on the tensors of a device.
BACKENDS = {"cpu": "cpu", "cuda": "cuda"}
DTYPES = {torch.float32: "float32", torch.float64: "float64"}


class Shape(NamedTuple):
    """What a module's weights look like."""

    cell: str  # one of lstm_numba.contract.CELLS
    num_layers: int
    directions: int
    bias: bool
    projected: bool


@dataclass
class Bound:
    """The weights of a module in the form that kernels take, for as long as they stay where they are in memory.

    The arrays are views of the tensors, so that a step of an optimiser needs no new ones.
    """

    shape: Shape
    key: tuple[Any, ...]  # addresses, dtype and device
    layers: list[LayerWeights]
    backend: str
    _chosen: tuple[Any, list[ModuleType]] = field(default=(None, []))

    def kernels(self, T: int, B: int, lengths: bool, training: bool) -> list[ModuleType]:
        """Modules of all layers; looked up again only when something changed that the choice may depend on."""
        key = (T, B, lengths, training)
        chosen = self._chosen  # read once: another thread may be calling the same module
        if chosen[0] != key:
            modules = [
                backends.load(backends.choose(self.backend, self._problem(layer, T, B, lengths, training)))
                for layer in self.layers
            ]
            self._chosen = chosen = (key, modules)
        return chosen[1]

    def _problem(self, layer: LayerWeights, T: int, B: int, lengths: bool, training: bool) -> backends.Problem:
        W_ih, W_hh = layer[0].W_ih, layer[0].W_hh
        H = W_hh.shape[1] if layer[0].W_hr is None else layer[0].W_hr.shape[1]
        dtype = str(W_ih.dtype).removeprefix("torch.")
        return backends.Problem(
            self.shape.cell, T, B, W_ih.shape[1], H, W_hh.shape[1], len(layer), dtype, training, lengths
        )


def where(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    """What makes a :class:`Bound` out of date when it changes: addresses, dtype, device."""
    return (tensors[0].dtype, tensors[0].device, *[tensor.data_ptr() for tensor in tensors])


def bind(shape: Shape, tensors: Sequence[Tensor]) -> Bound:
    """Collect the weights of a module, in PyTorch's order, into those of layers and directions."""
    backend = BACKENDS[tensors[0].device.type]
    flat = iter([_as_memory(tensor, backend) for tensor in tensors])
    layers = []
    for _ in range(shape.num_layers):
        directions = []
        for _ in range(shape.directions):
            W_ih, W_hh = next(flat), next(flat)
            b_ih, b_hh = (next(flat), next(flat)) if shape.bias else (None, None)
            directions.append(Weights(W_ih, W_hh, b_ih, b_hh, next(flat) if shape.projected else None))
        layers.append(LayerWeights(directions))
    return Bound(shape, where(tensors), layers, backend)


def _as_memory(tensor: Tensor, backend: str) -> Any:
    """What kernels take for a tensor: a NumPy view, or on a GPU the tensor itself; a copy only of a strided one."""
    tensor = tensor.detach().contiguous()
    return tensor if backend == "cuda" else tensor.numpy()


def _as_tensor(array: Any, like: Tensor) -> Tensor:
    """A tensor over the memory of a result."""
    if isinstance(array, Tensor):
        return array
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else torch.as_tensor(array, device=like.device)


class Call:
    """One call of a module: everything that its gradient needs to know beside tensors.

    Parameters
    ----------
    bound
        The weights.
    lengths
        (B,) int64 on the host, or None.
    masks
        Dropout masks (T, B, features) on the inputs of layers 1, 2, ...; none without dropout.
    """

    def __init__(self, bound: Bound, lengths: np.ndarray | None, masks: list[Tensor]) -> None:
        self.bound, self.lengths = bound, lengths
        self.masks = [self._memory(mask) for mask in masks]

    def forward(self, x: Tensor, state: Sequence[Tensor | None], training: bool) -> tuple[list[Tensor], list[Any]]:
        """Run all layers on ``x`` (T, B, I): ``y`` and the parts of the final state, and what ``backward`` needs."""
        bound = self.bound
        T, B = x.shape[:2]
        kernels = bound.kernels(T, B, self.lengths is not None, training)
        given = [None if part is None else self._memory(part) for part in state]
        y, finals, caches = self._memory(x), [], []
        for k, weights in enumerate(bound.layers):
            if k > 0 and self.masks:
                y = y * self.masks[k - 1]
            parts = self._parts(k, given, weights, B, x)
            y, final, cache = kernels[k].layer_forward(bound.shape.cell, y, parts, weights, self.lengths, training)
            y = self._between(y, x)
            finals.append([_as_tensor(part, x) for part in final])
            caches.append(cache)
        return [_as_tensor(y, x), *_joined(finals)], caches

    def backward(
        self, dy: Tensor, dstate: Sequence[Tensor | None], caches: list[Any]
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Gradients of ``x``, of the parts of the initial state, and of the weights in PyTorch's order."""
        bound = self.bound
        T, B = dy.shape[:2]
        kernels = bound.kernels(T, B, self.lengths is not None, True)
        given = [None if part is None else self._memory(part) for part in dstate]
        gradient = self._memory(dy)
        initials: list[list[Tensor]] = []
        grads: list[list[Tensor]] = []
        for k in reversed(range(bound.shape.num_layers)):
            weights = bound.layers[k]
            parts = self._parts(k, given, weights, B, dy)
            gradient, initial, own = self._layer_backward(kernels[k], gradient, parts, caches[k], weights)
            gradient = self._between(gradient, dy)
            if k > 0 and self.masks:
                gradient = gradient * self.masks[k - 1]
            initials.insert(0, [_as_tensor(part, dy) for part in initial])
            grads.insert(0, [_as_tensor(part, dy) for direction in own for part in direction if part is not None])
        return _as_tensor(gradient, dy), _joined(initials), [grad for layer in grads for grad in layer]

    def _parts(self, layer: int, given: list[Any], weights: LayerWeights, B: int, like: Tensor) -> tuple[Any, ...]:
        """One layer's share of a state or of its gradient; zeros for what is not given."""
        D, W_hh, W_hr = len(weights), weights[0].W_hh, weights[0].W_hr
        widths = (W_hh.shape[1], W_hh.shape[1] if W_hr is None else W_hr.shape[1])
        parts = []
        for part, width in zip(given, widths, strict=False):
            if part is None:
                zeros = torch.zeros((D, B, width), dtype=like.dtype, device=like.device)
                parts.append(self._memory(zeros))
            else:
                parts.append(part[layer * D : (layer + 1) * D])
        return tuple(parts)

    def _layer_backward(
        self, kernels: ModuleType, dy: Any, dstate: tuple[Any, ...], cache: Any, weights: LayerWeights
    ) -> tuple[Any, tuple[Any, ...], Sequence[Weights]]:
        """Like a backend's ``layer_backward``, with gradients of the weights as new arrays."""
        cell = self.bound.shape.cell
        if self.bound.backend == "cuda":  # on the stream that PyTorch works on, as the sum with others would not be
            return kernels.layer_gradients(cell, dy, dstate, cache, weights)
        grads = LayerWeights(
            Weights._make(None if array is None else np.zeros_like(array) for array in direction)
            for direction in weights
        )
        dx, initial = kernels.layer_backward(cell, dy, dstate, cache, weights, grads)
        return dx, initial, grads

    def _memory(self, tensor: Tensor) -> Any:
        return _as_memory(tensor, self.bound.backend)

    def _between(self, array: Any, like: Tensor) -> Any:
        """A result of one layer as the next one takes it."""
        return _as_tensor(array, like) if self.bound.backend == "cuda" else array


def _joined(layers: list[list[Tensor]]) -> list[Tensor]:
    """The layers' shares of a state put together again."""
    return layers[0] if len(layers) == 1 else [torch.cat(parts) for parts in zip(*layers, strict=True)]
