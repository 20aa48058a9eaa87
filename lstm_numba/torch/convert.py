"""Weights between PyTorch's modules and the layers of this package."""

from typing import Any

import torch
from torch import nn

from lstm_numba import layers as ln
from lstm_numba.layers.stack import RecurrentStack
from lstm_numba.torch.engine import DTYPES
from lstm_numba.torch.modules import GRU, LSTM, RNN

_COMMON = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
_EXTRA: dict[str, tuple[str, ...]] = {"LSTM": ("proj_size",), "GRU": (), "RNN": ("nonlinearity",)}


def to_layer(module: nn.LSTM | nn.GRU | nn.RNN, *, backend: str = "cpu") -> Any:
    """Make a layer of ``lstm_numba`` with the options and a copy of the weights of a PyTorch module.

    Parameters
    ----------
    module
        ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``, of ``torch.nn`` or of this package, in float32 or float64.
    backend
        Of the layer; see :class:`lstm_numba.LSTM`.

    Returns
    -------
    LSTM, GRU or RNN
        In the module's mode (training or inference).

    Examples
    --------
    >>> import numpy as np, torch
    >>> from lstm_numba.torch import to_layer
    >>> module = torch.nn.GRU(3, 4)
    >>> y, _ = to_layer(module)(np.ones((5, 2, 3), np.float32))
    >>> np.allclose(y, module(torch.ones(5, 2, 3))[0].detach(), atol=1e-6)
    True
    """
    kinds: dict[type, type] = {nn.LSTM: ln.LSTM, nn.GRU: ln.GRU, nn.RNN: ln.RNN}
    found = [ours for theirs, ours in kinds.items() if isinstance(module, theirs)]
    if not found:
        raise TypeError(f"module: expected torch.nn.LSTM, GRU or RNN, got {type(module).__name__}")
    ours = found[0]
    options = {name: getattr(module, name) for name in (*_COMMON, *_EXTRA[ours.__name__])}
    weights = {name: value.detach().cpu() for name, value in module.state_dict().items()}
    dtype = next(iter(weights.values())).dtype
    if dtype not in DTYPES:
        raise TypeError(f"module: expected parameters in torch.float32 or torch.float64, got {dtype}")
    if module.num_layers == 1:
        options["dropout"] = 0.0  # PyTorch warns and ignores it
    layer = ours(**options, dtype=DTYPES[dtype], backend=backend, seed=0)
    layer.load_state_dict({name: value.numpy() for name, value in weights.items()})
    return layer.train() if module.training else layer.eval()


def from_layer(layer: RecurrentStack, *, device: torch.device | str | None = None) -> LSTM | GRU | RNN:
    """Make a PyTorch module of this package with the options and a copy of the weights of a layer.

    Parameters
    ----------
    layer
        :class:`lstm_numba.LSTM`, :class:`lstm_numba.GRU` (with ``reset_after=True``, the only kind that PyTorch has) or
        :class:`lstm_numba.RNN`.
    device
        Of the parameters; the CPU by default.

    Returns
    -------
    LSTM, GRU or RNN
        In the layer's mode (training or inference). Its ``state_dict`` fits ``torch.nn``'s module of the same options;
        :func:`restore` makes it that module.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.torch import from_layer
    >>> from_layer(ln.LSTM(3, 4, bidirectional=True, seed=0))
    LSTM(3, 4, bidirectional=True)
    """
    kinds: dict[type, type] = {ln.LSTM: LSTM, ln.GRU: GRU, ln.RNN: RNN}
    if type(layer) not in kinds:
        raise TypeError(f"layer: expected lstm_numba.LSTM, GRU or RNN, got {type(layer).__name__}")
    if not getattr(layer, "reset_after", True):
        raise ValueError("layer: expected a GRU with reset_after=True, which is the only kind PyTorch has")
    name = type(layer).__name__
    options = {option: getattr(layer, option) for option in (*_COMMON, *_EXTRA[name])}
    module = kinds[type(layer)](**options, dtype=getattr(torch, layer.dtype.name))
    module.load_state_dict({key: torch.from_numpy(value) for key, value in layer.state_dict().items()})
    return module.to(device).train(layer.training)
