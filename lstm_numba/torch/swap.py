"""Put this package's kernels behind the recurrent modules of an existing model, and take them away again."""

import copy as copying
import warnings
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from lstm_numba.torch.engine import BACKENDS, DTYPES
from lstm_numba.torch.modules import GRU, LSTM, RNN

Model = TypeVar("Model", bound=nn.Module)

OURS: dict[type[nn.Module], type[nn.Module]] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}
THEIRS = {ours: theirs for theirs, ours in OURS.items()}


class Recurrent(NamedTuple):
    """One recurrent module of a model, as :func:`survey` sees it."""

    name: str  # as in model.named_modules(), "" for the model itself
    kind: str  # name of its class
    accelerated: bool  # runs on the kernels of this package
    reason: str  # why `accelerate` leaves it as it is; "" if it does not


def accelerate(model: Model, *, copy: bool = False) -> Model:
    """Let every ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` of a model run on the kernels of this package.

    The modules stay the objects that they are, with their parameters, hooks and names: optimisers that were made before
    go on working, checkpoints load before and after. Only their class changes, to :class:`LSTM`, :class:`GRU` or
    :class:`RNN`.

    Parameters
    ----------
    model
        Any module; it may be a recurrent one itself.
    copy
        Leave ``model`` as it is and change a deep copy.

    Returns
    -------
    Module
        ``model``, or its copy.

    Warns
    -----
    UserWarning
        For every recurrent module that is left as it is, with the reason. :func:`survey` tells without changing
        anything.

    Examples
    --------
    >>> import torch
    >>> from lstm_numba.torch import accelerate, survey
    >>> model = torch.nn.Sequential(torch.nn.LSTM(3, 4, batch_first=True))
    >>> model = accelerate(model)
    >>> survey(model)
    [Recurrent(name='0', kind='LSTM', accelerated=True, reason='')]
    """
    if copy:
        model = copying.deepcopy(model)
    for name, module in model.named_modules():
        reason = _obstacle(module)
        if reason is None:
            continue
        if reason:
            warnings.warn(f"{name or 'the model'} ({_kind(module)}) is not accelerated: {reason}", stacklevel=2)
        elif type(module) in OURS:
            module.__class__ = OURS[type(module)]
    return model


def restore(model: Model) -> Model:
    """Undo :func:`accelerate`: make the recurrent modules of a model ``torch.nn``'s again, in place.

    Needed before TorchScript, ``torch.onnx.export``, ``torch.export`` and second derivatives.

    Parameters
    ----------
    model
        Any module.

    Returns
    -------
    Module
        ``model``.

    Examples
    --------
    >>> import torch
    >>> from lstm_numba.torch import accelerate, restore
    >>> type(restore(accelerate(torch.nn.LSTM(3, 4)))) is torch.nn.LSTM
    True
    """
    for module in model.modules():
        if type(module) in THEIRS:
            module.__dict__.pop("_bound", None)
            module.__class__ = THEIRS[type(module)]
            module._init_flat_weights()  # type: ignore[operator]  # cuDNN wants them in one piece again
    return model


def survey(model: nn.Module) -> list[Recurrent]:
    """List the recurrent modules of a model, and what :func:`accelerate` can do for each.

    Parameters
    ----------
    model
        Any module.

    Returns
    -------
    list of Recurrent
        In the order of ``model.named_modules()``.

    Examples
    --------
    >>> import torch
    >>> from lstm_numba.torch import survey
    >>> for module in survey(torch.nn.ModuleDict({"step": torch.nn.LSTMCell(3, 4)})):
    ...     print(module.name, module.reason)
    step a cell computes one step; kernels here compute whole sequences
    """
    return [
        Recurrent(name, _kind(module), type(module) in THEIRS, reason)
        for name, module in model.named_modules()
        if (reason := _obstacle(module)) is not None
    ]


def _kind(module: nn.Module) -> str:
    return getattr(module, "original_name", type(module).__name__)


def _obstacle(module: nn.Module) -> str | None:
    """Why a module cannot be accelerated, "" if it can (or is), None if it is not recurrent at all."""
    if type(module) in THEIRS:
        return ""
    if isinstance(module, nn.RNNCellBase):
        return "a cell computes one step; kernels here compute whole sequences"
    if isinstance(module, torch.jit.ScriptModule):
        recurrent = module.original_name in ("LSTM", "GRU", "RNN")
        return "TorchScript has compiled it already" if recurrent else None
    if not isinstance(module, nn.RNNBase):
        return None
    if type(module) not in OURS:
        return f"it is a subclass, {type(module).__qualname__}, whose forward may do something else"
    for name, parameter in module.named_parameters():
        if parameter.dtype not in DTYPES:
            return f"{name} is {parameter.dtype}; kernels exist for float32 and float64"
        if parameter.device.type not in (*BACKENDS, "meta"):
            return f"{name} is on {parameter.device}; kernels exist for cpu and cuda"
    return ""
