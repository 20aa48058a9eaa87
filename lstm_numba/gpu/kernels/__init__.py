"""The kernels: plain Python functions, made for fixed sizes, compiled by numba-cuda or run by the emulator."""
