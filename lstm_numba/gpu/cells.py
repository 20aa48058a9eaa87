"""How a cell of :mod:`lstm_numba.cells` sits in a kernel: four slots per unit, one carried number, one saved row.

All kernels treat all cells alike. A unit has four *slots*, the rows of one quarter of a tensor core tile. The input
and the recurrent weights each fill some of them; the pre-activation of a slot is the sum of both. An LSTM uses four
slots for its gates. A GRU needs the recurrent part of its candidate apart from the input part, so its third gate
takes slot 2 for the input and slot 3 for the recurrence. A simple RNN uses slot 0.

Between steps a unit carries one number besides ``h``: the cell state of an LSTM, ``h`` itself for the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from lstm_numba.gpu.binding import DeviceFunction, device, device_cell


@dataclass(frozen=True)
class Cell:
    """Where the gates of a cell sit, and its step in both directions as device functions.

    ``step(z0, z1, z2, z3, carry) -> s0, s1, s2, s3, carry, h`` with the four numbers to save for the way back;
    ``step_grad(dh, dcarry, s0, s1, s2, s3, carry_before, carry) -> dz0, dz1, dz2, dz3, dcarry_before``.
    """

    name: str
    input_slots: tuple[int, ...]  # slot of each gate in W_ih
    hidden_slots: tuple[int, ...]  # slot of each gate in W_hh
    carries_cell_state: bool
    step: DeviceFunction
    step_grad: DeviceFunction

    @property
    def gates(self) -> int:
        """Gates in the weight matrices."""
        return len(self.input_slots)


@cache
def cell(name: str, dtype: str) -> Cell:
    """Return the cell called ``name`` in :mod:`lstm_numba.contract`, or raise ``ValueError``."""
    if name not in _CELLS:
        raise ValueError(f"cell: backend 'cuda' has {', '.join(map(repr, _CELLS))}, got {name!r}")
    return _CELLS[name](dtype)


def _lstm(dtype: str) -> Cell:
    lstm_step = device_cell("lstm_step", dtype)
    lstm_step_grad = device_cell("lstm_step_grad", dtype)
    slots = (0, 1, 2, 3)
    return Cell("lstm", slots, slots, True, lstm_step, lstm_step_grad)


def _gru(dtype: str) -> Cell:
    gru_step = device_cell("gru_step", dtype)
    gru_step_grad = device_cell("gru_step_grad", dtype)

    @device
    def step(z0, z1, z2, z3, carry):
        r, z, n, h = gru_step(z0, z1, z2, z3, carry)
        return r, z, n, z3, h, h

    @device
    def step_grad(dh, dcarry, r, z, n, n_h, carry_before, carry):
        return gru_step_grad(dh + dcarry, r, z, n, n_h, carry_before)

    return Cell("gru", (0, 1, 2), (0, 1, 3), False, step, step_grad)


def _rnn(kind: str, dtype: str) -> Cell:
    rnn_step = device_cell(f"{kind}_step", dtype)
    rnn_step_grad = device_cell(f"{kind}_step_grad", dtype)

    @device
    def step(z0, z1, z2, z3, carry):
        zero = type(z0)(0)
        h = rnn_step(z0)
        return h, zero, zero, zero, h, h

    @device
    def step_grad(dh, dcarry, h, s1, s2, s3, carry_before, carry):
        zero = type(dh)(0)
        return rnn_step_grad(dh, h), zero, zero, zero, zero

    return Cell(kind, (0,), (0,), False, step, step_grad)


_CELLS: dict[str, Callable[[str], Cell]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": partial(_rnn, "rnn_tanh"),
    "rnn_relu": partial(_rnn, "rnn_relu"),
}

CELLS: tuple[str, ...] = tuple(_CELLS)
