"""All rows by name, and their trials."""

import time
from typing import Any

from lstm_numba.teaching.rerun_1997 import tables_1_to_3, tables_4_to_9
from lstm_numba.teaching.rerun_1997.row import Row

#: All rows by name, in the order of the paper's tables.
ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        *tables_1_to_3.reber_rows(),
        *tables_1_to_3.single_cell_rows(),
        *tables_1_to_3.distractor_rows(),
        *tables_4_to_9.two_sequence_rows(),
        *tables_4_to_9.marked_pair_rows(),
        *tables_4_to_9.temporal_order_rows(),
    )
}


def run_trial(name: str, seed: int) -> dict[str, Any]:
    """Run one trial of a row.

    Parameters
    ----------
    name : str
        Key of :data:`ROWS`.
    seed : int
        Seed of weights, training and test sequences.

    Returns
    -------
    dict
        ``after``: training sequences until success or None; ``seen``: sequences seen; ``steps``: time steps of
        training; ``seconds``: processor time of everything; further keys by experiment.

    Examples
    --------
    >>> from lstm_numba.teaching.rerun_1997 import run_trial
    >>> 15_000 < run_trial("hs97-6a", seed=1)["after"] < 60_000
    True
    """
    row = ROWS[name]
    if row.run is None:
        raise ValueError(f"name: {name} is quoted from the paper and cannot be run: {row.deviations[0]}")
    start = time.process_time()
    result = row.run(seed)
    return {"row": name, "seed": seed, **result, "seconds": round(time.process_time() - start, 3)}


def trials_of(row: Row, stored: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Trials of a row among stored ones: its own, or an earlier goal of those it shares.

    Parameters
    ----------
    row : Row
        The row.
    stored : dict
        Row name to trials.

    Returns
    -------
    list of dict
    """
    if not row.trials_of:
        return stored.get(row.name, [])
    shared = stored.get(row.trials_of, [])
    return [{**trial, "after": trial["goals"][row.goal], "wrong": None, "mae": None} for trial in shared]
