"""Layers: what users hold. They validate, keep parameters and gradients, and call the backend contract."""

from lstm_numba.layers.attention import AdditiveAttention, MultiheadAttention
from lstm_numba.layers.container import LastStep, Sequential
from lstm_numba.layers.decoding import ModelStream
from lstm_numba.layers.dense import Dense
from lstm_numba.layers.dropout import Dropout
from lstm_numba.layers.embedding import Embedding, SinusoidalPositions
from lstm_numba.layers.layer import Layer
from lstm_numba.layers.lstm_variants import LSTMVariant
from lstm_numba.layers.norm import GELU, LayerNorm, ReLU, RMSNorm
from lstm_numba.layers.recurrent import GRU, LSTM, RNN
from lstm_numba.layers.scan import MinGRU, MinLSTM
from lstm_numba.layers.transformer import TransformerDecoderLayer, TransformerEncoderLayer
from lstm_numba.layers.xlstm import MLSTM, SLSTM

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "MLSTM",
    "RNN",
    "SLSTM",
    "AdditiveAttention",
    "Dense",
    "Dropout",
    "Embedding",
    "LSTMVariant",
    "LastStep",
    "Layer",
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
]
