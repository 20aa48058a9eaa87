"""The implementations that are compared. Each does the same work and returns the same arrays.

Everything a user pays for is inside ``run``: the Python call, validation, packing of the weights, allocation of the
results. In training that is the forward pass, the backward pass and the gradients of the input, the initial states and
all parameters.
"""

import inspect
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import lstm_numba as ln
from benchmarks.cases import GATES, Case

OURS, TORCH, COMPILED, ONNX, REFERENCE = "lstm_numba", "torch", "torch.compile", "onnxruntime", "reference"
REFERENCE_LIMIT = 1e8  # forward operations above which the NumPy reference is not timed

Arrays = dict[str, np.ndarray]


class NotAvailableError(Exception):
    """This candidate cannot do this case; the message says why."""


class Candidate:
    """A function to time and a function that returns all of its results, to be compared before."""

    def __init__(self, run: Callable[[], Any], results: Callable[[Any], Arrays], notes: dict | None = None) -> None:
        self.run = run
        self._results = results
        self.notes = notes or {}

    def results(self) -> Arrays:
        """Run once and return every output and gradient by name."""
        return self._results(self.run())


class Problem:
    """The numbers of a case: the same for all candidates."""

    def __init__(self, case: Case, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, case.T, case.B, case.I, case.H])

        def normal(*shape: int) -> np.ndarray:
            return rng.normal(size=shape).astype(np.float32)

        D, P = case.directions, case.output
        self.case = case
        self.lengths = case.lengths()
        self.x = normal(case.T, case.B, case.I)
        self.dy = normal(case.T, case.B, D * P)
        self.h0 = normal(case.layers * D, case.B, P)
        self.c0 = normal(case.layers * D, case.B, case.H)
        self.parameters: Arrays = {}
        bound = 1 / np.sqrt(case.H)
        for name, shape in parameter_shapes(case).items():
            self.parameters[name] = rng.uniform(-bound, bound, size=shape).astype(np.float32)

    @property
    def training(self) -> bool:
        """Whether the case is forward and backward."""
        return self.case.mode == "training"

    @property
    def states(self) -> list[np.ndarray]:
        """Initial states, as many as the cell has."""
        return [self.h0, self.c0] if self.case.cell == "LSTM" else [self.h0]


def parameter_shapes(case: Case) -> dict[str, tuple[int, ...]]:
    """PyTorch's parameter names and shapes."""
    rows, shapes = GATES[case.cell] * case.H, {}
    for layer in range(case.layers):
        inputs = case.I if layer == 0 else case.output * case.directions
        for suffix in [f"l{layer}", f"l{layer}_reverse"][: case.directions]:
            shapes[f"weight_ih_{suffix}"] = (rows, inputs)
            shapes[f"weight_hh_{suffix}"] = (rows, case.output)
            shapes[f"bias_ih_{suffix}"] = (rows,)
            shapes[f"bias_hh_{suffix}"] = (rows,)
            if case.proj:
                shapes[f"weight_hr_{suffix}"] = (case.proj, case.H)
    return shapes


# -- ours --------------------------------------------------------------------------------------------------------------


def make_layer(case: Case, backend: str):
    """The package's layer of a case, or NotAvailableError while it does not exist."""
    layer_class = getattr(ln, case.cell, None)
    if layer_class is None:
        raise NotAvailableError(f"lstm_numba has no {case.cell}")
    options: dict[str, Any] = {}
    if case.proj:
        if "proj_size" not in inspect.signature(layer_class).parameters:
            raise NotAvailableError(f"lstm_numba.{case.cell} has no proj_size")
        options["proj_size"] = case.proj
    if case.variable and "lengths" not in inspect.signature(layer_class.__call__).parameters:
        raise NotAvailableError(f"calling lstm_numba.{case.cell} has no lengths")
    return layer_class(
        case.I, case.H, num_layers=case.layers, bidirectional=case.bidirectional, backend=backend, seed=0, **options
    )


def package(problem: Problem, backend: str = "cpu") -> Candidate:
    """`lstm_numba`'s layer."""
    case = problem.case
    layer = make_layer(case, backend)
    layer.load_state_dict(problem.parameters)
    options = {} if problem.lengths is None else {"lengths": problem.lengths}
    x, dy, lstm = problem.x, problem.dy, case.cell == "LSTM"
    if not problem.training:
        layer.eval()
        names = ["h_n", "c_n"]

        def inference_results(outputs) -> Arrays:
            y, state = outputs
            return {"y": y, **dict(zip(names, state if lstm else (state,), strict=False))}

        return Candidate(lambda: layer(x, **options), inference_results)

    state = (problem.h0, problem.c0) if lstm else problem.h0
    first_numbers = [parameter.reshape(-1)[:1] for parameter in layer.parameters.values()]
    nudge = np.float32(1e-6)

    def run():
        # An optimiser changes the weights between two calls. One number of each is changed here, by next to nothing,
        # so that weights packed for an earlier call cannot be used again.
        nonlocal nudge
        nudge = -nudge
        for number in first_numbers:
            number += nudge
        layer.zero_grad()
        y, _ = layer(x, state, **options)
        return y, layer.backward(dy)

    def results(outputs) -> Arrays:
        y, (dx, dstate) = outputs
        dstates = dstate if lstm else (dstate,)
        grads = {f"d{name}": grad.copy() for name, grad in layer.grads.items()}
        return {"y": y, "dx": dx, **dict(zip(["dh0", "dc0"], dstates, strict=False)), **grads}

    return Candidate(run, results)


def reference(problem: Problem) -> Candidate:
    """The NumPy specification, where it does not take too long."""
    if problem.case.gflop_forward * 1e9 > REFERENCE_LIMIT:
        raise NotAvailableError(f"too slow: only timed up to {REFERENCE_LIMIT:.0e} operations")
    return package(problem, "reference")


# -- PyTorch -----------------------------------------------------------------------------------------------------------


def _torch_module(problem: Problem):
    import torch

    case = problem.case
    options = {"proj_size": case.proj} if case.proj else {}
    module = getattr(torch.nn, case.cell)(
        case.I, case.H, num_layers=case.layers, bidirectional=case.bidirectional, **options
    )
    module.load_state_dict({name: torch.from_numpy(value) for name, value in problem.parameters.items()})
    return module.train(problem.training)


def pytorch(problem: Problem, compiled: bool = False) -> Candidate:
    """`torch.nn`'s layer, as it is or through `torch.compile`."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    case = problem.case
    module = _torch_module(problem)
    x, dy = torch.from_numpy(problem.x), torch.from_numpy(problem.dy)
    states = [torch.from_numpy(state) for state in problem.states]
    lengths = None if problem.lengths is None else torch.from_numpy(problem.lengths)
    lstm = case.cell == "LSTM"
    notes: dict[str, Any] = {}
    layer: Any = module
    if compiled:
        layer, notes = _compile(module, x)

    def forward(inputs, *state):
        if lengths is not None:
            inputs = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
        y, last = layer(inputs, *state)
        if lengths is not None:
            y, _ = pad_packed_sequence(y, total_length=case.T)
        return y, last

    if not problem.training:

        def run_inference():
            with torch.inference_mode():
                return forward(x)

        def inference_results(outputs) -> Arrays:
            y, last = outputs
            last = last if lstm else (last,)
            return {"y": y.numpy(), **{name: s.numpy() for name, s in zip(["h_n", "c_n"], last, strict=False)}}

        return Candidate(run_inference, inference_results, notes)

    def run():
        module.zero_grad(set_to_none=True)
        leaves = [x.detach().requires_grad_(), *(state.detach().requires_grad_() for state in states)]
        state = tuple(leaves[1:]) if lstm else leaves[1]
        y, _ = forward(leaves[0], state)
        y.backward(dy)
        return y, leaves

    def results(outputs) -> Arrays:
        y, leaves = outputs
        inputs = {name: leaf.grad.numpy() for name, leaf in zip(["dx", "dh0", "dc0"], leaves, strict=False)}
        grads = {f"d{name}": parameter.grad.numpy().copy() for name, parameter in module.named_parameters()}
        return {"y": y.detach().numpy(), **inputs, **grads}

    return Candidate(run, results, notes)


def _compile(module, x):
    """Compile a module. PyTorch breaks its graph at a recurrent layer unless it is told otherwise: both are tried."""
    import torch

    notes: dict[str, Any] = {}
    for allow in (True, False):
        torch._dynamo.reset()
        torch._dynamo.config.allow_rnn = allow
        layer = torch.compile(module)
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if module.training:
                    layer(x)[0].sum().backward()
                else:
                    with torch.inference_mode():
                        layer(x)
        except Exception as error:  # whatever the compiler raises is the result that is recorded
            notes[f"allow_rnn={allow}"] = f"{type(error).__name__}: {error}"[:300]
            continue
        notes["allow_rnn"] = allow
        notes["compile_seconds"] = time.perf_counter() - start
        return layer, notes
    raise NotAvailableError(f"torch.compile fails: {notes}")


# -- ONNX Runtime ------------------------------------------------------------------------------------------------------

# Blocks of PyTorch's stacked gates in ONNX's order: LSTM i, o, f, c; GRU z, r, h.
_ONNX_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


def onnx_model(problem: Problem) -> bytes:
    """The layers as an ONNX model with input ``x`` (and ``lengths``) and outputs ``y``, ``h_n`` (and ``c_n``)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    case = problem.case
    suffixes = ["", "_reverse"][: case.directions]
    nodes, initializers, names = [], [], []

    def constant(name: str, value: np.ndarray) -> str:
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def reordered(name: str) -> np.ndarray:
        blocks = np.split(problem.parameters[name], GATES[case.cell])
        return np.concatenate([blocks[gate] for gate in _ONNX_ORDER[case.cell]])

    wanted = ["h_n", "c_n"] if case.cell == "LSTM" else ["h_n"]
    attributes: dict[str, Any] = {"hidden_size": case.H}
    if case.bidirectional:
        attributes["direction"] = "bidirectional"
    if case.cell == "GRU":
        attributes["linear_before_reset"] = 1
    current = "x"
    for layer in range(case.layers):

        def stacked(kind: str, layer=layer) -> np.ndarray:
            return np.stack([reordered(f"{kind}_l{layer}{suffix}") for suffix in suffixes])

        W, R = constant(f"W{layer}", stacked("weight_ih")), constant(f"R{layer}", stacked("weight_hh"))
        bias = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1)
        inputs = [current, W, R, constant(f"B{layer}", bias), *(["lengths"] if case.variable else [])]
        outputs = [f"Y{layer}", *(f"{name}{layer}" for name in wanted)]
        nodes.append(helper.make_node(case.cell, inputs, outputs, **attributes))
        names.append(outputs[1:])
        # (T, D, B, H) to (T, B, D H)
        shape = constant(f"shape{layer}", np.array([case.T, case.B, case.directions * case.H], np.int64))
        nodes.append(helper.make_node("Transpose", [f"Y{layer}"], [f"Z{layer}"], perm=[0, 2, 1, 3]))
        current = "y" if layer == case.layers - 1 else f"y{layer}"
        nodes.append(helper.make_node("Reshape", [f"Z{layer}", shape], [current]))
    for position, name in enumerate(wanted):
        nodes.append(helper.make_node("Concat", [layer_names[position] for layer_names in names], [name], axis=0))

    def value(name: str, *shape: int, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [value("x", case.T, case.B, case.I)]
    if case.variable:
        inputs.append(value("lengths", case.B, kind=TensorProto.INT32))
    state = (case.layers * case.directions, case.B, case.H)
    outputs = [value("y", case.T, case.B, case.directions * case.H), *(value(name, *state) for name in wanted)]
    graph = helper.make_graph(nodes, case.cell, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return model.SerializeToString()


def onnxruntime(problem: Problem) -> Candidate:
    """ONNX Runtime's CPU provider with a session of as many threads as the case."""
    import onnxruntime as ort

    case = problem.case
    if problem.training:
        raise NotAvailableError("ONNX Runtime's package for inference computes no gradients")
    if case.proj:
        raise NotAvailableError("ONNX's LSTM has no projection")
    options = ort.SessionOptions()
    options.intra_op_num_threads = case.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Its threads may spin while it runs, but not in the others' time.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(onnx_model(problem), options, providers=["CPUExecutionProvider"])
    feeds = {"x": problem.x}
    if problem.lengths is not None:
        feeds["lengths"] = problem.lengths.astype(np.int32)
    names = [output.name for output in session.get_outputs()]
    return Candidate(lambda: session.run(None, feeds), lambda outputs: dict(zip(names, outputs, strict=True)))


BUILDERS: dict[str, Callable[[Problem], Candidate]] = {
    TORCH: pytorch,
    OURS: package,
    ONNX: onnxruntime,
    REFERENCE: reference,
    COMPILED: lambda problem: pytorch(problem, compiled=True),
}


def build(problem: Problem, names: tuple[str, ...] = ()) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Make all candidates of a case.

    Returns
    -------
    candidates, unavailable
        What can run, and for everything else the reason.
    """
    candidates, unavailable = {}, {}
    for name, builder in BUILDERS.items():
        if (names and name not in names) or (name == COMPILED and not problem.case.compiled):
            continue
        try:
            candidates[name] = builder(problem)
        except NotAvailableError as error:
            unavailable[name] = str(error)
        except ImportError as error:
            unavailable[name] = f"not installed: {error}"
    return candidates, unavailable
