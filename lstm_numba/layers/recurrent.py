"""Recurrent layers with the arguments, defaults, shapes and parameter names of ``torch.nn``."""

import numpy as np

from lstm_numba.layers.stack import RecurrentStack
from lstm_numba.layers.validation import check_flag


class LSTM(RecurrentStack[tuple[np.ndarray, np.ndarray]]):
    r"""Multi-layer Long Short-Term Memory with the arguments, order and defaults of ``torch.nn.LSTM``.

    For every layer, direction and time step

    .. math::
        i &= \sigma(W_{ii} x_t + b_{ii} + W_{hi} h_{t-1} + b_{hi}) \\
        f &= \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf}) \\
        g &= \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg}) \\
        o &= \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho}) \\
        c_t &= f \odot c_{t-1} + i \odot g \\
        h_t &= o \odot \tanh(c_t)

    With a projection, :math:`h_t = W_{hr} (o \odot \tanh(c_t))`.

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
    proj_size
        Size of the hidden state after a linear projection, less than H; 0 for none. The cell state keeps size H.
    dtype
        ``"float32"`` or ``"float64"``; inputs and states must have it.
    backend
        ``"cpu"`` (Numba, default), ``"cuda"`` (Numba, NVIDIA GPU) or ``"reference"`` (NumPy, the specification).
    seed
        Seed or ``np.random.Generator`` for the initial weights, U(-1/sqrt(H), 1/sqrt(H)), and for dropout.
    checkpoint
        Number of steps per segment: in training, keep the states between segments instead of the activations of all
        steps, and let ``backward`` compute one segment again at a time (Gruslys et al., 2016). Activations take the
        memory of ``checkpoint`` steps and ``T / checkpoint`` states, least near ``checkpoint = sqrt(T)``, for the time
        of a second forward pass. Input, output and dropout masks stay whole. Not with ``bidirectional``. None: keep
        everything.

    Notes
    -----
    NaN and Inf in the input are not searched for: they pass through the equations as IEEE 754 has it, into all
    later steps of the same sequence and into no other sequence of the batch. A batch may be empty (B = 0), a
    sequence may not (T = 0).

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
    F. Gers, J. Schmidhuber and F. Cummins, "Learning to Forget", Neural Computation 12(10), 2000.
    H. Sak, A. Senior and F. Beaufays, "Long Short-Term Memory Recurrent Neural Network Architectures for Large Scale
    Acoustic Modeling", Interspeech, 2014 (the projection).
    A. Gruslys et al., "Memory-Efficient Backpropagation Through Time", NeurIPS, 2016 (checkpointing).

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
        proj_size: int = 0,
        *,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
        seed: int | np.random.Generator | None = None,
        checkpoint: int | None = None,
    ) -> None:
        super().__init__(
            "lstm",
            4,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            dtype,
            backend,
            seed,
            checkpoint,
        )


class GRU(RecurrentStack[np.ndarray]):
    r"""Multi-layer Gated Recurrent Unit with the arguments, order and defaults of ``torch.nn.GRU``.

    For every layer, direction and time step

    .. math::
        r &= \sigma(W_{ir} x_t + b_{ir} + W_{hr} h_{t-1} + b_{hr}) \\
        z &= \sigma(W_{iz} x_t + b_{iz} + W_{hz} h_{t-1} + b_{hz}) \\
        n &= \tanh(W_{in} x_t + b_{in} + r \odot (W_{hn} h_{t-1} + b_{hn})) \\
        h_t &= (1 - z) \odot n + z \odot h_{t-1}

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
        Run a second GRU from the last step to the first and concatenate the outputs, forward direction first.
    reset_after
        True: the reset gate acts after the recurrent product, as above (PyTorch, cuDNN, Keras' default, ONNX with
        ``linear_before_reset=1``). False: before it, with ``W_hn (r * h) + b_hn`` in place of ``r * (W_hn h + b_hn)``,
        as in Cho et al. (2014), Keras with ``reset_after=False`` and ONNX's default. Same parameters, another function:
        weights trained with one do not work with the other.
    dtype
        ``"float32"`` or ``"float64"``; inputs and states must have it.
    backend
        ``"cpu"`` (Numba, default), ``"cuda"`` (Numba, NVIDIA GPU) or ``"reference"`` (NumPy, the specification).
    seed
        Seed or ``np.random.Generator`` for the initial weights, U(-1/sqrt(H), 1/sqrt(H)), and for dropout.
    checkpoint
        Number of steps per segment: in training, keep the states between segments instead of the activations of all
        steps, and let ``backward`` compute one segment again at a time (Gruslys et al., 2016). Activations take the
        memory of ``checkpoint`` steps and ``T / checkpoint`` states, least near ``checkpoint = sqrt(T)``, for the time
        of a second forward pass. Input, output and dropout masks stay whole. Not with ``bidirectional``. None: keep
        everything.

    Notes
    -----
    Papers disagree about the direction of the update gate: here, as in PyTorch, ``z = 1`` keeps the old state.

    References
    ----------
    K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
    EMNLP, 2014.
    A. Gruslys et al., "Memory-Efficient Backpropagation Through Time", NeurIPS, 2016 (checkpointing).

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> gru = ln.GRU(10, 20, num_layers=2, batch_first=True, seed=0)
    >>> y, h_n = gru(np.zeros((5, 3, 10), np.float32), lengths=[3, 1, 2, 3, 3])
    >>> y.shape, h_n.shape
    ((5, 3, 20), (2, 5, 20))
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
        reset_after: bool = True,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
        seed: int | np.random.Generator | None = None,
        checkpoint: int | None = None,
    ) -> None:
        self.reset_after = check_flag("reset_after", reset_after)
        super().__init__(
            "gru" if self.reset_after else "gru_reset_before",
            3,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            dtype,
            backend,
            seed,
            checkpoint,
        )


class RNN(RecurrentStack[np.ndarray]):
    r"""Multi-layer simple (Elman) network with the arguments, order and defaults of ``torch.nn.RNN``.

    For every layer, direction and time step

    .. math::
        h_t = \tanh(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})

    Parameters
    ----------
    input_size
        Features per time step, I.
    hidden_size
        Units per layer and direction, H.
    num_layers
        Layers stacked on each other; layer k reads the outputs of layer k - 1.
    nonlinearity
        ``"tanh"``, or ``"relu"`` for :math:`\max(\cdot, 0)` in its place.
    bias
        Whether to add ``b_ih`` and ``b_hh``.
    batch_first
        Input and output as (B, T, features) instead of (T, B, features). States are not affected.
    dropout
        Probability of zeroing an output of every layer but the last, in training mode; survivors are scaled by
        1 / (1 - dropout).
    bidirectional
        Run a second network from the last step to the first and concatenate the outputs, forward direction first.
    dtype
        ``"float32"`` or ``"float64"``; inputs and states must have it.
    backend
        ``"cpu"`` (Numba, default), ``"cuda"`` (Numba, NVIDIA GPU) or ``"reference"`` (NumPy, the specification).
    seed
        Seed or ``np.random.Generator`` for the initial weights, U(-1/sqrt(H), 1/sqrt(H)), and for dropout.
    checkpoint
        Number of steps per segment: in training, keep the states between segments instead of the activations of all
        steps, and let ``backward`` compute one segment again at a time (Gruslys et al., 2016). Activations take the
        memory of ``checkpoint`` steps and ``T / checkpoint`` states, least near ``checkpoint = sqrt(T)``, for the time
        of a second forward pass. Input, output and dropout masks stay whole. Not with ``bidirectional``. None: keep
        everything.

    References
    ----------
    J. Elman, "Finding Structure in Time", Cognitive Science 14(2), 1990.
    A. Gruslys et al., "Memory-Efficient Backpropagation Through Time", NeurIPS, 2016 (checkpointing).

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> rnn = ln.RNN(10, 20, nonlinearity="relu", seed=0)
    >>> y, h_n = rnn(np.zeros((3, 5, 10), np.float32))
    >>> y.shape, h_n.shape
    ((3, 5, 20), (1, 5, 20))
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
        *,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
        seed: int | np.random.Generator | None = None,
        checkpoint: int | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(
            f"rnn_{nonlinearity}",
            1,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            dtype,
            backend,
            seed,
            checkpoint,
        )
