"""Small compiled helpers around a launch: addresses of the arrays of a call, and a fingerprint of the weights."""

import numpy as np
from numba import njit

from lstm_numba.cpu import plan as p
from lstm_numba.cpu.simd import address_of, pointer
from lstm_numba.cpu.teams import SYNC_STRIDE
from lstm_numba.jit import kernel


@njit(error_model="numpy")
def _where(array):
    return address_of(pointer(array))


@kernel()
def _bind_forward(plan, sync, x, h, h0, h_n, c0, c_n):
    sync[:] = 0
    plan[p.X], plan[p.H_SLOTS] = _where(x), _where(h)
    plan[p.H0], plan[p.H_N] = _where(h0), _where(h_n)
    plan[p.C0], plan[p.C_N] = _where(c0), _where(c_n)
