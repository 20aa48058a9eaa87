"""Long Short-Term Memory, from one gate to fast kernels.

``import lstm_numba as ln`` needs NumPy and Numba and nothing else. The equations are in ``lstm_numba.cells``,
the slow and obvious version in ``lstm_numba.reference``, the fast one in ``lstm_numba.cpu``.
"""

from lstm_numba import gradcheck
from lstm_numba.cpu.threads import get_num_threads, set_num_threads
from lstm_numba.explain import explain
from lstm_numba.layers import GRU, LSTM, MLSTM, RNN, SLSTM, Dense, LastStep, LSTMVariant, MinGRU, MinLSTM, Sequential
from lstm_numba.training import (
    SGD,
    Adam,
    AdamW,
    clip_grad_norm,
    cross_entropy_loss,
    fit,
    mae_loss,
    mse_loss,
    pinball_loss,
)
from lstm_numba.warmup import warmup

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "MLSTM",
    "RNN",
    "SGD",
    "SLSTM",
    "Adam",
    "AdamW",
    "Dense",
    "LSTMVariant",
    "LastStep",
    "MinGRU",
    "MinLSTM",
    "Sequential",
    "__version__",
    "clip_grad_norm",
    "cross_entropy_loss",
    "explain",
    "fit",
    "get_num_threads",
    "gradcheck",
    "mae_loss",
    "mse_loss",
    "pinball_loss",
    "set_num_threads",
    "warmup",
]
