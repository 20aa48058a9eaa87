"""Export against ONNX Runtime, load against export, models made by hand, and PyTorch's own exporter.

Layers compute with the specification: what is tested here is where weights go, and that compiles no kernels.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import lstm_numba as ln
from lstm_numba.onnx import export, load
from lstm_numba.variants import VariantOptions
from tests.conftest import TOLERANCE

KINDS = {
    "lstm": (ln.LSTM, {}),
    "gru": (ln.GRU, {}),
    "gru reset before": (ln.GRU, {"reset_after": False}),
    "rnn tanh": (ln.RNN, {"nonlinearity": "tanh"}),
    "rnn relu": (ln.RNN, {"nonlinearity": "relu"}),
}


def run(model, **inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))


def assert_close(value, expected, what="y"):
    assert value.dtype == expected.dtype, what
    assert value.shape == expected.shape, what
    # Numbers of size one are added up to what is compared; a relu can leave a small difference of them.
    assert np.abs(value - expected).max() < TOLERANCE["float32"] * max(1, np.abs(expected).max()), what


def parts_of(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(
    T=st.integers(1, 5),
    B=st.integers(1, 4),
    I=st.integers(1, 4),
    H=st.integers(1, 5),
    options=st.fixed_dictionaries(
        {
            "num_layers": st.integers(1, 3),
            "bias": st.booleans(),
            "batch_first": st.booleans(),
            "bidirectional": st.booleans(),
        }
    ),
    with_lengths=st.booleans(),
    with_state=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_onnx_runtime_computes_what_the_layer_computes(kind, T, B, I, H, options, with_lengths, with_state, seed):
    rng = np.random.default_rng(seed)
    make, special = KINDS[kind]
    layer = make(I, H, **options, **special, backend="reference", seed=rng).eval()
    x = rng.normal(size=(B, T, I) if options["batch_first"] else (T, B, I)).astype(np.float32)
    rows = options["num_layers"] * (1 + options["bidirectional"])
    state = [rng.normal(size=(rows, B, H)).astype(np.float32) for _ in range(1 + (make is ln.LSTM))]
    lengths = rng.integers(1, T + 1, B).astype(np.int32)
    given = {"x": x}
    given |= {"lengths": lengths} if with_lengths else {}
    given |= dict(zip(("h0", "c0"), state, strict=False)) if with_state else {}
    found = run(export(layer, lengths=with_lengths, state=with_state), **given)
    initial = tuple(state) if len(state) == 2 else state[0]
    y, final = layer(x, initial if with_state else None, lengths=lengths if with_lengths else None)
    assert_close(found.pop("y"), y)
    for name, part in zip(("h_n", "c_n"), parts_of(final), strict=False):
        assert_close(found.pop(name), part, name)
    assert not found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"bidirectional": True, "num_layers": 2}], ids=str)
def test_load_gives_back_the_bits_that_export_wrote(kind, dtype, options, tmp_path):
    make, special = KINDS[kind]
    layer = make(3, 4, **options, **special, dtype=dtype, seed=1)
    path = tmp_path / "model.onnx"
    written = export(layer, path)
    for source in (path, str(path), path.read_bytes(), written):
        loaded = load(source)
        assert len(loaded) == layer.num_layers
        for k, found in enumerate(loaded.values()):
            assert type(found) is make
            assert not found.training
            assert found.dtype == layer.dtype
            assert getattr(found, "reset_after", None) == getattr(layer, "reset_after", None)
            assert getattr(found, "nonlinearity", None) == getattr(layer, "nonlinearity", None)
            expected = {n.replace(f"_l{k}", "_l0"): v for n, v in layer.parameters.items() if f"_l{k}" in n}
            assert found.parameters.keys() == expected.keys()
            for name, value in expected.items():
                np.testing.assert_array_equal(found.parameters[name], value)


VARIANTS = {
    "peepholes": VariantOptions(peepholes=True),
    "coupled": VariantOptions(coupled=True),
    "coupled with peepholes": VariantOptions(coupled=True, peepholes=True),
    "plain": VariantOptions(),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_variants(rng, variant, batch_first):
    layer = ln.LSTMVariant(3, 4, VARIANTS[variant], batch_first=batch_first, backend="reference", seed=2).eval()
    x = rng.normal(size=(6, 5, 3)).astype(np.float32)
    model = export(layer)
    assert_close(run(model, x=x)["y"], layer(x)[0])
    (found,) = load(model).values()
    assert type(found) is (ln.LSTM if variant == "plain" else ln.LSTMVariant)
    for name, value in layer.parameters.items():
        np.testing.assert_array_equal(found.parameters[name], value)


def test_a_variant_without_a_gate_is_refused():
    with pytest.raises(ValueError, match=r"variant: expected three gates.*'NIG'"):
        export(ln.LSTMVariant(3, 4, "NIG", seed=0))


@pytest.mark.parametrize("opset", [17, 18, 21])
def test_sequential(rng, opset):
    model = ln.Sequential(
        ln.Embedding(7, 5, seed=0),
        ln.LSTM(5, 6, num_layers=2, dropout=0.5, bidirectional=True, batch_first=True, backend="reference", seed=1),
        ln.LayerNorm(12, backend="reference"),
        ln.GRU(12, 4, batch_first=True, backend="reference", seed=2),
        ln.RMSNorm(4, backend="reference"),
        ln.Dense(4, 9, seed=3),
        ln.GELU(backend="reference"),
        ln.Dense(9, 8, bias=False, seed=4),
        ln.ReLU(),
        ln.LastStep(batch_first=True),
        ln.Dense(8, 2, seed=5),
    ).eval()
    for name, value in model.parameters.items():
        if name.split(".")[0] in ("2", "4"):
            value[...] = rng.normal(size=value.shape)
    symbols = rng.integers(0, 7, (3, 11))
    exported = export(model, opset=opset)
    assert exported.opset_import[0].version == opset
    assert [d.dim_param or d.dim_value for d in exported.graph.output[0].type.tensor_type.shape.dim] == ["B", 2]
    assert_close(run(exported, x=symbols)["y"], model(symbols))
    assert list(load(exported)) == [node.name for node in exported.graph.node if node.op_type in ("LSTM", "GRU")]


def test_a_layer_by_itself(rng):
    dense = ln.Dense(3, 2, seed=0)
    x = rng.normal(size=(5, 3)).astype(np.float32)
    assert_close(run(export(dense), x=x)["y"], dense(x))
    with pytest.raises(ValueError, match="without"):
        load(export(dense))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: export(ln.LSTM(3, 4, proj_size=2)), ValueError, "proj_size: expected 0, got 2"),
        (lambda: export(ln.LSTM(3, 4), opset=16), ValueError, "opset: expected 17"),
        (lambda: export(ln.Sequential(ln.LSTM(3, 4)), lengths=True), ValueError, "lengths: expected False"),
        (lambda: export(ln.Dense(3, 4), state=True), ValueError, "state: expected False"),
        (lambda: export(ln.MinGRU(3, 4)), TypeError, "model: .* got MinGRU"),
        (lambda: export(ln.Sequential(ln.ReLU(), ln.MLSTM(4, 4))), TypeError, r"layers\[1\]: .* got MLSTM"),
    ],
)
def test_what_onnx_does_not_have_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


def node_of(operator="LSTM", I=3, H=4, D=1, missing=(), extra=None, stored_state=None, dtype=np.float32, **attributes):
    """A model of one node, written without our exporter."""
    rng = np.random.default_rng(3)
    G = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    constants = {"W": rng.normal(size=(D, G * H, I)), "R": rng.normal(size=(D, G * H, H)), "b": np.ones((D, 2 * G * H))}
    constants |= extra or {}
    if stored_state is not None:
        constants["h0"] = stored_state
    constants = {name: value.astype(dtype) for name, value in constants.items() if name not in missing}
    names = ["x", "W", "R", "b", "", "h0" if stored_state is not None else "", "", "P" if extra else ""]
    while not names[-1]:
        names.pop()
    node = helper.make_node(operator, names, ["y"], hidden_size=H, **attributes)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [node],
        "by hand",
        [helper.make_tensor_value_info("x", kind, ("T", "B", I))]
        + [helper.make_tensor_value_info(name, kind, None) for name in missing],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("D", [1, 2])
def test_a_model_made_by_hand(rng, operator, D):
    model = node_of(operator, D=D, direction="bidirectional" if D == 2 else "forward")
    layers = load(model, backend="reference")
    assert list(layers) == ["y"]  # the node has no name
    x = rng.normal(size=(5, 2, 3)).astype(np.float32)
    y = run(model, x=x)["y"]  # (T, D, B, H)
    assert_close(layers["y"](x)[0], np.concatenate([y[:, d] for d in range(D)], axis=-1))


def test_nodes_inside_other_nodes_are_found():
    inner = node_of().graph
    branch = helper.make_graph([inner.node[0]], "branch", [], [inner.output[0]])
    node = helper.make_node("If", ["choice"], ["z"], then_branch=branch, else_branch=branch)
    inputs = [inner.input[0], helper.make_tensor_value_info("choice", TensorProto.BOOL, [])]
    graph = helper.make_graph([node], "outer", inputs, [helper.make_tensor_value_info("z", 1, None)], inner.initializer)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(ValueError, match="y: expected every recurrent node to have a name of its own"):
        load(model)
    model.graph.node[0].attribute[1].g.node[0].name = "other"
    assert set(load(model)) == {"y", "other"}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"direction": "reverse"}, ValueError, "expected direction .* got 'reverse'"),
        ({"clip": 3.0}, ValueError, "expected no clip, got 3.0"),
        ({"activations": ["HardSigmoid", "Tanh", "Tanh"]}, ValueError, "expected the activations .* got .*hardsigmoid"),
        ({"operator": "RNN", "activations": ["Affine"]}, ValueError, "expected the activation Tanh or Relu"),
        ({"operator": "RNN", "D": 2, "direction": "bidirectional", "activations": ["Tanh", "Relu"]}, ValueError,
         "the same activations in both"),
        ({"missing": ["W"]}, ValueError, "expected W to be stored in the model, got 'W'"),
        ({"stored_state": np.ones((1, 2, 4))}, ValueError, "expected initial_h to be an input of the model or zero"),
        ({"dtype": np.float16}, TypeError, "expected weights in float32 or float64, got float16"),
        ({"D": 2, "direction": "bidirectional", "extra": {"P": np.ones((2, 12))}}, ValueError, "expected one direc"),
    ],
    ids=str,
)  # fmt: skip
def test_what_no_layer_here_computes_is_refused_by_name(options, error, message):
    with pytest.raises(error, match=f"^y: .*{message}|^y: {message}"):
        load(node_of(**options))
    assert load(node_of(stored_state=np.zeros((1, 2, 4))))


@pytest.mark.filterwarnings("ignore")  # PyTorch's older exporter, the one that needs no other package, warns at length
@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_model_that_pytorch_exported(rng, kind, bidirectional, tmp_path):
    torch.manual_seed(0)
    module = kind(3, 4, num_layers=2, bidirectional=bidirectional).eval()
    path = tmp_path / "torch.onnx"
    x = rng.normal(size=(5, 2, 3)).astype(np.float32)
    torch.onnx.export(module, (torch.from_numpy(x),), path, dynamo=False)
    layers = load(path, backend="reference")
    assert [type(layer).__name__ for layer in layers.values()] == [kind.__name__] * 2
    y = x
    for layer in layers.values():
        y, _ = layer(y)
    assert_close(y, module(torch.from_numpy(x))[0].detach().numpy())
    onnx.checker.check_model(onnx.load(path))
