"""Backend ``"cuda"``: kernels for NVIDIA GPUs, written in Python, and an emulator that runs them without one.

The folder is not called ``cuda``: numba-cuda intercepts the import of every module whose full name contains
``numba.cuda``, which ``lstm_numba.cuda`` would, and its import hook then calls itself until Python gives up.
"""
