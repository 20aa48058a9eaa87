"""Layers made of layers."""

from collections.abc import Mapping
from typing import Self

import numpy as np

from lstm_numba.layers.layer import Layer


class Composite(Layer):
    """Base class of layers made of named layers: their parameters are called ``"part.weight"`` and so on."""

    def __init__(self, dtype: str | np.dtype = "float32") -> None:
        super().__init__(dtype)
        self._parts: dict[str, Layer] = {}

    def _add_part(self, name: str, layer: Layer) -> Layer:
        self._parts[name] = layer
        return layer

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """Own parameters, then those of every part under the part's name."""
        parts = {f"{part}.{name}": p for part, layer in self._parts.items() for name, p in layer.parameters.items()}
        return self._parameters | parts

    @property
    def grads(self) -> Mapping[str, np.ndarray]:
        """Gradients by the same names."""
        parts = {f"{part}.{name}": g for part, layer in self._parts.items() for name, g in layer.grads.items()}
        return self._grads | parts

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        super().zero_grad()
        for layer in self._parts.values():
            layer.zero_grad()

    def train(self) -> Self:
        """Switch this layer and its parts to training mode."""
        for layer in self._parts.values():
            layer.train()
        return super().train()

    def eval(self) -> Self:
        """Switch this layer and its parts to inference mode."""
        for layer in self._parts.values():
            layer.eval()
        return super().eval()
