"""The recurrent nodes of ONNX models as layers."""

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lstm_numba import layers as ln
from lstm_numba.onnx.blocks import PEEPHOLES_TO_ONNX, TO_ONNX, inverse, reorder
from lstm_numba.variants import VARIANTS, VariantOptions

Loaded = ln.LSTM | ln.GRU | ln.RNN | ln.LSTMVariant
_DEFAULT_ACTIVATIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}


def load(source: str | PathLike[str] | bytes | onnx.ModelProto, *, backend: str = "cpu") -> dict[str, Loaded]:
    """Read the ``LSTM``, ``GRU`` and ``RNN`` nodes of an ONNX model, each as a layer.

    A node is one layer, in one direction or both; a stack of layers is a chain of nodes. Initial states and lengths
    belong to a model's inputs, not to its nodes: give them to the layer when it is called.

    Parameters
    ----------
    source
        Path of a file, its bytes, or a model.
    backend
        Of the layers; see :class:`lstm_numba.LSTM`.

    Returns
    -------
    dict of str to layer
        By the node's name (or the name of its first output, if it has none), in the order of the graph, in inference
        mode. An LSTM with peepholes or coupled gates becomes an ``LSTMVariant``. ``layout=1`` becomes
        ``batch_first=True``.

    Raises
    ------
    ValueError
        If the model has no such node, or one that no layer here can compute: direction ``"reverse"``, ``clip``, other
        activations, weights that the model computes, an initial state other than zero stored in the model.
    TypeError
        If weights are neither float32 nor float64.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.onnx import export, load
    >>> load(export(ln.GRU(3, 4, bidirectional=True, seed=0)))
    {'GRU_0': GRU(3, 4, bidirectional=True, dtype='float32', backend='cpu')}
    """
    if isinstance(source, onnx.ModelProto):
        model = source
    elif isinstance(source, bytes):
        model = onnx.load_from_string(source)
    else:
        model = onnx.load(source)
    layers: dict[str, Loaded] = {}
    for node, constants in _nodes(model.graph, {}):
        if node.op_type in TO_ONNX and node.domain in ("", "ai.onnx"):
            name = node.name or next(output for output in node.output if output)
            if name in layers:
                raise ValueError(f"{name}: expected every recurrent node to have a name of its own, got it twice")
            layers[name] = _Node(name, node, constants).layer(backend)
    if not layers:
        raise ValueError("source: expected a model with LSTM, GRU or RNN nodes, got one without")
    return layers


def _nodes(
    graph: onnx.GraphProto, outside: Mapping[str, np.ndarray | None]
) -> Iterator[tuple[onnx.NodeProto, dict[str, np.ndarray | None]]]:
    """All nodes, those of graphs inside nodes too, with the constants that each one sees."""
    constants = dict(outside)
    constants |= {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
        yield node, constants
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g, constants)


class _Node:
    """One recurrent node."""

    def __init__(self, name: str, node: onnx.NodeProto, constants: Mapping[str, np.ndarray | None]) -> None:
        self.name, self.operator = name, node.op_type
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self._inputs = dict(zip(("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"), node.input,
                                strict=False))  # fmt: skip
        self._constants = constants

    def layer(self, backend: str) -> Loaded:
        """Make the layer."""
        W, R = self._array("W"), self._array("R")
        if W is None or R is None:
            raise ValueError(f"{self.name}: expected the inputs W and R, got none")
        for attribute in ("clip", "activation_alpha", "activation_beta"):
            if self.attributes.get(attribute):
                raise ValueError(f"{self.name}: expected no {attribute}, got {self.attributes[attribute]}")
        for state in ("initial_h", "initial_c"):
            value = self._constants.get(self._inputs.get(state, ""))
            if value is not None and value.any():
                raise ValueError(
                    f"{self.name}: expected {state} to be an input of the model or zero, got other numbers stored in "
                    "it; a layer here starts from the state that its call gives it"
                )
        if W.dtype.name not in ("float32", "float64"):
            raise TypeError(f"{self.name}: expected weights in float32 or float64, got {W.dtype}")
        D, _, I = W.shape
        H = R.shape[2]
        expected_directions = 2 if self._direction() == "bidirectional" else 1
        if expected_directions != D:
            raise ValueError(f"{self.name}: expected W for direction {self._direction()!r}, got shape {W.shape}")
        common: dict[str, Any] = {
            "bias": self._array("B") is not None,
            "batch_first": self.attributes.get("layout", 0) == 1,
            "dtype": W.dtype,
            "backend": backend,
            "seed": 0,
        }
        made: Loaded
        activations = self._activations(D)
        expected = _DEFAULT_ACTIVATIONS[self.operator]
        if self.operator == "RNN":
            if activations not in (["tanh"], ["relu"]):
                raise ValueError(f"{self.name}: expected the activation Tanh or Relu, got {activations}")
            made = ln.RNN(I, H, nonlinearity=activations[0], bidirectional=D == 2, **common)
        elif activations != expected:
            raise ValueError(f"{self.name}: expected the activations {expected}, got {activations}")
        elif self.operator == "GRU":
            after = bool(self.attributes.get("linear_before_reset", 0))
            made = ln.GRU(I, H, bidirectional=D == 2, reset_after=after, **common)
        else:
            variant = self._variant()
            if variant == VARIANTS["NP"]:
                made = ln.LSTM(I, H, bidirectional=D == 2, **common)
            elif D == 2:
                raise ValueError(
                    f"{self.name}: expected one direction with peepholes or coupled gates (LSTMVariant), got two"
                )
            else:
                made = ln.LSTMVariant(I, H, variant=variant, **common)
        made.load_state_dict(self._weights(made, W, R))
        return made.eval()

    def _weights(self, layer: Loaded, W: np.ndarray, R: np.ndarray) -> dict[str, np.ndarray]:
        order = inverse(TO_ONNX[self.operator])
        B, P = self._array("B"), self._array("P")
        H = R.shape[2]
        state: dict[str, np.ndarray] = {}
        for d, suffix in enumerate(["_l0", "_l0_reverse"][: len(W)]):
            state |= {f"weight_ih{suffix}": reorder(W[d], order), f"weight_hh{suffix}": reorder(R[d], order)}
            if B is not None:
                b_ih, b_hh = np.split(B[d], 2)
                state |= {f"bias_ih{suffix}": reorder(b_ih, order), f"bias_hh{suffix}": reorder(b_hh, order)}
        if isinstance(layer, ln.LSTMVariant):
            have = ["ifgo".index(block) for block in layer.options.blocks]  # a coupled forget gate has no weights
            state = {name: np.concatenate([np.split(value, 4)[n] for n in have]) for name, value in state.items()}
            if P is not None:
                rows = reorder(P[0], inverse(PEEPHOLES_TO_ONNX)).reshape(3, H)
                state["weight_peephole_l0"] = rows[["ifo".index(gate) for gate in layer.options.gates]]
        return {name: np.ascontiguousarray(value) for name, value in state.items()}

    def _variant(self) -> VariantOptions:
        P = self._array("P")
        coupled = bool(self.attributes.get("input_forget", 0))
        return VariantOptions(peepholes=P is not None and bool(P.any()), coupled=coupled)

    def _direction(self) -> str:
        direction = self.attributes.get("direction", b"forward").decode()
        if direction not in ("forward", "bidirectional"):
            raise ValueError(
                f"{self.name}: expected direction 'forward' or 'bidirectional', got {direction!r}; a layer here has no "
                "second direction by itself. Reverse the sequence, use 'forward', and reverse the output"
            )
        return direction

    def _activations(self, D: int) -> list[str]:
        """The activations of one direction, in lower case; both directions must agree."""
        given = [name.decode().lower() for name in self.attributes.get("activations", [])]
        given = given or _DEFAULT_ACTIVATIONS[self.operator] * D
        first, *others = np.split(np.array(given), D) if len(given) % D == 0 else [np.array(given)]
        if any(list(other) != list(first) for other in others):
            raise ValueError(f"{self.name}: expected the same activations in both directions, got {given}")
        return [str(name) for name in first]

    def _array(self, name: str) -> np.ndarray | None:
        """A constant input; None if the node has none."""
        source = self._inputs.get(name, "")
        if not source:
            return None
        value = self._constants.get(source)
        if value is None:
            raise ValueError(
                f"{self.name}: expected {name} to be stored in the model, got {source!r}, which the model computes or "
                "is given. Fold constants first, for example with onnxruntime's offline optimisation"
            )
        return value
