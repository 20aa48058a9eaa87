"""Layers: what users hold. They validate, keep parameters and gradients, and call the backend contract."""

from lstm_numba.layers.container import LastStep, Sequential
from lstm_numba.layers.dense import Dense
from lstm_numba.layers.layer import Layer
from lstm_numba.layers.lstm_variants import LSTMVariant
from lstm_numba.layers.recurrent import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "Dense", "LSTMVariant", "LastStep", "Layer", "Sequential"]
