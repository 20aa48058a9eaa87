"""Numba kernels for the CPU: compiled loops over the equations of :mod:`lstm_numba.cells`, parallel over the batch."""
