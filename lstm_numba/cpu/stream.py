"""One time step at a time on the CPU: everything is bound beforehand, a step allocates nothing.

>>> import numpy as np, lstm_numba as ln
>>> from numba import njit
>>> from lstm_numba.cpu.stream import stream_step
>>> @njit
... def last_output(handle, x):
...     for t in range(len(x)):
...         y = stream_step(handle, x[t])
...     return y.copy()
>>> stream = ln.GRU(3, 4, seed=0).stream()
>>> last_output(stream.handle, np.zeros((100, 1, 3), np.float32)).shape
(1, 4)
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from lstm_numba.contract import LayerWeights
from lstm_numba.cpu import plan as p
from lstm_numba.cpu.denormals import flush_denormals, restore_denormals
from lstm_numba.cpu.launch import run_alone
from lstm_numba.cpu.recurrent import ALONE, Job
from lstm_numba.cpu.simd import address_of, get, pointer, put, step
from lstm_numba.inner import INNER
from lstm_numba.jit import kernel


class StreamHandle(NamedTuple):
    """What :func:`stream_step` needs; the arrays belong to the stream that made it, which must stay alive."""

    addresses: np.ndarray  # (layers,) of the kernels
    plans: np.ndarray  # (layers, p.LENGTH)
    y: np.ndarray  # (B, P) output of the last layer


@njit(error_model="numpy")
def stream_step(handle, x):
    """Advance a stream by one step inside your own compiled code.

    Parameters
    ----------
    handle : StreamHandle
        ``stream.handle``.
    x : ndarray
        Shape (B, I), contiguous, of the layer's dtype. Nothing is checked here.

    Returns
    -------
    ndarray
        Shape (B, P): the output, in memory that the next step writes again.
    """
    _run_layers(pointer(handle.addresses), pointer(handle.plans), len(handle.addresses), x)
    return handle.y


@njit(**INNER)
def _run_layers(addresses, plans, layers, x):
    before = flush_denormals()
    put(plans, p.X, address_of(pointer(x)))
    for layer in range(layers):
        run_alone(get(addresses, layer), step(plans, layer * p.LENGTH))
    restore_denormals(before)


@kernel()
def _step(program, x):
    """``program``: number of layers, their addresses, their plans. Every array that is passed costs time."""
    layers = program[0]
    addresses = step(pointer(program), 1)
    _run_layers(addresses, step(addresses, layers), layers, x)


class CpuStream:
    """The layers of a recurrent network bound for single steps; see :meth:`lstm_numba.LSTM.stream`."""

    def __init__(self, cell: str, weights: list[LayerWeights], batch_size: int) -> None:
        dtype = weights[0][0].W_ih.dtype
        self._weights = weights  # jobs know the addresses of the arrays, and do not keep them alive
        self._jobs = [Job(cell, layer, dtype) for layer in weights]
        layers = len(weights)
        self._program = np.zeros(1 + layers + layers * p.LENGTH, np.int64)
        self._program[0] = layers
        self._addresses = self._program[1 : 1 + layers]
        self._plans = self._program[1 + layers :].reshape(layers, p.LENGTH)
        self.state = [
            tuple(np.zeros((1, batch_size, width), dtype) for width in ((job.P, job.H) if cell == "lstm" else (job.P,)))
            for job in self._jobs
        ]
        self._slots = [np.zeros((3, batch_size, job.P), dtype) for job in self._jobs]
        self.batch_size = batch_size
        self.y = self.state[-1][0][0]
        self.bind()
        self.handle = StreamHandle(self._addresses, self._plans, self.y)

    def bind(self) -> None:
        """Pack the weights as they are now."""
        for k, (job, weights) in enumerate(zip(self._jobs, self._weights, strict=True)):
            job.packed = None
            job.prepare_forward(weights, 1, self.batch_size, False, ALONE)
            plan = self._plans[k]
            plan[:] = job.forward_plan
            h, c = self.state[k][0].ctypes.data, self.state[k][-1].ctypes.data
            plan[p.H0] = plan[p.H_N] = h  # the state is read before it is written
            plan[p.C0] = plan[p.C_N] = c
            plan[p.H_SLOTS] = self._slots[k].ctypes.data
            if k > 0:
                plan[p.X] = self.state[k - 1][0].ctypes.data
            self._addresses[k] = job.forward_address
        # One step packs the weights; its effect on the state is undone.
        before = [tuple(part.copy() for part in parts) for parts in self.state]
        self.advance(np.zeros((self.batch_size, self._jobs[0].I), self.y.dtype))
        for parts, old in zip(self.state, before, strict=True):
            for part, value in zip(parts, old, strict=True):
                part[...] = value
        self._plans[:, p.REPACK] = 0
        self._plans[:, p.PHASES] -= 1

    def advance(self, x: np.ndarray) -> np.ndarray:
        """One step; ``x`` is (B, I), contiguous, of the layer's dtype."""
        _step(self._program, x)
        return self.y
