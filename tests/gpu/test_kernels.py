"""Every kernel family on the emulator equals the NumPy reference: with lengths, both directions, forward and back."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lstm_numba.contract import Weights
from lstm_numba.gpu.binding import Kernel
from lstm_numba.gpu.cells import CELLS, cell
from lstm_numba.gpu.emulator import Deadlock, Emulator, Race
from lstm_numba.gpu.kernels import dense, grid, slices, steps
from lstm_numba.gpu.kernels.grid import COUNTER_PITCH
from lstm_numba.gradcheck import relative_error
from lstm_numba.reference import layer as reference

# One TF32 product rounds its factors to 11 bits, bfloat16 to 8; three TF32 products are as good as float32.
TOLERANCE = {"tf32": 5e-3, "float32": 1e-5, "bfloat16": 4e-2}


@dataclass
class Problem:
    """Random inputs of the recurrent kernels, and what they must give, from the reference."""

    cell: str
    T: int
    B: int
    H: int
    reverse: int
    seed: int = 0

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        T, B, H = self.T, self.B, self.H

        def draw(*shape):
            return rng.normal(size=shape).astype(np.float32)

        spec = cell(self.cell, "float32")
        gates = spec.gates
        states = 2 if spec.carries_cell_state else 1
        I = gates * H
        # The kernels get the input part of the pre-activations; the reference makes it with a unit matrix.
        x, W_hh, b_hh = draw(T, B, I), (draw(gates * H, H) / np.sqrt(H)).astype(np.float32), draw(gates * H)
        self.lengths = rng.integers(1, T + 1, B)
        self.lengths[::2] = T  # some sequences use every step, whatever was drawn
        weights = (Weights(np.eye(I, dtype=np.float32), W_hh, np.zeros_like(b_hh), b_hh),)
        state = tuple(draw(1, B, H) for _ in range(states))
        dy, dstate = draw(T, B, H), tuple(draw(1, B, H) for _ in range(states))
        backward_first = self.reverse == 1
        if backward_first:  # the reference runs its second direction from the end: give it the problem twice
            weights, state, dstate = weights * 2, _twice(state), _twice(dstate)
            y, final, cache = reference.layer_forward(self.cell, x, state, weights, self.lengths, True)
            dx, dinitial, grads = reference.layer_gradients(
                self.cell, np.concatenate([np.zeros_like(dy), dy], axis=-1), (_only_second(dstate)), cache, weights
            )
            pick = slice(H, None)
        else:
            y, final, cache = reference.layer_forward(self.cell, x, state, weights, self.lengths, True)
            dx, dinitial, grads = reference.layer_gradients(self.cell, dy, dstate, cache, weights)
            pick = slice(0, H)
        self.y, self.final = y[..., pick], [part[-1] for part in final]
        self.dx, self.dinitial = dx, [part[-1] for part in dinitial]
        self.db_hh = grads[-1].b_hh
        self.gx = np.zeros((T, B, H, 4), np.float32)
        self.R = np.zeros((H, 4, H), np.float32)
        for gate in range(gates):
            self.gx[..., spec.input_slots[gate]] += x[..., gate * H : (gate + 1) * H]
            self.gx[..., spec.hidden_slots[gate]] += b_hh[gate * H : (gate + 1) * H]
            self.R[:, spec.hidden_slots[gate]] = W_hh[gate * H : (gate + 1) * H]
        self.h0, self.carry0 = state[0][-1], state[-1][-1]
        self.dy, self.dh_n = dy, dstate[0][-1]
        self.dcarry_n = dstate[-1][-1] if spec.carries_cell_state else np.zeros((B, H), np.float32)
        self.spec = spec

    def check_forward(self, hs, carry, tolerance):
        before, after = (hs[1:], hs[:-1]) if self.reverse else (hs[:-1], hs[1:])
        alive = np.arange(self.T)[:, None] < self.lengths
        assert relative_error(after * alive[..., None], self.y) < tolerance
        last = hs[0] if self.reverse else hs[self.T]
        assert relative_error(last, self.final[0]) < tolerance
        if self.spec.carries_cell_state:
            assert relative_error(carry, self.final[1]) < tolerance
        np.testing.assert_array_equal(before[-1 if self.reverse else 0], self.h0)

    def check_backward(self, dgx, dh0, dcarry0, tolerance):
        H = self.H
        for gate, slot in enumerate(self.spec.input_slots):
            assert relative_error(dgx[..., slot], self.dx[..., gate * H : (gate + 1) * H]) < tolerance
        for gate, slot in enumerate(self.spec.hidden_slots):
            assert relative_error(dgx[..., slot].sum((0, 1)), self.db_hh[gate * H : (gate + 1) * H]) < tolerance
        if self.spec.carries_cell_state:
            assert relative_error(dcarry0, self.dinitial[1]) < tolerance
        else:
            dh0 = dh0 + dcarry0
        assert relative_error(dh0, self.dinitial[0]) < tolerance


def _twice(parts):
    return tuple(np.concatenate([part, part]) for part in parts)


def _only_second(parts):
    return tuple(np.concatenate([np.zeros_like(part[:1]), part[1:]]) for part in parts)


def poison(*shape):
    return np.full(shape, np.nan, np.float32)


def run_forward(problem, kernel, blocks, *, counters=False, training=1, seed=1, replaced=None):
    p = problem
    T, B, H = p.T, p.B, p.H
    out = {"hs": poison(T + 1, B, H), "cs": poison(T + 1, B, H), "saved": poison(T, B, H, 4), "carry": poison(B, H)}
    groups = -(-B // kernel.rows)
    arguments = [p.gx, p.R, p.h0, p.carry0, p.lengths.astype(np.int32), *out.values()]
    if counters:
        arguments += [np.zeros(groups * COUNTER_PITCH, np.uint32), T, B, 0, p.reverse, training]
    else:
        arguments += [T, B, p.reverse, training]
    assert len(arguments) == len(kernel.signature)
    Emulator(seed=seed).launch(kernel, groups * blocks, kernel.threads, tuple(arguments), replaced=replaced)
    return out


def run_backward(problem, forward, kernel, blocks, *, counters=False, seed=1, replaced=None):
    p = problem
    T, B, H = p.T, p.B, p.H
    dgx, dh0, dcarry0 = poison(T, B, H, 4), poison(B, H), poison(B, H)
    groups = -(-B // kernel.rows)
    arguments = [forward["saved"], forward["cs"], p.R, p.dy, p.dh_n, p.dcarry_n, p.lengths.astype(np.int32)]
    arguments += [dgx, dh0, dcarry0]
    if counters:
        arguments += [np.zeros(groups * COUNTER_PITCH, np.uint32), T, B, 0, p.reverse]
    else:
        arguments += [T, B, p.reverse]
    assert len(arguments) == len(kernel.signature)
    Emulator(seed=seed).launch(kernel, groups * blocks, kernel.threads, tuple(arguments), replaced=replaced)
    return dgx, dh0, dcarry0


# cell, T, B, H, reverse, blocks, tiles, warps and shares backward, precision
SLICES = [
    ("lstm", 3, 5, 16, 0, 1, 1, (1, 2), "float32"),
    ("lstm", 3, 11, 32, 1, 1, 2, (2, 1), "tf32"),
    ("lstm", 3, 9, 32, 0, 2, 1, (1, 1), "float32"),
    ("lstm", 2, 3, 64, 1, 2, 1, (2, 1), "float32"),
    ("gru", 3, 5, 16, 1, 1, 1, (1, 2), "float32"),
    ("gru", 2, 10, 32, 0, 2, 2, (1, 1), "tf32"),
    ("rnn_tanh", 3, 5, 16, 0, 1, 1, (1, 1), "float32"),
    ("lstm", 3, 5, 16, 0, 1, 1, (1, 2), "bfloat16"),
    ("gru", 2, 10, 32, 1, 2, 2, (1, 1), "bfloat16"),
    ("rnn_relu", 3, 5, 16, 1, 1, 1, (1, 1), "float32"),
]


@pytest.mark.parametrize(("name", "T", "B", "H", "reverse", "blocks", "tiles", "back", "precision"), SLICES)
def test_slices(name, T, B, H, reverse, blocks, tiles, back, precision):
    problem = Problem(name, T, B, H, reverse)
    out = run_forward(problem, slices.forward(name, H, blocks, tiles, precision), blocks)
    problem.check_forward(out["hs"], out["carry"], TOLERANCE[precision])
    kernel = slices.backward(name, H, blocks, tiles, *back, precision)
    problem.check_backward(*run_backward(problem, out, kernel, blocks), TOLERANCE[precision])


# cell, T, B, H, reverse, blocks, tiles, shares, blocks backward, precision
GRIDS = [
    ("lstm", 3, 5, 32, 0, 2, 1, 2, 2, "float32"),
    ("lstm", 2, 18, 32, 1, 2, 2, 2, 4, "tf32"),
    ("gru", 2, 5, 32, 1, 4, 1, 2, 2, "float32"),
    ("rnn_tanh", 2, 3, 32, 0, 2, 1, 2, 2, "float32"),
    ("lstm", 2, 5, 32, 0, 2, 1, 2, 2, "bfloat16"),
]


@pytest.mark.parametrize(
    ("name", "T", "B", "H", "reverse", "blocks", "tiles", "split", "back_blocks", "precision"), GRIDS
)
def test_grid(name, T, B, H, reverse, blocks, tiles, split, back_blocks, precision):
    problem = Problem(name, T, B, H, reverse)
    out = run_forward(problem, grid.forward(name, H, blocks, tiles, split, precision), blocks, counters=True)
    problem.check_forward(out["hs"], out["carry"], TOLERANCE[precision])
    kernel = grid.backward(name, H, back_blocks, precision)
    problem.check_backward(*run_backward(problem, out, kernel, back_blocks, counters=True), TOLERANCE[precision])


def rounded(x):
    """To bfloat16 and back, by another library."""
    return torch.from_numpy(np.ascontiguousarray(x)).to(torch.bfloat16).float().numpy()


def lstm_with_rounded_factors(p, back=rounded):
    """An LSTM whose recurrent products have factors in bfloat16, and nothing else; ``back`` rounds on the way back."""
    h, c = p.h0, p.carry0
    hs, saved = [h], []
    for t in range(p.T):
        z = p.gx[t] + np.einsum("bk,jsk->bjs", rounded(h), rounded(p.R))
        s_i, s_f, s_o = (1 / (1 + np.exp(-z[..., slot])) for slot in (0, 1, 3))
        g, before = np.tanh(z[..., 2]), c
        c = s_f * before + s_i * g
        h = s_o * np.tanh(c)
        hs.append(h)
        saved.append((s_i, s_f, g, s_o, before, c))
    dh, dc, dz = p.dh_n, p.dcarry_n, np.empty_like(p.gx)
    for t in reversed(range(p.T)):
        s_i, s_f, g, s_o, before, after = saved[t]
        dh = dh + p.dy[t]
        dc = dc + dh * s_o * (1 - np.tanh(after) ** 2)
        dz[t, ..., 0] = dc * g * s_i * (1 - s_i)
        dz[t, ..., 1] = dc * before * s_f * (1 - s_f)
        dz[t, ..., 2] = dc * s_i * (1 - g**2)
        dz[t, ..., 3] = dh * np.tanh(after) * s_o * (1 - s_o)
        dc = dc * s_f
        dh = np.einsum("bjs,jsk->bk", back(dz[t]), back(p.R))
    return np.array(hs), dz, dh, dc


@pytest.mark.parametrize("family", ["block", "cluster", "grid"])
def test_bfloat16_rounds_the_factors_of_recurrent_products_and_nothing_else(family):
    """The kernels follow a recurrence that rounds there far more closely than one that does not on the way back."""
    problem = Problem("lstm", 3, 5, 32, 0)
    problem.lengths[:] = problem.T
    blocks, counters = 1 if family == "block" else 2, family == "grid"
    if family == "grid":
        forward, backward = grid.forward("lstm", 32, 2, 1, 2, "bfloat16"), grid.backward("lstm", 32, 2, "bfloat16")
    else:
        forward = slices.forward("lstm", 32, blocks, 1, "bfloat16")
        backward = slices.backward("lstm", 32, blocks, 1, 1, 1, "bfloat16")
    hs, *gradients = lstm_with_rounded_factors(problem)
    _, *otherwise = lstm_with_rounded_factors(problem, back=lambda x: x)
    out = run_forward(problem, forward, blocks, counters=counters)
    assert relative_error(out["hs"], hs) < 2e-5
    found = run_backward(problem, out, backward, blocks, counters=counters)
    for ours, expected, other in zip(found, gradients, otherwise, strict=True):
        assert relative_error(ours, expected) < 2e-5
        assert relative_error(other, expected) > 2e-4


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("reverse", [0, 1])
def test_steps(name, reverse):
    problem = Problem(name, 3, 5, 20, reverse)
    p, T, B, H = problem, 3, 5, 20
    blocks = -(-H // steps.TILE) * -(-B // steps.TILE)
    hs, cs, saved, carry = poison(T + 1, B, H), poison(T + 1, B, H), poison(T, B, H, 4), p.carry0.copy()
    start = T if reverse else 0
    hs[start], cs[start] = p.h0, p.carry0
    lengths = p.lengths.astype(np.int32)
    order = list(reversed(range(T))) if reverse else list(range(T))
    around = {t: (t + 1, t) if reverse else (t, t + 1) for t in [-1, *order]}
    kernel = steps.forward(name, "float32")
    for t in order:
        arguments = (p.gx, p.R, lengths, carry, hs, cs, saved, B, H, t, *around[t], 1)
        Emulator(seed=0).launch(kernel, blocks, kernel.threads, arguments)
    problem.check_forward(hs, carry, 1e-5)
    dgx, dh, dcarry = poison(T, B, H, 4), p.dh_n.copy(), p.dcarry_n.copy()
    kernel = steps.backward(name, "float32")
    for later, t in zip([-1, *order[::-1]], [*order[::-1], -1], strict=True):
        arguments = (saved, cs, p.R, p.dy, lengths, dgx, dh, dcarry, B, H, later, t, *around[t])
        Emulator(seed=0).launch(kernel, blocks, kernel.threads, arguments)
    problem.check_backward(dgx, dh, dcarry, 1e-5)


def test_inference_writes_nothing_for_the_way_back():
    problem = Problem("lstm", 2, 3, 16, 0)
    out = run_forward(problem, slices.forward("lstm", 16, 1, 1, "float32"), 1, training=0)
    problem.check_forward(out["hs"], out["carry"], 1e-5)
    assert np.isnan(out["saved"]).all()
    assert np.isnan(out["cs"]).all()


DROPPED_BARRIERS = [
    ("block forward", "syncthreads"),
    ("cluster forward", "cluster_wait"),
    ("grid forward", "syncthreads"),
    ("grid forward", "load_acquire"),
    ("block backward", "syncthreads"),
    ("cluster backward", "syncthreads"),
    ("cluster backward", "cluster_wait"),
    ("grid backward", "syncthreads"),
    ("grid backward", "load_acquire"),
]


@pytest.mark.parametrize(("where", "dropped"), DROPPED_BARRIERS)
def test_a_dropped_barrier_is_caught(where, dropped):
    """Between threads of a block or cluster as a race; between blocks, over global memory, as a wrong result."""
    family, direction = where.split()
    H, blocks = 32, 1 if family == "block" else 2
    problem = Problem("lstm", 3, 5, H, 0)
    counters = family == "grid"
    if family == "grid":
        forward, backward = grid.forward("lstm", H, 2, 1, 2, "float32"), grid.backward("lstm", H, 2, "float32")
    else:
        forward = slices.forward("lstm", H, blocks, 1, "float32")
        backward = slices.backward("lstm", H, blocks, 1, 1, 1, "float32")
    meaning = {"load_acquire": lambda address: 10**9}.get(dropped, lambda: None)
    replaced = {dropped: meaning}

    def whole(seed):
        first = replaced if direction == "forward" else None
        out = run_forward(problem, forward, blocks, counters=counters, replaced=first, seed=seed)
        problem.check_forward(out["hs"], out["carry"], 1e-5)
        if direction == "backward":
            gradients = run_backward(problem, out, backward, blocks, counters=counters, replaced=replaced, seed=seed)
            problem.check_backward(*gradients, 1e-5)

    def in_several_orders():  # a wrong result needs a block that falls behind at the right moment
        for seed in range(8):
            whole(seed)

    with pytest.raises((Race, Deadlock, AssertionError)):
        in_several_orders()


# ---- the kernels around the recurrence equal their NumPy stand-ins


def both_ways(kernel: Kernel, blocks, *arguments):
    """Run a kernel on the emulator and its stand-in on copies; return the pairs of arrays."""
    emulated = [np.copy(a) if isinstance(a, np.ndarray) else a for a in arguments]
    direct = [np.copy(a) if isinstance(a, np.ndarray) else a for a in arguments]
    Emulator(seed=0).launch(kernel, blocks, kernel.threads, tuple(emulated))
    kernel.stand_in(*direct)
    return [(a, b) for a, b in zip(emulated, direct, strict=True) if isinstance(a, np.ndarray)]


def assert_same(pairs, rtol=1e-5):
    for ours, expected in pairs:
        np.testing.assert_allclose(ours, expected, rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("M", "N", "K", "transposed", "part_length"), [(3, 70, 5, False, 16), (66, 4, 20, True, 16), (5, 3, 40, True, 48)]
)
def test_matmul(M, N, K, transposed, part_length, dtype, rng):
    A, B = rng.normal(size=M * K).astype(dtype), rng.normal(size=K * N).astype(dtype)
    a, b = ((1, M), (1, K)) if transposed else ((K, 1), (N, 1))
    parts = -(-K // part_length)
    has_bias = parts == 1
    C, bias = np.full(parts * M * N, np.nan, dtype), rng.normal(size=N).astype(dtype)
    blocks = -(-M // dense.TILE) * -(-N // dense.TILE) * parts
    pairs = both_ways(dense.matmul(dtype), blocks, A, *a, B, *b, bias, has_bias, C, M, N, K, part_length)
    assert_same(pairs)
    left = A.reshape(K, M).T if transposed else A.reshape(M, K)
    right = B.reshape(N, K).T if transposed else B.reshape(K, N)
    expected = left @ right + (bias if has_bias else 0)
    np.testing.assert_allclose(pairs[-1][0].reshape(parts, M, N).sum(0), expected, rtol=1e-5, atol=1e-5)


def test_packing_and_back(rng):
    H, K, padded, padded_k = 3, 5, 16, 8
    W = rng.normal(size=3 * H * K)
    packed = np.full(padded * 4 * padded_k, np.nan)
    size = packed.size
    pairs = both_ways(dense.pack("float64"), -(-size // 256), W, packed, H, K, padded_k, size, 0, 1, -1, 2)
    assert_same(pairs)
    packed = pairs[1][0]
    back = np.full(W.size, np.nan)
    pairs = both_ways(dense.unpack("float64"), 1, packed, back, H, K, padded_k, W.size, 0, 1, 3, 0)
    assert_same(pairs)
    np.testing.assert_array_equal(pairs[1][0], W)


def test_copies_sums_and_additions(rng):
    lengths = np.array([1, 3], np.int32)
    source, target = rng.normal(size=3 * 2 * 7), np.full(60, np.nan)
    assert_same(both_ways(dense.copy_rows("float64"), 1, source, 2, 7, 4, target, 3, 8, 6, 36, lengths, 2, True))
    assert_same(both_ways(dense.copy_rows("float64"), 1, source, 0, 7, 7, target, 0, 6, 5, 30, lengths, 2, False))
    assert_same(both_ways(dense.sum_parts("float64"), 1, source, np.full(14, np.nan), 3, 14))
    assert_same(both_ways(dense.add("float64"), 1, source, rng.normal(size=42), 42))
    for reverse in (0, 1):
        first, every = rng.normal(size=14), rng.normal(size=42)
        assert_same(both_ways(dense.add_to_first("float64"), 1, first, every, lengths, 2, 7, reverse, 14))
        assert_same(both_ways(dense.take_first("float64"), 1, every, first, lengths, 2, 7, reverse, 14))
    pairs = both_ways(dense.swap("float64"), 1, source, np.full(42, np.nan), 3, 2, 7, 42)
    assert_same(pairs)
    np.testing.assert_array_equal(pairs[1][0].reshape(2, 3, 7), source.reshape(3, 2, 7).swapaxes(0, 1))
