"""The LSTM of 1997 as it was printed: its cell, its truncated gradient, its online training, its sequences.

Nothing here is meant for today's problems; use :class:`lstm_numba.LSTM` for those. It exists so that the paper's
tables can be computed again, see ``python -m benchmarks.papers``.
"""

from lstm_numba.historic.network import Architecture, Network

__all__ = ["Architecture", "Network"]
