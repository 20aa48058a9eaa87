"""Graphs of family ``steps``: the third pass replays what the second recorded, with new data, and is as right."""

from types import SimpleNamespace

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.gpu import graphs
from lstm_numba.gpu.device import EmulatedDevice, GpuDevice, use_device
from lstm_numba.gpu.graphs import GraphDriver, GraphError, Workspaces
from lstm_numba.gpu.plan import Chip
from lstm_numba.gradcheck import relative_error
from tests.conftest import TOLERANCE

OLD = Chip((7, 5), 40)  # without TF32: everything is family `steps`


class Watched(EmulatedDevice):
    """Counts what happens to graphs."""

    def __init__(self):
        super().__init__(OLD, seed=0)
        self.events = []

    def record(self, launches):
        graph = super().record(launches)
        self.events.append(("record", len(graph)))
        return graph

    def replay(self, graph):
        assert graph, "a graph that was given back"
        self.events.append(("replay", len(graph)))
        super().replay(graph)

    def forget(self, graph):
        self.events.append(("forget", len(graph)))
        super().forget(graph)


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(graphs, "SHORTEST", 2)
    monkeypatch.setattr("lstm_numba.gpu.layer.SHORTEST", 2)
    with use_device(Watched()) as device:
        yield device


def train(ours, expected, rng, T, B, lengths=None):
    """One pass there and back with new numbers on both, compared."""
    x = rng.normal(size=(T, B, ours.input_size)).astype(ours.dtype)
    for layer in (ours, expected):
        for parameter in layer.parameters.values():
            parameter += 0.01  # replays must see new weights
        layer.zero_grad()
    y, state = ours(x, lengths=lengths)
    y_expected, state_expected = expected(x, lengths=lengths)
    dy = rng.normal(size=y.shape).astype(y.dtype)
    dx, _ = ours.backward(dy)
    dx_expected, _ = expected.backward(dy)
    tolerance = TOLERANCE[str(ours.dtype)]
    assert relative_error(y, y_expected) < tolerance
    for one, other in zip(tuple(state), tuple(state_expected), strict=True):
        assert relative_error(one, other) < tolerance
    assert relative_error(dx, dx_expected) < tolerance
    for name, gradient in expected.grads.items():
        assert relative_error(ours.grads[name], gradient) < tolerance, name


def pair(kind, **options):
    make = {"lstm": ln.LSTM, "gru": ln.GRU, "rnn": ln.RNN}[kind]
    return make(2, 3, seed=0, backend="cuda", **options), make(2, 3, seed=0, backend="reference", **options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("lstm", {"bidirectional": True, "proj_size": 2}), ("gru", {"dtype": "float64"}), ("rnn", {"bias": False})],
    ids=str,
)
def test_launched_then_recorded_then_replayed(device, rng, kind, options):
    ours, expected = pair(kind, **options)
    T, B, directions = 3, 2, 2 if options.get("bidirectional") else 1
    for lengths in (None, np.array([3, 1]), None, np.array([2, 3])):  # lengths are data of the same graph
        train(ours, expected, rng, T, B, lengths)
    forward, backward = ("record", T), ("record", T + 1)
    again_forward, again_backward = ("replay", T), ("replay", T + 1)
    first = [forward, again_forward] * directions + [backward, again_backward] * directions
    later = [again_forward] * directions + [again_backward] * directions
    assert device.events == first + 2 * later


def test_another_shape_has_another_graph(device, rng):
    ours, expected = pair("lstm")
    for T, B in [(3, 2), (4, 2), (3, 2), (3, 1), (4, 2), (3, 2)]:
        train(ours, expected, rng, T, B)
    recorded = [size for what, size in device.events if what == "record"]
    replayed = [size for what, size in device.events if what == "replay"]
    assert recorded == [3, 4, 4, 5]  # of T = 3 and of T = 4; B = 1 came once only
    assert replayed == [3, 4, 4, 5, 3, 4]
    assert device.workspaces.idle == 3  # backward has used every forward up


def test_inference_has_its_own(device, rng):
    lstm, expected = pair("lstm")
    lstm.eval(), expected.eval()
    for _ in range(3):
        x = rng.normal(size=(4, 2, 2)).astype(np.float32)
        assert relative_error(lstm(x)[0], expected(x)[0]) < 1e-5
    assert device.events == [("record", 4), ("replay", 4), ("replay", 4)]
    lstm.train(), expected.train()
    train(lstm, expected, rng, 4, 2)
    assert device.events[3:] == []


def test_short_sequences_are_launched(device, rng):
    ours, expected = pair("lstm")
    for _ in range(3):
        train(ours, expected, rng, 1, 2)
    assert device.events == []


def test_a_pass_that_waits_for_its_way_back_keeps_its_workspace(device, rng):
    """As autograd does with two calls of one module."""
    from lstm_numba.contract import Weights
    from lstm_numba.gpu.layer import layer_forward, layer_gradients
    from lstm_numba.reference import layer as reference

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    T, B, I, H = 3, 2, 2, 3
    weights = (Weights(draw(4 * H, I), draw(4 * H, H), draw(4 * H), draw(4 * H)),)
    zeros = (np.zeros((1, B, H), np.float32),) * 2
    for _ in range(3):
        cache = caches = None  # only now are the workspaces of the last round free
        xs, dy = [draw(T, B, I) for _ in range(2)], draw(T, B, H)
        caches = [layer_forward("lstm", x, zeros, weights, None, True)[2] for x in xs]
        for x, cache in zip(xs, caches, strict=True):
            dx, _, _ = layer_gradients("lstm", dy, zeros, cache, weights)
            _, _, kept = reference.layer_forward("lstm", x, zeros, weights, None, True)
            assert relative_error(dx, reference.layer_gradients("lstm", dy, zeros, kept, weights)[0]) < 1e-5
            again, _, _ = layer_gradients("lstm", dy, zeros, cache, weights)
            np.testing.assert_array_equal(dx, again)
    assert device.workspaces.idle == 0
    cache = caches = None
    assert device.workspaces.idle == 2


def test_what_a_workspace_is_for_includes_the_stream(device):
    with device.on_stream(8):
        lease = device.workspaces.take(device, "key")
        first = lease.workspace
        del lease
        assert device.workspaces.take(device, "key").workspace is first
    assert device.workspaces.take(device, "key").workspace is not first


def test_a_workspace_used_on_two_streams_is_not_used_again(device):
    lease = device.workspaces.take(device, "key")
    with device.on_stream(8):
        lease.workspace.run("name", lambda: None)
    del lease
    assert device.workspaces.idle == 0


def test_too_many_and_too_large_ones_are_given_back(device, monkeypatch):
    monkeypatch.setattr(graphs, "IDLE_WORKSPACES", 2)
    monkeypatch.setattr(graphs, "IDLE_BYTES", 100)
    workspaces = Workspaces()

    def use(key, numbers):
        lease = workspaces.take(device, key)
        lease.workspace.array("x", (numbers,), np.float32)
        return lease.workspace

    a, b, c = (use(key, 5) for key in "abc")
    assert workspaces.idle == 2
    assert workspaces.take(device, "c").workspace is c
    assert workspaces.take(device, "a").workspace is not a  # it had waited longest
    large = use("large", 30)
    assert workspaces.take(device, "large").workspace is not large
    assert workspaces.take(device, "b").workspace is not b  # the large one made room before it went itself
    workspaces.release()
    assert workspaces.idle == 0


def test_what_cannot_be_recorded_is_launched(device, rng, monkeypatch):
    def refuse(launches):
        device.events.append(("refuse", 0))
        raise GraphError("cuStreamBeginCapture: the driver answered CUDA_ERROR_NOT_SUPPORTED")

    monkeypatch.setattr(device, "record", refuse)
    ours, expected = pair("rnn")
    train(ours, expected, rng, 3, 2)
    with pytest.warns(RuntimeWarning, match=r"no CUDA graph of rnn_tanh_steps_.*: cuStreamBeginCapture"):
        train(ours, expected, rng, 3, 2)
    train(ours, expected, rng, 3, 2)
    assert device.events == [("refuse", 0)] * 2  # forward and backward ask once each


# ---- the driver's calls, in the order and with the meaning that CUDA's manual gives them


class Driver:
    """A driver that writes down its calls and can be told to refuse one."""

    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_RELAXED=2)

    def __init__(self, refused=None):
        self.calls, self.refused = [], refused
        self.results = {"cuStreamCreate": 77, "cuStreamEndCapture": "graph", "cuGraphInstantiate": "executable"}

    def __getattr__(self, name):
        def call(*operands):
            self.calls.append((name, *operands))
            return (801 if name == self.refused else 0, *([self.results[name]] if name in self.results else []))

        return call

    @property
    def names(self):
        return [name for name, *_ in self.calls]


def test_recording_and_replaying():
    driver, streams = Driver(), []
    graph_driver = GraphDriver(driver)
    executable = graph_driver.record(streams.append)
    assert streams == [77]
    assert driver.calls == [
        ("cuStreamCreate", 1),
        ("cuStreamBeginCapture", 77, 2),
        ("cuStreamEndCapture", 77),
        ("cuGraphInstantiate", "graph", 0),
        ("cuGraphDestroy", "graph"),
    ]
    driver.calls.clear()
    graph_driver.replay(executable, 5)
    graph_driver.replay(executable, None)
    graph_driver.destroy(executable)
    assert driver.calls == [
        ("cuGraphLaunch", "executable", 5),
        ("cuGraphLaunch", "executable", 0),
        ("cuCtxSynchronize",),
        ("cuGraphExecDestroy", "executable"),
    ]
    graph_driver.record(streams.append)
    assert "cuStreamCreate" not in driver.names[4:]  # one stream for all recordings


@pytest.mark.parametrize(
    ("refused", "last"),
    [("cuStreamCreate", "cuStreamCreate"), ("cuStreamBeginCapture", "cuStreamBeginCapture"),
     ("cuStreamEndCapture", "cuStreamEndCapture"), ("cuGraphInstantiate", "cuGraphDestroy")],
)  # fmt: skip
def test_a_refusal_names_the_call_and_leaves_nothing_behind(refused, last):
    driver = Driver(refused)
    with pytest.raises(GraphError, match=f"{refused}: the driver answered 801"):
        GraphDriver(driver).record(lambda stream: None)
    assert driver.names[-1] == last


def test_an_error_while_recording_ends_the_recording():
    driver = Driver()

    def fail(stream):
        raise ValueError("no such kernel")

    with pytest.raises(ValueError, match="no such kernel"):
        GraphDriver(driver).record(fail)
    assert driver.names[-2:] == ["cuStreamEndCapture", "cuGraphDestroy"]


def test_the_real_driver_module_has_every_call_that_is_made():
    """No driver is needed to look."""
    calls = pytest.importorskip("cuda.bindings.driver")
    driver = Driver()
    made = GraphDriver(driver)
    made.destroy(made.record(lambda stream: None))
    made.replay("executable", 0)
    for name in driver.names:
        assert callable(getattr(calls, name))
    assert int(calls.CUstream_flags.CU_STREAM_NON_BLOCKING) == Driver.CUstream_flags.CU_STREAM_NON_BLOCKING
    relaxed = calls.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    assert int(relaxed) == Driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED


def test_a_gpu_launches_on_the_recording_stream_and_replays_on_its_own():
    """:class:`GpuDevice`, with everything below it pretended."""
    device = GpuDevice.__new__(GpuDevice)
    driver, streams = Driver(), []
    device._cuda = SimpleNamespace(external_stream=lambda pointer: f"stream {pointer}")
    device._stream, device.stream, device._graphs = 0, None, GraphDriver(driver)
    with device.on_stream(5):
        graph = device.record(lambda: streams.append((device.stream, device._stream)))
        device.replay(graph)
    assert streams == [(77, "stream 77")]
    assert driver.calls[-1] == ("cuGraphLaunch", "executable", 5)
    device.forget(graph)
    assert driver.names[-1] == "cuGraphExecDestroy"
