"""The specification: every cell in NumPy, one time step at a time, as the book explains it.

Nothing here is fast and nothing here shares code with the fast backends. It accepts float32, float64 and
complex128 (the latter so that gradients can be checked by the complex step).
"""
