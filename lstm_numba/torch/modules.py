"""``torch.nn``'s recurrent modules with another ``forward``."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstm_numba.torch.engine import BACKENDS, DTYPES, Bound, Call, Shape, bind, where
from lstm_numba.torch.function import Recurrence

State = Tensor | tuple[Tensor, Tensor] | None
_CELLS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}


class _Recurrent(torch.nn.RNNBase):
    """``forward`` on the kernels of this package; everything else is that of ``torch.nn``."""

    # Made on the first call, dropped by copies and pickles. On the class, because `accelerate` makes no new objects.
    _bound: Bound | None = None

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run the module over whole sequences, as ``torch.nn``'s does.

        Parameters
        ----------
        input
            Shape (T, B, I), (B, T, I) with ``batch_first``, (T, I) for one sequence, or a ``PackedSequence``.
        hx
            Initial state ``h0``, for the LSTM ``(h0, c0)``; zeros by default.

        Returns
        -------
        output : Tensor or PackedSequence
            Hidden states of the last layer.
        state : Tensor or tuple of Tensor
            ``h_n`` or ``(h_n, c_n)``.

        Raises
        ------
        TypeError
            If a dtype is not the parameters', or is neither float32 nor float64.
        ValueError
            If a shape or a device does not fit.
        """
        if torch.compiler.is_compiling():
            # Machine code is nothing that Dynamo could look into; it leaves its graph here.
            return torch.compiler.disable(_forward)(self, input, hx)
        return _forward(self, input, hx)

    def flatten_parameters(self) -> None:
        """Do nothing: the kernels take the parameters from where they are."""

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_bound", None)
        return state


class LSTM(_Recurrent, torch.nn.LSTM):
    """``torch.nn.LSTM`` on the kernels of ``lstm_numba``.

    A subclass of ``torch.nn.LSTM`` with its constructor, its parameters under its names, and its results: see
    PyTorch's documentation. ``state_dict``, optimisers, hooks, ``torch.save`` and ``copy.deepcopy`` work as usual.

    Parameters
    ----------
    input_size
        Features per time step, I.
    hidden_size
        Units per layer and direction, H.
    num_layers
        Layers stacked on each other.
    bias
        Whether to add ``b_ih`` and ``b_hh``.
    batch_first
        Input and output as (B, T, features) instead of (T, B, features).
    dropout
        Probability of zeroing an output of every layer but the last, in training mode, from PyTorch's generator.
    bidirectional
        Run a second LSTM from the last step to the first.
    proj_size
        Size of the hidden state after a linear projection, 0 for none.
    device, dtype
        Of the parameters; ``torch.float32`` or ``torch.float64``.

    Notes
    -----
    Under autocast the module computes in its parameters' dtype and casts inputs to it. Gradients of gradients,
    ``torch.func`` transforms and TorchScript are not supported; ``torch.compile`` works, with a break of the graph.

    Examples
    --------
    >>> import torch
    >>> from lstm_numba.torch import LSTM
    >>> lstm = LSTM(10, 20, num_layers=2, batch_first=True)
    >>> y, (h_n, c_n) = lstm(torch.zeros(5, 3, 10))
    >>> y.shape, h_n.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 5, 20]))
    >>> y.sum().backward()
    >>> lstm.weight_hh_l0.grad.shape
    torch.Size([80, 20])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _check_dtype("dtype", dtype or torch.get_default_dtype())
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        )


class GRU(_Recurrent, torch.nn.GRU):
    """``torch.nn.GRU`` on the kernels of ``lstm_numba``.

    A subclass of ``torch.nn.GRU`` with its constructor, its parameters under its names, and its results. What the
    notes of :class:`LSTM` say holds here too.

    Parameters
    ----------
    input_size
        Features per time step, I.
    hidden_size
        Units per layer and direction, H.
    num_layers
        Layers stacked on each other.
    bias
        Whether to add ``b_ih`` and ``b_hh``.
    batch_first
        Input and output as (B, T, features) instead of (T, B, features).
    dropout
        Probability of zeroing an output of every layer but the last, in training mode, from PyTorch's generator.
    bidirectional
        Run a second GRU from the last step to the first.
    device, dtype
        Of the parameters; ``torch.float32`` or ``torch.float64``.

    Examples
    --------
    >>> import torch
    >>> from lstm_numba.torch import GRU
    >>> y, h_n = GRU(10, 20, bidirectional=True)(torch.zeros(3, 5, 10))
    >>> y.shape, h_n.shape
    (torch.Size([3, 5, 40]), torch.Size([2, 5, 20]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _check_dtype("dtype", dtype or torch.get_default_dtype())
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype
        )


class RNN(_Recurrent, torch.nn.RNN):
    """``torch.nn.RNN`` on the kernels of ``lstm_numba``.

    A subclass of ``torch.nn.RNN`` with its constructor, its parameters under its names, and its results. What the
    notes of :class:`LSTM` say holds here too.

    Parameters
    ----------
    input_size
        Features per time step, I.
    hidden_size
        Units per layer and direction, H.
    num_layers
        Layers stacked on each other.
    nonlinearity
        ``"tanh"`` or ``"relu"``.
    bias
        Whether to add ``b_ih`` and ``b_hh``.
    batch_first
        Input and output as (B, T, features) instead of (T, B, features).
    dropout
        Probability of zeroing an output of every layer but the last, in training mode, from PyTorch's generator.
    bidirectional
        Run a second network from the last step to the first.
    device, dtype
        Of the parameters; ``torch.float32`` or ``torch.float64``.

    Examples
    --------
    >>> import torch
    >>> from lstm_numba.torch import RNN
    >>> y, h_n = RNN(10, 20, nonlinearity="relu")(torch.zeros(3, 5, 10))
    >>> y.shape, h_n.shape
    (torch.Size([3, 5, 20]), torch.Size([1, 5, 20]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _check_dtype("dtype", dtype or torch.get_default_dtype())
        super().__init__(
            input_size, hidden_size, num_layers, nonlinearity, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip


def _check_dtype(name: str, dtype: torch.dtype) -> None:
    if dtype not in DTYPES:
        raise TypeError(
            f"{name}: expected torch.float32 or torch.float64, got {dtype}. Kernels for other types do not exist here; "
            "keep the recurrent module in float32 (module.float()), or use torch.nn's"
        )


class _Request(NamedTuple):
    """An input in the form that kernels take: time first, with a batch axis."""

    x: Tensor  # (T, B, I)
    lengths: np.ndarray | None
    batched: bool
    packed: PackedSequence | None


def _forward(module: _Recurrent, input: Any, hx: Any) -> Any:
    weights = _weights(module)
    bound = module._bound
    if bound is None or bound.key != where(weights):
        bound = _bind(module, weights)
    request = _read_input(module, input, weights[0])
    x = request.x
    state = [None, None] if hx is None else _read_state(module, hx, request, weights[0])
    masks = []
    if module.training and module.dropout and module.num_layers > 1:
        masks = _draw_masks(module, x)
    call = Call(bound, request.lengths, masks)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *state, *weights)):
        y, *final = Recurrence.apply(call, x, *state, *weights)
    else:
        (y, *final), _ = call.forward(x, state if module.mode == "LSTM" else state[:1], training=False)
    return _answer(module, request, y, final)


def _weights(module: _Recurrent) -> list[Tensor]:
    # Looked up by name, not in `_flat_weights`: parametrisations and functional_call exchange what a name stands for.
    own = module._parameters
    found = [own.get(name) for name in module._flat_weights_names]
    return [
        getattr(module, name) if tensor is None else tensor
        for name, tensor in zip(module._flat_weights_names, found, strict=True)
    ]


def _bind(module: _Recurrent, weights: list[Tensor]) -> Bound:
    first = weights[0]
    _check_dtype("parameters", first.dtype)
    if first.device.type not in BACKENDS:
        raise ValueError(f"parameters: expected them on a device of type 'cpu' or 'cuda', got {first.device}")
    for name, tensor in zip(module._flat_weights_names, weights, strict=True):
        if tensor.dtype != first.dtype or tensor.device != first.device:
            raise ValueError(
                f"{name}: expected {first.dtype} on {first.device} like {module._flat_weights_names[0]}, "
                f"got {tensor.dtype} on {tensor.device}"
            )
    directions = 2 if module.bidirectional else 1
    shape = Shape(_CELLS[module.mode], module.num_layers, directions, module.bias, module.proj_size > 0)
    bound = bind(shape, weights)
    if all(tensor.is_contiguous() for tensor in weights):
        module.__dict__["_bound"] = bound  # past __setattr__, which looks for parameters
    return bound


def _cast(name: str, tensor: Any, weight: Tensor) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    if tensor.device != weight.device:
        raise ValueError(
            f"{name}: expected a tensor on {weight.device} like the parameters, got one on {tensor.device}"
        )
    if tensor.dtype == weight.dtype:
        return tensor
    if tensor.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(tensor.device.type):
        return tensor.to(weight.dtype)
    raise TypeError(
        f"{name}: expected {weight.dtype} like the parameters, got {tensor.dtype}. Convert one of them, as in "
        f"{name}.to({weight.dtype})"
    )


def _read_input(module: _Recurrent, input: Any, weight: Tensor) -> _Request:
    if isinstance(input, PackedSequence):
        _cast("input", input.data, weight)
        _check_shape("input.data", input.data, {"N": None, "I": module.input_size})
        padded, lengths = pad_packed_sequence(input)
        numbers = lengths.numpy()
        whole = bool((numbers == padded.shape[0]).all())
        return _Request(_cast("input", padded, weight), None if whole else numbers, True, input)
    x = _cast("input", input, weight)
    batched = x.dim() != 2
    axes = {"B": None, "T": None} if module.batch_first else {"T": None, "B": None}
    _check_shape("input", x, (axes if batched else {"T": None}) | {"I": module.input_size})
    if not batched:
        x = x.unsqueeze(1)
    elif module.batch_first:
        x = x.transpose(0, 1)
    if x.shape[0] == 0:
        raise ValueError(f"input: expected at least one time step, got shape {tuple(input.shape)} with T=0")
    return _Request(x, None, batched, None)


def _read_state(module: _Recurrent, hx: Any, request: _Request, weight: Tensor) -> list[Tensor | None]:
    """The parts of a state as (num_layers * directions, B, features); None in the place of a missing cell state."""
    if module.mode == "LSTM":
        if not isinstance(hx, (tuple, list)) or len(hx) != 2:
            raise TypeError(f"hx: expected a pair (h0, c0) of tensors, got {_describe(hx)}")
        values = [("h0", hx[0], module.proj_size or module.hidden_size), ("c0", hx[1], module.hidden_size)]
    else:
        values = [("hx", hx, module.hidden_size)]
    parts: list[Tensor | None] = []
    for name, value, width in values:
        part = _cast(name, value, weight)
        axes = {"num_layers*directions": module.num_layers * (2 if module.bidirectional else 1)}
        batch = {"B": request.x.shape[1]} if request.batched else {}
        _check_shape(name, part, axes | batch | {"features": width})
        parts.append(part if request.batched else part.unsqueeze(1))
    return [*parts, *[None] * (2 - len(parts))]


def _describe(value: Any) -> str:
    return f"{len(value)} items" if isinstance(value, (tuple, list)) else type(value).__name__


def _check_shape(name: str, tensor: Tensor, expected: Mapping[str, int | None]) -> None:
    sizes = tuple(expected.values())
    have = tuple(tensor.shape)
    if len(have) != len(sizes) or any(want not in (None, got) for got, want in zip(have, sizes, strict=True)):
        wanted = ", ".join(axis if size is None else f"{axis}={size}" for axis, size in expected.items())
        raise ValueError(f"{name}: expected shape ({wanted}), got {have}")


def _draw_masks(module: _Recurrent, x: Tensor) -> list[Tensor]:
    """Masks for all layers but the first, as PyTorch draws them: 0, or 1 / (1 - dropout) for what stays."""
    keep = 1 - module.dropout
    T, B, _ = x.shape
    width = (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
    masks = []
    for _ in range(module.num_layers - 1):
        mask = torch.empty((T, B, width), dtype=x.dtype, device=x.device).bernoulli_(keep)
        masks.append(mask.div_(keep) if keep else mask)
    return masks


def _answer(module: _Recurrent, request: _Request, y: Tensor, final: list[Tensor]) -> Any:
    output: Tensor | PackedSequence = y
    if not request.batched:
        output, final = y.squeeze(1), [part.squeeze(1) for part in final]
    elif request.packed is not None:
        output = _packed_like(request.packed, y, request.lengths)
    elif module.batch_first:
        output = y.transpose(0, 1)
    return output, (tuple(final) if module.mode == "LSTM" else final[0])


def _packed_like(packed: PackedSequence, y: Tensor, lengths: np.ndarray | None) -> PackedSequence:
    """Pack (T, B, features) in the order of a given ``PackedSequence``."""
    order = packed.sorted_indices
    numbers = torch.full((y.shape[1],), y.shape[0]) if lengths is None else torch.from_numpy(lengths)
    if order is not None:
        y, numbers = y.index_select(1, order), numbers[order.cpu()]
    data = pack_padded_sequence(y, numbers).data
    return PackedSequence(data, packed.batch_sizes, order, packed.unsorted_indices)
