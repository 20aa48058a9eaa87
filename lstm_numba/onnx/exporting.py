"""Layers as ONNX models."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lstm_numba import layers as ln
from lstm_numba.layers.layer import Layer
from lstm_numba.layers.stack import RecurrentStack
from lstm_numba.onnx.blocks import PEEPHOLES_TO_ONNX, TO_ONNX, reorder

OLDEST_OPSET = 17  # the first with LayerNormalization


class _Graph:
    """Nodes and constants of a graph in the making; values are known by their names."""

    def __init__(self, dtype: np.dtype, opset: int) -> None:
        self.dtype, self.opset = dtype, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any) -> str:
        """Store an array; the name is made unique."""
        name = f"{name}_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def number(self, value: float) -> str:
        """Store a number of the model's dtype."""
        return self.constant("number", self.dtype.type(value))

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; returns the name of its output, or the list of their names."""
        name = f"{operator}_{len(self.nodes)}"
        names = [f"{name}_out{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def rename(self, value: str, name: str) -> None:
        """Give a node's output another name."""
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [name if known == value else known for known in names]


def export(
    model: Layer,
    path: str | PathLike[str] | None = None,
    *,
    opset: int = OLDEST_OPSET,
    lengths: bool = False,
    state: bool = False,
) -> onnx.ModelProto:
    """Write a layer or a ``Sequential`` as an ONNX model for inference.

    The model's input is ``x`` and its output ``y``, with the layer's axes; T and B are free. A recurrent layer also has
    the outputs ``h_n`` and, for the LSTM, ``c_n``. The model has been through ONNX's checker and shape inference.

    Parameters
    ----------
    model
        ``LSTM`` (without projection), ``GRU`` (either reset), ``RNN``, ``LSTMVariant`` (with its three gates, or the
        input and forget gates coupled; tanh), ``Dense``, ``LastStep``, ``LayerNorm``, ``RMSNorm``, ``ReLU``, ``GELU``,
        ``Embedding``, or a ``Sequential`` of these. Dropout is left out.
    path
        File to write; None to write none.
    opset
        Version of ONNX's operators, 17 or higher.
    lengths
        Add an input ``lengths``, (B,) of int32. For a recurrent layer by itself.
    state
        Add inputs ``h0`` and, for the LSTM, ``c0``, with the shapes of ``h_n`` and ``c_n``. For a recurrent layer by
        itself.

    Returns
    -------
    onnx.ModelProto
        The model.

    Raises
    ------
    TypeError
        If a layer has no ONNX operator.
    ValueError
        If an option of a layer has none.

    Notes
    -----
    ONNX defines the operators for float64 as well; ONNX Runtime computes recurrent ones in float32 only.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.onnx import export
    >>> model = export(ln.Sequential(ln.LSTM(3, 4, seed=0), ln.Dense(4, 1, seed=1)))
    >>> [node.op_type for node in model.graph.node]
    ['LSTM', 'Squeeze', 'MatMul', 'Add']
    """
    if opset < OLDEST_OPSET:
        raise ValueError(f"opset: expected {OLDEST_OPSET} or higher, got {opset}")
    parts = model.layers if isinstance(model, ln.Sequential) else (model,)
    alone = len(parts) == 1 and not isinstance(model, ln.Sequential) and isinstance(model, RecurrentStack)
    if (lengths or state) and not alone:
        raise ValueError(
            f"{'lengths' if lengths else 'state'}: expected False, since only an LSTM, GRU or RNN by itself takes one; "
            f"got True for {type(model).__name__}"
        )
    graph = _Graph(model.dtype, opset)
    number = helper.np_dtype_to_tensor_dtype(model.dtype)
    first, axes = parts[0], _input_axes(parts)
    kind = onnx.TensorProto.INT64 if isinstance(first, ln.Embedding) else number
    inputs = [helper.make_tensor_value_info("x", kind, axes)]
    outputs = []
    value = "x"
    if isinstance(model, RecurrentStack):
        names = ["h", "c"] if isinstance(model, ln.LSTM) else ["h"]
        rows = model.num_layers * (2 if model.bidirectional else 1)
        if lengths:
            inputs.append(helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, ["B"]))
        shape: list[str | int | None] = [rows, "B", model.hidden_size]
        if state:
            inputs += [helper.make_tensor_value_info(f"{name}0", number, shape) for name in names]
        value, finals = _recurrent(graph, model, value, "lengths" if lengths else "", state)
        for name, final in zip(names, finals, strict=True):
            graph.rename(final, f"{name}_n")
            outputs.append(helper.make_tensor_value_info(f"{name}_n", number, shape))
    else:
        for position, layer in enumerate(parts):
            label = f"layers[{position}]" if isinstance(model, ln.Sequential) else "model"
            value = _writer(label, layer)(graph, layer, value)
    graph.rename(value, "y")
    outputs.insert(0, helper.make_tensor_value_info("y", number, _output_axes(parts, axes)))
    made = helper.make_graph(graph.nodes, "lstm_numba", inputs, outputs, graph.constants)
    imports = [helper.make_opsetid("", opset)]
    result = helper.make_model(
        made, opset_imports=imports, producer_name="lstm_numba", ir_version=helper.find_min_ir_version_for(imports)
    )
    onnx.checker.check_model(result, full_check=True)
    if path is not None:
        onnx.save(result, path)
    return result


# -- axes ---------------------------------------------------------------------------------------------------


def _input_axes(layers: Sequence[Layer]) -> list[Any]:
    """Axes of ``x``: those of the first layer that has an opinion on them, T and B free."""
    first = layers[0]
    order = ["T", "B"]
    for layer in layers:
        if hasattr(layer, "batch_first"):
            order = ["B", "T"] if layer.batch_first else ["T", "B"]
            break
    else:
        order = ["B"] if not isinstance(first, ln.Embedding) else ["B", "T"]
    if isinstance(first, ln.Embedding):
        return order
    if isinstance(first, (RecurrentStack, ln.LSTMVariant)):
        return [*order, first.input_size]
    if isinstance(first, ln.Dense):
        return [*order, first.in_features]
    return [*order, getattr(first, "_size", None) or "features"]


def _output_axes(layers: Sequence[Layer], axes: list[Any]) -> list[Any]:
    axes = list(axes)
    for layer in layers:
        if isinstance(layer, RecurrentStack):
            axes[-1] = layer.hidden_size * (2 if layer.bidirectional else 1)
        elif isinstance(layer, ln.LSTMVariant):
            axes[-1] = layer.hidden_size
        elif isinstance(layer, ln.Dense):
            axes[-1] = layer.out_features
        elif isinstance(layer, ln.Embedding):
            axes = [*axes, layer.embedding_dim]
        elif isinstance(layer, ln.LastStep):
            axes = ["B", axes[-1]]
    return axes


# -- one function per kind of layer ---------------------------------------------------------------------------


def _recurrent(
    graph: _Graph, layer: RecurrentStack, x: str, lengths: str = "", state: bool = False
) -> tuple[str, list[str]]:
    operator = type(layer).__name__
    if operator not in TO_ONNX:
        raise TypeError(f"model: expected LSTM, GRU or RNN, got {operator}")
    if layer.proj_size:
        raise ValueError(
            f"proj_size: expected 0, got {layer.proj_size}; ONNX's LSTM has no projection of the hidden state"
        )
    D, H, pair = (2 if layer.bidirectional else 1), layer.hidden_size, operator == "LSTM"
    attributes: dict[str, Any] = {"hidden_size": H, "direction": "bidirectional" if D == 2 else "forward"}
    if isinstance(layer, ln.GRU):
        attributes["linear_before_reset"] = int(layer.reset_after)
    if isinstance(layer, ln.RNN):
        attributes["activations"] = [layer.nonlinearity.capitalize()] * D
    value = graph.add("Transpose", x, perm=[1, 0, 2]) if layer.batch_first else x
    finals: list[list[str]] = []
    for k in range(layer.num_layers):
        W, R, b = _stacked(layer, operator, k)
        inputs = [graph.constant("W", W), graph.constant("R", R)]
        inputs += [graph.constant("bias", b) if b is not None else "", lengths]
        if state:
            for name in ["h0", "c0"] if pair else ["h0"]:
                whole = layer.num_layers == 1
                inputs.append(name if whole else _rows(graph, name, k * D, (k + 1) * D))
        while not inputs[-1]:
            inputs.pop()  # names of what is left out are needed only before something that is not
        y, *final = graph.add(operator, value, *inputs, outputs=3 if pair else 2, **attributes)
        finals.append(final)
        if D == 1:  # (T, 1, B, H)
            value = graph.add("Squeeze", y, graph.constant("axes", np.array([1], np.int64)))
        else:  # (T, 2, B, H) -> (T, B, 2, H) -> (T, B, 2H)
            moved = graph.add("Transpose", y, perm=[0, 2, 1, 3])
            value = graph.add("Reshape", moved, graph.constant("shape", np.array([0, 0, D * H], np.int64)))
    if layer.batch_first:
        value = graph.add("Transpose", value, perm=[1, 0, 2])
    joined = [parts[0] if len(finals) == 1 else graph.add("Concat", *parts, axis=0)
              for parts in zip(*finals, strict=True)]  # fmt: skip
    return value, joined


def _rows(graph: _Graph, name: str, start: int, stop: int) -> str:
    edges = [graph.constant("edge", np.array([edge], np.int64)) for edge in (start, stop, 0)]
    return graph.add("Slice", name, *edges)


def _stacked(layer: RecurrentStack, operator: str, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """``W`` (D, rows, I), ``R`` (D, rows, H) and ``B`` (D, 2 * rows) of one layer."""
    order = TO_ONNX[operator]
    suffixes = [f"_l{k}", f"_l{k}_reverse"] if layer.bidirectional else [f"_l{k}"]

    def stack(kind: str) -> np.ndarray:
        return np.stack([reorder(layer.parameters[f"{kind}{suffix}"], order) for suffix in suffixes])

    bias = np.concatenate([stack("bias_ih"), stack("bias_hh")], axis=1) if layer.bias else None
    return stack("weight_ih"), stack("weight_hh"), bias


def _write_recurrent(graph: _Graph, layer: RecurrentStack, x: str) -> str:
    return _recurrent(graph, layer, x)[0]


def _write_variant(graph: _Graph, layer: ln.LSTMVariant, x: str) -> str:
    parts = layer.options
    plain = parts.input_gate and parts.forget_gate and parts.output_gate and not parts.gate_recurrence
    if not plain or (parts.input_activation, parts.output_activation) != ("tanh", "tanh"):
        raise ValueError(
            f"variant: expected three gates, tanh and no recurrence between gates, got {layer.variant!r}; "
            "ONNX's LSTM has no other parts that can be chosen one by one"
        )
    order, H = TO_ONNX["LSTM"], layer.hidden_size

    def blocks(name: str, places: str = "ifgo", have: Sequence[str] = parts.blocks) -> np.ndarray:
        value = layer.parameters[name].reshape(len(have), H, -1)
        whole = np.zeros((len(places), *value.shape[1:]), layer.dtype)  # a coupled forget gate has no weights
        for place, block in zip(have, value, strict=True):
            whole[places.index(place)] = block
        return whole

    W, R = (reorder(blocks(name).reshape(4 * H, -1), order)[None] for name in ("weight_ih_l0", "weight_hh_l0"))
    inputs = [graph.constant("W", W), graph.constant("R", R), ""]
    if layer.bias:
        biases = [reorder(blocks(name).reshape(4 * H), order) for name in ("bias_ih_l0", "bias_hh_l0")]
        inputs[2] = graph.constant("bias", np.concatenate(biases)[None])
    if parts.peepholes:
        rows = blocks("weight_peephole_l0", "ifo", parts.gates).reshape(3 * H)
        inputs += ["", "", "", graph.constant("P", reorder(rows, PEEPHOLES_TO_ONNX)[None])]
    while not inputs[-1]:
        inputs.pop()
    value = graph.add("Transpose", x, perm=[1, 0, 2]) if layer.batch_first else x
    y = graph.add("LSTM", value, *inputs, hidden_size=H, input_forget=int(parts.coupled))
    value = graph.add("Squeeze", y, graph.constant("axes", np.array([1], np.int64)))
    return graph.add("Transpose", value, perm=[1, 0, 2]) if layer.batch_first else value


def _write_dense(graph: _Graph, layer: ln.Dense, x: str) -> str:
    y = graph.add("MatMul", x, graph.constant("weight", layer.parameters["weight"].T))
    return graph.add("Add", y, graph.constant("bias", layer.parameters["bias"])) if layer.bias else y


def _write_last_step(graph: _Graph, layer: ln.LastStep, x: str) -> str:
    last = graph.constant("last", np.int64(-1))
    return graph.add("Gather", x, last, axis=1 if layer.batch_first else 0)


def _write_layer_norm(graph: _Graph, layer: ln.LayerNorm, x: str) -> str:
    inputs = [graph.constant(name, value) for name, value in layer.parameters.items()]
    return graph.add("LayerNormalization", x, *inputs, axis=-1, epsilon=layer.eps)


def _write_rms_norm(graph: _Graph, layer: ln.RMSNorm, x: str) -> str:
    # Its own operator is as young as opset 23.
    square = graph.add("Mul", x, x)
    if graph.opset < 18:
        mean = graph.add("ReduceMean", square, axes=[-1], keepdims=1)
    else:
        mean = graph.add("ReduceMean", square, graph.constant("axes", np.array([-1], np.int64)), keepdims=1)
    root = graph.add("Sqrt", graph.add("Add", mean, graph.number(layer.eps)))
    return graph.add("Mul", graph.add("Div", x, root), graph.constant("weight", layer.parameters["weight"]))


def _write_gelu(graph: _Graph, layer: ln.GELU, x: str) -> str:
    # Its own operator is as young as opset 20: x / 2 * (1 + erf(x / sqrt(2)))
    erf = graph.add("Erf", graph.add("Mul", x, graph.number(0.5**0.5)))
    return graph.add("Mul", graph.add("Mul", x, graph.number(0.5)), graph.add("Add", erf, graph.number(1)))


def _write_relu(graph: _Graph, layer: ln.ReLU, x: str) -> str:
    return graph.add("Relu", x)


def _write_embedding(graph: _Graph, layer: ln.Embedding, x: str) -> str:
    return graph.add("Gather", graph.constant("weight", layer.parameters["weight"]), x, axis=0)


_WRITERS: dict[type[Layer], Callable[..., str]] = {
    ln.LSTM: _write_recurrent,
    ln.GRU: _write_recurrent,
    ln.RNN: _write_recurrent,
    ln.LSTMVariant: _write_variant,
    ln.Dense: _write_dense,
    ln.LastStep: _write_last_step,
    ln.LayerNorm: _write_layer_norm,
    ln.RMSNorm: _write_rms_norm,
    ln.GELU: _write_gelu,
    ln.ReLU: _write_relu,
    ln.Embedding: _write_embedding,
}


def _writer(label: str, layer: Layer) -> Callable[..., str]:
    if type(layer) not in _WRITERS:
        known = ", ".join(kind.__name__ for kind in _WRITERS)
        raise TypeError(
            f"{label}: expected one of {known}, got {type(layer).__name__}, which has no ONNX operator here"
        )
    return _WRITERS[type(layer)]
