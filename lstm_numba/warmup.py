"""Compile kernels before they are needed."""

from collections.abc import Callable, Iterable

import numpy as np

from lstm_numba.layers import GRU, LSTM, RNN

# A call compiles only the tiles that its sizes need. These need all, whatever a register holds.
_SIZES = 2, 44
_LAYERS: dict[str, Callable[[str], LSTM | GRU | RNN]] = {
    "lstm": lambda dtype: LSTM(*_SIZES, dtype=dtype, seed=0),
    "gru": lambda dtype: GRU(*_SIZES, dtype=dtype, seed=0),
    "gru_reset_before": lambda dtype: GRU(*_SIZES, reset_after=False, dtype=dtype, seed=0),
    "rnn_tanh": lambda dtype: RNN(*_SIZES, dtype=dtype, seed=0),
    "rnn_relu": lambda dtype: RNN(*_SIZES, nonlinearity="relu", dtype=dtype, seed=0),
}
_SHAPES = ((2, 1), (32, 32))  # steps and sequences for one thread, and enough of both to wake a second one


def warmup(cells: Iterable[str] = ("lstm",), dtypes: Iterable[str] = ("float32",), *, training: bool = True) -> None:
    """Compile the CPU kernels of some cells, or load them from the disk cache.

    A kernel is compiled when it is first used, which takes some seconds once per machine and version. Call this when
    a program is installed or starts, so that no user waits later.

    Parameters
    ----------
    cells
        Any of ``"lstm"``, ``"gru"``, ``"gru_reset_before"``, ``"rnn_tanh"``, ``"rnn_relu"``.
    dtypes
        ``"float32"``, ``"float64"`` or both.
    training
        Compile the backward pass too.

    Raises
    ------
    ValueError
        If a cell is unknown.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> ln.warmup(["lstm"], training=False)
    """
    for cell in cells:
        if cell not in _LAYERS:
            raise ValueError(f"cells: expected names from {list(_LAYERS)}, got {cell!r}")
        for dtype in dtypes:
            layer = _LAYERS[cell](dtype)
            _ = layer.parameters  # once somebody has them, a call looks for changes, which is compiled too
            for T, B in _SHAPES:
                x = np.zeros((T, B, layer.input_size), layer.dtype)
                layer.eval()(x)
                if training:
                    y, _ = layer.train()(x)
                    layer.backward(y)
