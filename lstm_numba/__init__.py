"""Long Short-Term Memory, from one gate to fast kernels.

``import lstm_numba as ln`` needs NumPy and Numba and nothing else. The equations are in ``lstm_numba.cells``,
the slow and obvious version in ``lstm_numba.reference``, the fast one in ``lstm_numba.cpu``.
"""

from lstm_numba import gradcheck
from lstm_numba.cpu.threads import get_num_threads, set_num_threads
from lstm_numba.explain import explain
from lstm_numba.layers import (
    GELU,
    GRU,
    LSTM,
    MLSTM,
    RNN,
    SLSTM,
    AdditiveAttention,
    Dense,
    Dropout,
    Embedding,
    LastStep,
    LayerNorm,
    LSTMVariant,
    MinGRU,
    MinLSTM,
    ModelStream,
    MultiheadAttention,
    ReLU,
    RMSNorm,
    Sequential,
    SinusoidalPositions,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)
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
    "GELU",
    "GRU",
    "LSTM",
    "MLSTM",
    "RNN",
    "SGD",
    "SLSTM",
    "Adam",
    "AdamW",
    "AdditiveAttention",
    "Dense",
    "Dropout",
    "Embedding",
    "LSTMVariant",
    "LastStep",
    "LayerNorm",
    "MinGRU",
    "MinLSTM",
    "ModelStream",
    "MultiheadAttention",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SinusoidalPositions",
    "TransformerDecoderLayer",
    "TransformerEncoderLayer",
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
