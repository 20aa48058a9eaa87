"""minGRU and minLSTM: gates that look at the input only, so that the recurrence is linear."""

import numpy as np

from lstm_numba.layers.initialisers import uniform_fan
from lstm_numba.layers.sequence import SequenceLayer


class _ScanLayer(SequenceLayer):
    _module = "scan"
    _parts = ("h",)
    _blocks: int

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
        rows = self._blocks * self.hidden_size
        self._add_parameter("weight_ih_l0", uniform_fan((rows, self.input_size), self.input_size, rng))
        if self.bias:
            self._add_parameter("bias_ih_l0", uniform_fan((rows,), self.input_size, rng))

    def _state_axes(self, part: str, B: int) -> dict[str, int]:
        return {"B": B, "H": self.hidden_size}


class MinGRU(_ScanLayer):
    r"""One minGRU layer: the GRU without recurrent weights.

    .. math::
        z_t &= \sigma(W_z x_t + b_z) \\
        n_t &= W_n x_t + b_n \\
        h_t &= (1 - z_t) \odot h_{t-1} + z_t \odot n_t

    The gate sees the input only, so the step is linear in :math:`h_{t-1}` and time can be computed in parallel.

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
        ``"cpu"`` (compiled, threads share units and sequences) or ``"reference"`` (NumPy).
    seed
        Seed of the initial weights, U(-1/sqrt(I), 1/sqrt(I)), the default of a linear layer.

    Notes
    -----
    Parameters: ``weight_ih_l0`` (2H, I) with the blocks z, n; ``bias_ih_l0`` (2H,). The state is ``h``, (B, H).

    In the paper :math:`z` *writes*: ``z = 1`` replaces the old state. In :class:`GRU`, as in PyTorch, it keeps. The
    paper's parallel training code works with logarithms and therefore makes the candidate positive; this scan
    multiplies and adds, and the candidate is the linear one of the paper's equations.

    References
    ----------
    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadeghi, "Were RNNs All We Needed?", arXiv:2410.01201, 2024.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> layer = ln.MinGRU(3, 8, seed=0)
    >>> y, h_n = layer(np.ones((5, 2, 3), np.float32))
    >>> y.shape, h_n.shape, sum(p.size for p in layer.parameters.values())
    ((5, 2, 8), (2, 8), 64)
    """

    _cell = "mingru"
    _blocks = 2


class MinLSTM(_ScanLayer):
    r"""One minLSTM layer: the LSTM without recurrent weights, output gate and tanh.

    .. math::
        i_t &= \sigma(W_i x_t + b_i) \\
        f_t &= \sigma(W_f x_t + b_f) \\
        g_t &= W_g x_t + b_g \\
        h_t &= \frac{f_t}{f_t + i_t} \odot h_{t-1} + \frac{i_t}{f_t + i_t} \odot g_t

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
        ``"cpu"`` (compiled, threads share units and sequences) or ``"reference"`` (NumPy).
    seed
        Seed of the initial weights, U(-1/sqrt(I), 1/sqrt(I)), the default of a linear layer.

    Notes
    -----
    Parameters: ``weight_ih_l0`` (3H, I) with the blocks i, f, g; ``bias_ih_l0`` (3H,). The state is ``h``, (B, H);
    there is no separate cell state.

    References
    ----------
    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadeghi, "Were RNNs All We Needed?", arXiv:2410.01201, 2024.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> layer = ln.MinLSTM(3, 8, seed=0)
    >>> y, h_n = layer(np.ones((5, 2, 3), np.float32))
    >>> bool((y[-1] == h_n).all())
    True
    """

    _cell = "minlstm"
    _blocks = 3
