"""The emulator: barriers wait, messages arrive, and every kind of mistake it promises to report is reported."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from numba import cuda, float32, int32, uint32

from lstm_numba.gpu.emulator import Deadlock, Emulator, Race, fragment_positions, fragment_positions_bf16
from lstm_numba.gpu.ptx import (
    add_release,
    cluster_arrive,
    cluster_rank,
    cluster_wait,
    element_address,
    load4_shared,
    load_acquire,
    mma_bf16,
    mma_tf32,
    pack_bf16,
    remote_address,
    shared_address,
    store_remote,
    to_tf32,
)


def neighbour_sum(x, y):
    """Each thread adds its right neighbour's number to its own."""
    shared = cuda.shared.array(64, float32)
    i = cuda.threadIdx.x
    shared[i] = x[cuda.grid(1)]
    cuda.syncthreads()
    y[cuda.grid(1)] = shared[i] + shared[(i + 1) % cuda.blockDim.x]


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_shared_memory_and_block_barrier(seed):
    x = np.arange(128, dtype=np.float32)
    y = np.full_like(x, np.nan)
    Emulator(seed=seed).launch(neighbour_sum, 2, 64, (x, y))
    np.testing.assert_array_equal(y, x + np.roll(x.reshape(2, 64), -1, axis=1).reshape(-1))


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_a_dropped_block_barrier_is_a_race(seed):
    x = np.arange(64, dtype=np.float32)
    with pytest.raises(Race, match="common barrier"):
        Emulator(seed=seed).launch(neighbour_sum, 1, 64, (x, x.copy()), replaced={"syncthreads": lambda: None})


def overwrite(x):
    """The second round writes what a neighbour may still be reading."""
    shared = cuda.shared.array(32, float32)
    i = cuda.threadIdx.x
    for _ in range(2):
        shared[i] = x[i]
        cuda.syncthreads()
        x[i] += shared[31 - i]


def test_writing_over_what_another_thread_read_is_a_race():
    with pytest.raises(Race, match="common barrier"):
        Emulator().launch(overwrite, 1, 32, (np.ones(32, np.float32),))


def test_race_reports_can_be_switched_off():
    x = np.ones(32, np.float32)
    Emulator(check_races=False).launch(overwrite, 1, 32, (x,))


def test_without_greenlet_the_message_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "greenlet", None)
    with pytest.raises(ImportError, match="the emulator needs the package greenlet: pip install greenlet"):
        Emulator().launch(overwrite, 1, 1, (np.ones(1, np.float32),))


def test_what_nobody_wrote_is_nan():
    def read(y):
        y[0] = cuda.shared.array(4, float32)[1]
        y[1] = cuda.local.array(4, float32)[2]

    y = np.zeros(2, np.float32)
    Emulator().launch(read, 1, 1, (y,))
    assert np.isnan(y).all()


@pytest.mark.parametrize("index", [-1, 4])
def test_shared_memory_has_bounds(index):
    def read(y, index):
        y[0] = cuda.shared.array(4, float32)[index]

    with pytest.raises(IndexError, match="out of bounds"):
        Emulator().launch(read, 1, 1, (np.zeros(1), index))


def test_too_much_shared_memory():
    def allocate():
        cuda.shared.array(60_000, float32)

    with pytest.raises(MemoryError, match="240000 bytes"):
        Emulator().launch(allocate, 1, 1, ())


def test_half_of_the_threads_at_a_barrier_is_a_deadlock():
    def half():
        if cuda.threadIdx.x < 16:
            cuda.syncthreads()

    with pytest.raises(Deadlock, match="wait for ever"):
        Emulator().launch(half, 1, 32, ())


def test_a_flag_that_nobody_raises_is_a_deadlock():
    def wait(flag):
        while load_acquire(element_address(flag, 0)) == uint32(0):
            pass

    with pytest.raises(Deadlock):
        Emulator().launch(wait, 2, 1, (np.zeros(1, np.uint32),))


def relay(x, counter, steps):
    """Blocks pass numbers to the right: a barrier between blocks, made of a counter, after each step."""
    me, blocks = cuda.blockIdx.x, cuda.gridDim.x
    for s in range(steps):
        x[s + 1, (me + 1) % blocks] = x[s, me] + 1
        add_release(element_address(counter, 0), uint32(1))
        while load_acquire(element_address(counter, 0)) < uint32((s + 1) * blocks):
            pass


@pytest.mark.parametrize("seed", range(4))
def test_blocks_run_at_the_same_time_and_wait_on_flags(seed):
    x = np.full((6, 5), np.nan)
    x[0] = np.arange(5)
    Emulator(seed=seed).launch(relay, 5, 1, (x, np.zeros(1, np.uint32), 5))
    np.testing.assert_array_equal(x[5], np.arange(5) + 5)


def test_a_dropped_flag_is_seen_in_the_result():
    """Global memory is not searched for races, so it is the poison that gives the mistake away."""
    x = np.full((6, 5), np.nan)
    x[0] = np.arange(5)
    everything = np.array([10**6], np.uint32)  # the counter says that all have come
    Emulator(seed=1).launch(relay, 5, 1, (x, everything, 5))
    assert np.isnan(x[5]).any()


def test_grid_barrier():
    def rounds(x, y):
        grid = cuda.cg.this_grid()
        i = cuda.grid(1)
        for _ in range(3):
            y[i] = x[(i + 1) % x.shape[0]]
            grid.sync()
            x[i] = y[i]
            grid.sync()

    x = np.arange(12.0)
    Emulator(seed=3).launch(rounds, 3, 4, (x, np.full_like(x, np.nan)))
    np.testing.assert_array_equal(x, np.roll(np.arange(12.0), -3))


def test_shuffles_and_votes():
    def lanes(out):
        i = cuda.laneid
        out[0, i] = cuda.shfl_xor_sync(0xFFFFFFFF, i, 5)
        out[1, i] = cuda.shfl_down_sync(0xFFFFFFFF, i, 3)
        out[2, i] = cuda.shfl_up_sync(0xFFFFFFFF, i, 3)
        out[3, i] = cuda.shfl_sync(0xFFFFFFFF, i, 7)
        out[4, i] = cuda.ballot_sync(0xFFFFFFFF, i % 2 == 0)

    out = np.zeros((5, 32), np.int64)
    Emulator().launch(lanes, 1, 32, (out,))
    i = np.arange(32)
    np.testing.assert_array_equal(out[0], i ^ 5)
    np.testing.assert_array_equal(out[1], np.where(i < 29, i + 3, i))
    np.testing.assert_array_equal(out[2], np.where(i >= 3, i - 3, i))
    np.testing.assert_array_equal(out[3], 7)
    assert (out[4] == 0x55555555).all()


def ring(y):
    """Each block of a cluster writes its rank into its right neighbour's shared memory."""
    shared = cuda.shared.array(4, float32)
    rank = int32(cluster_rank())
    cluster_arrive()
    cluster_wait()
    store_remote(remote_address(shared_address(shared), uint32((rank + 1) % 4)), float32(rank))
    cluster_arrive()
    cluster_wait()
    y[cuda.blockIdx.x] = shared[0]


@pytest.mark.parametrize("seed", [None, 0])
def test_clusters_see_each_others_shared_memory(seed):
    y = np.full(8, np.nan)
    Emulator(seed=seed).launch(ring, 8, 1, (y,), cluster=4)
    np.testing.assert_array_equal(y, [3, 0, 1, 2, 3, 0, 1, 2])


@pytest.mark.parametrize("dropped", ["cluster_wait", "cluster_arrive"])
def test_a_dropped_half_of_a_cluster_barrier_is_reported(dropped):
    with pytest.raises((Race, Deadlock, IndexError)):  # an index: the other block has not even allocated its memory
        Emulator(seed=0).launch(ring, 8, 1, (np.full(8, np.nan),), cluster=4, replaced={dropped: lambda: None})


def test_an_incomplete_cluster_is_refused():
    with pytest.raises(ValueError, match="multiple of the cluster's 4 blocks, got 6"):
        Emulator().launch(ring, 6, 1, (np.zeros(6),), cluster=4)


def test_misaligned_vector_access_is_refused():
    def read(y):
        shared = cuda.shared.array(8, float32)
        y[0] = load4_shared(shared_address(shared) + uint32(4))[0]

    with pytest.raises(IndexError, match="not aligned to 16"):
        Emulator().launch(read, 1, 1, (np.zeros(1),))


def tile_product(A, B, C):
    """C (16, 8) = A (16, 8) @ B (8, 8) by one warp; registers by hand, from the figures of the PTX manual."""
    lane = int32(cuda.threadIdx.x)
    g, t = lane >> 2, lane & 3
    zero = float32(0)
    c = mma_tf32(
        to_tf32(A[g, t]), to_tf32(A[g + 8, t]), to_tf32(A[g, t + 4]), to_tf32(A[g + 8, t + 4]),
        to_tf32(B[t, g]), to_tf32(B[t + 4, g]), zero, zero, zero, zero,
    )  # fmt: skip
    C[g, 2 * t], C[g, 2 * t + 1], C[g + 8, 2 * t], C[g + 8, 2 * t + 1] = c


def tile_product_bf16(A, B, C):
    """C (16, 8) = A (16, 16) @ B (16, 8) by one warp; registers by hand, from the figures of the PTX manual."""
    lane = int32(cuda.threadIdx.x)
    g, t = lane >> 2, 2 * (lane & 3)
    zero = float32(0)
    c = mma_bf16(
        pack_bf16(A[g, t], A[g, t + 1]), pack_bf16(A[g + 8, t], A[g + 8, t + 1]),
        pack_bf16(A[g, t + 8], A[g, t + 9]), pack_bf16(A[g + 8, t + 8], A[g + 8, t + 9]),
        pack_bf16(B[t, g], B[t + 1, g]), pack_bf16(B[t + 8, g], B[t + 9, g]), zero, zero, zero, zero,
    )  # fmt: skip
    C[g, t], C[g, t + 1], C[g + 8, t], C[g + 8, t + 1] = c


def test_tensor_core_product_of_bfloat16(rng):
    A, B = rng.integers(-9, 9, (16, 16)).astype(np.float32), rng.integers(-9, 9, (16, 8)).astype(np.float32)
    C = np.full((16, 8), np.nan, np.float32)
    Emulator().launch(tile_product_bf16, 1, 32, (A, B, C))
    np.testing.assert_array_equal(C, A @ B)  # small integers are exact in bfloat16


def test_bfloat16_rounding():
    """To the nearest, ties to even, as PyTorch does on the CPU."""

    def round_all(x, y):
        y[cuda.threadIdx.x] = pack_bf16(x[cuda.threadIdx.x], float32(1))

    x = np.array([1, 1 + 2**-7, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-9, np.inf, np.nan, 0, 1e-40, 3e38], np.float32)
    x = np.concatenate([x, np.random.default_rng(0).normal(size=100).astype(np.float32)])
    y = np.zeros(len(x), np.uint32)
    Emulator().launch(round_all, 1, len(x), (x, y))
    assert (y >> 16 == 0x3F80).all()  # the second operand is in the upper half
    expected = torch.from_numpy(x).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal((y << 16).view(np.float32), expected)


def test_tensor_core_product(rng):
    A, B = rng.integers(-9, 9, (16, 8)).astype(np.float32), rng.integers(-9, 9, (8, 8)).astype(np.float32)
    C = np.full((16, 8), np.nan, np.float32)
    Emulator().launch(tile_product, 1, 32, (A, B, C))
    np.testing.assert_array_equal(C, A @ B)  # small integers are exact in TF32


def _layout(shape, stride, rows):
    """Positions that a nested layout gives to (thread, value), as (row, column) of a column-major tile."""
    threads, values = shape
    thread = np.arange(32)
    base = thread % threads[0] * stride[0][0] + thread // threads[0] * stride[0][1]
    offsets = [
        sum(k // int(np.prod(values[:axis])) % extent * stride[1][axis] for axis, extent in enumerate(values))
        for k in range(int(np.prod(values)))
    ]
    flat = base[:, None] + np.array(offsets)
    return np.stack([flat % rows, flat // rows], axis=-1)


def test_fragment_layouts_agree_with_an_independent_source():
    """CUTLASS states the layouts of SM80_16x8x8_F32TF32TF32F32_TN as shapes and strides (mma_traits_sm80.hpp)."""
    a, b, c = fragment_positions()
    np.testing.assert_array_equal(a, _layout(((4, 8), (2, 2)), ((16, 1), (8, 64)), rows=16))
    np.testing.assert_array_equal(b[..., ::-1], _layout(((4, 8), (2,)), ((8, 1), (32,)), rows=8))  # stored as (N, K)
    np.testing.assert_array_equal(c, _layout(((4, 8), (2, 2)), ((32, 1), (16, 8)), rows=16))


def test_fragment_layouts_of_bfloat16_agree_with_an_independent_source():
    """The same for SM80_16x8x16_F32BF16BF16F32_TN."""
    a, b = fragment_positions_bf16()
    np.testing.assert_array_equal(a, _layout(((4, 8), (2, 2, 2)), ((32, 1), (16, 8, 128)), rows=16))
    np.testing.assert_array_equal(b[..., ::-1], _layout(((4, 8), (2, 2)), ((16, 1), (8, 64)), rows=8))


def test_tf32_rounding():
    def round_all(x, y):
        y[cuda.threadIdx.x] = to_tf32(x[cuda.threadIdx.x])

    x = np.array([1, 1 + 2**-10, 1 + 2**-11, 1 + 2**-12, -1 - 2**-11, np.inf, np.nan, 0, 3e38], np.float32)
    y = np.zeros(9, np.uint32)
    Emulator().launch(round_all, 1, 9, (x, y))
    expected = np.array([1, 1 + 2**-10, 1 + 2**-10, 1, -1 - 2**-10, np.inf, np.nan, 0, 3e38], np.float32)
    np.testing.assert_allclose(y.view(np.float32), expected, rtol=2**-11)
    np.testing.assert_array_equal(y.view(np.float32)[:8], expected[:8])


# ---- against Numba's simulator, where both can run: one block, no warps

SHARED_KERNELS = """
import sys
import numpy as np
from numba import cuda, float32, int32

def reduce(x, out):
    shared = cuda.shared.array(32, float32)
    i = cuda.threadIdx.x
    shared[i] = x[i]
    cuda.syncthreads()
    half = 16
    while half > 0:
        if i < half:
            shared[i] += shared[i + half]
        cuda.syncthreads()
        half //= 2
    if i == 0:
        out[0] = shared[0]

def matmul(x, out):
    tile = cuda.shared.array((4, 8), float32)
    i, j = cuda.threadIdx.x, cuda.threadIdx.y
    tile[j, i] = x[8 * j + i]
    cuda.syncthreads()
    total = float32(0)
    for k in range(8):
        total += tile[j, k] * tile[(j + 1) % 4, k]
    cuda.atomic.add(out, j, total)
    local = cuda.local.array(2, int32)
    local[0] = i * j
    if i == 5:
        out[4 + j] = local[0]

KERNELS = {"reduce": (reduce, 32), "matmul": (matmul, (8, 4))}
def data():
    return np.random.default_rng(5).normal(size=32).astype(np.float32)
"""


@pytest.mark.parametrize("name", ["reduce", "matmul"])
def test_agrees_with_numbas_simulator(name, tmp_path):
    source = tmp_path / "shared_kernels.py"
    source.write_text(SHARED_KERNELS)
    program = (
        "from shared_kernels import *\n"
        "kernel, block = KERNELS[sys.argv[1]]\n"
        "out = np.zeros(8, np.float32)\n"
        "cuda.jit(kernel)[1, block](data(), out)\n"
        "print(out.tolist())\n"
    )
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    run = subprocess.run(
        [sys.executable, "-c", program, name], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert run.returncode == 0, run.stderr
    scope: dict = {}
    exec(compile(SHARED_KERNELS, str(source), "exec"), scope)
    kernel, block = scope["KERNELS"][name]
    out = np.zeros(8, np.float32)
    Emulator(seed=0).launch(kernel, 1, block, (scope["data"](), out))
    np.testing.assert_allclose(out, eval(run.stdout), rtol=1e-6)
