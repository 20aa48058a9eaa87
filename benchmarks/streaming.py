"""One time step per call, batch of one: what a sensor, an audio plug-in or a controller does.

The state stays with the caller or the stream; every call brings one input and returns one output. The time includes the
Python call.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import lstm_numba as ln
from benchmarks import store
from benchmarks.candidates import OURS, TORCH, NotAvailableError, Problem, onnx_model
from benchmarks.cases import Case
from benchmarks.machine import QuietMachine
from benchmarks.measure import paired_times, ratio, summary
from benchmarks.provenance import provenance
from benchmarks.recurrent import difference

SIZES = (8, 16, 32, 64, 128, 256)
STREAM = f"{OURS} stream"
IN_COMPILED_CODE = f"{OURS} stream, compiled loop"  # the same step, called from the user's own @njit loop
STEPS = 50  # steps of the check


def candidates_of(problem: Problem) -> tuple[dict, dict]:
    """Functions from one input (1, I) to one output (1, H) that carry their state along, and what is missing."""
    import onnxruntime
    import torch

    case = problem.case
    found, missing = {}, {}

    layer = ln.LSTM(case.I, case.H, seed=0).eval()
    layer.load_state_dict(problem.parameters)
    state = None

    def layer_step(x):
        nonlocal state
        y, state = layer(x[None], state)
        return y[0]

    found[f"{OURS} layer, T=1"] = layer_step
    if hasattr(layer, "stream"):
        found[STREAM] = layer.stream(batch_size=1).step
    else:
        missing[STREAM] = "lstm_numba.LSTM has no stream()"

    with torch.inference_mode():
        module = torch.nn.LSTM(case.I, case.H).eval()
        module.load_state_dict({name: torch.from_numpy(value) for name, value in problem.parameters.items()})
        cell = torch.nn.LSTMCell(case.I, case.H).eval()
        cell.load_state_dict(
            {name.removesuffix("_l0"): torch.from_numpy(value) for name, value in problem.parameters.items()}
        )
    module_state = cell_state = None

    def module_step(x):
        nonlocal module_state
        with torch.inference_mode():
            y, module_state = module(torch.from_numpy(x[None]), module_state)
            return y[0].numpy()

    def cell_step(x):
        nonlocal cell_state
        with torch.inference_mode():
            cell_state = cell(torch.from_numpy(x), cell_state)
            return cell_state[0].numpy()

    found[f"{TORCH}.nn.LSTM"], found[f"{TORCH}.nn.LSTMCell"] = module_step, cell_step

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(_with_state(problem), options, providers=["CPUExecutionProvider"])
    h = c = np.zeros((1, 1, case.H), np.float32)

    def session_step(x):
        nonlocal h, c
        y, h, c = session.run(None, {"x": x[None], "h_0": h, "c_0": c})
        return y[0]

    found["onnxruntime"] = session_step
    return found, missing


def _with_state(problem: Problem) -> bytes:
    """The ONNX model with the initial state as inputs."""
    import onnx

    model = onnx.load_from_string(onnx_model(problem))
    node = next(node for node in model.graph.node if node.op_type == "LSTM")
    node.input.extend(["", "h_0", "c_0"])
    for name in ("h_0", "c_0"):
        shape = (1, 1, problem.case.H)
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def compiled_loop(problem: Problem):
    """A function from inputs (steps, 1, I) to outputs (steps, 1, H): a loop of the user's own, compiled with Numba.

    Raises NotAvailableError while the package has no step for compiled code.
    """
    from numba import njit

    try:
        from lstm_numba.cpu.stream import stream_step
    except ImportError as error:
        raise NotAvailableError("lstm_numba has no step for compiled code") from error
    layer = ln.LSTM(problem.case.I, problem.case.H, seed=0).eval()
    layer.load_state_dict(problem.parameters)
    stream = layer.stream(batch_size=1)  # the loop's handle points into it, so it must live as long

    @njit
    def loop(handle, xs, ys):
        for t in range(len(xs)):
            ys[t] = stream_step(handle, xs[t])

    def run(xs, stream=stream):
        ys = np.empty((len(xs), 1, problem.case.H), np.float32)
        loop(stream.handle, xs, ys)
        return ys

    return run


def time_size(H: int, *, rounds: int, seconds: float, quiet: QuietMachine | None) -> dict:
    """Check that all candidates say the same over a few steps, then time one step."""
    problem = Problem(Case("streaming", "LSTM", "inference", 1, 1, H, H, threads=1))
    functions, missing = candidates_of(problem)
    xs = np.random.default_rng(H).normal(size=(STEPS, 1, H)).astype(np.float32)
    outputs = {name: np.array([np.array(step(x)).reshape(H) for x in xs]) for name, step in functions.items()}
    failures = {}
    expected = outputs[f"{TORCH}.nn.LSTM"]
    for name, values in outputs.items():
        if (error := difference(values, expected)) > 1e-4:
            failures[name] = f"differs from {TORCH} by {error:.1e}"
    try:
        steps = compiled_loop(problem)
    except NotAvailableError as error:
        missing[IN_COMPILED_CODE] = str(error)
        steps = None
    if steps is not None and (error := difference(steps(xs).reshape(STEPS, H), expected)) > 1e-4:
        failures[IN_COMPILED_CODE] = f"differs from {TORCH} by {error:.1e}"
        steps = None
    x = xs[0]
    runs = {name: lambda step=step: step(x) for name, step in functions.items() if name not in failures}
    if steps is not None:
        runs[IN_COMPILED_CODE] = lambda: steps(xs)
    samples = paired_times(runs, rounds, seconds, quiet=quiet)
    if steps is not None:
        samples.seconds[IN_COMPILED_CODE] = [value / STEPS for value in samples.seconds[IN_COMPILED_CODE]]
    row = {"H": H, "failures": failures, "unavailable": missing, "load": samples.load, "disturbed": samples.disturbed}
    row["times"] = {name: summary(values) for name, values in samples.seconds.items()}
    if STREAM in samples.seconds:
        ours = samples.seconds[STREAM]
        row["ratios"] = {name: ratio(values, ours) for name, values in samples.seconds.items() if name != STREAM}
    return row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="two sizes")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/streaming.json")


def main(options: argparse.Namespace) -> int:
    """Measure in a process with one thread, write, and return the number of failures."""
    task = {
        "sizes": SIZES[2:4] if options.quick else SIZES,
        "rounds": 3 if options.quick else 9,
        "quick": options.quick,
    }
    process = subprocess.run(
        store.python_command("-m", "benchmarks.streaming"),
        input=json.dumps(task),
        env=store.process_environment(1),
        cwd=store.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    rows = json.loads(process.stdout.splitlines()[-1])
    out = options.out or (store.SCRATCH if options.quick else store.RESULTS) / "streaming.json"
    store.write_json(out, {"about": __doc__.splitlines()[0], "provenance": provenance(0), "rows": rows})
    for row in rows:
        shown = "  ".join(f"{name} {value['median_us']:.2f} us" for name, value in row["times"].items())
        print(f"H={row['H']:4}  {shown}  {row['unavailable'] or ''} {row['failures'] or ''}")
    return sum(len(row["failures"]) for row in rows)


def _worker(task: dict) -> None:
    import torch

    torch.set_num_threads(1)
    ln.set_num_threads(1)
    quiet = QuietMachine.of_a_run(task["quick"])
    rows = [time_size(H, rounds=task["rounds"], seconds=0.01, quiet=quiet) for H in task["sizes"]]
    print(json.dumps(rows))


if __name__ == "__main__":
    _worker(json.load(sys.stdin))
