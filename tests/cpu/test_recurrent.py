"""The fast layers against the reference over shapes that reach every tail, and against themselves.

Threads share sequences or units, and take over each other's parts: none of this may change a bit of a result.
"""

import copy
import gc
import multiprocessing
import pickle
import subprocess
import sys
import threading
import weakref

import joblib
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstm_numba as ln
from lstm_numba.cpu import recurrent
from lstm_numba.cpu.launch import launch
from lstm_numba.cpu.recurrent import Sharing
from lstm_numba.cpu.simd import lanes
from lstm_numba.gradcheck import relative_error
from tests.conftest import TOLERANCE

LAYERS = {
    "lstm": (ln.LSTM, {}),
    "projected": (ln.LSTM, {"proj_size": True}),
    "gru": (ln.GRU, {}),
    "gru, reset before": (ln.GRU, {"reset_after": False}),
    "tanh": (ln.RNN, {}),
    "relu": (ln.RNN, {"nonlinearity": "relu"}),
}
TWO_CORES = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core: there is no second thread")


def parts_of(state):
    return list(state) if isinstance(state, tuple) else [state]


def draw_problem(layer, T, B, lengths, rng):
    """Input, initial state and all upstream gradients of a layer."""
    D, P = 1 + layer.bidirectional, layer.proj_size or layer.hidden_size

    def draw(*shape):
        return rng.normal(size=shape).astype(layer.dtype)

    widths = [P, layer.hidden_size] if isinstance(layer, ln.LSTM) else [P]
    state, dstate = ([draw(D * layer.num_layers, B, width) for width in widths] for _ in range(2))
    pack = tuple if len(widths) == 2 else (lambda parts: parts[0])
    steps = np.concatenate([[T], rng.integers(1, T + 1, B)])[:B] if lengths else None
    return draw(T, B, layer.input_size), pack(state), draw(T, B, D * P), pack(dstate), steps


def run(layer, problem):
    """Everything a layer computes: forward in both modes, and all gradients."""
    x, state, dy, dstate, lengths = problem
    quiet, final = layer.eval()(x, state, lengths=lengths)
    results = [quiet, *parts_of(final)]
    layer.train().zero_grad()
    y, final = layer(x, state, lengths=lengths)
    dx, initial = layer.backward(dy, dstate)
    return [*results, y, *parts_of(final), dx, *parts_of(initial), *(g.copy() for g in layer.grads.values())]


@pytest.mark.parametrize("kind", LAYERS)
@settings(max_examples=40)
@given(
    T=st.integers(1, 12),
    B=st.one_of(st.integers(0, 4), st.integers(5, 30)),
    I=st.one_of(st.integers(1, 6), st.integers(60, 70)),
    H=st.one_of(st.integers(2, 9), st.integers(14, 35), st.integers(60, 140)),
    bidirectional=st.booleans(),
    lengths=st.booleans(),
    bias=st.booleans(),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    sharing=st.sampled_from([Sharing(1, 1, False), Sharing(1, 2, False), Sharing(1, 2, True), Sharing(2, 1, False)]),
    alone=st.sampled_from(["nobody", "forward", "backward"]),
    slices=st.integers(1, 3),
    own_sums=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_reference(
    kind, T, B, I, H, bidirectional, lengths, bias, dtype, sharing, alone, slices, own_sums, seed
):
    make, options = LAYERS[kind]
    rng = np.random.default_rng(seed)
    options = {name: int(rng.integers(1, H)) if name == "proj_size" else value for name, value in options.items()}
    settings = {"bidirectional": bidirectional, "bias": bias, "dtype": dtype, "seed": seed} | options
    fast, slow = make(I, H, **settings), make(I, H, backend="reference", **settings)
    problem = draw_problem(fast, T, B, lengths and B > 0, rng)
    if sharing.by_units and kind == "projected":
        sharing = sharing._replace(by_units=False)
    if sharing.members > B and not sharing.by_units:
        sharing = Sharing(1, 1, False)
    if sharing.teams > 1 + bidirectional:
        sharing = Sharing(1, 1, False)
    if (sharing.by_units and own_sums) or kind == "projected" or slices > B:
        slices = 1
    with pytest.MonkeyPatch.context() as patch:
        # Each pass may find the other threads busy: then one thread works on what several have left, or the other way.
        passes = {
            "forward": recurrent.ALONE if alone == "forward" else sharing,
            "backward": recurrent.ALONE if alone == "backward" else sharing,
        }
        patch.setattr(recurrent.Job, "sharing", lambda job, *_: passes["forward" if job.x is None else "backward"])
        patch.setattr(recurrent, "choose_slices", lambda *problem: slices)
        patch.setattr(recurrent, "SERIAL_FLOPS", 0)
        patch.setattr(recurrent, "_MOST_WEIGHTS", 2**40 if own_sums else 0)
        ours = run(fast, problem)
    for one, other in zip(ours, run(slow, problem), strict=True):
        assert one.dtype == other.dtype
        assert relative_error(one, other) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
def test_a_projection_with_more_panels_than_the_units_before_it(dtype, rng):
    """7 vectors are three panels (4, 2, 1), 8 are two: what the backward pass finishes and what it scans differ."""
    U = lanes(np.dtype(dtype).itemsize)
    P, H = 7 * U, 8 * U - min(3, U - 1)
    settings = {"bidirectional": True, "proj_size": P, "dtype": dtype, "seed": 0}
    fast, slow = ln.LSTM(5, H, **settings), ln.LSTM(5, H, backend="reference", **settings)
    problem = draw_problem(fast, 9, 6, True, rng)
    for one, other in zip(run(fast, problem), run(slow, problem), strict=True):
        assert relative_error(one, other) < TOLERANCE[dtype]


@pytest.mark.parametrize(
    ("T", "B", "H", "slices"),
    [
        (128, 3, 32, 1),
        (128, 4, 32, 2),
        (128, 15, 32, 2),
        (128, 47, 32, 2),
        (128, 64, 32, 4),
        (128, 256, 32, 8),
        (8, 64, 32, 2),
        (128, 64, 128, 4),
        (128, 64, 256, 1),
    ],
)
def test_slices_of_the_batch(T, B, H, slices):
    """Powers of two, so that threads get equal shares; none where they would cost more than they gain."""
    assert recurrent.choose_slices(T, B, H, H) == slices


def test_the_caller_may_change_the_output(rng):
    layer = ln.LSTM(5, 16, seed=0)
    x, dy = rng.normal(size=(40, 9, 5)).astype("float32"), rng.normal(size=(40, 9, 16)).astype("float32")
    results = []
    for change in (False, True):
        layer.zero_grad()
        y, _ = layer(x)
        if change:
            y[...] = np.nan
        results.append([layer.backward(dy)[0], *(g.copy() for g in layer.grads.values())])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@TWO_CORES
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("shape", [(40, 33, 5, 16), (11, 1, 40, 300), (9, 21, 30, 270), (30, 40, 64, 64)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_results_do_not_depend_on_the_number_of_threads(rng, kind, shape, bidirectional):
    """Bit for bit. A weight gradient summed per thread would fail here."""
    T, B, I, H = shape
    make, options = LAYERS[kind]
    options = {name: 10 if name == "proj_size" else value for name, value in options.items()}
    layer = make(I, H, bidirectional=bidirectional, seed=0, **options)
    before = ln.get_num_threads()
    for lengths in (False, True):
        problem = draw_problem(layer, T, B, lengths, rng)
        results = []
        try:
            for threads in (1, 2):
                ln.set_num_threads(threads)
                results.append(run(layer, problem))
        finally:
            ln.set_num_threads(before)
        for one, two in zip(*results, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("by_units", [False, True])
def test_one_thread_does_the_work_of_a_whole_team(rng, by_units, monkeypatch):
    """Members that never come, or come one after another, cost time but no result and no dead-lock."""
    layer = ln.LSTM(20, 64, seed=0)
    problem = draw_problem(layer, 6, 7, False, rng)
    expected = run(copy.deepcopy(layer), problem)
    monkeypatch.setattr(recurrent.Job, "sharing", lambda *problem: Sharing(1, 3, by_units))
    monkeypatch.setattr(recurrent, "SERIAL_FLOPS", 0)
    monkeypatch.setattr(recurrent, "take_threads", lambda wanted: wanted)
    monkeypatch.setattr(recurrent, "release_threads", lambda threads: None)
    monkeypatch.setattr(recurrent, "launch", lambda address, plan, threads: launch(address, plan, 1))
    for one, other in zip(run(layer, problem), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_packed_weights_follow_the_parameters(rng):
    layer = ln.GRU(7, 33, bidirectional=True, seed=0).eval()
    x = rng.normal(size=(3, 2, 7)).astype("float32")
    before, _ = layer(x)
    for name, parameter in layer.parameters.items():
        kept = parameter.copy()
        parameter.flat[parameter.size - 1] += np.float32(0.5)
        after, _ = layer(x)
        assert np.abs(after - before).max() > 0, name
        fresh = ln.GRU(7, 33, bidirectional=True)
        fresh.load_state_dict(layer.state_dict())
        np.testing.assert_array_equal(after, fresh.eval()(x)[0])
        parameter[...] = kept
    np.testing.assert_array_equal(layer(x)[0], before)


def test_layers_in_several_python_threads(rng):
    layer = ln.LSTM(16, 64, num_layers=2, seed=0).eval()
    inputs = [rng.normal(size=(20, 8, 16)).astype("float32") for _ in range(4)]
    expected = [layer(x)[0] for x in inputs]
    wrong = []

    def work(number):
        for _ in range(20):
            if not np.array_equal(layer(inputs[number])[0], expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def _in_child(queue, layer, problem):
    queue.put([result.tobytes() for result in run(layer, problem)])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_layers_work_in_a_forked_child(rng):
    layer = ln.LSTM(32, 128, seed=0)
    problem = draw_problem(layer, 30, 32, False, rng)
    expected = [result.tobytes() for result in run(layer, problem)]  # also starts the thread pool in the parent
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue, layer, problem))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join(60)
    assert child.exitcode == 0


def test_layers_work_in_joblib_workers(rng):
    layer = ln.LSTM(32, 128, seed=0).eval()
    inputs = [rng.normal(size=(30, 32, 32)).astype("float32") for _ in range(3)]
    expected = [layer(x)[0] for x in inputs]  # also starts the thread pool in the parent
    try:
        found = joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(layer)(x) for x in inputs)
    finally:
        joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    for (y, _), y_expected in zip(found, expected, strict=True):
        np.testing.assert_array_equal(y, y_expected)


def test_denormals_are_flushed_inside_and_kept_outside(rng):
    """A decaying cell state passes through denormal numbers; inside a kernel they are zero."""
    layer = ln.LSTM(1, 16, bias=True, seed=0).eval()
    for name, parameter in layer.parameters.items():
        parameter[...] = 0
        if name == "bias_ih_l0":
            parameter[:16] = -200  # nothing is written
            parameter[16:32] = 0  # the cell state halves at every step
    c0 = np.full((1, 1, 16), 2e-38, np.float32)
    _, (_, c_n) = layer(np.zeros((4, 1, 1), np.float32), (np.zeros((1, 1, 16), np.float32), c0))
    np.testing.assert_array_equal(c_n, 0)
    tiny = np.full(1, 1e-38, np.float32) / np.float32(4)  # this thread still computes with denormals
    assert tiny[0] > 0


@pytest.mark.parametrize(
    "first", ["ln.set_num_threads(1)", "ln.get_num_threads()", "ln.LSTM(64, 128, seed=0)(x)", "ln.MinGRU(64, 128)(x)"]
)
def test_the_number_of_threads_of_torch_stays(first):
    """Numba starts its threads at the first call that asks about them, and sets the process's number of threads."""
    code = f"""
import numpy as np, torch
torch.set_num_threads(1)
import lstm_numba as ln
x = np.zeros((50, 32, 64), np.float32)
{first}
layer = ln.LSTM(64, 128, seed=0)
y, _ = layer(x)
layer.backward(y)
print(torch.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_memory_does_not_grow_with_calls(rng):
    layer = ln.LSTM(8, 24, bidirectional=True, seed=0)
    x = rng.normal(size=(12, 5, 8)).astype("float32")
    for _ in range(3):
        y, _ = layer(x)
        layer.backward(y)
    jobs = layer._layer_weights[0].scratch["cpu"]
    assert len(jobs) == 1
    size = jobs[0].forward_memory.nbytes + jobs[0].backward_memory.nbytes
    for _ in range(20):
        y, _ = layer(x)
        layer.backward(y)
    assert layer._layer_weights[0].scratch["cpu"] == jobs
    assert jobs[0].forward_memory.nbytes + jobs[0].backward_memory.nbytes == size


def test_a_dropped_layer_frees_its_memory_at_once(rng):
    """Without the garbage collector: megabytes must not wait for it."""
    layer = ln.LSTM(8, 24, num_layers=2, seed=0)
    y, _ = layer(rng.normal(size=(12, 5, 8)).astype("float32"))
    layer.backward(y)
    layer(rng.normal(size=(12, 5, 8)).astype("float32"))
    jobs = [weakref.ref(weights.scratch["cpu"][0]) for weights in layer._layer_weights if weights.scratch["cpu"]]
    jobs += [weakref.ref(cache.job) for cache in layer._saved.caches]
    gc.disable()
    try:
        del layer, y
        assert len(jobs) == 2
        assert all(job() is None for job in jobs)
    finally:
        gc.enable()


def test_copies_of_a_layer_share_nothing(rng):
    layer = ln.RNN(5, 20, seed=0)
    x = rng.normal(size=(4, 3, 5)).astype("float32")
    y, _ = layer(x)
    twin = copy.deepcopy(layer)
    for parameter in twin.parameters.values():
        parameter[...] = 0
    np.testing.assert_array_equal(layer(x)[0], y)
    np.testing.assert_array_equal(twin(x)[0], 0)


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (10**6, ValueError), (1.0, TypeError), (True, TypeError)])
def test_set_num_threads_rejects(n, error):
    with pytest.raises(error, match=r"^n: expected"):
        ln.set_num_threads(n)


def test_packed_weights_follow_every_change(rng):
    """Whoever changes them: load_state_dict, or the holder of an array that the layer has given away, however old."""
    layer, fresh = ln.LSTM(5, 20, seed=0).eval(), ln.LSTM(5, 20, seed=1).eval()
    x = rng.normal(size=(6, 3, 5)).astype("float32")
    layer(x)
    layer.load_state_dict(fresh.state_dict())
    assert np.array_equal(layer(x)[0], fresh(x)[0])
    copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    W_hh = layer.parameters["weight_hh_l0"]
    for _ in range(2):
        W_hh *= 1.5
        fresh.load_state_dict(layer.state_dict())
        assert np.array_equal(layer(x)[0], fresh(x)[0])
    for other in copies:
        before = other(x)[0]
        other.parameters["weight_hh_l0"][...] = W_hh
        after = other(x)[0]
        assert np.array_equal(after, fresh(x)[0])
        assert not np.array_equal(after, before)


def test_weights_that_nobody_holds_are_not_read_again(rng, monkeypatch):
    layer = ln.LSTM(5, 20, seed=0).eval()
    x = rng.normal(size=(6, 3, 5)).astype("float32")
    looks = []
    monkeypatch.setattr(recurrent, "fingerprint", lambda *_: looks.append(1) or 7)
    layer(x)
    layer.state_dict()
    layer.load_state_dict(layer.state_dict())
    repr(layer)
    layer(x)
    assert looks == []
    assert layer.parameters
    layer(x)
    assert looks == [1]
