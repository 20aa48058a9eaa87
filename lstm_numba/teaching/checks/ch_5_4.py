"""Checks of chapter 5.4, the LSTM on the GPU: numbers that decide which kernel fits, and two kernels."""

from collections.abc import Callable

import numpy as np

from lstm_numba import cells
from lstm_numba.gpu.emulator import fragment_positions
from lstm_numba.teaching import Check, Mistake, exercise
from lstm_numba.teaching.kernel_checks import launch, written

REGISTERS = 65536  # of a multiprocessor, four bytes each


@exercise("5.4")
def check_blocks_needed(check: Check, blocks_needed: Callable) -> None:
    """(H, share) -> blocks whose registers hold R, if a share of them may."""
    for H, share in ((100, 0.5), (256, 0.5), (700, 0.25), (64, 0.5)):
        found = check.call(f"runs for H = {H}", blocks_needed, H, share)
        exact = 4 * H * H / (REGISTERS * share)
        check.close(
            f"blocks for H = {H}, share {share}",
            found,
            np.ceil(exact),
            mistakes=[
                Mistake(np.ceil(exact / 4), "R has four gates: 4 H rows, not H."),
                Mistake(np.floor(exact), "Rounded down, some weights have no place."),
                Mistake(exact, "A number of blocks is whole: round up."),
                Mistake(np.ceil(4 * exact), "A register holds one float32: do not count bytes twice."),
                Mistake(np.ceil(exact * share), "Only a share of the registers is free for weights."),
            ],
            hint="R has 4 H * H numbers, a block has 65536 * share registers for them; round up.",
        )  # fmt: skip


@exercise("5.4")
def check_weights_per_thread(check: Check, weights_per_thread: Callable) -> None:
    """(H, split) -> registers per thread that hold weights in the forward kernel."""
    for H, split in ((64, 1), (256, 1), (512, 2), (1024, 4)):
        found = check.call(f"runs for H = {H}, split = {split}", weights_per_thread, H, split)
        check.close(
            f"registers for H = {H}, split = {split}",
            found,
            H // 2 // split,
            mistakes=[
                Mistake(16 * H / split, "That is the whole warp: 32 threads share it."),
                Mistake(4 * H / split / 32, "A warp owns four units, with four gates each: 16 rows."),
                Mistake(H // 2 * split, "More warps per tile mean fewer columns for each: divide by split."),
                Mistake(H // 2, "split warps share the columns."),
            ],
            hint="A warp holds 16 rows of H / split columns, spread evenly over 32 threads.",
        )


@exercise("5.4")
def check_lane(check: Check, lane: Callable) -> None:
    """(row, column) -> (lane, register) of the left tile of a tensor-core product."""
    positions, *_ = fragment_positions()
    where = {tuple(positions[n, r]): (n, r) for n in range(32) for r in range(4)}
    for row, column in ((0, 0), (3, 2), (5, 1), (9, 1), (5, 5), (15, 7)):
        found = check.call(f"runs for row {row}, column {column}", lane, row, column)
        if not isinstance(found, tuple) or len(found) != 2:
            check.fail("returns two numbers", "Return the pair (lane, register).")
        number, register = where[row, column]
        check.close(
            f"lane of row {row}, column {column}",
            found[0],
            number,
            mistakes=[
                Mistake(4 * row + column % 4, "Rows 8 to 15 lie in the same lanes as rows 0 to 7: take row % 8."),
                Mistake(8 * (row % 8) + column, "Only four lanes share a row; columns 4 to 7 are in the same lanes."),
                Mistake(row % 8 + 8 * (column % 4), "Neighbouring lanes have neighbouring columns, not rows."),
            ],
            hint="Four lanes share a row: lane = 4 * (row % 8) + column % 4.",
        )
        check.close(
            f"register of row {row}, column {column}",
            found[1],
            register,
            mistakes=[
                Mistake(2 * (row // 8) + column // 4, "Register 1 is eight rows down, register 2 four columns across."),
            ],
            hint="Add 1 for the lower eight rows and 2 for the right four columns.",
        )


@exercise("5.4")
def check_one_barrier(check: Check, one_barrier: Callable) -> None:
    """gx (T, 4H), R (4H, H), h0, c0 (H,) -> y (T, H), one block, H = 8, one barrier per step."""
    rng = np.random.default_rng(6)
    T, H = 5, 8
    gx, R = rng.normal(size=(T, 4 * H)), rng.normal(size=(4 * H, H)) / np.sqrt(H)
    h0, c0 = rng.normal(size=H), rng.normal(size=H)
    empty = np.full((T, H), np.nan)
    buffers = "With one barrier, a fast thread may already write the next h while a slow one still reads this one: "
    trace = launch(
        check, f"runs for T = {T}, H = {H}", one_barrier, 1, H, gx, R, h0, c0, empty,
        hint=buffers + "they need two buffers that take turns.",
    )  # fmt: skip
    written(check, trace, "y", "Fill the buffer that is read first with h0, and write y[t, j] at every step.")

    def run(keep_h: bool) -> np.ndarray:
        h, c, y = h0.copy(), c0.copy(), np.empty((T, H))
        for t in range(T):
            z = gx[t] + R @ h
            for j in range(H):
                *_, c[j], y[t, j] = cells.lstm_step(z[j], z[H + j], z[2 * H + j], z[3 * H + j], c[j])
            h = y[t] if keep_h else h
        return y

    check.close(
        "equals the LSTM",
        trace.arrays["y"],
        run(True),
        rtol=1e-5,
        mistakes=[Mistake(run(False), "Every step read h0: exchange the roles of the two buffers after each step.")],
        hint="Read from place t % 2 * 8, write to the other half.",
    )
    check.true(
        "one barrier per step",
        trace.barriers <= T + 1,
        hint=f"Thread 0 passed {trace.barriers} barriers in {T} steps; one before the loop and one per step suffice.",
    )


@exercise("5.4")
def check_two_rounds(check: Check, two_rounds: Callable) -> None:
    """x (3,), partial (2, 3), counter (32,), out (2, 3): three blocks of one thread meet twice."""
    x = np.array([2.0, 3.0, 5.0])
    trace = launch(
        check, "runs with three blocks", two_rounds, 3, 1, x, np.full((2, 3), np.nan), np.zeros(32, np.uint32),
        np.full((2, 3), np.nan), hint="Wait until the counter shows that all three blocks have come, in this round.",
        seeds=(None, *range(12)),
    )  # fmt: skip
    first = x.sum()
    second = (first * x).sum()
    missing = int(np.isnan(trace.arrays["out"]).sum())
    if missing:
        check.fail(
            "reads what the others wrote",
            f"{missing} of 6 results are NaN: a block went on before the others had stored. The counter is never "
            "reset, so it shows 3 after the first round and 6 after the second.",
        )
    check.close(
        "sums of both rounds",
        trace.arrays["out"],
        np.stack([np.full(3, first), np.full(3, second)]),
        mistakes=[
            Mistake(np.full((2, 3), first), "The second round stores total * x[b], not x[b] again."),
            Mistake(np.stack([x, x * x]), "Every block has only its own number: add the three of this round."),
        ],
        hint="value = x[b]; each round: partial[r, b] = value, meet, out[r, b] = total, value = total * x[b].",
    )
    count = int(trace.arrays["counter"][0])
    check.equal("counted once per block and round", count, 6, hint="Each block adds 1 per round: 3 blocks, 2 rounds.")


@exercise("5.4")
def check_messages(check: Check, messages: Callable) -> None:
    """(H, B, blocks) -> numbers that cross between blocks per backward step: scatter and gather."""
    for H, B, blocks in ((64, 8, 2), (256, 16, 8), (96, 3, 4)):
        found = check.call(f"runs for H = {H}, B = {B}, {blocks} blocks", messages, H, B, blocks)
        if not isinstance(found, tuple) or len(found) != 2:
            check.fail("returns two numbers", "Return the pair (scatter, gather).")
        scatter = (blocks - 1) * H * B
        for name, value, right in (("scatter", found[0], scatter), ("gather", found[1], 4 * scatter)):
            check.close(
                f"{name}, {blocks} blocks",
                value,
                right,
                mistakes=[
                    Mistake(right * blocks / (blocks - 1), "A block sends nothing to itself: blocks - 1 receivers."),
                    Mistake(right / (blocks - 1), "That is one receiver: there are blocks - 1."),
                    Mistake(right * blocks, "Each block owns only H / blocks units."),
                    Mistake(4 * right if name == "scatter" else right / 4, "dz is four numbers per unit, dh one."),
                ],
                hint="Scatter: a block sends H / blocks numbers per sequence to each other block. Gather: its "
                "4 H / blocks numbers of dz per sequence to each other block. Add up over all blocks.",
            )
