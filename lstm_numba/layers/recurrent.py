"""Recurrent layers with the arguments, defaults, shapes and parameter names of ``torch.nn``."""

from typing import Any, NamedTuple, Self

import numpy as np

from lstm_numba import backend as backends
from lstm_numba.layers.initialisers import uniform_fan
from lstm_numba.layers.layer import Layer
from lstm_numba.layers.validation import (
    as_real_array,
    check_flag,
    check_probability,
    check_shape,
    check_size,
)

State = tuple[np.ndarray, np.ndarray]


class _Saved(NamedTuple):
    """What one training-mode call leaves behind for ``backward``."""

    caches: list  # one per (layer, direction), in the order of the state's first axis
    masks: list[np.ndarray | None]  # dropout masks on the input of layers 1, 2, ...
    T: int
    B: int
    batched: bool


class LSTM(Layer):
    r"""Multi-layer Long Short-Term Memory with the arguments, order and defaults of ``torch.nn.LSTM``.

    For every layer, direction and time step

    .. math::
        i &= \sigma(W_{ii} x_t + b_{ii} + W_{hi} h_{t-1} + b_{hi}) \\
        f &= \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf}) \\
        g &= \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg}) \\
        o &= \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho}) \\
        c_t &= f \odot c_{t-1} + i \odot g \\
        h_t &= o \odot \tanh(c_t)

    Parameters
    ----------
    input_size
        Features per time step, I.
    hidden_size
        Units per layer and direction, H.
    num_layers
        Layers stacked on each other; layer k reads the outputs of layer k - 1.
    bias
        Whether to add ``b_ih`` and ``b_hh``.
    batch_first
        Input and output as (B, T, features) instead of (T, B, features). States are not affected.
    dropout
        Probability of zeroing an output of every layer but the last, in training mode; survivors are scaled by
        1 / (1 - dropout).
    bidirectional
        Run a second LSTM from the last step to the first and concatenate the outputs, forward direction first.
    dtype
        ``"float32"`` or ``"float64"``; inputs and states must have it.
    backend
        ``"cpu"`` (Numba, default) or ``"reference"`` (NumPy, the specification).
    seed
        Seed or ``np.random.Generator`` for the initial weights, U(-1/sqrt(H), 1/sqrt(H)), and for dropout.

    Notes
    -----
    NaN and Inf in the input are not searched for: they pass through the equations as IEEE 754 has it, into all
    later steps of the same sequence and into no other sequence of the batch. A batch may be empty (B = 0), a
    sequence may not (T = 0).

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
    F. Gers, J. Schmidhuber and F. Cummins, "Learning to Forget", Neural Computation 12(10), 2000.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> lstm = ln.LSTM(10, 20, num_layers=2, batch_first=True, seed=0)
    >>> y, (h_n, c_n) = lstm(np.zeros((5, 3, 10), np.float32))
    >>> y.shape, h_n.shape, c_n.shape
    ((5, 3, 20), (2, 5, 20), (2, 5, 20))
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
        *,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        self.input_size = check_size("input_size", input_size)
        self.hidden_size = check_size("hidden_size", hidden_size)
        self.num_layers = check_size("num_layers", num_layers)
        self.bias = check_flag("bias", bias)
        self.batch_first = check_flag("batch_first", batch_first)
        self.dropout = check_probability("dropout", dropout)
        self.bidirectional = check_flag("bidirectional", bidirectional)
        self.backend = backends.check_backend(backend)
        if self.dropout > 0 and self.num_layers == 1:
            raise ValueError(
                f"dropout: expected 0 with num_layers=1, got {self.dropout}; it acts between layers, and there is one"
            )
        self._rng = np.random.default_rng(seed)
        self._saved: _Saved | None = None
        H = self.hidden_size
        for layer in range(self.num_layers):
            for direction in self._directions:
                suffix = f"l{layer}{direction}"
                I = self._layer_input_size(layer)
                self._add_parameter(f"weight_ih_{suffix}", uniform_fan((4 * H, I), H, self._rng))
                self._add_parameter(f"weight_hh_{suffix}", uniform_fan((4 * H, H), H, self._rng))
                if self.bias:
                    self._add_parameter(f"bias_ih_{suffix}", uniform_fan((4 * H,), H, self._rng))
                    self._add_parameter(f"bias_hh_{suffix}", uniform_fan((4 * H,), H, self._rng))

    # -- forward -------------------------------------------------------------------------------------------

    def __call__(self, x: np.ndarray, state: State | None = None) -> tuple[np.ndarray, State]:
        """Run the layer over whole sequences.

        Parameters
        ----------
        x
            Shape (T, B, I), or (B, T, I) with ``batch_first``, or (T, I) for one sequence without a batch axis.
            Any strides; the dtype must be the layer's.
        state
            ``(h0, c0)``, each (num_layers * directions, B, H), or without B for one sequence. Zeros by default.

        Returns
        -------
        y : ndarray
            Hidden states of the last layer at every step, shaped like ``x`` with H * directions features.
        state : tuple of ndarray
            ``(h_n, c_n)`` after the last step, shaped like the initial state; feed it to the next call to go on.

        Raises
        ------
        TypeError
            If an array has another dtype than the layer.
        ValueError
            If a shape does not fit, or T = 0.
        """
        y, saved = self._read_input(x)
        state_h, state_c = self._read_state("state", state, saved.B, saved.batched)
        h_n, c_n = np.empty_like(state_h), np.empty_like(state_c)
        for layer in range(self.num_layers):
            if layer > 0:
                y = self._drop(y, saved.masks)
            kernels = backends.load(self._route(layer, saved.T, saved.B))
            outputs = []
            for slot, direction in self._slots(layer):
                y_in = y if direction == "" else np.ascontiguousarray(y[::-1])
                y_out, h_n[slot], c_n[slot], cache = kernels.lstm_forward(
                    y_in, state_h[slot], state_c[slot], *self._weights(layer, direction), self.training
                )
                outputs.append(y_out if direction == "" else y_out[::-1])
                saved.caches.append(cache)
            y = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=2)
        self._saved = saved if self.training else None
        return self._write_sequence(y, saved), self._write_state(h_n, c_n, saved)

    def backward(
        self, dy: np.ndarray, dstate: State | None = None, *, retain: bool = False
    ) -> tuple[np.ndarray, State]:
        """Backpropagate through all layers and all time steps of the last training-mode call.

        The gradients of the parameters are added to :attr:`grads`. The weights must not change between the call
        and ``backward``.

        Parameters
        ----------
        dy
            Gradient of the loss with respect to ``y``, same shape.
        dstate
            ``(dh_n, dc_n)``: gradients with respect to the final state, on top of ``dy``. Zeros by default.
        retain
            Keep the saved activations, so that ``backward`` can run again for the same call.

        Returns
        -------
        dx : ndarray
            Gradient with respect to ``x``, same shape.
        dstate : tuple of ndarray
            ``(dh0, dc0)``: gradients with respect to the initial state.

        Raises
        ------
        RuntimeError
            If there was no call, it was made in inference mode, or ``backward`` has already used it up.
        TypeError, ValueError
            If a gradient's dtype or shape does not fit.
        """
        if self._saved is None:
            raise RuntimeError(
                "backward: expected a call of the layer in training mode before it (each call serves one backward, "
                f"unless retain=True); the layer is in {'training' if self.training else 'inference'} mode and "
                "holds no saved activations. Call train(), then the layer, then backward"
            )
        saved = self._saved
        dy = self._read_gradient(dy, saved)
        dstate_h, dstate_c = self._read_state("dstate", dstate, saved.B, saved.batched)
        dh0, dc0 = np.empty_like(dstate_h), np.empty_like(dstate_c)
        H = self.hidden_size
        for layer in reversed(range(self.num_layers)):
            kernels = backends.load(self._route(layer, saved.T, saved.B))
            dx: Any = None
            for position, (slot, direction) in enumerate(self._slots(layer)):
                dy_part = np.ascontiguousarray(dy[:, :, position * H : (position + 1) * H][:: -1 if direction else 1])
                W_ih, W_hh, _, _ = self._weights(layer, direction)
                dx_part, dh0[slot], dc0[slot], dW_ih, dW_hh, db = kernels.lstm_backward(
                    dy_part, dstate_h[slot], dstate_c[slot], saved.caches[slot], W_ih, W_hh
                )
                self._accumulate(layer, direction, dW_ih, dW_hh, db)
                dx_part = dx_part[::-1] if direction else dx_part
                dx = dx_part if dx is None else dx + dx_part
            if layer > 0 and (mask := saved.masks[layer - 1]) is not None:
                dx = dx * mask
            dy = dx
        if not retain:
            self._saved = None
        return self._write_sequence(dy, saved), self._write_state(dh0, dc0, saved)

    def eval(self) -> Self:
        """Switch to inference mode: nothing is kept for ``backward`` and dropout is off. Returns the layer."""
        self._saved = None
        super().eval()
        return self

    # -- shapes --------------------------------------------------------------------------------------------

    @property
    def _directions(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _layer_input_size(self, layer: int) -> int:
        return self.input_size if layer == 0 else self.hidden_size * len(self._directions)

    def _slots(self, layer: int):
        """Pairs of (index into the state's first axis, direction's name) of one layer."""
        first = layer * len(self._directions)
        return [(first + offset, direction) for offset, direction in enumerate(self._directions)]

    def _route(self, layer: int, T: int, B: int) -> backends.Route:
        I, H = self._layer_input_size(layer), self.hidden_size
        return backends.choose("lstm", self.backend, backends.Problem(T, B, I, H, self.dtype.name, self.training))

    def _weights(self, layer: int, direction: str):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [self._parameters.get(f"{name}_l{layer}{direction}") for name in names]

    def _accumulate(self, layer: int, direction: str, dW_ih, dW_hh, db) -> None:
        self._grads[f"weight_ih_l{layer}{direction}"] += dW_ih
        self._grads[f"weight_hh_l{layer}{direction}"] += dW_hh
        if self.bias:
            self._grads[f"bias_ih_l{layer}{direction}"] += db
            self._grads[f"bias_hh_l{layer}{direction}"] += db

    def _sequence_axes(
        self, B: int | None, T: int | None, features: dict[str, int], batched: bool
    ) -> dict[str, int | None]:
        if not batched:
            return {"T": T} | features
        return ({"B": B, "T": T} if self.batch_first else {"T": T, "B": B}) | features

    def _read_input(self, x) -> tuple[np.ndarray, _Saved]:
        """Return ``x`` as (T, B, I) and the empty record of this call."""
        x_array = as_real_array("x", x, self.dtype)
        batched = x_array.ndim != 2
        check_shape("x", x_array, self._sequence_axes(None, None, {"I": self.input_size}, batched))
        if not batched:
            x_array = x_array[:, None]
        elif self.batch_first:
            x_array = x_array.transpose(1, 0, 2)
        T, B, _ = x_array.shape
        if T == 0:
            raise ValueError(f"x: expected at least one time step, got shape {np.shape(x)} with T=0")
        if self.training and np.may_share_memory(x_array, x):
            x_array = x_array.copy()  # backward must see the input as it was, even if the caller reuses the buffer
        return np.ascontiguousarray(x_array), _Saved([], [], T, B, batched)

    def _read_gradient(self, dy, saved: _Saved) -> np.ndarray:
        features = {"H*directions": self.hidden_size * len(self._directions)}
        dy = as_real_array("dy", dy, self.dtype)
        check_shape("dy", dy, self._sequence_axes(saved.B, saved.T, features, saved.batched))
        if not saved.batched:
            return dy[:, None]
        return dy.transpose(1, 0, 2) if self.batch_first else dy

    def _read_state(self, name: str, state, B: int, batched: bool) -> State:
        """Return a pair of (num_layers * directions, B, H) arrays, zeros for None."""
        L, H = self.num_layers * len(self._directions), self.hidden_size
        if state is None:
            return np.zeros((L, B, H), self.dtype), np.zeros((L, B, H), self.dtype)
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            got = f"{len(state)} items" if isinstance(state, (tuple, list)) else type(state).__name__
            raise TypeError(f"{name}: expected a pair (h, c) of arrays, got {got}")
        axes = {"num_layers*directions": L} | ({"B": B} if batched else {}) | {"H": H}
        pair = []
        for part, value in zip("hc", state, strict=True):
            label = f"{name}[{part}]"
            array = check_shape(label, as_real_array(label, value, self.dtype), axes)
            pair.append(array if batched else array[:, None])
        return pair[0], pair[1]

    def _write_sequence(self, y: np.ndarray, saved: _Saved) -> np.ndarray:
        if not saved.batched:
            return np.ascontiguousarray(y[:, 0])
        return np.ascontiguousarray(y.transpose(1, 0, 2) if self.batch_first else y)

    def _write_state(self, h: np.ndarray, c: np.ndarray, saved: _Saved) -> State:
        return (h, c) if saved.batched else (h[:, 0], c[:, 0])

    def _drop(self, y: np.ndarray, masks: list[np.ndarray | None]) -> np.ndarray:
        if not self.training or self.dropout == 0:
            masks.append(None)
            return y
        keep = 1 - self.dropout
        mask = (self._rng.random(y.shape) < keep).astype(self.dtype) / self.dtype.type(keep)
        masks.append(mask)
        return y * mask

    def __repr__(self) -> str:
        parts = [str(self.input_size), str(self.hidden_size)]
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        parts += [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        return f"LSTM({', '.join(parts)}, dtype='{self.dtype}', backend='{self.backend}')"
