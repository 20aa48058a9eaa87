"""Numba kernels for the CPU: compiled loops over the equations of :mod:`lstm_numba.cells`, parallel over the batch.

``lstm`` is the readable version, ``lstm_tiled`` the fast one. The fast one is ordinary Python around one register
tile (``simd``) and the matrix products built from it (``gemm``).
"""
