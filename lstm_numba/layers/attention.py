"""Attention layers: several heads of scaled dot products, and Bahdanau's additive scores."""

from importlib import import_module
from typing import Any, NamedTuple, Self

import numpy as np

from lstm_numba.layers.composite import Composite
from lstm_numba.layers.dense import Dense, product_kernels
from lstm_numba.layers.layer import Layer
from lstm_numba.layers.rotary import rotary_tables, rotate
from lstm_numba.layers.validation import (
    as_real_array,
    check_flag,
    check_lengths,
    check_probability,
    check_shape,
    check_size,
)

# Every backend of the attention layers is a module with the same functions, imported when it is first needed.
_MODULES = {"cpu": "lstm_numba.cpu.attention", "reference": "lstm_numba.reference.attention"}


def check_attention_backend(backend: str) -> str:
    """Return ``backend`` if attention has it."""
    if backend not in _MODULES:
        raise ValueError(f"backend: expected one of {', '.join(map(repr, _MODULES))}, got {backend!r}")
    return backend


def read_padding(
    key_padding_mask: np.ndarray | None,
    lengths: Any,
    S: int,
    B: int,
    name: str = "key_padding_mask",
    dtype: np.dtype | None = None,
) -> np.ndarray | None:
    """Return what hides keys, (B, S) of bool, from either way to say it; or of ``dtype``, added to the scores."""
    if lengths is not None:
        if key_padding_mask is not None:
            raise ValueError(f"lengths: expected either lengths or {name}, got both")
        return np.arange(S) >= check_lengths("lengths", lengths, S, B)[:, None]
    if key_padding_mask is None:
        return None
    return check_shape(name, _as_mask(name, key_padding_mask, dtype), {"B": B, "S": S})


def _as_mask(name: str, value: Any, dtype: np.dtype | None) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype != np.bool_ and (dtype is None or array.dtype != dtype):
        numbers = "" if dtype is None else f", or {dtype}, added to the scores"
        raise TypeError(f"{name}: expected dtype bool, True where attention is not allowed{numbers}, got {array.dtype}")
    return array


class _Saved(NamedTuple):
    """What one training-mode call leaves behind for ``backward``."""

    inputs: tuple[np.ndarray, ...]  # query, or query, key and value, as they came
    heads: tuple[np.ndarray, np.ndarray, np.ndarray]  # q, k, v, each (T or S, B, N, D)
    o: np.ndarray  # (T, B, N, D)
    lse: np.ndarray
    masks: tuple  # as the kernels take them
    added: dict[str, tuple[int, ...]]  # shapes, as they were given, of the masks that were added to the scores


def _mask_gradients(dadded: np.ndarray, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Sum the gradient (B, N, T, S) over what shared a number of a mask."""
    sums = {}
    for name, shape in shapes.items():
        if name == "key_padding_mask":
            sums[name] = dadded.sum(axis=(1, 2))
        else:
            sums[name] = dadded.sum(axis=(0, 1)) if len(shape) == 2 else dadded.reshape(shape)
    return sums


class MultiheadAttention(Layer):
    r"""Multi-head scaled dot-product attention with the parameters of ``torch.nn.MultiheadAttention``.

    For each of N heads with :math:`D = E / N` features,

    .. math:: O = \operatorname{softmax}\left(\frac{Q K^\top}{\sqrt{D}} + M\right) V,

    where M is 0, what a mask adds or, where a mask says so, :math:`-\infty`. The matrix of weights is never stored:
    memory grows with T, time with T squared.

    Parameters
    ----------
    embed_dim
        Features E of the query and the output, a multiple of ``num_heads``.
    num_heads
        Heads N.
    dropout
        Probability with which a weight is set to zero in training mode; the others are divided by ``1 - dropout``.
    bias
        Whether the projections add a bias.
    kdim, vdim
        Features of key and value, ``embed_dim`` by default.
    batch_first
        Sequences as (B, T, E) instead of (T, B, E).
    causal
        Query t sees keys 0 to t only.
    rotary
        Turn queries and keys by their positions (Su et al., 2021). D must be even, keys must be the queries' steps.
    dtype
        ``"float32"`` or ``"float64"``.
    backend
        ``"cpu"`` (compiled, block by block) or ``"reference"`` (NumPy, with the matrix of weights).
    seed
        Seed of the initial weights, drawn as PyTorch draws them, and of the dropped weights. Both backends drop the
        same ones, with any number of threads: each is decided by a hash of its place and of one number per call.

    Notes
    -----
    Parameters: ``in_proj_weight`` (3E, E) with the blocks q, k, v and ``in_proj_bias`` (3E,), or ``q_proj_weight``,
    ``k_proj_weight``, ``v_proj_weight`` if kdim or vdim differ from E; ``out_proj.weight`` (E, E),
    ``out_proj.bias``. A query that may see no key at all gets zeros from the attention (before the output
    projection); PyTorch's layer gives NaN there.

    References
    ----------
    A. Vaswani et al., "Attention Is All You Need", 2017. T. Dao et al., "FlashAttention", 2022, for the blocks.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> attention = ln.MultiheadAttention(8, 2, causal=True, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(5, 3, 8)).astype(np.float32)
    >>> y = attention(x)
    >>> y.shape, attention.backward(y).shape
    ((5, 3, 8), (5, 3, 8))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        causal: bool = False,
        rotary: bool = False,
        dtype: str | np.dtype = "float32",
        backend: str = "cpu",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        E, N = self.embed_dim, self.num_heads = check_size("embed_dim", embed_dim), check_size("num_heads", num_heads)
        if E % N:
            raise ValueError(f"num_heads: expected a divisor of embed_dim={E}, got {N}")
        self.kdim = E if kdim is None else check_size("kdim", kdim)
        self.vdim = E if vdim is None else check_size("vdim", vdim)
        self.dropout = check_probability("dropout", dropout)
        self.bias = check_flag("bias", bias)
        self.batch_first = check_flag("batch_first", batch_first)
        self.causal = check_flag("causal", causal)
        self.rotary = check_flag("rotary", rotary)
        if self.rotary and E // N % 2:
            raise ValueError(f"rotary: expected an even number of features per head, got embed_dim/num_heads={E // N}")
        self.backend = check_attention_backend(backend)
        rng = self._rng = np.random.default_rng(seed)

        def xavier(rows: int, columns: int) -> np.ndarray:
            bound = np.sqrt(6 / (rows + columns))
            return rng.uniform(-bound, bound, (rows, columns))

        if self.kdim == self.vdim == E:
            self._add_parameter("in_proj_weight", xavier(3 * E, E))
        else:
            for name, size in (("q", E), ("k", self.kdim), ("v", self.vdim)):
                self._add_parameter(f"{name}_proj_weight", xavier(E, size))
        if self.bias:
            self._add_parameter("in_proj_bias", np.zeros(3 * E))
        self._add_parameter("out_proj.weight", rng.uniform(-1 / np.sqrt(E), 1 / np.sqrt(E), (E, E)))
        if self.bias:
            self._add_parameter("out_proj.bias", np.zeros(E))
        self._saved: _Saved | None = None

    def __call__(
        self,
        query: np.ndarray,
        key: np.ndarray | None = None,
        value: np.ndarray | None = None,
        *,
        key_padding_mask: np.ndarray | None = None,
        attn_mask: np.ndarray | None = None,
        lengths: Any = None,
        is_causal: bool | None = None,
        need_weights: bool = False,
    ) -> Any:
        r"""Let every query look at the keys.

        Parameters
        ----------
        query
            Shape (T, B, E), or (B, T, E) with ``batch_first``.
        key, value
            Shape (S, B, kdim) and (S, B, vdim). Without them the query is all three: self-attention. ``value`` is
            the key by default.
        key_padding_mask
            (B, S) of bool: True at keys that nobody may see. Or of the layer's dtype, as below.
        attn_mask
            (T, S), or (B * N, T, S), of bool: True where query t may not see key s. Or of the layer's dtype: numbers
            that are added to the scores, :math:`-\infty` included; :meth:`backward` gives their gradient if asked.
        lengths
            B integers instead of ``key_padding_mask``: keys from ``lengths[b]`` on are hidden.
        is_causal
            Replaces the layer's ``causal`` for this call.
        need_weights
            Return the weights (B, N, T, S) too, before any are dropped. They are computed apart, and need their T
            times S numbers.

        Returns
        -------
        ndarray or tuple
            The output, shaped like the query; with ``need_weights`` a pair of output and weights.

        Raises
        ------
        TypeError, ValueError
            If a dtype, a shape or a combination of arguments does not fit.
        """
        if key is None and value is not None:
            raise ValueError("value: expected no value without a key, got one")
        given = (query,) if key is None else (query, key, key if value is None else value)
        sizes = (self.embed_dim, self.kdim, self.vdim)
        if key is None and not self.kdim == self.vdim == self.embed_dim:
            raise ValueError(f"key: expected a key, since kdim={self.kdim} and vdim={self.vdim}, got None")
        inputs = tuple(
            self._read(name, array, size)
            for name, array, size in zip(("query", "key", "value"), given, sizes, strict=False)
        )
        T, B, _ = self._time_major(inputs[0]).shape
        S = len(self._time_major(inputs[-1]))
        for name, array in zip(("key", "value"), inputs[1:], strict=False):
            found = self._time_major(array).shape[:2]
            if found != (S, B):
                raise ValueError(f"{name}: expected S={S} steps of B={B} sequences, got {found} (time-major)")
        padding = read_padding(key_padding_mask, lengths, S, B, dtype=self.dtype)
        causal = self.causal if is_causal is None else check_flag("is_causal", is_causal)
        blocked, added = self._read_mask(attn_mask, T, S, B)
        shapes = {} if added is None or attn_mask is None else {"attn_mask": np.asarray(attn_mask).shape}
        if padding is not None and padding.dtype != np.bool_:
            shapes["key_padding_mask"] = padding.shape
            more, padding = padding[:, None, None, :], None
            added = more if added is None else added + more
        dropout = self.dropout if self.training else 0.0
        masks = (blocked, padding, causal, added, dropout, int(self._rng.integers(2**63)) if dropout else 0)
        heads = self._project(inputs, self.batch_first)
        q, k, v = heads
        if self.rotary:
            if T != S:
                raise ValueError(f"key: expected as many keys as queries with rotary=True, T={T}, got {S}")
            tables = rotary_tables(0, T, q.shape[3], self.dtype)
            rotate(q, *tables)
            rotate(k, *tables)
        # Whatever the layout of the sequences: what the kernels write lies in memory as the output will.
        rows = np.empty(inputs[0].shape, self.dtype)
        o = self._time_major(rows.reshape(*rows.shape[:2], self.num_heads, -1))
        _, lse = self._kernels().attention_forward(q, k, v, self._scale, *masks, out=o, keep=self.training)
        if self.training:
            own = [
                array.copy() if not self._owns_input and np.may_share_memory(array, original) else array
                for array, original in zip(inputs[:2], given, strict=False)
            ]
            if len(inputs) == 3:
                own.append(own[1] if inputs[2] is inputs[1] else inputs[2].copy())
            kept = tuple(mask.copy() if isinstance(mask, np.ndarray) else mask for mask in masks)
            self._saved = _Saved(tuple(own), heads, o, lse, kept, shapes)
        y = self._project_out(rows)
        if not need_weights:
            return y
        reference = import_module(_MODULES["reference"])
        return y, reference.attention_weights(q, k, self._scale, *masks[:4])[0]

    def backward(self, dy: np.ndarray, *, need_mask_grads: bool = False) -> Any:
        """Add to :attr:`grads` and return the gradients of the inputs of the last training-mode call.

        Parameters
        ----------
        dy
            Gradient of the loss with respect to the output, same shape.
        need_mask_grads
            Return the gradients of the masks that were added to the scores too: of a learnt bias of positions, for
            example. It takes B * N * T * S numbers of memory, which nothing else here does.

        Returns
        -------
        ndarray or tuple
            ``dquery`` for self-attention, else ``(dquery, dkey, dvalue)``. A key that was the value too gets its two
            parts apart: add them. With ``need_mask_grads`` a pair of that and a dictionary, which has
            ``"attn_mask"`` and ``"key_padding_mask"``, shaped as they were given, if they held numbers.

        Raises
        ------
        RuntimeError
            Without a training-mode call before it.
        ValueError
            If the gradient of a mask is wanted and none was added to the scores.

        Examples
        --------
        >>> import numpy as np, lstm_numba as ln
        >>> attention = ln.MultiheadAttention(8, 2, seed=0)
        >>> x, bias = np.ones((5, 3, 8), np.float32), np.zeros((5, 5), np.float32)
        >>> dx, masks = attention.backward(attention(x, attn_mask=bias), need_mask_grads=True)
        >>> dx.shape, masks["attn_mask"].shape
        ((5, 3, 8), (5, 5))
        """
        if self._saved is None:
            raise RuntimeError(
                "backward: expected a call of the layer in training mode before it (each call serves one backward)"
            )
        inputs, (q, k, v), o, lse, masks, shapes = self._saved
        if need_mask_grads and not shapes:
            raise ValueError("need_mask_grads: expected False, since no mask was added to the scores, got True")
        T, B, N, D = q.shape
        E = self.embed_dim
        dy = as_real_array("dy", dy, self.dtype)
        check_shape("dy", dy, ({"B": B, "T": T} if self.batch_first else {"T": T, "B": B}) | {"E": E})
        linear_backward = product_kernels(self.backend).linear_backward
        do_rows = linear_backward(
            dy.reshape(-1, E),
            self._time_major(o).reshape(-1, E),  # back to the layout of the output, where it lies in order
            self._parameters["out_proj.weight"],
            self._grads["out_proj.weight"],
            self._grads.get("out_proj.bias"),
        )
        do = self._time_major(do_rows.reshape(*dy.shape[:2], N, D))
        alone = len(inputs) == 1
        # In self-attention the three gradients lie side by side, so that one matrix product serves all three.
        parts = (
            [np.empty((*inputs[0].shape[:2], 3, N, D), self.dtype)]
            if alone
            else [np.empty((*x.shape[:2], N, D), self.dtype) for x in inputs]
        )
        views = [self._time_major(part) for part in parts]
        out = tuple(views[0][:, :, n] for n in range(3)) if alone else tuple(views)
        dq, dk, _, *dadded = self._kernels().attention_backward(
            do, q, k, v, o, lse, self._scale, *masks, out=out, need_added=need_mask_grads
        )
        if self.rotary:
            cos, sin = rotary_tables(0, T, D, self.dtype)
            rotate(dq, cos, -sin)
            rotate(dk, cos, -sin)
        self._saved = None
        results = []
        for n, (x, part) in enumerate(zip(inputs, parts, strict=True)):
            if alone:
                weight, grad, first = self._parameters["in_proj_weight"], self._grads["in_proj_weight"], 0
            else:
                weight, grad = self._in_projection(self._parameters, n), self._in_projection(self._grads, n)
                first = n * E
            dbias = self._grads["in_proj_bias"][first : first + len(weight)] if self.bias else None
            dx = linear_backward(part.reshape(-1, len(weight)), x.reshape(-1, x.shape[2]), weight, grad, dbias)
            results.append(dx.reshape(x.shape))
        gradients = results[0] if alone else tuple(results)
        return (gradients, _mask_gradients(dadded[0], shapes)) if need_mask_grads else gradients

    @property
    def has_added_masks(self) -> bool:
        """Whether the last training-mode call had masks that were added to the scores."""
        return self._saved is not None and bool(self._saved.added)

    def eval(self) -> Self:
        """Switch to inference mode: nothing is kept for ``backward``. Returns the layer."""
        self._saved = None
        return super().eval()

    def stream(self, batch_size: int = 1) -> "AttentionStream":
        """Return a stream that is fed one step at a time and keeps the keys and values of all steps before.

        Parameters
        ----------
        batch_size
            Sequences B that run side by side.

        Returns
        -------
        AttentionStream

        Raises
        ------
        ValueError
            If the layer is not causal: then a step would have to see the future.
        """
        return AttentionStream(self, check_size("batch_size", batch_size))

    @property
    def _scale(self) -> float:
        return float(1 / np.sqrt(self.embed_dim // self.num_heads))

    def _kernels(self):
        return import_module(_MODULES[self.backend])

    def _time_major(self, sequence: np.ndarray) -> np.ndarray:
        """A view with the steps before the batch; of such a view, the original."""
        return sequence.swapaxes(0, 1) if self.batch_first else sequence

    def _read(self, name: str, value: np.ndarray, size: int) -> np.ndarray:
        array = as_real_array(name, value, self.dtype)
        axes = ("B", "T") if self.batch_first else ("T", "B")
        check_shape(name, array, dict.fromkeys(axes) | {"features": size})
        if 0 in array.shape:
            raise ValueError(f"{name}: expected at least one step and one sequence, got shape {array.shape}")
        return array

    def _read_mask(
        self, attn_mask: np.ndarray | None, T: int, S: int, B: int
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """What hides keys and what is added to the scores, each (B or 1, N or 1, T, S)."""
        if attn_mask is None:
            return None, None
        mask = np.asarray(attn_mask)
        if mask.dtype not in (np.bool_, self.dtype):
            raise TypeError(
                f"attn_mask: expected dtype bool, True where attention is not allowed, or {self.dtype}, added to the "
                f"scores, got {mask.dtype}"
            )
        N = self.num_heads
        if mask.shape == (T, S):
            mask = mask[None, None]
        elif mask.shape == (B * N, T, S):
            mask = mask.reshape(B, N, T, S)
        else:
            raise ValueError(f"attn_mask: expected shape (T={T}, S={S}) or (B*N={B * N}, T, S), got {mask.shape}")
        return (mask, None) if mask.dtype == np.bool_ else (None, mask)

    def _in_projection(self, arrays: dict[str, np.ndarray], block: int) -> np.ndarray:
        """The rows of one of q, k, v, as a view."""
        E = self.embed_dim
        if "in_proj_weight" in arrays:
            return arrays["in_proj_weight"][block * E : (block + 1) * E]
        return arrays[f"{'qkv'[block]}_proj_weight"]

    def _heads(self, x: np.ndarray, weight: np.ndarray, first: int, batch_first: bool) -> list[np.ndarray]:
        """One product for all blocks of E rows of a weight: a view (T or S, B, N, D) of each."""
        E, N = self.embed_dim, self.num_heads
        bias = self._parameters["in_proj_bias"][first : first + len(weight)] if self.bias else None
        rows = product_kernels(self.backend).linear_forward(x.reshape(-1, x.shape[2]), weight, bias)
        z = rows.reshape(*x.shape[:2], -1, N, E // N)
        z = z.swapaxes(0, 1) if batch_first else z
        return [z[:, :, n] for n in range(z.shape[2])]

    def _project(self, inputs: tuple[np.ndarray, ...], batch_first: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Queries, keys and values of self-attention, or of query, key and value."""
        if len(inputs) == 1:
            q, k, v = self._heads(inputs[0], self._parameters["in_proj_weight"], 0, batch_first)
            return q, k, v
        (q,) = self._heads(inputs[0], self._in_projection(self._parameters, 0), 0, batch_first)
        return q, *self._project_memory(inputs[1], inputs[2], batch_first)

    def _project_memory(self, key: np.ndarray, value: np.ndarray, batch_first: bool) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values."""
        E = self.embed_dim
        if key is value and "in_proj_weight" in self._parameters:
            k, v = self._heads(key, self._parameters["in_proj_weight"][E:], E, batch_first)
            return k, v
        (k,) = self._heads(key, self._in_projection(self._parameters, 1), E, batch_first)
        (v,) = self._heads(value, self._in_projection(self._parameters, 2), 2 * E, batch_first)
        return k, v

    def _project_out(self, o: np.ndarray) -> np.ndarray:
        weight, bias = self._parameters["out_proj.weight"], self._parameters.get("out_proj.bias")
        rows = o.reshape(-1, self.embed_dim)
        return product_kernels(self.backend).linear_forward(rows, weight, bias).reshape(o.shape)

    def __repr__(self) -> str:
        return (
            f"MultiheadAttention({self.embed_dim}, {self.num_heads}, causal={self.causal}, dtype='{self.dtype}', "
            f"backend='{self.backend}')"
        )


class AttentionStream:
    """Causal self-attention that is fed one time step at a time; made by ``layer.stream()``.

    The keys and values of all steps so far are kept, so a step costs time and memory in proportion to their number.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> attention = ln.MultiheadAttention(8, 2, causal=True, dtype="float64", seed=0).eval()
    >>> x = np.random.default_rng(0).normal(size=(5, 3, 8))
    >>> stream = attention.stream(batch_size=3)
    >>> np.allclose(np.stack([stream.step(x_t) for x_t in x]), attention(x))
    True
    """

    def __init__(self, layer: MultiheadAttention, batch_size: int) -> None:
        if not layer.causal:
            raise ValueError("causal: expected a causal layer, since a step cannot see the future, got causal=False")
        self._layer = layer
        self._shape = batch_size, layer.num_heads, layer.embed_dim // layer.num_heads
        self.reset()

    def reset(self) -> None:
        """Forget all steps."""
        B, N, D = self._shape
        self.length = 0
        self._keys, self._values = (np.empty((B, N, 16, D), self._layer.dtype) for _ in range(2))

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values of the steps so far."""
        B, N, D = self._shape
        return 2 * B * N * D * self.length * self._layer.dtype.itemsize

    def step(self, x: np.ndarray) -> np.ndarray:
        """Advance by one step: ``x`` (B, E) to an output (B, E)."""
        layer = self._layer
        B, N, D = self._shape
        x = check_shape("x", as_real_array("x", x, layer.dtype), {"B": B, "E": N * D})
        q, k, v = layer._project((x[None],), False)
        if layer.rotary:
            tables = rotary_tables(self.length, 1, D, layer.dtype)
            rotate(q, *tables)
            rotate(k, *tables)
        if self.length == self._keys.shape[2]:  # twice the room: on average a step copies a constant number of steps
            self._keys, self._values = (
                np.concatenate([cache, np.empty_like(cache)], axis=2) for cache in (self._keys, self._values)
            )
        self._keys[:, :, self.length], self._values[:, :, self.length] = k[0], v[0]
        self.length += 1
        o = layer._kernels().attention_step(q[0], self._keys, self._values, self.length, layer._scale)
        return layer._project_out(o.reshape(B, N * D))


class AdditiveAttention(Composite):
    r"""Additive (Bahdanau) attention of one query over a sequence of states, such as an LSTM's outputs.

    .. math:: e_s = w \cdot \tanh(W_q q + W_k h_s), \qquad \alpha = \operatorname{softmax}(e), \qquad
              c = \sum_s \alpha_s h_s

    Parameters
    ----------
    query_size, memory_size
        Features of the query and of the states.
    attention_size
        Features A of the hidden layer of the scores.
    dtype
        ``"float32"`` or ``"float64"``.
    seed
        Seed of the initial weights.

    Notes
    -----
    Parameters: ``query.weight`` (A, query_size), ``memory.weight`` (A, memory_size), ``memory.bias`` (A,), ``w`` (A,).

    References
    ----------
    D. Bahdanau, K. Cho and Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", 2015.

    Examples
    --------
    >>> import numpy as np, lstm_numba as ln
    >>> attention = ln.AdditiveAttention(4, 6, 5, seed=0)
    >>> context, weights = attention(np.ones((2, 4), np.float32), np.ones((7, 2, 6), np.float32))
    >>> context.shape, weights.shape
    ((2, 6), (7, 2))
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int,
        *,
        dtype: str | np.dtype = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        A = self.attention_size = check_size("attention_size", attention_size)
        rng = np.random.default_rng(seed)
        self._add_parameter("w", rng.uniform(-1 / np.sqrt(A), 1 / np.sqrt(A), A))
        self._query = Dense(query_size, A, bias=False, dtype=self.dtype, seed=rng)
        self._memory = Dense(memory_size, A, dtype=self.dtype, seed=rng)
        self._add_part("query", self._query)
        self._add_part("memory", self._memory)
        self._saved: tuple | None = None

    def __call__(self, query: np.ndarray, memory: np.ndarray, *, lengths: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Let the query look at the memory.

        Parameters
        ----------
        query
            Shape (B, query_size).
        memory
            Shape (S, B, memory_size).
        lengths
            B integers: states from ``lengths[b]`` on are hidden.

        Returns
        -------
        context : ndarray
            Weighted mean of the states, (B, memory_size).
        weights : ndarray
            (S, B).
        """
        query, memory = as_real_array("query", query, self.dtype), as_real_array("memory", memory, self.dtype)
        check_shape("query", query, {"B": None, "query_size": self._query.in_features})
        B = len(query)
        check_shape("memory", memory, {"S": None, "B": B, "memory_size": self._memory.in_features})
        padding = read_padding(None, lengths, len(memory), B)
        q, keys = self._query(query), self._memory(memory)
        reference = import_module(_MODULES["reference"])
        context, weights = reference.additive_forward(q, keys, memory, self.parameters["w"], padding)
        self._saved = (q, keys, memory.copy(), weights) if self.training else None
        return context, weights

    def backward(self, dcontext: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add to :attr:`grads` and return ``(dquery, dmemory)`` from the gradient (B, memory_size) of the context."""
        if self._saved is None:
            raise RuntimeError("backward: expected a call of the layer in training mode before it")
        q, keys, memory, weights = self._saved
        dcontext = as_real_array("dcontext", dcontext, self.dtype)
        check_shape("dcontext", dcontext, {"B": memory.shape[1], "memory_size": memory.shape[2]})
        reference = import_module(_MODULES["reference"])
        dq, dkeys, dmemory, dw = reference.additive_backward(dcontext, q, keys, memory, self.parameters["w"], weights)
        self._grads["w"] += dw
        self._saved = None
        return self._query.backward(dq), self._memory.backward(dkeys) + dmemory
