"""Layers: what users hold. They validate, keep parameters and gradients, and call the backend contract."""

from lstm_numba.layers.container import LastStep, Sequential
from lstm_numba.layers.dense import Dense
from lstm_numba.layers.layer import Layer
from lstm_numba.layers.lstm_variants import LSTMVariant
from lstm_numba.layers.recurrent import GRU, LSTM, RNN
from lstm_numba.layers.scan import MinGRU, MinLSTM
from lstm_numba.layers.xlstm import MLSTM, SLSTM

__all__ = [
    "GRU",
    "LSTM",
    "MLSTM",
    "RNN",
    "SLSTM",
    "Dense",
    "LSTMVariant",
    "LastStep",
    "Layer",
    "MinGRU",
    "MinLSTM",
    "Sequential",
]
