"""What the machine itself asks for a case: the least time of its arithmetic, its weights and its gates.

Everything comes from stored numbers: the peak rate and the bandwidths of ``recurrent.json``, and the time of the gates
of ``where_time_goes.json``. What a layer takes beyond that is called the rest: tiles that run below the peak, empty
lanes of vector registers, moving pre-activations and states between caches, packing weights, threads that wait for each
other, allocating results, and the call itself.
"""

from typing import NamedTuple

import numpy as np

from benchmarks.cases import GATES, case_of

_FORWARD_AND_BACKWARD = 2  # the backward pass reads the recurrent weights once more at every step


class Needed(NamedTuple):
    """The least time of a case, in microseconds, by what it is needed for."""

    arithmetic: float  # all matrix products at the measured peak
    weights: float  # what reading the recurrent weights at every step takes longer than multiplying with them
    gates: float  # the cell's equations on numbers in the L1 cache; 0 where they were not measured

    @property
    def total(self) -> float:
        """All three, one after another."""
        return self.arithmetic + self.weights + self.gates


def bandwidth(machine: dict, mebibytes: float) -> float:
    """GB per second at which arrays of this size are read over and over, between the sizes that were measured.

    Parameters
    ----------
    machine
        One entry of ``"machine"`` in ``recurrent.json``.
    mebibytes
        Size of the array.
    """
    measured = {float(name.split("(")[1].split()[0]): rate for name, rate in machine["read_gb_per_s"].items()}
    sizes = sorted(measured)
    return float(np.interp(np.log(mebibytes), np.log(sizes), [measured[size] for size in sizes]))


def needed(row: dict, machine: dict, seconds_per_unit: dict[str, float] | None) -> Needed:
    """The least time of a row of ``recurrent.json``.

    Parameters
    ----------
    row
        The row.
    machine
        What was measured of the machine with the row's number of threads.
    seconds_per_unit
        Time of the LSTM's equations for one unit and step in one thread, ``"forward"`` and ``"backward"``; None leaves
        the gates out, as they are for other cells.
    """
    case = case_of(row)
    training = case.mode == "training"
    arithmetic = case.flops / machine["gflops"] / 1e3
    lengths = case.lengths()
    steps, sequence_steps = case.T, case.T * case.B
    if lengths is not None:
        steps, sequence_steps = int(lengths.max()), int(lengths.sum())
    passes = _FORWARD_AND_BACKWARD if training else 1
    layers = case.layers * case.directions
    numbers = GATES[case.cell] * case.H * case.output  # of one layer's recurrent weights
    own = 4 * numbers / case.threads  # bytes that one thread reads if threads share the units
    reading = 4 * numbers * steps / bandwidth(machine, own / 2**20) / 1e3
    multiplying = 2 * numbers * sequence_steps / machine["gflops"] / 1e3
    weights = layers * passes * max(0.0, reading - multiplying)
    gates = 0.0
    if seconds_per_unit is not None and case.cell == "LSTM":
        per_unit = seconds_per_unit["forward"] + (seconds_per_unit["backward"] if training else 0.0)
        gates = layers * sequence_steps * case.H * per_unit / case.threads * 1e6
    return Needed(arithmetic, weights, gates)
