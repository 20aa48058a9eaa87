"""The LSTM family as a layer: vanilla, the eight variants of Greff et al. (2017), and every other choice of parts."""

from importlib import import_module
from typing import Any, NamedTuple, Self

import numpy as np

from lstm_numba.layers.initialisers import uniform_fan
from lstm_numba.layers.layer import Layer
from lstm_numba.layers.validation import as_real_array, check_flag, check_shape, check_size
from lstm_numba.variants import VARIANTS, VariantOptions, VariantWeights, checked

State = tuple[np.ndarray, np.ndarray]

# Field of VariantWeights -> name of the parameter; the first four are those of `LSTM`.
_NAMES = {
    "W_ih": "weight_ih_l0",
    "W_hh": "weight_hh_l0",
    "b_ih": "bias_ih_l0",
    "b_hh": "bias_hh_l0",
    "peepholes": "weight_peephole_l0",
    "W_gates": "weight_gates_l0",
}


# Every variant on either backend is one of these two modules; kernels are imported when they are first needed.
_MODULES = {"cpu": "lstm_numba.cpu.lstm_variants", "reference": "lstm_numba.reference.lstm_variants"}


class _Saved(NamedTuple):
    """What one training-mode call leaves behind for ``backward``."""

    cache: Any
    T: int
    B: int


class LSTMVariant(Layer):
    r"""One layer of a member of the LSTM family, forward in time.

    With everything present, :math:`p` the peepholes and :math:`r_t` the gates :math:`(i, f, o)` at step :math:`t`,

    .. math::
        i_t &= \sigma(W_i x_t + R_i h_{t-1} + U_i r_{t-1} + p_i \odot c_{t-1} + b_i) \\
        f_t &= \sigma(W_f x_t + R_f h_{t-1} + U_f r_{t-1} + p_f \odot c_{t-1} + b_f) \\
        g_t &= \tanh(W_g x_t + R_g h_{t-1} + b_g) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        o_t &= \sigma(W_o x_t + R_o h_{t-1} + U_o r_{t-1} + p_o \odot c_t + b_o) \\
        h_t &= o_t \odot \tanh(c_t)

    Parameters
    ----------
    input_size, hidden_size
        Features per time step, I, and units, H.
    variant
        A name: ``"V"`` vanilla (three gates, peepholes), ``"NIG"``, ``"NFG"``, ``"NOG"`` without the input, forget
        or output gate, ``"NIAF"``, ``"NOAF"`` without the squashing of the candidate or the cell state, ``"CIFG"``
        coupled gates :math:`f = 1 - i`, ``"NP"`` no peepholes (the cell of :class:`LSTM`), ``"FGR"`` full gate
        recurrence, ``"HS97"`` the cell of 1997. Or ``lstm_numba.variants.VariantOptions``.
    bias
        Whether to add ``b_ih`` and ``b_hh``.
    batch_first
        Input and output as (B, T, features) instead of (T, B, features).
    dtype
        ``"float32"`` or ``"float64"``.
    backend
        ``"cpu"`` (compiled, one thread) or ``"reference"`` (NumPy).
    seed
        Seed of the initial weights, U(-1/sqrt(H), 1/sqrt(H)), peepholes included.

    Notes
    -----
    Parameters hold what the variant has and nothing else: ``weight_ih_l0`` is (G*H, I) with the blocks that have
    weights, in the order i, f, g, o. ``weight_peephole_l0`` is (N, H), ``weight_gates_l0`` is (N*H, N*H) with the N
    gates in the order i, f, o. ``"NP"`` has the parameters of ``LSTM(input_size, hidden_size)`` and, by the same
    seed, the same initial weights. The gates' own recurrence starts from zero at the first step of every call.

    References
    ----------
    K. Greff, R. Srivastava, J. Koutnik, B. Steunebrink and J. Schmidhuber, "LSTM: A Search Space Odyssey", IEEE
    Transactions on Neural Networks and Learning Systems 28(10), 2017.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> layer = ln.LSTMVariant(3, 8, variant="CIFG", seed=0)
    >>> y, (h_n, c_n) = layer(np.zeros((5, 2, 3), np.float32))
    >>> y.shape, c_n.shape, layer.parameters["weight_hh_l0"].shape
    ((5, 2, 8), (2, 8), (24, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        variant: str | VariantOptions = "V",
        bias: bool = True,
        batch_first: bool = False,
        *,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        self.input_size = check_size("input_size", input_size)
        self.hidden_size = check_size("hidden_size", hidden_size)
        self.variant = variant
        self.options = _options(variant)
        self.bias = check_flag("bias", bias)
        self.batch_first = check_flag("batch_first", batch_first)
        if backend not in _MODULES:
            raise ValueError(f"backend: expected one of {', '.join(map(repr, _MODULES))}, got {backend!r}")
        self.backend = backend
        self._saved: _Saved | None = None
        I, H = self.input_size, self.hidden_size
        G, N = len(self.options.blocks), len(self.options.gates)
        shapes = VariantWeights(
            W_ih=(G * H, I),
            W_hh=(G * H, H),
            b_ih=(G * H,) if self.bias else None,
            b_hh=(G * H,) if self.bias else None,
            peepholes=(N, H) if self.options.peepholes else None,
            W_gates=(N * H, N * H) if self.options.gate_recurrence else None,
        )
        rng = np.random.default_rng(seed)
        for field, shape in shapes._asdict().items():
            if shape is not None:
                self._add_parameter(_NAMES[field], uniform_fan(shape, H, rng))

    def __call__(self, x: np.ndarray, state: State | None = None) -> tuple[np.ndarray, State]:
        """Run the layer over whole sequences.

        Parameters
        ----------
        x
            Shape (T, B, I), or (B, T, I) with ``batch_first``.
        state
            ``(h0, c0)``, each (B, H). Zeros by default.

        Returns
        -------
        y : ndarray
            Hidden states, shaped like ``x`` with H features.
        state : tuple of ndarray
            ``(h_n, c_n)`` after the last step, each (B, H).

        Raises
        ------
        TypeError, ValueError
            If a dtype or shape does not fit, or T = 0.
        """
        given = x
        x = as_real_array("x", x, self.dtype)
        check_shape("x", x, self._axes(None, None, {"I": self.input_size}))
        x = np.ascontiguousarray(x.transpose(1, 0, 2)) if self.batch_first else x
        T, B, _ = x.shape
        if T == 0:
            raise ValueError(f"x: expected at least one time step, got shape {np.shape(given)} with T=0")
        if self.training and np.may_share_memory(x, given):
            x = x.copy()  # backward must see the input as it was, even if the caller reuses the buffer
        h0, c0 = self._read_state("state", state, B)
        y, h_n, c_n, cache = self._kernels().variant_forward(
            self.options, x, h0, c0, self._weights(self._parameters), self.training
        )
        self._saved = _Saved(cache, T, B) if self.training else None
        return self._swapped(y), (h_n, c_n)

    def backward(self, dy: np.ndarray, dstate: State | None = None) -> tuple[np.ndarray, State]:
        """Backpropagate through all time steps of the last training-mode call, which is used up.

        Parameters
        ----------
        dy
            Gradient of the loss with respect to ``y``, same shape.
        dstate
            ``(dh_n, dc_n)``: gradients with respect to the final state, on top of ``dy``. Zeros by default.

        Returns
        -------
        dx : ndarray
            Gradient with respect to ``x``, same shape.
        dstate : tuple of ndarray
            ``(dh0, dc0)``: gradients with respect to the initial state.

        Raises
        ------
        RuntimeError
            Without a training-mode call before it.
        TypeError, ValueError
            If a gradient's dtype or shape does not fit.
        """
        if self._saved is None:
            raise RuntimeError(
                "backward: expected a call of the layer in training mode before it (each call serves one backward)"
            )
        cache, T, B = self._saved
        dy = as_real_array("dy", dy, self.dtype)
        check_shape("dy", dy, self._axes(T, B, {"H": self.hidden_size}))
        dy = self._swapped(dy)
        dh_n, dc_n = self._read_state("dstate", dstate, B)
        dx, dh0, dc0, grads = self._kernels().variant_backward(
            self.options, dy, dh_n, dc_n, cache, self._weights(self._parameters)
        )
        for field, grad in grads._asdict().items():
            if grad is not None:
                self._grads[_NAMES[field]] += grad
        self._saved = None
        return self._swapped(dx), (dh0, dc0)

    def eval(self) -> Self:
        """Switch to inference mode: nothing is kept for ``backward``. Returns the layer."""
        self._saved = None
        super().eval()
        return self

    def _weights(self, arrays: dict[str, np.ndarray]) -> VariantWeights:
        return VariantWeights(**{field: arrays.get(name) for field, name in _NAMES.items()})

    def _kernels(self):
        return import_module(_MODULES[self.backend])

    def _axes(self, T: int | None, B: int | None, features: dict[str, int]) -> dict[str, int | None]:
        return ({"B": B, "T": T} if self.batch_first else {"T": T, "B": B}) | features

    def _swapped(self, sequence: np.ndarray) -> np.ndarray:
        """From (T, B, ...) to the layer's axes, or back."""
        return np.ascontiguousarray(sequence.transpose(1, 0, 2)) if self.batch_first else sequence

    def _read_state(self, name: str, state: State | None, B: int) -> State:
        H = self.hidden_size
        if state is None:
            return np.zeros((B, H), self.dtype), np.zeros((B, H), self.dtype)
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            got = f"{len(state)} items" if isinstance(state, (tuple, list)) else type(state).__name__
            raise TypeError(f"{name}: expected a pair (h, c) of arrays, got {got}")
        h, c = (as_real_array(f"{name}[{part}]", value, self.dtype) for part, value in zip("hc", state, strict=True))
        axes = {"B": B, "H": H}
        return check_shape(f"{name}[h]", h, axes), check_shape(f"{name}[c]", c, axes)

    def __repr__(self) -> str:
        return (
            f"LSTMVariant({self.input_size}, {self.hidden_size}, variant={self.variant!r}, dtype='{self.dtype}', "
            f"backend='{self.backend}')"
        )


def _options(variant: str | VariantOptions) -> VariantOptions:
    if isinstance(variant, VariantOptions):
        return checked(variant)
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(map(repr, VARIANTS))} or options, got {variant!r}")
    return VARIANTS[variant]
