"""What the stored measurements say on whether to use an LSTM: numbers for one page, read from the results files."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Forecasts", "SpeedUp", "cold_start", "forecasts", "memory_ratios", "speed_ups", "streaming_rows"]

_OURS = "lstm_numba"


class SpeedUp(NamedTuple):
    """How many times faster than PyTorch one kind of layer is, over all measured shapes.

    Attributes
    ----------
    cell, mode : str
        Which layer, and whether it trains.
    shapes : int
        How many shapes were measured.
    lowest, median, highest : float
        Of the ratios of PyTorch's time and ours.
    behind : int
        How many shapes have a ratio below 1.
    """

    cell: str
    mode: str
    shapes: int
    lowest: float
    median: float
    highest: float
    behind: int


class Forecasts(NamedTuple):
    """Errors of one block of days of hourly traffic.

    Attributes
    ----------
    days : str
        First and last day.
    lstm : ndarray (seeds,)
        Mean absolute errors of the LSTM, with the calendar of holidays.
    ridge, last_week : float
        Of a ridge regression with the same calendar, and of repeating the same hour of last week.
    """

    days: str
    lstm: np.ndarray
    ridge: float
    last_week: float


def speed_ups(text: str, cells: Sequence[str] = ("LSTM", "GRU", "RNN"), threads: int = 2) -> list[SpeedUp]:
    """Summarise the speed of recurrent layers against PyTorch.

    Parameters
    ----------
    text : str
        The stored ``recurrent.json``.
    cells : sequence of str
        Which layers.
    threads : int
        Measurements with so many threads count.

    Returns
    -------
    list of SpeedUp
    """
    rows = [row for row in json.loads(text)["rows"] if row["threads"] == threads and not row["disturbed"]]
    found = []
    for cell in cells:
        for mode in ("inference", "training"):
            ratios = [
                row["ratios"]["torch"]["of_medians"]
                for row in rows
                if (row["cell"], row["mode"], row["compiled"]) == (cell, mode, False) and "torch" in row["ratios"]
            ]
            if ratios:
                low, median, high = float(min(ratios)), float(np.median(ratios)), float(max(ratios))
                found.append(SpeedUp(cell, mode, len(ratios), low, median, high, sum(ratio < 1 for ratio in ratios)))
    return found


def streaming_rows(text: str) -> tuple[list[str], list[list[float]]]:
    """Microseconds of one step of one sequence.

    Parameters
    ----------
    text : str
        The stored ``streaming.json``.

    Returns
    -------
    list of str
        Names of the programs.
    list of list of float
        For each number of units: the number, and the median of each program.
    """
    rows = json.loads(text)["rows"]
    names = [name for name in rows[0]["times"] if all(name in row["times"] for row in rows)]
    return names, [[row["H"], *(float(row["times"][name]["median_us"]) for name in names)] for row in rows]


def forecasts(text: str) -> list[Forecasts]:
    """Read the forecasts of traffic.

    Parameters
    ----------
    text : str
        The stored ``forecast_traffic.json``.

    Returns
    -------
    list of Forecasts
    """
    found = []
    for block in json.loads(text)["blocks"]:
        errors = {name: float(model["mae"]) for name, model in block["models"].items()}
        lstm = np.array([error for name, error in errors.items() if name.startswith("LSTM, holidays")])
        days = f"{block['first_day']} to {block['last_day']}"
        found.append(Forecasts(days, lstm, errors["ridge, holidays"], errors["same hour last week"]))
    return found


def memory_ratios(text: str) -> dict[str, np.ndarray]:
    """PyTorch's peak memory as a multiple of ours, by mode, over the measured shapes.

    Parameters
    ----------
    text : str
        The stored ``memory.json``.

    Returns
    -------
    dict
    """
    ratios: dict[str, list[float]] = {}
    for row in json.loads(text)["rows"]:
        ratios.setdefault(row["mode"], []).append(row["memory"]["torch"] / row["memory"][_OURS])
    return {mode: np.array(values) for mode, values in ratios.items()}


def cold_start(text: str) -> dict[str, float]:
    """Seconds that a new process waits for the first call of an LSTM.

    Parameters
    ----------
    text : str
        The stored ``cold_start.json``.

    Returns
    -------
    dict
        ``"cold"`` and ``"warm"`` (training, import included, without and with compiled kernels in the cache) and
        ``"torch"``.
    """
    times: dict[str, Any] = json.loads(text)["times"]
    names = {
        "cold": "LSTM first training call, cold, import included",
        "warm": "LSTM first training call, warm cache, import included",
        "torch": "torch first training call, import included",
    }
    return {short: float(times[name]["median_s"]) for short, name in names.items()}
