"""Every target with the value reached, hit or missed, and for a miss where the time goes and what the limit is.

All of it is computed from the stored results, so it changes with them and with nothing else.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import store
from benchmarks.candidates import ONNX, OURS, TORCH
from benchmarks.frame import TARGETS, Target, frame, mark, markdown_table, shape, training
from benchmarks.limits import needed
from benchmarks.measure import geometric_mean
from benchmarks.streaming import IN_COMPILED_CODE, STREAM
from benchmarks.stress import LEAK_LIMIT

PEAK_SHARE = 0.9
STREAMING_LIMITS = {32: 2.0, 64: 4.0}  # microseconds, by hidden size
COLD_LIMITS = {  # seconds
    "LSTM first inference call, warm cache, import included": 0.8,
    "LSTM first inference call, cold, import included": 6.0,
    "LSTM first training call, cold, import included": 20.0,
}
_OTHERS = {TORCH: "PyTorch", ONNX: "ONNX Runtime"}
_FEW_STEPS = 8  # up to here the fixed cost of a call is looked at
_SIZES = {"H to 64": (0, 64), "H 65 to 256": (65, 256), "H from 257": (257, 10**9)}
_BATCHES = {"B to 4": (0, 4), "B from 5": (5, 10**9)}


@dataclass(frozen=True)
class Outcome:
    """One target: what was wanted, what was reached, and why a miss is a miss."""

    name: str
    wanted: str
    reached: str
    hit: bool | None  # None: there is no stored result
    why: str = ""  # Markdown; every miss has it


def _per_cent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _against(value: float, wanted: float) -> str:
    """The value with two digits, or with more if these would hide that it is less than wanted."""
    return next(text for digits in range(2, 18) if (float(text := f"{value:.{digits}f}") < wanted) == (value < wanted))


# -- ratios ----------------------------------------------------------------------------------------------------------


def with_parts(result: dict, profile: dict | None) -> pd.DataFrame:
    """The rows of ``recurrent.json`` with the parts of our time, in microseconds.

    Parameters
    ----------
    result
        The stored ``recurrent.json``.
    profile
        The stored ``where_time_goes.json``, for the time of the gates.

    Returns
    -------
    DataFrame
        What :func:`benchmarks.frame.frame` returns, and the columns ``arithmetic``, ``weights``, ``gates``, ``needed``
        (their sum) and ``rest``.
    """
    table = frame(result)
    seconds = None if profile is None else profile["seconds_per_unit"]
    parts = [needed(row, result["machine"][str(row["threads"])], seconds) for row in result["rows"]]
    for name in ("arithmetic", "weights", "gates"):
        table[name] = [getattr(part, name) for part in parts]
    table["needed"] = [part.total for part in parts]
    table["rest"] = table[f"us {OURS}"] - table["needed"] if f"us {OURS}" in table else np.nan
    return table


def share_to_remove(theirs: np.ndarray, least: np.ndarray, rest: np.ndarray, wanted: float) -> float | None:
    """Which share of the rest would have to go, the same in every case, for a geometric mean of ratios.

    Parameters
    ----------
    theirs, least, rest
        For each case the other library's time, what the machine needs, and what we take beyond that.
    wanted
        The mean to be reached.

    Returns
    -------
    float or None
        None if the mean stays below even without any rest.
    """

    def mean(kept: float) -> float:
        return float(np.exp(np.mean(np.log(theirs / (least + kept * rest)))))

    if mean(0.0) < wanted:
        return None
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) >= wanted else (low, middle)
    return 1 - low


def _shares(part: pd.DataFrame) -> list[str]:
    return [_per_cent((part[name] / part[f"us {OURS}"]).mean()) for name in ("arithmetic", "weights", "gates", "rest")]


def _classes(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for size, (least, most) in _SIZES.items():
        for batch, (fewest, largest) in _BATCHES.items():
            part = table[table["H"].between(least, most) & table["B"].between(fewest, largest)]
            if len(part):
                yield f"{size}, {batch}", part
    yield "all", table


def _why_mean(target: Target, cases: pd.DataFrame, profile: dict | None) -> str:
    """Where our time goes in the cases of a ratio, and what the ratio would be without the rest."""
    theirs = f"us {target.against}"
    rows = []
    for name, part in _classes(cases):
        ratio = geometric_mean(list(part[theirs] / part[f"us {OURS}"]))
        best = geometric_mean(list(part[theirs] / part["needed"]))
        rows.append([name, len(part), f"{ratio:.2f}", *_shares(part), f"{best:.2f}"])
    head = ["shapes", "cases", "ratio", "arithmetic", "weights", "gates", "rest", "ratio without the rest"]
    best = geometric_mean(list(cases[theirs] / cases["needed"]))
    removed = share_to_remove(*(cases[name].to_numpy() for name in (theirs, "needed", "rest")), target.mean)
    reach, ours = (geometric_mean(list(cases["arithmetic"] / cases[name])) for name in (theirs, f"us {OURS}"))
    text = (
        f"On average {_OTHERS[target.against]} runs at {_per_cent(reach)} of the machine's measured peak and we at "
        f"{_per_cent(ours)}. With no rest at all the mean would be {best:.2f}"
    )
    if removed is None:
        text += ", so the target is beyond this machine."
    else:
        text += f"; for {target.mean}, {_per_cent(removed)} of the rest would have to go in every shape."
    mode = "training" if training(cases).all() else "inference"
    parts = [text, markdown_table(head, rows), _fixed_costs(cases), _profile_of(mode, profile, target.against)]
    return "\n\n".join(part for part in parts if part)


def fixed_cost(table: pd.DataFrame, cell: str, mode: str, H: int, batches: tuple[int, ...]) -> float | None:
    """Microseconds that a call would take with no steps: the line through the times of two lengths.

    Parameters
    ----------
    table
        What :func:`with_parts` returns.
    cell, mode, H
        Which layer; I = H, two threads, one layer and direction.
    batches
        The median over these batches is returned; None if none of them was measured at two lengths.
    """
    chosen = table[(table["cell"] == cell) & (table["mode"] == mode) & (table["H"] == H) & (table["I"] == H)]
    chosen = chosen[chosen["group"].isin(["sweep", "GRU", "RNN"]) & (chosen["threads"] == 2)]
    found = []
    for B in batches:
        times = chosen[chosen["B"] == B].set_index("T")[f"us {OURS}"].sort_index()
        if len(times) > 1:
            (short, long), (first, second) = times.index[:2], times.iloc[:2]
            found.append((long * first - short * second) / (long - short))
    return float(np.median(found)) if found else None


def _fixed_costs(cases: pd.DataFrame) -> str:
    """What a call costs whatever its length, in the smallest layer of the sweep."""
    cell, mode = str(cases["cell"].iloc[0]), str(cases["mode"].iloc[0])
    sweep = cases[(cases["group"] == "sweep") & (cases["B"] == 1)].sort_values(["H", "T"])
    if sweep.empty:
        return ""
    shortest = sweep.iloc[0]
    cost = fixed_cost(cases, cell, mode, int(shortest["H"]), (1,))
    if cost is None:
        return ""
    share = cost / shortest[f"us {OURS}"]
    return (
        f"A call has a fixed cost: for B=1, H={shortest['H']} the line through the times of the two shortest sequences "
        f"meets T=0 at {cost:.0f} µs, which is {_per_cent(share)} of the time at T={shortest['T']}."
    )


def _profile_of(mode: str, profile: dict | None, against: str) -> str:
    """What the rest is made of, on one thread."""
    rows = [row for row in profile["rows"] if row["mode"] == mode] if profile is not None else []
    if not rows:
        return ""
    products, gates, rest = (
        _per_cent(float(np.mean([row[f"share_{part}"] for row in rows]))) for part in ("products", "gates", "rest")
    )
    text = (
        f"The profile of {len(rows)} shapes in {mode} on one thread (`where_time_goes.json`) measures the parts apart. "
        f"Products at the speed of our tile: {products} of the time, gates {gates}, and {rest} for moving, packing, "
        "allocating and the call."
    )
    if against == TORCH:
        ratio, without = (
            geometric_mean([row["ratio"]["of_medians"] for row in rows]),
            geometric_mean([row["ratio_without_rest"] for row in rows]),
        )
        text += f" The ratio there is {ratio:.2f}, and would be {without:.2f} without that last part."
    return text


def _why_worst(target: Target, below: pd.DataFrame, table: pd.DataFrame) -> str:
    """Each case below the target: how sure the ratio is, and how near both sides are to what the machine allows."""
    theirs = f"us {target.against}"
    rows = []
    for _, row in below.sort_values(f"ratio {target.against}").iterrows():
        low, high = row[f"low {target.against}"], row[f"high {target.against}"]
        possible = row[theirs] / row["needed"]
        if low >= target.worst:
            verdict = f"disturbed: in three rounds of four the ratio was above {low:.2f}"
        elif high >= target.worst:
            verdict = "undecided: the rounds lie on both sides"
        elif possible < target.worst:
            verdict = f"out of reach: {possible:.2f} without the rest"
        else:
            verdict = f"the rest, {_per_cent(row['rest'] / row[f'us {OURS}'])} of our time; {possible:.2f} without it"
            cost = fixed_cost(table, row["cell"], row["mode"], row["H"], (1, 4)) if row["T"] <= _FEW_STEPS else None
            if cost is not None and cost > row["rest"] / 3:
                verdict += (
                    f". So few steps do not earn back the fixed cost of a call, {cost:.0f} µs for this size: packing "
                    "the weights, and writing their gradients"
                )
        shares = [_per_cent(row["needed"] / row[column]) for column in (f"us {OURS}", theirs)]
        ratio = _against(row[f"ratio {target.against}"], target.worst)
        rows.append([shape(row), ratio, f"{low:.2f} to {high:.2f}", *shares, verdict])
    head = [
        "case",
        "ratio",
        "quartiles of the rounds",
        "ours, of the limit",
        "theirs, of the limit",
        "what is lost where",
    ]
    return markdown_table(head, rows)


def ratio_outcomes(recurrent: dict, profile: dict | None) -> list[Outcome]:
    """The targets for geometric means and worst cases."""
    table = with_parts(recurrent, profile)
    found = []
    for target in TARGETS:
        chosen = table[target.rows(table)]
        cases = chosen.dropna(subset=[f"ratio {target.against}"])
        name = f"{target.name}, against {_OTHERS[target.against]}"
        wanted = {"geometric mean": f"at least {target.mean}", "worst shape": f"at least {target.worst}"}
        if cases.empty:
            found += [Outcome(f"{name}: {what}", value, "-", None) for what, value in wanted.items()]
            continue
        ratios = cases[f"ratio {target.against}"]
        mean, worst = geometric_mean(list(ratios)), float(ratios.min())
        hit = mean >= target.mean
        why = "" if hit else _why_mean(target, cases, profile)
        reached = f"{_against(mean, target.mean)}, {len(cases)} shapes"
        found.append(Outcome(f"{name}: geometric mean", wanted["geometric mean"], reached, hit, why))
        below = cases[ratios < target.worst]
        why = _why_worst(target, below, table) if len(below) else ""
        reached = f"{_against(worst, target.worst)}, {shape(cases.loc[ratios.idxmin()])}; {len(below)} below"
        found.append(Outcome(f"{name}: worst shape", wanted["worst shape"], reached, below.empty, why))
    return found


# -- share of the peak -----------------------------------------------------------------------------------------------


def peak_outcomes(recurrent: dict, profile: dict | None) -> list[Outcome]:
    """The share of the measured peak at B from 16, H 256 to 512."""
    table = with_parts(recurrent, profile)
    chosen = table[(table["threads"] == 2) & (table["B"] >= 16) & table["H"].between(256, 512)]
    chosen = chosen[chosen["group"] == "sweep"].dropna(subset=["peak"])
    found = []
    for mode, part in chosen.groupby("mode", sort=False):
        best = part.loc[part.groupby(["H", "B"])["peak"].idxmax()]
        below = best[best["peak"] < PEAK_SHARE]
        least, most = (_per_cent(share, 1) for share in (best["peak"].min(), best["peak"].max()))
        reached = f"{least} to {most}; {len(below)} of {len(best)} below"
        why = "" if below.empty else _why_below_peak(str(mode), below, profile)
        name = f"Share of the peak, {mode}, B from 16, H 256 to 512, best T"
        found.append(Outcome(name, f"at least {_per_cent(PEAK_SHARE)}", reached, below.empty, why))
    return found or [Outcome("Share of the peak", f"at least {_per_cent(PEAK_SHARE)}", "-", None)]


def _why_below_peak(mode: str, below: pd.DataFrame, profile: dict | None) -> str:
    known = {(row["mode"], row["B"], row["H"]): row for row in (profile["rows"] if profile else [])}
    rows = []
    for _, row in below.iterrows():
        cells = ["-"] * 3
        if found := known.get((mode, row["B"], row["H"])):
            cells = [_per_cent(found[f"share_{part}"]) for part in ("products", "gates", "rest")]
        rows.append([f"B={row['B']} H={row['H']} T={row['T']}", _per_cent(row["peak"], 1), *cells])
    head = ["case, two threads", "of the peak", "products", "gates", "rest"]
    text = (
        "The last three columns are the profile of the same B and H on one thread (`where_time_goes.json`): the shares "
        "of products at the speed of our tile, of gates, and of moving, packing, allocating and the call. Only the "
        "first of them counts as work. With two threads come their meetings at every step, if they share the units."
    )
    return f"{text}\n\n{markdown_table(head, rows)}"


# -- the other targets -----------------------------------------------------------------------------------------------


def streaming_outcomes(result: dict) -> list[Outcome]:
    """One step of one sequence, the Python call included."""
    times = {row["H"]: {name: entry["median_us"] for name, entry in row["times"].items()} for row in result["rows"]}
    found = []
    for H, limit in STREAMING_LIMITS.items():
        name, wanted = f"Streaming step, B=1, H={H}", f"at most {limit:g} µs"
        if STREAM not in times.get(H, {}):
            found.append(Outcome(name, wanted, "-", None))
            continue
        ours = times[H][STREAM]
        others = ", ".join(
            f"{title} {times[H][column]:.0f}"
            for title, column in (("PyTorch", f"{TORCH}.nn.LSTM"), ("ONNX Runtime", ONNX))
        )
        why = ""
        if ours > limit and (step := times[H].get(IN_COMPILED_CODE)) is not None:
            why = (
                f"Called from compiled code the step takes {step:.2f} µs. The other {ours - step:.2f} µs are the call "
                "from Python: checking the input, crossing into compiled code, returning the output's array."
            )
        found.append(
            Outcome(name, wanted, f"{ours:.2f} µs ({others})", ours <= limit, why or _no_profile(ours > limit))
        )
    return found


def _no_profile(missed: bool) -> str:
    return "No stored profile takes it apart." if missed else ""


def cold_outcomes(result: dict, profile: dict | None) -> list[Outcome]:
    """The first call of a new process."""
    found = []
    for name, limit in COLD_LIMITS.items():
        entry = result["times"].get(name)
        wanted = f"at most {limit:g} s"
        if entry is None:
            found.append(Outcome(name, wanted, "-", None))
            continue
        missed = entry["median_s"] > limit
        why = _why_cold("training" if "training" in name else "inference", profile) if missed else ""
        found.append(Outcome(name, wanted, f"{entry['median_s']:.2f} s", not missed, why))
    return found


def _why_cold(mode: str, profile: dict | None) -> str:
    row = next((row for row in (profile["rows"] if profile else []) if row["mode"] == mode), None)
    if row is None:
        return _no_profile(True)
    phases = ", ".join(f"{name} {_per_cent(share)}" for name, share in row["phases"].items())
    largest = ", ".join(f"`{name}` {_per_cent(share)}" for name, share in list(row["functions"].items())[:5])
    return (
        f"Compiling {row['compiled']} functions takes {row['seconds']:.1f} s of processor time "
        f"(`compile_profile.json`). By phase: {phases}. The largest functions: {largest}."
    )


def state_outcomes(recurrent: dict) -> list[Outcome]:
    """PyTorch's settings in the same process, and the results that were compared before timing."""
    rows = recurrent["rows"]
    changed, wrong = (
        sum(bool(row["torch_state_changed"]) for row in rows),
        [row["key"] for row in rows if row["failures"]],
    )
    states = f"changed in {changed} of {len(rows)} cases"
    name = "PyTorch's thread count and floating-point mode after our calls"
    return [
        Outcome(
            name, "as before", states, not changed, "" if not changed else "See `torch_state_changed` of these cases."
        ),
        Outcome(
            "Results, compared before timing", "right", f"wrong in {len(wrong)} cases", not wrong, ", ".join(wrong)
        ),
    ]


def stress_outcomes(result: dict) -> list[Outcome]:
    """Crashes, wrong results and leaks in random trials."""
    count, growth = len(result["failures"]), result["memory_growth"]
    reached = f"{count} in {result['trials']} trials of {result['minutes']:g} minutes"
    why = "\n".join(f"- {text}" for text in result["failures"])
    found = [Outcome("Stress run: crashes and wrong results", "none in 10 minutes", reached, not count, why)]
    name, wanted = "Stress run: growth of memory, middle third to last", f"at most {LEAK_LIMIT / 2**20:.0f} MiB"
    if growth is None:
        return [*found, Outcome(name, wanted, "-", None)]
    hit, why = growth <= LEAK_LIMIT, ""
    if not hit:
        why = (
            "Large arrays had pages of their own in this run, so what was freed left the process: something is kept."
            if result.get("own_pages")
            else "In this run the C library kept freed arrays in a heap for each thread, where random sizes leave "
            "holes. A run in which large arrays have pages of their own (`own_pages` in the file) tells that from a "
            "leak."
        )
    return [*found, Outcome(name, wanted, f"{growth / 2**20:.1f} MiB", hit, why)]


def memory_outcomes(result: dict) -> list[Outcome]:
    """Peak memory of training."""
    rows = [
        row for row in result["rows"] if row["mode"] == "training" and all(row["memory"].get(n) for n in (OURS, TORCH))
    ]
    if not rows:
        return [Outcome("Memory of training", "no more than PyTorch's", "-", None)]
    shares = [row["memory"][OURS] / row["memory"][TORCH] for row in rows]
    reached = f"{min(shares):.2f} to {max(shares):.2f} of PyTorch's, {len(rows)} shapes"
    return [Outcome("Memory of training", "no more than PyTorch's", reached, max(shares) <= 1)]


def outcomes(folder: Path) -> list[Outcome]:
    """Every target, from the results in a folder; a target without results is in the list as well."""

    def read(name: str) -> dict | None:
        path = folder / f"{name}.json"
        return store.read_json(path) if path.is_file() else None

    profile = read("where_time_goes")
    makers: dict[str, Callable[[dict], list[Outcome]]] = {
        "recurrent": lambda result: (
            ratio_outcomes(result, profile) + peak_outcomes(result, profile) + state_outcomes(result)
        ),
        "streaming": streaming_outcomes,
        "cold_start": lambda result: cold_outcomes(result, read("compile_profile")),
        "memory": memory_outcomes,
        "stress": stress_outcomes,
    }
    found: list[Outcome] = []
    for name, make in makers.items():
        result = read(name)
        found += make(result) if result is not None else [Outcome(f"{name}.json", "-", "there are no results", None)]
    return found


# -- the page --------------------------------------------------------------------------------------------------------


def _verdict(outcome: Outcome) -> str:
    return "not measured" if outcome.hit is None else mark(outcome.hit)


def summary_table(found: list[Outcome]) -> str:
    """One line for each target."""
    rows: list[list[object]] = [[one.name, _verdict(one), one.wanted, one.reached] for one in found]
    return markdown_table(["target", "verdict", "wanted", "reached"], rows)


def sources(folder: Path) -> str:
    """Which runs the numbers come from."""
    rows: list[list[object]] = []
    for name in ("recurrent", "where_time_goes", "streaming", "cold_start", "compile_profile", "memory", "stress"):
        path = folder / f"{name}.json"
        if path.is_file():
            made = store.read_json(path)["provenance"]
            command = f"`{made['command']}`"
            rows.append(
                [f"`{path.name}`", command, made["date"][:10], made["commit"][:7], made["processor"], made["cores"]]
            )
    return markdown_table(["file", "made by", "on", "commit", "processor", "cores"], rows)


PREAMBLE = """\
# Every speed target, hit or missed

These are the goals that the CPU kernels were built for, and what the stored benchmarks say about each.
A ratio is the time of PyTorch or ONNX Runtime divided by ours, so above 1 is faster than the other library.
Everything a caller pays for is included. Every miss is followed by where the time goes.
`python -m benchmarks report --update` writes this page from `benchmarks/results/`; no number on it is typed.
"""

PARTS = """\
## How to read the misses

The time of a case is split into what the machine itself asks for and the rest:

- **arithmetic**: all matrix products at the measured peak rate of the processor;
- **weights**: what reading the recurrent weights at every step takes longer than multiplying with them;
- **gates**: the cell's equations on numbers that lie in the nearest cache;
- **rest**: tiles that run below the peak, empty lanes of vector registers, moving pre-activations and states
  between caches, packing weights, threads that wait for each other, allocating results, and the call.

*The limit* is the first three together. The ratio *without the rest* compares the other library's time with that limit:
a kernel that computes the same numbers one after another could do no better on this machine.
{doc}`../notebooks/5_1_measure_first` explains and measures the two roofs behind it.
"""


def page(folder: Path) -> str:
    """All targets and the reasons of the misses, as a page in Markdown."""
    found = outcomes(folder)
    parts = [PREAMBLE.rstrip(), summary_table(found)]
    misses = [one for one in found if one.hit is False]
    if misses:
        parts.append(PARTS.rstrip())
    parts += [f"## {one.name}\n\nWanted: {one.wanted}. Reached: {one.reached}.\n\n{one.why}" for one in misses]
    return "\n\n".join([*parts, "## Where the numbers come from", sources(folder)]) + "\n"
