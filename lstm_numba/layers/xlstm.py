"""sLSTM and mLSTM, the two cells of the xLSTM: exponential gates, and a memory that is a matrix."""

import numpy as np

from lstm_numba.layers.initialisers import uniform_fan
from lstm_numba.layers.sequence import SequenceLayer
from lstm_numba.layers.validation import check_size


class SLSTM(SequenceLayer):
    r"""One sLSTM layer: the LSTM with an exponential input gate and a normaliser.

    With pre-activations :math:`\tilde k_t = W_k x_t + R_k h_{t-1} + b_k`, in units of a scale :math:`e^{m_t}`,

    .. math::
        m_t &= \max(\log \sigma(\tilde f_t) + m_{t-1},\ \tilde\imath_t) \\
        i_t &= \exp(\tilde\imath_t - m_t), \quad f_t = \exp(\log \sigma(\tilde f_t) + m_{t-1} - m_t) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot \tanh(\tilde g_t) \\
        n_t &= f_t \odot n_{t-1} + i_t \\
        h_t &= \sigma(\tilde o_t) \odot c_t / n_t

    Parameters
    ----------
    input_size, hidden_size
        Features per time step, I, and units, H.
    bias
        Whether to add a bias.
    batch_first
        Input and output as (B, T, features) instead of (T, B, features).
    dtype
        ``"float32"`` or ``"float64"``.
    backend
        ``"cpu"`` (compiled, threads share sequences) or ``"reference"`` (NumPy).
    seed
        Seed of the initial weights, U(-1/sqrt(H), 1/sqrt(H)).

    Notes
    -----
    Parameters: ``weight_ih_l0`` (4H, I) and ``weight_hh_l0`` (4H, H) with the blocks i, f, g, o of :class:`LSTM`;
    ``bias_ih_l0`` (4H,). The state is ``(h, c, n, m)``, each (B, H); before the first step m is -inf. Its gradient is
    ``(dh, dc, dn)``: the scale m cancels in every output and has none, and the others hold for a fixed scale.

    The layer is the cell. The residual block around it in the paper (normalisation, convolution, projections) is not
    included, nor are its heads: the recurrent weights are one full matrix per gate. The forget gate is a sigmoid, one
    of the paper's two choices.

    References
    ----------
    M. Beck, K. Pöppel, M. Spanring, A. Auer, O. Prudnikova, M. Kopp, G. Klambauer, J. Brandstetter and S. Hochreiter,
    "xLSTM: Extended Long Short-Term Memory", Advances in Neural Information Processing Systems 37, 2024.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> layer = ln.SLSTM(3, 8, seed=0)
    >>> y, (h, c, n, m) = layer(np.ones((5, 2, 3), np.float32))
    >>> y.shape, bool((n >= 1).all())
    ((5, 2, 8), True)
    """

    _cell = "slstm"
    _module = "xlstm"
    _parts = ("h", "c", "n", "m")
    _without_gradient = ("m",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        batch_first: bool = False,
        *,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, batch_first, dtype, backend)
        rng = np.random.default_rng(seed)
        I, H = self.input_size, self.hidden_size
        self._add_parameter("weight_ih_l0", uniform_fan((4 * H, I), H, rng))
        self._add_parameter("weight_hh_l0", uniform_fan((4 * H, H), H, rng))
        if self.bias:
            self._add_parameter("bias_ih_l0", uniform_fan((4 * H,), H, rng))

    def _state_axes(self, part: str, B: int) -> dict[str, int]:
        return {"B": B, "H": self.hidden_size}

    def _empty(self, part: str) -> float:
        return -np.inf if part == "m" else 0.0


class MLSTM(SequenceLayer):
    r"""One mLSTM layer: the cell state is a matrix that stores values under keys.

    Each of the N heads has a query, a key and a value of D = H / N numbers, linear in the input, and two gates that are
    one number each. With :math:`i_t, f_t, m_t` as in :class:`SLSTM`, but from the input only,

    .. math::
        C_t &= f_t\, C_{t-1} + i_t\, v_t k_t^\top / \sqrt{D} \\
        n_t &= f_t\, n_{t-1} + i_t\, k_t / \sqrt{D} \\
        h_t &= \sigma(\tilde o_t) \odot \frac{C_t q_t}{\max(|n_t \cdot q_t|,\ e^{-m_t})}

    Parameters
    ----------
    input_size, hidden_size
        Features per time step, I, and units, H.
    num_heads
        N, a divisor of H. The state holds N matrices of D x D numbers.
    bias
        Whether to add a bias.
    batch_first
        Input and output as (B, T, features) instead of (T, B, features).
    dtype
        ``"float32"`` or ``"float64"``.
    backend
        ``"cpu"`` (compiled, threads share sequences and heads) or ``"reference"`` (NumPy).
    seed
        Seed of the initial weights, U(-1/sqrt(I), 1/sqrt(I)), the default of a linear layer.

    Notes
    -----
    Parameters: ``weight_ih_l0`` (4H + 2N, I) with the blocks q, k, v, o of H rows and i, f of N rows; ``bias_ih_l0``
    (4H + 2N,), in which the forget gates start open, from 3 to 6 over the heads as in the paper's code. The state is
    ``(C, n, m)``: (B, N, D, D), (B, N, D), (B, N); before the first step m is -inf. Its gradient is ``(dC, dn)``, for a
    fixed scale.

    The layer is the cell, without the residual block around it in the paper.

    References
    ----------
    M. Beck, K. Pöppel, M. Spanring, A. Auer, O. Prudnikova, M. Kopp, G. Klambauer, J. Brandstetter and S. Hochreiter,
    "xLSTM: Extended Long Short-Term Memory", Advances in Neural Information Processing Systems 37, 2024.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> layer = ln.MLSTM(3, 8, num_heads=2, seed=0)
    >>> y, (C, n, m) = layer(np.ones((5, 1, 3), np.float32))
    >>> y.shape, C.shape, n.shape, m.shape
    ((5, 1, 8), (1, 2, 4, 4), (1, 2, 4), (1, 2))
    """

    _cell = "mlstm"
    _module = "xlstm"
    _parts = ("C", "n", "m")
    _without_gradient = ("m",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_heads: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        *,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, batch_first, dtype, backend)
        self.num_heads = check_size("num_heads", num_heads)
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads: expected a divisor of hidden_size={self.hidden_size}, got {self.num_heads}")
        rng = np.random.default_rng(seed)
        I, H, N = self.input_size, self.hidden_size, self.num_heads
        self._add_parameter("weight_ih_l0", uniform_fan((4 * H + 2 * N, I), I, rng))
        if self.bias:
            bias_values = uniform_fan((4 * H + 2 * N,), I, rng)
            bias_values[4 * H + N :] = np.linspace(3, 6, N)
            self._add_parameter("bias_ih_l0", bias_values)

    def _state_axes(self, part: str, B: int) -> dict[str, int]:
        N, D = self.num_heads, self.hidden_size // self.num_heads
        return {"C": {"B": B, "N": N, "D": D, "D ": D}, "n": {"B": B, "N": N, "D": D}, "m": {"B": B, "N": N}}[part]

    def _empty(self, part: str) -> float:
        return -np.inf if part == "m" else 0.0
