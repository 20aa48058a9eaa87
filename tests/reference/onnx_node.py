"""One recurrent ONNX node, run by ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def run_node(operator, x, W, R, bias, state, outputs, lengths=None, **attributes):
    """Run one forward direction of an ``LSTM``, ``GRU`` or ``RNN`` node on float32 arrays.

    ``x`` (T, B, I), ``W`` (rows, I), ``R`` (rows, H), ``bias`` (2 * rows,), ``state`` one or two arrays (B, H).
    Returns ``y`` (T, B, H) and the final states, the direction's axis taken out.
    """
    (T, B, I), H = x.shape, R.shape[1]
    constants = {"W": W[None], "R": R[None], "b": bias[None]}
    constants |= {name: part[None] for name, part in zip(("h0", "c0"), state, strict=False)}
    if lengths is not None:
        constants["lengths"] = np.asarray(lengths, np.int32)
    inputs = ["x", "W", "R", "b", "lengths" if lengths is not None else "", *("h0", "c0")[: len(state)]]
    node = helper.make_node(operator, inputs, list(outputs), hidden_size=H, **attributes)
    shapes = {"y": (T, 1, B, H), "h": (1, B, H), "c": (1, B, H)}
    graph = helper.make_graph(
        [node],
        operator,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (T, B, I))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, *final = session.run(None, {"x": x})
    return y[:, 0], *(part[0] for part in final)


def reorder(value, order):
    """Blocks of rows in another order: ``order`` lists positions in ours."""
    blocks = np.split(value, len(order))
    return np.concatenate([blocks[position] for position in order])
