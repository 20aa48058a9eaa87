"""Transformer blocks: attention across the steps, then a small network at every step, each added to what came in."""

from typing import Any

import numpy as np

from lstm_numba.layers.attention import MultiheadAttention, read_padding
from lstm_numba.layers.composite import Composite
from lstm_numba.layers.dense import Dense
from lstm_numba.layers.dropout import Dropout
from lstm_numba.layers.norm import GELU, LayerNorm, ReLU
from lstm_numba.layers.validation import as_real_array, check_flag, check_probability, check_shape, check_size


class _Block(Composite):
    """What the blocks share: the small network, dropout, and the checks of their arguments."""

    linear1: Dense
    linear2: Dense
    _activation: ReLU | GELU

    def _make_dropouts(self, dropout: float, branches: int, rng: np.random.Generator) -> None:
        """Dropout of the hidden units, and of what every branch adds; nothing that costs anything if it is 0."""
        self.dropout = check_probability("dropout", dropout)
        self._hidden_dropout, *self._branch_dropouts = (
            Dropout(self.dropout, dtype=self.dtype, seed=rng) if self.dropout else None for _ in range(branches + 1)
        )
        for n, part in enumerate((self._hidden_dropout, *self._branch_dropouts)):
            if part is not None:
                self._add_part(f"dropout{n}", part)  # has no parameters, but a training switch

    def _drop(self, branch: int, y: np.ndarray) -> np.ndarray:
        """Dropout of what a branch, 0 for the first one, adds."""
        dropout = self._branch_dropouts[branch]
        return y if dropout is None else dropout(y)

    def _drop_backward(self, branch: int, dy: np.ndarray) -> np.ndarray:
        dropout = self._branch_dropouts[branch]
        return dy if dropout is None else dropout.backward(dy)

    def _make_network(
        self, E: int, F: int, activation: str, bias: bool, backend: str, rng: np.random.Generator
    ) -> None:
        if activation not in ("relu", "gelu"):
            raise ValueError(f"activation: expected 'relu' or 'gelu', got {activation!r}")
        self.activation = activation
        self.linear1 = Dense(E, F, bias, dtype=self.dtype, seed=rng, backend=backend)
        self.linear2 = Dense(F, E, bias, dtype=self.dtype, seed=rng, backend=backend)
        self._activation = ReLU(dtype=self.dtype) if activation == "relu" else GELU(dtype=self.dtype, backend=backend)
        # These see only what other parts of the block made for them.
        for part in (self.linear1, self.linear2, self._activation):
            part._owns_input = True

    def _network(self, x: np.ndarray) -> np.ndarray:
        """The last branch: the small network, with its dropouts."""
        hidden = self._activation(self.linear1(x))
        if self._hidden_dropout is not None:
            hidden = self._hidden_dropout(hidden)
        return self._drop(-1, self.linear2(hidden))

    def _network_backward(self, dy: np.ndarray) -> np.ndarray:
        dhidden = self.linear2.backward(self._drop_backward(-1, dy))
        if self._hidden_dropout is not None:
            dhidden = self._hidden_dropout.backward(dhidden)
        return self.linear1.backward(self._activation.backward(dhidden))


def _attention_backward(
    attention: MultiheadAttention, dy: np.ndarray, prefix: str, masks: dict[str, np.ndarray], need_mask_grads: bool
) -> Any:
    """The attention's gradients; those of masks with numbers, if there are any and they are wanted, go to ``masks``."""
    if not need_mask_grads or not attention.has_added_masks:
        return attention.backward(dy)
    gradients, found = attention.backward(dy, need_mask_grads=True)
    names = {"attn_mask": f"{prefix}_mask", "key_padding_mask": f"{prefix}_key_padding_mask"}
    masks.update({names[name]: gradient for name, gradient in found.items()})
    return gradients


def _check_masks(need_mask_grads: bool, *attentions: MultiheadAttention) -> None:
    """Refuse before any gradient is added."""
    if need_mask_grads and not any(attention.has_added_masks for attention in attentions):
        raise ValueError("need_mask_grads: expected False, since no mask was added to the scores, got True")


class TransformerEncoderLayer(_Block):
    r"""A Transformer block with the parameters of ``torch.nn.TransformerEncoderLayer``.

    With ``norm_first`` (pre-norm), the default here,

    .. math:: x' = x + \operatorname{attention}(\operatorname{norm}_1(x)), \qquad
              y = x' + W_2\, \phi(W_1 \operatorname{norm}_2(x') + b_1) + b_2.

    With ``causal=True`` it is the block of a decoder-only model such as GPT.

    Parameters
    ----------
    d_model
        Features E of input and output.
    nhead
        Heads of the attention, a divisor of ``d_model``.
    dim_feedforward
        Hidden units of the network.
    dropout
        Probability with which, in training mode, weights of attention, hidden units, and numbers that attention or
        network add are set to zero. PyTorch's default is 0.1.
    activation
        ``"relu"`` or ``"gelu"``.
    layer_norm_eps
        Added to the variance in both norms.
    norm_first
        Normalise before (True) or after (False, the block of 2017) attention and network. PyTorch's default is False.
    bias
        Whether the projections, the network and the norms add a bias.
    batch_first
        Sequences as (B, T, E) instead of (T, B, E).
    causal
        A step sees itself and the past only.
    rotary
        Rotary positions in the attention.
    dtype
        ``"float32"`` or ``"float64"``.
    backend
        ``"cpu"`` or ``"reference"``.
    seed
        Seed of the initial weights.

    Notes
    -----
    Parameters: ``self_attn.in_proj_weight``, ..., ``linear1.weight``, ``linear2.weight``, ``norm1.weight``,
    ``norm2.weight`` and their biases.

    References
    ----------
    A. Vaswani et al., "Attention Is All You Need", 2017. R. Xiong et al., "On Layer Normalization in the Transformer
    Architecture", 2020, for pre-norm.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> block = ln.TransformerEncoderLayer(8, 2, 16, causal=True, seed=0)
    >>> block(np.zeros((5, 3, 8), np.float32)).shape
    (5, 3, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        *,
        dropout: float = 0.0,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        norm_first: bool = True,
        bias: bool = True,
        batch_first: bool = False,
        causal: bool = False,
        rotary: bool = False,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        E = self.d_model = check_size("d_model", d_model)
        F = self.dim_feedforward = check_size("dim_feedforward", dim_feedforward)
        self.norm_first = check_flag("norm_first", norm_first)
        self.batch_first = check_flag("batch_first", batch_first)
        rng = np.random.default_rng(seed)
        self.self_attn = MultiheadAttention(
            E,
            nhead,
            dropout=dropout,
            bias=bias,
            batch_first=batch_first,
            causal=causal,
            rotary=rotary,
            dtype=self.dtype,
            backend=backend,
            seed=rng,
        )
        self._make_network(E, F, activation, bias, backend, rng)
        self._make_dropouts(dropout, 2, rng)
        self.norm1, self.norm2 = (
            LayerNorm(E, layer_norm_eps, bias=bias, dtype=self.dtype, backend=backend) for _ in range(2)
        )
        for name in ("self_attn", "linear1", "linear2", "norm1", "norm2"):
            self._add_part(name, getattr(self, name))
        self._add_part("activation", self._activation)  # has no parameters, but a training switch
        self.self_attn._owns_input = self.norm_first  # a norm made it

    def __call__(
        self,
        src: np.ndarray,
        *,
        src_mask: np.ndarray | None = None,
        src_key_padding_mask: np.ndarray | None = None,
        lengths: Any = None,
        is_causal: bool | None = None,
    ) -> np.ndarray:
        """Run the block.

        Parameters
        ----------
        src
            Shape (T, B, E), or (B, T, E) with ``batch_first``.
        src_mask, src_key_padding_mask, lengths, is_causal
            As ``attn_mask``, ``key_padding_mask``, ``lengths`` and ``is_causal`` of :class:`MultiheadAttention`.

        Returns
        -------
        ndarray
            Shaped like ``src``.
        """
        src = as_real_array("src", src, self.dtype)
        axes = ("B", "T") if self.batch_first else ("T", "B")
        check_shape("src", src, dict.fromkeys(axes) | {"E": self.d_model})

        def attend(x: np.ndarray) -> np.ndarray:
            y = self.self_attn(
                x, attn_mask=src_mask, key_padding_mask=src_key_padding_mask, lengths=lengths, is_causal=is_causal
            )
            return self._drop(0, y)

        if self.norm_first:
            x = src + attend(self.norm1(src))
            x += self._network(self.norm2(x))
            return x
        x = self.norm1(src + attend(src))
        return self.norm2(x + self._network(x))

    def backward(self, dy: np.ndarray, *, need_mask_grads: bool = False) -> Any:
        """Add to :attr:`grads` and return the gradient of ``src``.

        Parameters
        ----------
        dy
            Gradient of the loss with respect to the output, same shape.
        need_mask_grads
            Return a pair of that and a dictionary of the gradients of ``src_mask`` and ``src_key_padding_mask``, as
            far as they held numbers; see :meth:`MultiheadAttention.backward`.
        """
        dy = as_real_array("dy", dy, self.dtype)
        _check_masks(need_mask_grads, self.self_attn)
        masks: dict[str, np.ndarray] = {}
        if self.norm_first:
            dx = dy + self.norm2.backward(self._network_backward(dy))
            dattended = _attention_backward(self.self_attn, self._drop_backward(0, dx), "src", masks, need_mask_grads)
            dx = dx + self.norm1.backward(dattended)
        else:
            dx = self.norm2.backward(dy)
            dx = self.norm1.backward(dx + self._network_backward(dx))
            dx = dx + _attention_backward(self.self_attn, self._drop_backward(0, dx), "src", masks, need_mask_grads)
        return (dx, masks) if need_mask_grads else dx

    def stream(self, batch_size: int = 1) -> "TransformerStream":
        """Return a stream that is fed one step at a time; the block must be causal.

        Parameters
        ----------
        batch_size
            Sequences B that run side by side.
        """
        return TransformerStream(self, check_size("batch_size", batch_size))

    def __repr__(self) -> str:
        return (
            f"TransformerEncoderLayer({self.d_model}, {self.self_attn.num_heads}, {self.dim_feedforward}, "
            f"causal={self.self_attn.causal}, dtype='{self.dtype}')"
        )


class TransformerStream:
    """A causal block that is fed one time step at a time; made by ``block.stream()``.

    Put the block in inference mode first: a step in training mode would overwrite what ``backward`` needs.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> block = ln.TransformerEncoderLayer(8, 2, 16, causal=True, dtype="float64", seed=0).eval()
    >>> x = np.random.default_rng(0).normal(size=(5, 3, 8))
    >>> stream = block.stream(batch_size=3)
    >>> np.allclose(np.stack([stream.step(x_t) for x_t in x]), block(x))
    True
    """

    def __init__(self, block: TransformerEncoderLayer, batch_size: int) -> None:
        if block.training:
            raise RuntimeError("stream: expected a block in inference mode, got training mode; call eval() first")
        self._block = block
        self._attention = block.self_attn.stream(batch_size)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values of the steps so far."""
        return self._attention.nbytes

    def reset(self) -> None:
        """Forget all steps."""
        self._attention.reset()

    def step(self, x: np.ndarray) -> np.ndarray:
        """Advance by one step: ``x`` (B, E) to an output (B, E)."""
        block = self._block
        if block.norm_first:
            x = x + self._attention.step(block.norm1(x))
            return x + block._network(block.norm2(x))
        x = block.norm1(x + self._attention.step(x))
        return block.norm2(x + block._network(x))


class TransformerDecoderLayer(_Block):
    r"""A Transformer block that also looks at a memory, with the parameters of ``torch.nn.TransformerDecoderLayer``.

    With ``norm_first`` (pre-norm), the default here,

    .. math:: x' = x + \operatorname{attention}(\operatorname{norm}_1(x)), \qquad
              x'' = x' + \operatorname{attention}(\operatorname{norm}_2(x'), m), \qquad
              y = x'' + W_2\, \phi(W_1 \operatorname{norm}_3(x'') + b_1) + b_2.

    The first attention is among the steps themselves, the second one from the steps to the memory m: the outputs of
    an encoder, for example.

    Parameters
    ----------
    d_model
        Features E of input, memory and output.
    nhead
        Heads of both attentions, a divisor of ``d_model``.
    dim_feedforward
        Hidden units of the network.
    dropout
        Probability with which, in training mode, weights of attention, hidden units, and numbers that attention or
        network add are set to zero. PyTorch's default is 0.1.
    activation
        ``"relu"`` or ``"gelu"``.
    layer_norm_eps
        Added to the variance in the norms.
    norm_first
        Normalise before (True) or after (False, the block of 2017) attentions and network. PyTorch's default is False.
    bias
        Whether the projections, the network and the norms add a bias.
    batch_first
        Sequences as (B, T, E) instead of (T, B, E), the memory as well.
    causal
        A step sees itself and the past only; all of the memory in any case.
    rotary
        Rotary positions in the attention among the steps.
    dtype
        ``"float32"`` or ``"float64"``.
    backend
        ``"cpu"`` or ``"reference"``.
    seed
        Seed of the initial weights.

    Notes
    -----
    Parameters: ``self_attn.in_proj_weight``, ..., ``multihead_attn.in_proj_weight``, ..., ``linear1.weight``,
    ``linear2.weight``, ``norm1.weight``, ``norm2.weight``, ``norm3.weight`` and their biases.

    References
    ----------
    A. Vaswani et al., "Attention Is All You Need", 2017, section 3.1.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> block = ln.TransformerDecoderLayer(8, 2, 16, seed=0)
    >>> x, memory = np.zeros((5, 3, 8), np.float32), np.zeros((7, 3, 8), np.float32)
    >>> y = block(x, memory)
    >>> dx, dmemory = block.backward(y)
    >>> y.shape, dx.shape, dmemory.shape
    ((5, 3, 8), (5, 3, 8), (7, 3, 8))
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        *,
        dropout: float = 0.0,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        norm_first: bool = True,
        bias: bool = True,
        batch_first: bool = False,
        causal: bool = True,
        rotary: bool = False,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        E = self.d_model = check_size("d_model", d_model)
        F = self.dim_feedforward = check_size("dim_feedforward", dim_feedforward)
        self.norm_first = check_flag("norm_first", norm_first)
        self.batch_first = check_flag("batch_first", batch_first)
        rng = np.random.default_rng(seed)

        def attention(causal: bool, rotary: bool) -> MultiheadAttention:
            return MultiheadAttention(
                E,
                nhead,
                dropout=dropout,
                bias=bias,
                batch_first=batch_first,
                causal=causal,
                rotary=rotary,
                dtype=self.dtype,
                backend=backend,
                seed=rng,
            )

        self.self_attn = attention(causal, rotary)
        self.multihead_attn = attention(False, False)
        self._make_network(E, F, activation, bias, backend, rng)
        self._make_dropouts(dropout, 3, rng)
        self.norm1, self.norm2, self.norm3 = (
            LayerNorm(E, layer_norm_eps, bias=bias, dtype=self.dtype, backend=backend) for _ in range(3)
        )
        for name in ("self_attn", "multihead_attn", "linear1", "linear2", "norm1", "norm2", "norm3"):
            self._add_part(name, getattr(self, name))
        self._add_part("activation", self._activation)  # has no parameters, but a training switch
        self.self_attn._owns_input = self.norm_first  # a norm made it

    def __call__(
        self,
        tgt: np.ndarray,
        memory: np.ndarray,
        *,
        tgt_mask: np.ndarray | None = None,
        memory_mask: np.ndarray | None = None,
        tgt_key_padding_mask: np.ndarray | None = None,
        memory_key_padding_mask: np.ndarray | None = None,
        lengths: Any = None,
        memory_lengths: Any = None,
        tgt_is_causal: bool | None = None,
    ) -> np.ndarray:
        """Run the block.

        Parameters
        ----------
        tgt
            Shape (T, B, E), or (B, T, E) with ``batch_first``.
        memory
            Shape (S, B, E), or (B, S, E) with ``batch_first``.
        tgt_mask, memory_mask
            (T, T) and (T, S), or one per sequence and head, as ``attn_mask`` of :class:`MultiheadAttention`.
        tgt_key_padding_mask, memory_key_padding_mask
            (B, T) and (B, S), as ``key_padding_mask`` of :class:`MultiheadAttention`.
        lengths, memory_lengths
            B integers instead of these masks.
        tgt_is_causal
            Replaces the block's ``causal`` for this call.

        Returns
        -------
        ndarray
            Shaped like ``tgt``.
        """
        axes = ("B", "T") if self.batch_first else ("T", "B")
        tgt = check_shape("tgt", as_real_array("tgt", tgt, self.dtype), dict.fromkeys(axes) | {"E": self.d_model})
        B = tgt.shape[axes.index("B")]
        expected = ({"B": B, "S": None} if self.batch_first else {"S": None, "B": B}) | {"E": self.d_model}
        memory = check_shape("memory", as_real_array("memory", memory, self.dtype), expected)
        T, S = tgt.shape[axes.index("T")], memory.shape[axes.index("T")]
        seen = read_padding(memory_key_padding_mask, memory_lengths, S, B, "memory_key_padding_mask", self.dtype)
        padding = read_padding(tgt_key_padding_mask, lengths, T, B, "tgt_key_padding_mask", self.dtype)

        def attend(x: np.ndarray) -> np.ndarray:
            y = self.self_attn(x, attn_mask=tgt_mask, key_padding_mask=padding, is_causal=tgt_is_causal)
            return self._drop(0, y)

        def look(x: np.ndarray) -> np.ndarray:
            return self._drop(1, self.multihead_attn(x, memory, attn_mask=memory_mask, key_padding_mask=seen))

        if self.norm_first:
            x = tgt + attend(self.norm1(tgt))
            x += look(self.norm2(x))
            x += self._network(self.norm3(x))
            return x
        x = self.norm1(tgt + attend(tgt))
        x = self.norm2(x + look(x))
        return self.norm3(x + self._network(x))

    def backward(self, dy: np.ndarray, *, need_mask_grads: bool = False) -> Any:
        """Add to :attr:`grads` and return the gradients of ``tgt`` and ``memory``.

        Parameters
        ----------
        dy
            Gradient of the loss with respect to the output, same shape.
        need_mask_grads
            Return a pair of that and a dictionary of the gradients of ``tgt_mask``, ``tgt_key_padding_mask``,
            ``memory_mask`` and ``memory_key_padding_mask``, as far as they held numbers; see
            :meth:`MultiheadAttention.backward`.
        """
        dx = as_real_array("dy", dy, self.dtype)
        _check_masks(need_mask_grads, self.self_attn, self.multihead_attn)
        masks: dict[str, np.ndarray] = {}

        def look(dx: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            dy = self._drop_backward(1, dx)
            return _attention_backward(self.multihead_attn, dy, "memory", masks, need_mask_grads)

        def attend(dx: np.ndarray) -> np.ndarray:
            return _attention_backward(self.self_attn, self._drop_backward(0, dx), "tgt", masks, need_mask_grads)

        if self.norm_first:
            dx = dx + self.norm3.backward(self._network_backward(dx))
            dquery, dkey, dvalue = look(dx)
            dx = dx + self.norm2.backward(dquery)
            dx = dx + self.norm1.backward(attend(dx))
        else:
            dx = self.norm3.backward(dx)
            dx = self.norm2.backward(dx + self._network_backward(dx))
            dquery, dkey, dvalue = look(dx)
            dx = self.norm1.backward(dx + dquery)
            dx = dx + attend(dx)
        gradients = dx, dkey + dvalue
        return (gradients, masks) if need_mask_grads else gradients

    def stream(
        self, memory: np.ndarray, *, memory_key_padding_mask: np.ndarray | None = None, memory_lengths: Any = None
    ) -> "DecoderStream":
        """Return a stream that is fed one step at a time; the block must be causal.

        Parameters
        ----------
        memory
            Shape (S, B, E), or (B, S, E) with ``batch_first``: its keys and values are computed once.
        memory_key_padding_mask, memory_lengths
            As for the block itself.

        Returns
        -------
        DecoderStream
        """
        return DecoderStream(self, memory, memory_key_padding_mask, memory_lengths)

    def __repr__(self) -> str:
        return (
            f"TransformerDecoderLayer({self.d_model}, {self.self_attn.num_heads}, {self.dim_feedforward}, "
            f"causal={self.self_attn.causal}, dtype='{self.dtype}')"
        )


class DecoderStream:
    """A causal decoder block that is fed one time step at a time; made by ``block.stream(memory)``.

    Put the block in inference mode first: a step in training mode would overwrite what ``backward`` needs.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> block = ln.TransformerDecoderLayer(8, 2, 16, dtype="float64", seed=0).eval()
    >>> rng = np.random.default_rng(0)
    >>> x, memory = rng.normal(size=(5, 3, 8)), rng.normal(size=(7, 3, 8))
    >>> stream = block.stream(memory)
    >>> np.allclose(np.stack([stream.step(x_t) for x_t in x]), block(x, memory))
    True
    """

    def __init__(
        self, block: TransformerDecoderLayer, memory: np.ndarray, memory_key_padding_mask: Any, memory_lengths: Any
    ) -> None:
        if block.training:
            raise RuntimeError("stream: expected a block in inference mode, got training mode; call eval() first")
        axes = ("B", "S") if block.batch_first else ("S", "B")
        memory = as_real_array("memory", memory, block.dtype)
        check_shape("memory", memory, dict.fromkeys(axes) | {"E": block.d_model})
        self._block = block
        self._keys, self._values = block.multihead_attn._project_memory(memory, memory, block.batch_first)
        S, B = self._keys.shape[:2]
        padding = read_padding(memory_key_padding_mask, memory_lengths, S, B, "memory_key_padding_mask", block.dtype)
        self._padding, self._added = padding, None
        if padding is not None and padding.dtype != np.bool_:
            self._padding, self._added = None, padding[:, None, None, :]
        self._attention = block.self_attn.stream(B)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values: of the memory and of the steps so far."""
        return self._attention.nbytes + self._keys.nbytes + self._values.nbytes

    def reset(self) -> None:
        """Forget all steps; the memory stays."""
        self._attention.reset()

    def step(self, x: np.ndarray) -> np.ndarray:
        """Advance by one step: ``x`` (B, E) to an output (B, E)."""
        block = self._block
        if block.norm_first:
            x = x + self._attention.step(block.norm1(x))
            x = x + self._look(block.norm2(x))
            return x + block._network(block.norm3(x))
        x = block.norm1(x + self._attention.step(x))
        x = block.norm2(x + self._look(x))
        return block.norm3(x + block._network(x))

    def _look(self, x: np.ndarray) -> np.ndarray:
        """Attention of one step to the memory."""
        attention = self._block.multihead_attn
        (q,) = attention._heads(x[None], attention._in_projection(attention._parameters, 0), 0, False)
        o, _ = attention._kernels().attention_forward(
            q, self._keys, self._values, attention._scale, padding=self._padding, added=self._added, keep=False
        )
        return attention._project_out(o.reshape(x.shape))
