"""Checks of chapter 5.2, Numba on the CPU."""

from collections.abc import Callable

from lstm_numba.teaching import Check, Mistake, exercise

__all__ = [
    "check_amdahl",
    "check_largest_rows",
    "check_loads",
    "check_private",
    "check_rates",
    "check_shares",
]


@exercise("5.2", hint="How many multiply-adds are finished, or started, in one cycle?")
def check_rates(check: Check, rates: Callable[[float, float, int, int], tuple[float, float]]) -> None:
    """Expect the rates of a chain of multiply-adds and of independent vectors."""
    for clock, latency, lanes, units in ((3.6, 4, 16, 3), (2.5, 5, 8, 1)):
        answer = check.call(f"runs for {clock} GHz", rates, clock, latency, lanes, units)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            check.fail("returns two rates", "Return the pair (chain, vector).")
        chain, vector = 2 * clock / latency, 2 * clock * lanes * units
        check.close(
            f"chain at {clock} GHz, latency {latency}",
            answer[0],
            chain,
            mistakes=[
                Mistake(vector, "The two are exchanged: the chain comes first."),
                Mistake(chain / 2, "A multiply-add is two operations."),
                Mistake(2 * clock * latency, "A longer latency makes a chain slower: divide by it."),
                Mistake(2 * clock, "The chain finishes one multiply-add every `latency` cycles, not every cycle."),
            ],
            hint="2 * clock / latency.",
        )
        check.close(
            f"vectors at {clock} GHz, {lanes} lanes, {units} units",
            answer[1],
            vector,
            mistakes=[
                Mistake(vector / 2, "A multiply-add is two operations."),
                Mistake(vector / latency, "Independent sums do not wait: the latency does not count."),
                Mistake(2 * clock * lanes, "Each cycle starts one vector operation per unit."),
            ],
            hint="2 * clock * lanes * units.",
        )


@exercise("5.2", hint="Let the whole have taken 1 second. How long does it take now?")
def check_amdahl(check: Check, amdahl: Callable[[float, float], float]) -> None:
    """Expect Amdahl's law."""
    for p, s in ((0.75, 5.0), (0.1, 40.0), (1.0, 3.0)):
        right = 1 / ((1 - p) + p / s)
        check.close(
            f"speed-up for p={p} s={s}",
            check.call(f"runs for p={p} s={s}", amdahl, p, s),
            right,
            mistakes=[
                Mistake(1 / right, "That is the time that is left. The speed-up is its inverse."),
                Mistake(p * s + (1 - p), "Times add up, speeds do not: average the time, then invert it."),
                Mistake(s, "The rest of the program stays as slow as it was."),
                Mistake(p * s, "The rest of the program stays as slow as it was."),
            ],
            hint="1 / ((1 - p) + p / s).",
        )


@exercise("5.2", hint="For each array: does an iteration write to it, and does another iteration use the same places?")
def check_private(check: Check, private: set[str]) -> None:
    """Expect the names of the scratch buffers."""
    check.attempted(private)
    if not isinstance(private, set | frozenset | list | tuple) or not all(isinstance(name, str) for name in private):
        check.fail("is a set of names", 'Give a set of strings, such as {"y"}.')
    names = set(private)
    if unknown := names - {"z_x", "W_hh_T", "y", "z", "h", "c"}:
        check.fail("names only arrays of the scan", f"{sorted(unknown)} does not occur. Choose from the six names.")
    check.true(
        "leaves out what is only read",
        not names & {"z_x", "W_hh_T"},
        hint="`z_x` and `W_hh_T` are only read. Any number of threads may read the same numbers.",
    )
    check.true(
        "leaves out y",
        "y" not in names,
        hint="`y` is written by all threads, but iteration n writes only `y[:, n]`. Nobody else touches that part.",
    )
    check.true(
        "has the pre-activations", "z" in names, hint="Every iteration fills the whole of one scratch array. Which?"
    )
    check.true(
        "has both states",
        {"h", "c"} <= names,
        hint="The states belong to one sequence and change at each step: both `h` and `c`.",
    )


@exercise("5.2", hint="Where does share number k begin, as a fraction of B? Round that down.")
def check_shares(check: Check, shares: Callable[[int, int], list[tuple[int, int]]]) -> None:
    """Expect contiguous shares that cover everything once and differ by at most one."""
    for B, threads in ((8, 2), (10, 4), (7, 3), (2, 4), (1, 1)):
        label = f"B={B}, {threads} threads"
        answer = check.call(f"runs for {label}", shares, B, threads)
        try:
            pairs = [(int(first), int(last)) for first, last in answer]
        except (TypeError, ValueError):
            check.fail(f"pairs for {label}", "Return a list of pairs (first, last).")
        check.true(
            f"one share per thread, {label}",
            len(pairs) == threads,
            hint=f"There are {threads} threads and {len(pairs)} shares; a thread without work gets an empty share.",
        )
        covered = [n for first, last in pairs for n in range(first, last)]
        lost = sorted(set(range(B)) - set(covered))
        check.true(
            f"nothing is lost, {label}",
            not lost,
            hint=f"Nobody computes the sequences {lost}. Did a division drop the remainder?",
        )
        check.true(
            f"nothing is done twice, {label}",
            len(covered) == len(set(covered)) and max(covered, default=0) < B,
            hint="`last` is excluded, and a share begins where the one before ended.",
        )
        lengths = [last - first for first, last in pairs]
        check.true(
            f"the shares are fair, {label}",
            max(lengths) - min(lengths) <= 1,
            hint=f"The lengths are {lengths}. The slowest thread decides: spread the remainder, one for each.",
        )


@exercise("5.2", hint="Count what one step of the sum loads, and how many multiply-adds it does with that.")
def check_loads(check: Check, loads_per_multiply_add: Callable[[int, int], float]) -> None:
    """Expect (R + V) / (R V)."""
    for R, V in ((6, 4), (1, 4), (5, 3)):
        check.close(
            f"loads for R={R} V={V}",
            check.call(f"runs for R={R} V={V}", loads_per_multiply_add, R, V),
            (R + V) / (R * V),
            mistakes=[
                Mistake(R * V / (R + V), "Upside down: loads per multiply-add."),
                Mistake(V / (R * V), "The R numbers of the hidden state must be loaded too."),
                Mistake(R / (R * V), "The V vectors of weights must be loaded too."),
                Mistake(R + V, "That is loads per step of the sum. How many multiply-adds does a step do?"),
                Mistake((R + V + 2 * R * V) / (R * V), "The sums stay in registers: they are not loaded and stored."),
            ],
            hint="(R + V) loads for R * V multiply-adds.",
        )


@exercise("5.2", hint="Write the condition as an inequality and solve it for R; a row is whole.")
def check_largest_rows(check: Check, largest_rows: Callable[[int, int], int]) -> None:
    """Expect the largest R with R V + V + 1 registers."""
    for registers, V in ((32, 4), (16, 2), (32, 3), (16, 4)):
        right = (registers - V - 1) // V
        check.equal(
            f"rows for {registers} registers, V={V}",
            check.call(f"runs for {registers} registers, V={V}", largest_rows, registers, V),
            right,
            mistakes=[
                Mistake((registers - V - 1) / V, "A row is whole: divide with //."),
                Mistake(registers // V, "The weights and the multiplier need registers as well."),
                Mistake(
                    (registers - 1) // V,
                    "The V vectors of weights need registers as well, and a row that only fits in part does not fit.",
                ),
            ],
            hint="(registers - V - 1) // V.",
        )
