"""Checks of chapter 5.3: the reader's kernels run on the emulator, in several orders of the threads."""

from collections.abc import Callable

import numpy as np

from lstm_numba import cells
from lstm_numba.teaching import Check, Mistake, exercise
from lstm_numba.teaching.kernel_checks import launch, written

TILE = 4


@exercise("5.3")
def check_add_bias(check: Check, add_bias: Callable) -> None:
    """z (B, K) += bias (K,), one thread per element."""
    rng = np.random.default_rng(0)
    for B, K, block in ((2, 3, 4), (5, 8, 32)):
        z, bias = rng.normal(size=(B, K)), rng.normal(size=K)
        grid = -(-B * K // block)
        trace = launch(check, f"runs on ({B}, {K}) with blocks of {block}", add_bias, grid, block, z, bias)
        per_block = z + bias * (grid * (np.arange(B * K) < block)).reshape(B, K)  # numbered within the block only
        check.close(
            "adds the bias of its column",
            trace.arrays["z"],
            z + bias,
            mistakes=[
                Mistake(z, "Nothing has changed: write the sum back to z."),
                Mistake(z + bias[0], "Every element got bias[0]: which column does this thread work on?"),
                Mistake(per_block, "Several threads did the same element: number the threads over all blocks."),
            ],
            hint="Thread n works on row n // K and column n % K.",
        )
        check.true(
            "touches each element once",
            (trace.writes("z") == 1).all(),
            hint="Some element is written more than once or never: one thread, one element. No loop is needed.",
        )


@exercise("5.3")
def check_fused_gates(check: Check, fused_gates: Callable) -> None:
    """z (B, 4H) with blocks i, f, g, o -> c and h (B, H) in place, one thread per unit."""
    rng = np.random.default_rng(1)
    B, H, block = 3, 5, 8
    z, c = rng.normal(size=(B, 4 * H)), rng.normal(size=(B, H))
    h = np.full((B, H), np.nan)
    trace = launch(check, f"runs on B = {B}, H = {H}", fused_gates, -(-B * H // block), block, z, c, h)

    def step(order: tuple[int, ...], interleaved: bool = False) -> tuple[np.ndarray, np.ndarray]:
        c_new, h_new = np.empty_like(c), np.empty_like(c)
        for b in range(B):
            for j in range(H):
                pick = [4 * j + k if interleaved else k * H + j for k in order]
                *_, c_new[b, j], h_new[b, j] = cells.lstm_step(*(z[b, k] for k in pick), c[b, j])
        return c_new, h_new

    written(check, trace, "h", "Write the new hidden state to h, for every unit.")
    expected = step((0, 1, 2, 3))
    for name, right, k in (("c", expected[0], 0), ("h", expected[1], 1)):
        check.close(
            f"computes {name}",
            trace.arrays[name],
            right,
            mistakes=[
                Mistake(c, "c still holds the old state: write the new one back."),
                Mistake(step((0, 2, 1, 3))[k], "The blocks of z are i, f, g, o: g is the third, not the second."),
                Mistake(
                    step((0, 1, 2, 3), interleaved=True)[k],
                    "The gates of z come in blocks of H columns: unit j finds them H apart, not side by side.",
                ),
            ],
            hint="Unit j of sequence b has its four pre-activations in columns j, H + j, 2H + j and 3H + j of row b.",
        )
    check.true(
        "reads every pre-activation once",
        (trace.reads("z") == 1).all(),
        hint="Fused means that a thread reads its four pre-activations once and keeps everything else in registers.",
    )


@exercise("5.3")
def check_dot(check: Check, dot: Callable) -> None:
    """w, h (32,) -> out[0], one block of 32 threads, a tree in shared memory."""
    rng = np.random.default_rng(2)
    w, h = rng.normal(size=32).astype(np.float32), rng.normal(size=32).astype(np.float32)
    trace = launch(check, "runs with 32 threads", dot, 1, 32, w, h, np.full(1, np.nan, np.float32))
    written(
        check, trace, "out", "Thread 0 stores the sum, and every place of shared memory is written before it is read."
    )
    products = w * h
    check.close(
        "adds all products",
        trace.arrays["out"],
        [products.sum()],
        rtol=1e-4,
        atol=1e-5,
        mistakes=[
            Mistake([products[0]], "Only the first product arrived: the tree has not been climbed."),
            Mistake([products[0] + products[1]], "Only the last round of the tree ran: start with half = 16."),
            Mistake([products[:16].sum()], "The upper half is missing: the first round adds the thread 16 further."),
        ],
        hint="With half = 16, 8, 4, 2, 1: thread i < half adds the number of thread i + half to its own.",
    )
    check.true(
        "each product is formed by one thread",
        (trace.reads("w") == 1).all(),
        hint="Each of the 32 threads reads one element of w and of h; the rest happens in shared memory.",
    )


@exercise("5.3")
def check_warp_sum(check: Check, warp_sum: Callable) -> None:
    """x (64,) -> out (2,), one sum per warp, by shuffles."""
    x = np.random.default_rng(3).normal(size=64).astype(np.float32)
    trace = launch(check, "runs with two warps", warp_sum, 1, 64, x, np.full(2, np.nan, np.float32))
    written(check, trace, "out", "Lane 0 of *every* warp writes: the threads 0 and 32.")
    by_warp = x.reshape(2, 32)
    check.close(
        "one sum per warp",
        trace.arrays["out"],
        by_warp.sum(axis=1),
        rtol=1e-4,
        atol=1e-5,
        mistakes=[
            Mistake(by_warp[:, 0], "The first number of each warp: the shuffles are missing."),
            Mistake(by_warp[:, :16].sum(axis=1), "The upper lanes are missing: start with a distance of 16."),
        ],
        hint="value += cuda.shfl_down_sync(0xFFFFFFFF, value, distance), with distances 16, 8, 4, 2, 1.",
    )
    check.true(
        "one lane per warp writes",
        trace.writes("out").tolist() == [1, 1],
        hint="All lanes wrote the same place. Only lane 0, the thread with number % 32 == 0, has the whole sum.",
    )


@exercise("5.3")
def check_tiled_product(check: Check, tiled_product: Callable) -> None:
    """h (B, H), W (K, H) -> z = h W^T (B, K), tiles of 4 x 4, blocks of (4, 4) threads."""
    rng = np.random.default_rng(4)
    B, H, K = 5, 10, 6
    h, W = rng.normal(size=(B, H)), rng.normal(size=(K, H))
    grid = (-(-K // TILE), -(-B // TILE))
    z = np.full((B, K), np.nan)
    trace = launch(check, f"runs on B = {B}, H = {H}, K = {K}", tiled_product, grid, (TILE, TILE), h, W, z)
    written(check, trace, "z", "Every thread inside of z writes, and every place of a tile is filled, if only with 0.")
    check.close(
        "computes h times W transposed",
        trace.arrays["z"],
        h @ W.T,
        mistakes=[
            Mistake(h[:, :8] @ W[:, :8].T, "The last piece of the sum is missing: H is no multiple of 4."),
            Mistake(h[:, :4] @ W[:, :4].T, "Only the first piece was added: loop over all pieces of H."),
            Mistake(h[:, 8:] @ W[:, 8:].T, "Only the last piece is left: set the total to 0 before the loop."),
        ],
        hint="z[b, k] is the sum over q of rows[y, q] * weights[x, q], piece by piece.",
    )
    blocks_down, blocks_across = grid[1], grid[0]
    check.true(
        "reads global memory once per block",
        trace.reads("h").max() <= blocks_across and trace.reads("W").max() <= blocks_down,
        hint="An element of h or W was read several times by the same block: that is what the tiles are for. "
        "Every thread loads one element of each tile, then all share them.",
    )


@exercise("5.3")
def check_whole_sequence(check: Check, whole_sequence: Callable) -> None:
    """gx (T, 4H), R (4H, H), h0, c0 (H,) -> y (T, H), one block of H threads for all steps."""
    rng = np.random.default_rng(5)
    T, H = 3, 8
    gx, R = rng.normal(size=(T, 4 * H)), rng.normal(size=(4 * H, H)) / np.sqrt(H)
    h0, c0 = rng.normal(size=H), rng.normal(size=H)
    trace = launch(check, f"runs for T = {T}, H = {H}", whole_sequence, 1, H, gx, R, h0, c0, np.full((T, H), np.nan))

    written(check, trace, "y", "Write y[t, j] at every step, and h0 to shared memory before the first.")

    def run(keep_c: bool = True, keep_h: bool = True, weights: np.ndarray = R) -> np.ndarray:
        h, c, y = h0.copy(), c0.copy(), np.empty((T, H))
        for t in range(T):
            z = gx[t] + weights @ h
            for j in range(H):
                *_, new, y[t, j] = cells.lstm_step(z[j], z[H + j], z[2 * H + j], z[3 * H + j], c[j])
                c[j] = new if keep_c else c[j]
            h = y[t] if keep_h else h
        return y

    check.close(
        "equals the LSTM",
        trace.arrays["y"],
        run(),
        rtol=1e-5,
        mistakes=[
            Mistake(run(keep_h=False), "Every step started from h0: store the new h in shared memory."),
            Mistake(run(keep_c=False), "Every step started from c0: keep the new cell state for the next step."),
            Mistake(run(weights=np.zeros_like(R)), "The recurrent part is missing: add R times h to gx."),
        ],
        hint="z of gate k and unit j: gx[t, k * H + j] plus the sum over q of R[k * H + j, q] * h[q].",
    )
