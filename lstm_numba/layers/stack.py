"""What recurrent layers share: stacking, directions, dropout between layers, states, lengths and validation."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np

from lstm_numba import backend as backends
from lstm_numba.contract import LayerWeights, Weights
from lstm_numba.layers import device_stack
from lstm_numba.layers.initialisers import uniform_fan
from lstm_numba.layers.layer import Layer
from lstm_numba.layers.segments import Parts, Segment, cut
from lstm_numba.layers.stream import Stream
from lstm_numba.layers.validation import (
    as_real_array,
    check_flag,
    check_lengths,
    check_probability,
    check_shape,
    check_size,
)

State = TypeVar("State", np.ndarray, tuple[np.ndarray, np.ndarray])


class _Border(NamedTuple):
    """All that checkpointing keeps of a segment."""

    segment: Segment
    state: Parts  # of all sequences, before its first step
    kernels: list[ModuleType]


class _Saved(NamedTuple):
    """What one training-mode call leaves behind for ``backward``."""

    x: np.ndarray  # (T, B, I)
    state: Parts | None
    lengths: np.ndarray | None
    masks: list[np.ndarray]  # dropout masks on the input of layers 1, 2, ...; empty without dropout
    batched: bool
    kernels: list[ModuleType]
    borders: list[_Border]  # with checkpointing; else empty
    caches: list[Any]  # one per layer; empty after a backward with retain=True, which may have used them up


def _names(layer: int, direction: str) -> list[str]:
    """PyTorch's names of the fields of :class:`Weights`."""
    return [f"{kind}_l{layer}{direction}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")]


def _collect(arrays: dict[str, np.ndarray], layer: int, direction: str) -> Weights:
    return Weights._make(arrays.get(name) for name in _names(layer, direction))


def _is_one_kernel(kernels: list[ModuleType]) -> bool:
    """Whether one kernel could run all layers at once, which it may still decline."""
    return hasattr(kernels[0], "stack_forward") and all(module is kernels[0] for module in kernels)


class RecurrentStack(Layer, Generic[State]):
    """Base class of :class:`LSTM`, :class:`GRU` and :class:`RNN`."""

    def __init__(
        self,
        cell: str,
        blocks: int,  # of hidden_size rows in every weight matrix
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        dtype: str | np.dtype,
        backend: str,
        seed: int | np.random.Generator | None,
        checkpoint: int | None,
    ) -> None:
        super().__init__(dtype)
        self.input_size = check_size("input_size", input_size)
        self.hidden_size = check_size("hidden_size", hidden_size)
        self.num_layers = check_size("num_layers", num_layers)
        self.bias = check_flag("bias", bias)
        self.batch_first = check_flag("batch_first", batch_first)
        self.dropout = check_probability("dropout", dropout)
        self.bidirectional = check_flag("bidirectional", bidirectional)
        self.proj_size = check_size("proj_size", proj_size, minimum=0)
        self.backend = backends.check_backend(backend)
        self.checkpoint = None if checkpoint is None else check_size("checkpoint", checkpoint)
        if self.dropout > 0 and self.num_layers == 1:
            raise ValueError(
                f"dropout: expected 0 with num_layers=1, got {self.dropout}; it acts between layers, and there is one"
            )
        if self.proj_size >= self.hidden_size:
            raise ValueError(
                f"proj_size: expected less than hidden_size={self.hidden_size} (or 0 for no projection), "
                f"got {self.proj_size}"
            )
        if self.checkpoint is not None and self.bidirectional:
            raise ValueError(
                f"checkpoint: expected None with bidirectional=True, got {self.checkpoint}; the second direction "
                "starts at the last step, so segments cannot be computed one after the other"
            )
        self._cell = cell
        self._blocks = blocks
        self._directions = ("", "_reverse") if self.bidirectional else ("",)
        self._state_width = self.proj_size or self.hidden_size
        self._features = self._state_width * len(self._directions)
        self._rng = np.random.default_rng(seed)
        # Arrays of parameters and gradients are never rebound, so each layer's are collected once.
        self._layer_weights = [self._make_weights(k) for k in range(self.num_layers)]
        for weights in self._layer_weights:
            weights.lent = False
        self._layer_grads = [
            LayerWeights(_collect(self._grads, k, direction) for direction in self._directions)
            for k in range(self.num_layers)
        ]
        self._saved: _Saved | device_stack.DeviceSaved | None = None
        self._kept: np.ndarray | None = None  # copy of the last input in training mode
        self._chosen: tuple[Any, list[ModuleType]] = (None, [])  # the last call's kernels, and for which problem
        self._zeros: tuple[int, Parts] = (-1, ())  # the zero state of one layer, and for which batch size

    # -- parameters ----------------------------------------------------------------------------------------

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """Parameters by name. Write into the arrays (``p[...] = value``) to change them.

        Until they are asked for the first time, a call in inference need not look whether they have changed.
        """
        for weights in self._layer_weights:
            weights.lent = True
        return super().parameters

    def _named_parameters(self) -> Mapping[str, np.ndarray]:
        return self._parameters

    def _note_loading(self) -> None:
        for weights in self._layer_weights:
            weights.version += 1

    def _make_weights(self, layer: int) -> LayerWeights:
        H, rows = self.hidden_size, self._blocks * self.hidden_size
        shapes: list[tuple[int, ...] | None] = [(rows, self._layer_input_size(layer)), (rows, self._state_width)]
        shapes += [(rows,), (rows,)] if self.bias else [None, None]
        shapes += [(self.proj_size, H) if self.proj_size else None]
        weights = []
        for direction in self._directions:
            for name, shape in zip(_names(layer, direction), shapes, strict=True):
                if shape is not None:
                    self._add_parameter(name, uniform_fan(shape, H, self._rng))
            weights.append(_collect(self._parameters, layer, direction))
        return LayerWeights(weights)

    def _layer_input_size(self, layer: int) -> int:
        return self.input_size if layer == 0 else self._features

    # -- forward -------------------------------------------------------------------------------------------

    def __call__(
        self, x: np.ndarray, state: State | None = None, *, lengths: Sequence[int] | np.ndarray | None = None
    ) -> tuple[np.ndarray, State]:
        """Run the layer over whole sequences.

        Parameters
        ----------
        x
            Shape (T, B, I), or (B, T, I) with ``batch_first``, or (T, I) for one sequence without a batch axis.
            Any strides; the dtype must be the layer's. With ``backend="cuda"`` also a C-contiguous array on the GPU
            (PyTorch, CuPy, anything with ``__cuda_array_interface__`` or ``__dlpack__``), which stays there, is not
            copied and must not change before ``backward``; results are then of the same library.
        state
            Initial state: ``h0`` (GRU, RNN) or ``(h0, c0)`` (LSTM), each (num_layers * directions, B, features), or
            without B for one sequence. Features are H, in the hidden state of a projected LSTM ``proj_size``. Zeros by
            default.
        lengths
            Number of steps of each sequence, B integers from 1 to T in any order. Steps beyond a sequence's length
            are padding: they are not read, and ``y`` is zero there. T for all sequences by default.

        Returns
        -------
        y : ndarray
            Hidden states of the last layer at every step, shaped like ``x`` with features * directions at the end.
        state : ndarray or tuple of ndarray
            ``h_n`` or ``(h_n, c_n)`` after each sequence's last step, shaped like the initial state; feed it to the
            next call to go on.

        Raises
        ------
        TypeError
            If an array has another dtype than the layer, or lengths are no integers.
        ValueError
            If a shape does not fit, T = 0, or a length is not from 1 to T.
        """
        if backends.lies_on_device(self.backend, x):
            y, final_state, self._saved = device_stack.forward(self, x, state, lengths)
            return y, final_state
        x_first, batched = self._read_input(x)
        T, B, _ = x_first.shape
        parts = None if state is None else self._read_state("state", state, B, batched)
        if lengths is not None:
            lengths = self._read_lengths(lengths, T, B, batched)
        kernels = self._kernels(T, B, lengths is not None)
        masks = self._draw_masks(T, B) if self.dropout and self.training else []
        borders: list[_Border] = []
        in_segments = self.training and self.checkpoint is not None and self.checkpoint < T
        kept, to_fill = x_first, None
        if self.training:
            kept, to_fill = self._keep(x_first, kernels[0], in_segments or lengths is not None)
        if in_segments:
            y, final, borders = self._run_segments(kept, parts, lengths, masks)
            caches: list[Any] = []
        else:
            read = kept if to_fill is None else x_first
            y, final, caches = self._run(read, parts, lengths, masks, kernels, self.training, to_fill)
        if self.training:
            self._saved = _Saved(kept, parts, lengths, masks, batched, kernels, borders, caches)
        else:
            self._saved = None
        return self._write_sequence(y, batched), self._write_state(final, batched)

    def backward(
        self, dy: np.ndarray, dstate: State | None = None, *, retain: bool = False
    ) -> tuple[np.ndarray, State]:
        """Backpropagate through all layers and all time steps of the last training-mode call.

        The gradients of the parameters are added to :attr:`grads`. The weights must not change between the call
        and ``backward``.

        Parameters
        ----------
        dy
            Gradient of the loss with respect to ``y``, same shape. What it holds beyond a sequence's length is
            ignored.
        dstate
            ``dh_n`` or ``(dh_n, dc_n)``: gradients with respect to the final state, on top of ``dy``. Zeros by default.
        retain
            Allow another ``backward`` for the same call. It repeats the forward pass, whose activations this one
            uses up (with ``checkpoint`` every ``backward`` does so, segment by segment).

        Returns
        -------
        dx : ndarray
            Gradient with respect to ``x``, same shape, zero in the padding.
        dstate : ndarray or tuple of ndarray
            ``dh0`` or ``(dh0, dc0)``: gradients with respect to the initial state.

        Raises
        ------
        RuntimeError
            If there was no call, it was made in inference mode, or ``backward`` has already used it up.
        TypeError, ValueError
            If a gradient's dtype or shape does not fit.
        """
        saved = self._saved
        if saved is None:
            raise RuntimeError(
                "backward: expected a call of the layer in training mode before it (each call serves one backward, "
                f"unless retain=True); the layer is in {'training' if self.training else 'inference'} mode and "
                "holds no saved activations. Call train(), then the layer, then backward"
            )
        if isinstance(saved, device_stack.DeviceSaved):
            self._saved = saved if retain else None
            return device_stack.backward(self, saved, dy, dstate)
        T, B, _ = saved.x.shape
        dy = self._read_gradient(dy, T, B, saved.batched)
        parts = None if dstate is None else self._read_state("dstate", dstate, B, saved.batched)
        if saved.borders:
            self._saved = saved if retain else None
            dx, initial = self._backpropagate_segments(saved, dy, parts)
        else:
            caches = saved.caches
            if not caches:
                *_, caches = self._run(saved.x, saved.state, saved.lengths, saved.masks, saved.kernels, True)
            self._saved = saved._replace(caches=[]) if retain else None
            dx, initial = self._backpropagate(dy, parts, saved.masks, saved.kernels, caches)
        return self._write_sequence(dx, saved.batched), self._write_state(initial, saved.batched)

    def stream(self, batch_size: int = 1) -> Stream:
        """Feed the layer one time step at a time, for real-time use.

        Everything is allocated and packed here, so that a step costs little more than its arithmetic.

        Parameters
        ----------
        batch_size
            Number of sequences that advance together, B.

        Returns
        -------
        Stream
            With ``step(x_t)``, ``state``, ``reset()`` and ``handle``; always in inference mode.

        Raises
        ------
        ValueError
            If the layer is bidirectional: its second direction needs the end of the sequence first.
        """
        batch_size = check_size("batch_size", batch_size)
        if self.bidirectional:
            raise ValueError(
                "stream: expected a layer with bidirectional=False, got bidirectional=True; the second direction "
                "starts from the last step, which a stream does not know"
            )
        kernels = self._kernels(1, batch_size, False)[0]
        return Stream(kernels, self._cell, self._layer_weights, batch_size, self.dtype, self.input_size)

    def eval(self) -> Self:
        """Switch to inference mode: nothing is kept for ``backward`` and dropout is off. Returns the layer."""
        self._saved = None
        super().eval()
        return self

    def _run(
        self,
        x: np.ndarray,
        state: Parts | None,
        lengths: np.ndarray | None,
        masks: list[np.ndarray],
        kernels: list[ModuleType],
        training: bool,
        x_copy: np.ndarray | None = None,
    ) -> tuple[np.ndarray, Parts, list[Any]]:
        B = x.shape[1]
        if not training and lengths is None and self._is_stack and _is_one_kernel(kernels):
            states = [self._layer_state(state, k, B) for k in range(self.num_layers)]
            found = kernels[0].stack_forward(self._cell, x, states, self._layer_weights)
            if found is not None:
                return found[0], self._join(found[1]), []
        final, caches = [], []
        for k, weights in enumerate(self._layer_weights):
            if k > 0 and masks:
                x = x * masks[k - 1]
            copying = () if k > 0 or x_copy is None else (x_copy,)
            x, last, cache = kernels[k].layer_forward(
                self._cell, x, self._layer_state(state, k, B), weights, lengths, training, *copying
            )
            final.append(last)
            caches.append(cache)
        return x, self._join(final), caches

    @property
    def _is_stack(self) -> bool:
        """Whether there are layers of one direction that could run at the same time."""
        return self.num_layers > 1 and len(self._directions) == 1

    def _overlap(self, T: int, B: int) -> Any:
        """How the layers would overlap in a call like this, or None."""
        if self.training or not self._is_stack:
            return None
        kernels = self._kernels(T, B, False)
        return kernels[0].overlap_of(self._layer_weights, T, B) if _is_one_kernel(kernels) else None

    def _backpropagate(
        self,
        dy: np.ndarray,
        dstate: Parts | None,
        masks: list[np.ndarray],
        kernels: list[ModuleType],
        caches: list[Any],
    ) -> tuple[np.ndarray, Parts]:
        B = dy.shape[1]
        initial: list[Parts] = [()] * self.num_layers
        for k in range(self.num_layers - 1, -1, -1):
            dy, initial[k] = kernels[k].layer_backward(
                self._cell, dy, self._layer_state(dstate, k, B), caches[k], self._layer_weights[k], self._layer_grads[k]
            )
            if k > 0 and masks:
                dy = dy * masks[k - 1]
        return dy, self._join(initial)

    # -- checkpointing: all layers over one segment, then over the next ------------------------------------

    def _run_segments(
        self, x: np.ndarray, state: Parts | None, lengths: np.ndarray | None, masks: list[np.ndarray]
    ) -> tuple[np.ndarray, Parts, list[_Border]]:
        """Forward pass that keeps the states between segments and no activations."""
        T, B, _ = x.shape
        y = np.zeros((T, B, self._features), self.dtype)
        current = self._zero_state(B) if state is None else state
        borders = []
        for segment in cut(T, self.checkpoint or T, lengths):
            own_x = segment.sequence(x)
            kernels = self._kernels(own_x.shape[0], B, segment.lengths is not None)
            borders.append(_Border(segment, current, kernels))
            own_masks = [segment.sequence(mask) for mask in masks]
            own_y, last, _ = self._run(own_x, segment.state(current), segment.lengths, own_masks, kernels, False)
            segment.write_sequence(y, own_y)
            current = segment.with_state(current, last)
        return y, current, borders

    def _backpropagate_segments(self, saved: _Saved, dy: np.ndarray, dstate: Parts | None) -> tuple[np.ndarray, Parts]:
        """Backward pass, from the last segment to the first; each computes its activations again."""
        dx = np.zeros_like(saved.x)
        current = self._zero_state(dy.shape[1]) if dstate is None else dstate
        for segment, state, kernels in reversed(saved.borders):
            masks = [segment.sequence(mask) for mask in saved.masks]
            *_, caches = self._run(
                segment.sequence(saved.x), segment.state(state), segment.lengths, masks, kernels, True
            )
            own_dx, initial = self._backpropagate(segment.sequence(dy), segment.state(current), masks, kernels, caches)
            segment.write_sequence(dx, own_dx)
            current = segment.with_state(current, initial)
        return dx, current

    def _zero_state(self, B: int) -> Parts:
        """The zero state of all layers."""
        widths = [self._state_width, self.hidden_size] if self._cell == "lstm" else [self._state_width]
        return tuple(np.zeros((self.num_layers * len(self._directions), B, width), self.dtype) for width in widths)

    def _draw_masks(self, T: int, B: int) -> list[np.ndarray]:
        """Masks for all layers but the first: 0 for a dropped number, 1 / (1 - dropout) for one that stays."""
        keep = 1 - self.dropout
        shape = (T, B, self._features)
        scale = self.dtype.type(keep)
        return [(self._rng.random(shape) < keep).astype(self.dtype) / scale for _ in range(self.num_layers - 1)]

    # -- which kernels -------------------------------------------------------------------------------------

    def _problem(self, layer: int, T: int, B: int, lengths: bool = False) -> backends.Problem:
        """What one layer has to compute for this input."""
        return backends.Problem(
            self._cell,
            T,
            B,
            self._layer_input_size(layer),
            self.hidden_size,
            self._state_width,
            len(self._directions),
            self.dtype.name,
            self.training,
            lengths,
        )

    def _route(self, layer: int, T: int, B: int, lengths: bool = False) -> backends.Route:
        """The row of the dispatch table that one layer uses for this input."""
        return backends.choose(self.backend, self._problem(layer, T, B, lengths))

    def _kernels(self, T: int, B: int, lengths: bool) -> list[ModuleType]:
        """Modules of all layers; looked up again only when something changed that the choice may depend on."""
        key = (T, B, lengths, self.training)
        chosen = self._chosen  # read once: another thread may be calling the same layer
        if chosen[0] != key:
            modules = [backends.load(self._route(k, T, B, lengths)) for k in range(self.num_layers)]
            self._chosen = chosen = (key, modules)
        return chosen[1]

    def __getstate__(self) -> dict[str, Any]:
        # Modules can be neither pickled nor deep-copied, and saved activations belong to this object.
        return self.__dict__ | {"_chosen": (None, []), "_saved": None, "_kept": None}

    # -- shapes --------------------------------------------------------------------------------------------

    def _sequence_axes(
        self, B: int | None, T: int | None, features: dict[str, int], batched: bool
    ) -> dict[str, int | None]:
        if not batched:
            return {"T": T} | features
        return ({"B": B, "T": T} if self.batch_first else {"T": T, "B": B}) | features

    def _read_input(self, x: Any) -> tuple[np.ndarray, bool]:
        """Return ``x`` as (T, B, I), contiguous in inference, and whether it has a batch axis."""
        known = type(x) is np.ndarray and x.dtype is self.dtype  # the usual case, decided without a call
        array = x if known else as_real_array("x", x, self.dtype, contiguous=False)
        batched = array.ndim != 2
        if array.ndim not in (2, 3) or array.shape[-1] != self.input_size:
            check_shape("x", array, self._sequence_axes(None, None, {"I": self.input_size}, batched))
        if not batched:
            array = array[:, None]
        elif self.batch_first:
            array = array.transpose(1, 0, 2)
        if array.shape[0] == 0:
            raise ValueError(f"x: expected at least one time step, got shape {np.shape(x)} with T=0")
        return (array if self.training else np.ascontiguousarray(array)), batched

    def _keep(self, x: np.ndarray, kernels: ModuleType, now: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Memory for a copy of the input, and the same again if the kernels are to fill it.

        Backward must see the input as it was, even if the caller reuses the buffer. Kernels that can copy do so while
        they have it in the cache. The memory of the last call's copy is used again, since only the last call can be
        taken back.
        """
        kept = self._kept
        if kept is None or kept.shape != x.shape:
            self._kept = kept = np.empty(x.shape, self.dtype)
        if not now and hasattr(kernels, "COPIES_INPUT") and x.flags.c_contiguous:
            return kept, kept
        kept[...] = x
        return kept, None

    def _read_gradient(self, dy: Any, T: int, B: int, batched: bool) -> np.ndarray:
        array = as_real_array("dy", dy, self.dtype, contiguous=False)
        if array.shape == (T, B, self._features) and batched and not self.batch_first:
            return np.ascontiguousarray(array)
        check_shape("dy", array, self._sequence_axes(B, T, {"H*directions": self._features}, batched))
        if not batched:
            array = array[:, None]
        elif self.batch_first:
            array = array.transpose(1, 0, 2)
        return np.ascontiguousarray(array)

    def _read_lengths(self, lengths: Any, T: int, B: int, batched: bool) -> np.ndarray | None:
        """Return lengths as int64, or None if no sequence is shorter than T."""
        if not batched:
            raise ValueError(
                f"lengths: expected None for one sequence without a batch axis, got {lengths!r}; pass x[:length]"
            )
        array = check_lengths("lengths", lengths, T, B)
        return None if (array == T).all() else array

    def _read_state(self, name: str, state: Any, B: int, batched: bool) -> Parts:
        """Return the parts of a state as (num_layers * directions, B, features) arrays of our own."""
        if self._cell == "lstm":
            if not isinstance(state, (tuple, list)) or len(state) != 2:
                got = f"{len(state)} items" if isinstance(state, (tuple, list)) else type(state).__name__
                raise TypeError(f"{name}: expected a pair (h, c) of arrays, got {got}")
            values = [(f"{name}[h]", state[0], self._state_width), (f"{name}[c]", state[1], self.hidden_size)]
        elif isinstance(state, (tuple, list)):
            raise TypeError(f"{name}: expected one array h, got a {type(state).__name__} of {len(state)} items")
        else:
            values = [(name, state, self.hidden_size)]
        L = self.num_layers * len(self._directions)
        parts = []
        for label, value, width in values:
            array = as_real_array(label, value, self.dtype, contiguous=False)
            if array.shape != ((L, B, width) if batched else (L, width)):
                axis = "proj_size" if width != self.hidden_size else "H"
                axes = {"num_layers*directions": L} | ({"B": B} if batched else {}) | {axis: width}
                check_shape(label, array, axes)
            if self.training or not array.flags.c_contiguous:
                array = array.copy()  # in training for the same reason as the input's
            parts.append(array if batched else array[:, None])
        return tuple(parts)

    def _layer_state(self, parts: Parts | None, layer: int, B: int) -> Parts:
        """One layer's share of a state, (directions, B, features) each; zeros for None."""
        if parts is None:
            known = self._zeros  # read once, as in _kernels
            if known[0] != B:
                D, widths = len(self._directions), [self._state_width]
                widths += [self.hidden_size] if self._cell == "lstm" else []
                zeros = tuple(np.zeros((D, B, width), self.dtype) for width in widths)
                for array in zeros:
                    array.flags.writeable = False  # shared by layers and calls
                self._zeros = known = (B, zeros)
            return known[1]
        if self.num_layers == 1:
            return parts
        D = len(self._directions)
        return tuple(part[layer * D : (layer + 1) * D] for part in parts)

    def _join(self, states: list[Parts]) -> Parts:
        """The layers' shares put together again."""
        return states[0] if len(states) == 1 else tuple(np.concatenate(parts) for parts in zip(*states, strict=True))

    def _write_sequence(self, y: np.ndarray, batched: bool) -> np.ndarray:
        if not batched:
            return y[:, 0]
        return y.transpose(1, 0, 2) if self.batch_first else y

    def _write_state(self, parts: Parts, batched: bool) -> Any:
        if not batched:
            parts = tuple(part[:, 0] for part in parts)
        return parts if self._cell == "lstm" else parts[0]

    def __repr__(self) -> str:
        parts = [str(self.input_size), str(self.hidden_size)]
        defaults = {
            "num_layers": 1,
            "nonlinearity": "tanh",
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "proj_size": 0,
            "reset_after": True,
            "checkpoint": None,
        }
        parts += [f"{k}={value!r}" for k, v in defaults.items() if (value := getattr(self, k, v)) != v]
        return f"{type(self).__name__}({', '.join(parts)}, dtype='{self.dtype}', backend='{self.backend}')"
