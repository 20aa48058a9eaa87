"""What `explain` says about the GPU kernels: for which chip the choice was made, and how many blocks share a layer."""

from typing import Any, NamedTuple

from lstm_numba.gpu.device import chip_in_use
from lstm_numba.gpu.plan import Chip, Plan, plan


class Work(NamedTuple):
    """How one layer's work is shared."""

    sharing: str  # in words


def describe_work(problem: Any) -> Work:
    """Say how a layer would be shared between blocks; ``problem`` is a :class:`lstm_numba.backend.Problem`.

    Examples
    --------
    >>> from lstm_numba.backend import Problem
    >>> from lstm_numba.gpu.device import EmulatedDevice, use_device
    >>> problem = Problem("lstm", 10, 8, 3, 128, 128, 1, "float32", True, False)
    >>> with use_device(EmulatedDevice()):
    ...     print(describe_work(problem).sharing)
    compute capability 9.0, 132 multiprocessors; 4 blocks forward and 4 backward per 8 sequences
    """
    chip, found = chip_in_use()
    chosen = plan(problem.cell, problem.H, problem.B, problem.dtype, chip)
    return Work(f"{_describe_chip(chip, found)}; {_describe_blocks(chosen, problem)}")


def predict_speed(problem: Any) -> None:
    """Predict nothing: no time of these kernels has been measured."""


def _describe_chip(chip: Chip, found: bool) -> str:
    major, minor = chip.capability
    words = f"compute capability {major}.{minor}, {chip.multiprocessors} multiprocessors"
    return words if found else f"{words} (an H100, assumed: no GPU was found)"


def _describe_blocks(chosen: Plan, problem: Any) -> str:
    padded = "" if chosen.H == problem.H else f", {problem.H} units padded to {chosen.H}"
    if chosen.family == "steps":
        return f"16 units of {chosen.forward.rows} sequences per block and launch{padded}"
    forward, backward = chosen.forward_blocks, chosen.backward_blocks
    if chosen.forward.rows != chosen.backward.rows:
        words = (
            f"{_blocks(forward)} per {chosen.forward.rows} sequences forward, "
            f"{_blocks(backward)} per {chosen.backward.rows} backward"
        )
    else:
        words = f"{_blocks(forward)} forward and {backward} backward per {chosen.forward.rows} sequences"
    return words + padded


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count} blocks"
