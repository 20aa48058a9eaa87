"""The stored times of the recurrent layers as a data frame, the targets for them, and Markdown tables."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from benchmarks.candidates import COMPILED, ONNX, OURS, REFERENCE, TORCH


def frame(result: dict) -> pd.DataFrame:
    """One row per case: its settings, times in microseconds, ratios, rates."""
    records = []
    for row in result["rows"]:
        record = {key: value for key, value in row.items() if not isinstance(value, (dict, list))}
        for name, times in row["times"].items():
            record[f"us {name}"] = times["median_us"]
            record[f"iqr {name}"] = (times["high_us"] - times["low_us"]) / times["median_us"]
        for name, value in row.get("ratios", {}).items():
            record[f"ratio {name}"] = value["of_medians"]
            record[f"low {name}"], record[f"high {name}"] = value["low"], value["high"]
        if OURS in row["times"]:
            record["gflops"] = row["times"][OURS]["gflops"]
            record["peak"] = row["times"][OURS]["peak_share"]
        records.append(record)
    table = pd.DataFrame(records)
    for name in (TORCH, ONNX, REFERENCE, COMPILED):
        for column in (f"us {name}", f"ratio {name}", f"low {name}", f"high {name}"):
            if column not in table:
                table[column] = float("nan")
    for name in ("gflops", "peak"):
        if name not in table:
            table[name] = float("nan")
    return table


@dataclass(frozen=True)
class Target:
    """A goal for a set of cases: geometric mean and worst case of a ratio."""

    name: str
    against: str
    mean: float
    worst: float
    rows: Callable[[pd.DataFrame], pd.Series]


def two_threads(table: pd.DataFrame) -> pd.Series:
    """Rows in which every candidate had two threads."""
    return table["threads"] == 2


def plain_lstm(table: pd.DataFrame) -> pd.Series:
    """One LSTM layer in one direction over whole sequences, up to the largest size that the targets speak of."""
    groups = table["group"].isin(["sweep", "odd", "I and H", "DeepBench"])
    return groups & (table["cell"] == "LSTM") & (table["H"] <= 1024) & two_threads(table)


def inference(table: pd.DataFrame) -> pd.Series:
    """Rows of forward passes alone."""
    return table["mode"] == "inference"


def training(table: pd.DataFrame) -> pd.Series:
    """Rows of forward and backward passes."""
    return table["mode"] == "training"


def unfused(table: pd.DataFrame) -> pd.Series:
    """Training for which PyTorch has no fused path."""
    kinds = (table["cell"] != "LSTM") | (table["proj"] > 0) | table["variable"]
    return kinds & training(table) & two_threads(table) & (table["H"] <= 1024)


def deep(table: pd.DataFrame) -> pd.Series:
    """Training of several LSTM layers, or of both directions."""
    kinds = (table["layers"] > 1) | table["bidirectional"]
    return kinds & (table["cell"] == "LSTM") & ~table["variable"] & training(table) & two_threads(table)


TARGETS = (
    Target("LSTM inference", TORCH, 2.8, 1.0, lambda t: plain_lstm(t) & inference(t)),
    Target("LSTM inference", ONNX, 2.0, 1.0, lambda t: plain_lstm(t) & inference(t)),
    Target("LSTM forward + backward", TORCH, 3.2, 1.0, lambda t: plain_lstm(t) & training(t)),
    Target("GRU, RNN, projection, lengths: training", TORCH, 4.0, 1.3, unfused),
    Target("2-4 layers or bidirectional: training", TORCH, 3.0, 1.0, deep),
)


def mark(reached: bool) -> str:
    """Hit or missed."""
    return "hit" if reached else "**missed**"


def shape(row: pd.Series) -> str:
    """Name the layer and the input of a row."""
    text = f"{row['cell']} T={row['T']} B={row['B']} H={row['H']}"
    text += f" I={row['I']}" if row["I"] != row["H"] else ""
    return text + (f" {row['layers']} layers" if row["layers"] > 1 else "") + (" bi" if row["bidirectional"] else "")


def markdown_table(header: list[str], rows: list[list[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])
