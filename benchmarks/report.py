"""The stored results as Markdown: geometric means, worst cases, and each target hit or missed."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks import store, targets
from benchmarks.candidates import COMPILED, ONNX, OURS, REFERENCE, TORCH
from benchmarks.frame import (
    TARGETS,
    deep,
    frame,
    inference,
    mark,
    markdown_table,
    plain_lstm,
    shape,
    training,
    two_threads,
    unfused,
)
from benchmarks.measure import geometric_mean
from benchmarks.streaming import STREAM


def targets_table(table: pd.DataFrame) -> str:
    """The targets for ratios, hit or missed."""
    rows = []
    for target in TARGETS:
        chosen = table[target.rows(table)]
        ratios = chosen[f"ratio {target.against}"].dropna()
        missing = len(chosen) - len(ratios) if target.against == TORCH else int(chosen["ratio torch"].isna().sum())
        name = f"{target.name}, against {target.against}"
        if ratios.empty:
            rows.append([name, 0, "-", "-", "-", "-", f"not available ({missing} cases)"])
            continue
        mean, worst = geometric_mean(list(ratios)), ratios.min()
        where = shape(chosen.loc[ratios.idxmin()])
        verdict = f"mean {mark(mean >= target.mean)}, worst {mark(worst >= target.worst)}"
        verdict += f"; {missing} cases missing" if missing else ""
        below = int((ratios < target.worst).sum())
        rows.append(
            [
                name,
                len(ratios),
                f"{mean:.2f} (>= {target.mean})",
                f"{worst:.2f} (>= {target.worst})",
                where,
                below,
                verdict,
            ]
        )
    return markdown_table(["target", "cases", "geometric mean", "worst", "worst case", "below", "verdict"], rows)


def peak_table(table: pd.DataFrame) -> str:
    """Share of the measured peak at B >= 16, H 256 to 512, two threads: the target is 90 %."""
    chosen = table[two_threads(table) & (table["B"] >= 16) & table["H"].between(256, 512) & (table["group"] == "sweep")]
    rows = []
    for (mode, H, B), part in chosen.dropna(subset=["peak"]).groupby(["mode", "H", "B"]):
        best = part["peak"].max()
        rows.append(
            [mode, H, B, f"{100 * best:.0f} %", f"{part['gflops'].max():.0f}", mark(best >= targets.PEAK_SHARE)]
        )
    return markdown_table(["mode", "H", "B", "share of peak, best T", "GFLOP/s", "verdict"], rows)


def groups_table(table: pd.DataFrame) -> str:
    """Geometric mean and worst case of every group, mode and number of threads."""
    rows = []
    keys = ["group", "cell", "mode", "threads"]
    for values, part in table.groupby(keys, sort=False):
        row: list[object] = [*values, len(part)]
        for name in (TORCH, ONNX, REFERENCE, COMPILED):
            ratios = list(part[f"ratio {name}"].dropna())
            row.append(f"{geometric_mean(ratios):.2f} / {min(ratios):.2f}" if ratios else "-")
        rows.append(row)
    header = [
        "group",
        "cell",
        "mode",
        "threads",
        "cases",
        *(f"{name}: mean / worst" for name in (TORCH, ONNX, REFERENCE, COMPILED)),
    ]
    return markdown_table(header, rows)


def worst_table(table: pd.DataFrame, count: int = 15) -> str:
    """The cases in which we do worst against PyTorch."""
    worst = table.dropna(subset=["ratio torch"]).nsmallest(count, "ratio torch")
    rows = []
    for _, row in worst.iterrows():
        times = [f"{row[f'us {name}']:.0f}" for name in (OURS, TORCH)]
        shares = [f"{100 * row[name]:.0f} %" for name in ("peak", f"iqr {OURS}")]
        rows.append(
            [row["group"], row["mode"], row["threads"], shape(row), f"{row['ratio torch']:.2f}", *times, *shares]
        )
    return markdown_table(
        ["group", "mode", "threads", "case", "ratio", "ours us", "torch us", "of peak", "our IQR"], rows
    )


def grid(table: pd.DataFrame, mode: str, against: str, threads: int, T: int) -> str:
    """Ratios of the sweep, B down and H across."""
    part = table[
        (table["group"] == "sweep") & (table["mode"] == mode) & (table["threads"] == threads) & (table["T"] == T)
    ]
    part = part[part["cell"] == "LSTM"]
    part = part.dropna(subset=[f"ratio {against}"])
    if part.empty:
        return ""
    values = part.pivot(index="B", columns="H", values=f"ratio {against}")
    rows = [[B, *("" if pd.isna(v) else f"{v:.2f}" for v in values.loc[B])] for B in values.index]
    return markdown_table(["B \\ H", *map(str, values.columns)], rows)


def troubles(result: dict) -> str:
    """What was not timed, and what disturbed the rest."""
    lines = []
    reasons: dict[str, int] = {}
    for row in result["rows"]:
        for name, reason in row["unavailable"].items():
            if name in (OURS, TORCH, COMPILED):
                reasons[f"{name}: {reason}"] = reasons.get(f"{name}: {reason}", 0) + 1
        lines += [f"- FAILED {row['key']}: {name}: {reason}" for name, reason in row["failures"].items()]
        if row.get("torch_state_changed"):
            lines.append(f"- PyTorch's state changed in {row['key']}: {row['torch_state_changed']}")
    lines += [f"- not available in {count} cases: {reason}" for reason, count in reasons.items()]
    disturbed = sum(row["disturbed"] for row in result["rows"])
    if disturbed:
        lines.append(
            f"- {disturbed} of {len(result['rows'])} cases ran while other processes used more than 0.15 cores"
        )
    notes = {str(row["notes"][COMPILED].get("allow_rnn")) for row in result["rows"] if COMPILED in row.get("notes", {})}
    if notes:
        lines.append(f"- torch.compile worked with allow_rnn = {', '.join(sorted(notes))}")
    return "\n".join(lines) or "- nothing"


def recurrent_report(result: dict) -> str:
    """The report on the recurrent layers."""
    table = frame(result)
    where = result["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    peaks = ", ".join(
        f"{threads} threads {machine['gflops']:.0f} GFLOP/s ({machine['how']})"
        for threads, machine in result["machine"].items()
    )
    parts = [
        "## Recurrent layers",
        f"{where['processor']}, {where['cores']} cores; {versions}; commit {str(where['commit'])[:10]}"
        f"{' with uncommitted changes' if where['sources_modified'] else ''}; {len(table)} cases. "
        f"Measured peak: {peaks}.",
        "### Targets",
        targets_table(table),
        "### Share of the peak",
        peak_table(table),
        "### Groups (ratio theirs / ours: geometric mean / worst)",
        groups_table(table),
        "### Worst cases against PyTorch",
        worst_table(table),
        "### Not timed, disturbed",
        troubles(result),
    ]
    for mode in ("inference", "training"):
        for against in (TORCH, ONNX) if mode == "inference" else (TORCH,):
            for threads in (2, 1):
                for T in (32, 128, 512):
                    if text := grid(table, mode, against, threads, T):
                        parts += [f"### {mode}, {against} / ours, {threads} threads, T={T}", text]
    return "\n\n".join(parts)


def overlap_report(result: dict) -> str:
    """Where layers that overlap are faster than one after the other."""
    times = {name: f"{entry['mean']:.2f} ({entry['least']:.2f} to {entry['most']:.2f}, {entry['cases']} shapes)"
             for name, entry in result["means"].items()}  # fmt: skip
    rows = [
        [row["layers"], row["T"], row["H"], f"{row['ratio']['of_medians']:.2f}", "yes" if row["chosen"] else "no"]
        for row in result["rows"]
    ]
    return "\n\n".join(
        [
            f"## Overlapping layers: {result['about']}",
            "One after the other / overlapped, " + "; ".join(f"{name}: {text}" for name, text in times.items()) + ".",
            markdown_table(["layers", "T", "H", "ratio", "overlapped by the package"], rows),
        ]
    )


def streaming_report(result: dict) -> str:
    """One step at a time, with its targets."""
    limits = targets.STREAMING_LIMITS
    rows = []
    for row in result["rows"]:
        ours = row["times"].get(STREAM)
        verdict = "-" if row["H"] not in limits else f"<= {limits[row['H']]} us: " + (
            "not available" if ours is None else mark(ours["median_us"] <= limits[row["H"]])
        )  # fmt: skip
        rows.append([row["H"], "; ".join(f"{n} {t['median_us']:.2f}" for n, t in row["times"].items()), verdict])
    return "## Streaming, microseconds per step\n\n" + markdown_table(["H", "median", "target"], rows)


def loop_report(result: dict) -> str:
    """The training loop."""
    rows = [
        [
            row["threads"],
            *(f"{row['times'][n]['median_us']:.0f}" for n in (OURS, TORCH)),
            f"{row['ratio']['of_medians']:.2f}",
        ]
        for row in result["rows"]
    ]
    return f"## Training loop: {result['about']}\n\n" + markdown_table(
        ["threads", "ours us", "torch us", "ratio"], rows
    )


def cold_report(result: dict) -> str:
    """Cold start, with its targets."""
    limits = targets.COLD_LIMITS
    rows = []
    for name, value in result["times"].items():
        limit = limits.get(name)
        verdict = "-" if limit is None else f"<= {limit} s: {mark(value['median_s'] <= limit)}"
        rows.append([name, f"{value['median_s']:.2f}", verdict])
    rows += [[name, "-", f"not available: {reason}"] for name, reason in result["unavailable"].items()]
    return "## Cold start, seconds\n\n" + markdown_table(["what", "median", "target"], rows)


def memory_report(result: dict) -> str:
    """Peak memory; training must not need more than PyTorch."""
    rows = []
    for row in result["rows"]:
        sizes = [row["memory"].get(name) for name in (OURS, TORCH)]
        shown = ["-" if size is None else f"{size / 2**20:.1f}" for size in sizes]
        verdict = "not available"
        if all(sizes):
            verdict = f"{sizes[0] / sizes[1]:.2f} of PyTorch's" + (
                f": {mark(sizes[0] <= sizes[1])}" if row["mode"] == "training" else ""
            )
        rows.append([row["key"], *shown, verdict])
    return "## Peak memory of a call, MiB\n\n" + markdown_table(["case", OURS, TORCH, "verdict"], rows)


def ladder_report(result: dict) -> str:
    """The ladder of the book."""
    rows = []
    for size in result["sizes"]:
        for name, rung in size["rungs"].items():
            rows.append([size["name"], name, f"{rung['median_us']:.0f}", f"{rung['gflops']:.2f}"])
    return "## The ladder\n\n" + markdown_table(["size", "rung", "us", "GFLOP/s"], rows)


def where_report(result: dict) -> str:
    """Where the time goes on one thread."""
    rows = []
    for row in result["rows"]:
        shares = [f"{row[f'share_{part}']:.0%}" for part in ("products", "gates", "rest")]
        ratios = [row["ratio"]["of_medians"], row["ratio_without_rest"], row["ratio_at_peak"]]
        rows.append([row["mode"], str(row["B"]), str(row["H"]), *shares, *(f"{value:.2f}" for value in ratios)])
    head = ["", "B", "H", "products", "gates", "rest", "ratio to PyTorch", "without the rest", "at the peak"]
    return f"## Where the time goes: {result['about']}\n\n" + markdown_table(head, rows)


def checkpointing_report(result: dict) -> str:
    """What recomputing saves and costs."""
    rows = [
        [
            str(row["T"]),
            str(row["checkpoint"]),
            f"{row['peak_bytes'] / 2**20:.1f}",
            f"{row['slower_than_without']['of_medians']:.2f}",
        ]
        for row in result["rows"]
    ]
    head = ["T", "steps in a segment", "peak MiB", "time, without = 1"]
    return f"## Checkpointing: {result['about']}\n\n" + markdown_table(head, rows)


def attention_report(result: dict) -> str:
    """Attention against PyTorch; the target is at least its speed in every case."""
    modes = {False: "forward", True: "forward and backward"}
    rows = [
        [
            row["what"],
            modes[row["training"]],
            row["cases"],
            f"{row['mean']:.2f}",
            f"{row['worst']:.2f}",
            row["below_one"],
            mark(row["worst"] >= 1),
        ]
        for row in result["means"]
    ]
    worst = sorted(result["rows"], key=lambda row: row["ratio"]["of_medians"])[:10]
    details = [
        [
            row["what"],
            modes[row["training"]],
            *(row[name] for name in ("T", "B", "E")),
            *(f"{row['times'][name]['median_us']:.0f}" for name in (OURS, row["torch"])),
            f"{row['ratio']['of_medians']:.2f}",
        ]
        for row in worst
    ]
    head = ["what", "mode", "cases", "geometric mean", "worst", "below 1", "target: 1 in every case"]
    return "\n\n".join(
        [
            f"## Attention: {result['about']}",
            markdown_table(head, rows),
            "### Worst cases",
            markdown_table(["what", "mode", "T", "B", "E", "ours us", "torch us", "ratio"], details),
        ]
    )


def stress_report(result: dict) -> str:
    """The stress run."""
    growth = result["memory_growth"]
    grown = "unknown" if growth is None else f"{growth / 2**20:.1f} MiB"
    return (
        f"## Stress\n\n{result['trials']} trials in {result['minutes']} minutes, {result['concurrent']} with several "
        f"Python threads: {len(result['failures'])} failures; memory growth from the middle third to the last: {grown}."
    )


REPORTS: dict[str, Callable[[dict], str]] = {
    "recurrent": recurrent_report,
    "where_time_goes": where_report,
    "memory": memory_report,
    "checkpointing": checkpointing_report,
    "attention": attention_report,
    "overlap": overlap_report,
    "streaming": streaming_report,
    "training_loop": loop_report,
    "cold_start": cold_report,
    "ladder": ladder_report,
    "stress": stress_report,
}


def full_report(folder: Path) -> str:
    """Everything there are results of."""
    parts = []
    for name, write in REPORTS.items():
        path = folder / f"{name}.json"
        parts.append(write(store.read_json(path)) if path.is_file() else f"## {name}\n\nNo results in {path.name}.")
    return "\n\n".join(parts)


README_ROWS = (
    ("LSTM, inference", TORCH, lambda t: plain_lstm(t) & inference(t)),
    ("LSTM, inference", ONNX, lambda t: plain_lstm(t) & inference(t)),
    ("LSTM, training", TORCH, lambda t: plain_lstm(t) & training(t)),
    ("LSTM of 2 or 4 layers, or bidirectional, training", TORCH, deep),
    ("GRU, RNN, projection, variable lengths, training", TORCH, unfused),
)
OTHERS = {TORCH: "PyTorch", ONNX: "ONNX Runtime"}
README_TABLE = re.compile(r"\| what \| against \|.*?, commit [0-9a-f]{7}\.", re.DOTALL)


def readme_table(result: dict) -> str:
    """The table of the README: how many times faster than others, with the extremes.

    Parameters
    ----------
    result : dict
        What ``recurrent.json`` holds.

    Returns
    -------
    str
        A Markdown table and a line that says where the numbers come from.
    """
    table, made = frame(result), result["provenance"]
    rows = []
    for name, other, chosen in README_ROWS:
        ratios = table[chosen(table)][f"ratio {other}"].dropna()
        mean = geometric_mean(list(ratios))
        rows.append([name, OTHERS[other], len(ratios), f"{mean:.1f}x", f"{ratios.min():.2f}x to {ratios.max():.1f}x"])
    header = ["what", "against", "shapes", "geometric mean", "slowest to fastest shape"]
    versions = ", ".join(f"{title} {made['versions'][name]}" for name, title in OTHERS.items())
    source = f"{made['processor']}, {made['cores']} cores, float32; {versions}; `python -m benchmarks recurrent`"
    return f"{markdown_table(header, rows)}\n\n{source}, {made['date'][:10]}, commit {made['commit'][:7]}."


TARGETS_PAGE = store.ROOT / "book" / "targets.md"


def update_documents() -> list[Path]:
    """Write the table of the README and the page of the targets anew from the stored results; returns the files."""
    readme = store.ROOT / "README.md"
    text, table = readme.read_text(encoding="utf-8"), readme_table(store.read_json(store.RESULTS / "recurrent.json"))
    replaced, count = README_TABLE.subn(lambda found: table, text)
    if count != 1:
        raise RuntimeError(f"{readme}: expected one table of speeds, found {count}")
    readme.write_text(replaced, encoding="utf-8")
    TARGETS_PAGE.write_text(targets.page(store.RESULTS), encoding="utf-8")
    return [readme, TARGETS_PAGE]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="the results of the last quick runs")
    parser.add_argument("--results", type=Path, help="folder of the JSON files; default benchmarks/results")
    parser.add_argument("--readme", action="store_true", help="only the table of the README")
    parser.add_argument(
        "--targets", action="store_true", help="every target, hit or missed, and the reasons of the misses"
    )
    parser.add_argument("--update", action="store_true", help="write the README's table and book/targets.md anew")


def main(options: argparse.Namespace) -> int:
    """Print the report."""
    if options.readme:
        print(readme_table(store.read_json(store.RESULTS / "recurrent.json")))
        return 0
    if options.update:
        for path in update_documents():
            print(path.relative_to(store.ROOT))
        return 0
    folder = options.results or (store.SCRATCH if options.quick else store.RESULTS)
    print(targets.page(folder) if options.targets else full_report(folder))
    return 0
