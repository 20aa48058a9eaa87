"""Norms, activations, embedding, positions, blocks and whole models step by step."""

import numpy as np
import pytest
import torch

import lstm_numba as ln
from lstm_numba.gradcheck import check_layer, relative_error
from lstm_numba.layers.rotary import rotary_tables, rotate
from lstm_numba.reference import positions as reference

T, B, E, N, F = 6, 3, 8, 2, 12


@pytest.fixture(params=["cpu", "reference"])
def backend(request):
    return request.param


def random_weights(layer, rng):
    """Norms start at one and zero, where a mistake in their gradients' scale would not show."""
    for parameter in layer.parameters.values():
        parameter[...] = 0.4 * rng.normal(size=parameter.shape)
    return layer


@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (lambda **k: ln.LayerNorm(E, **k), torch.nn.LayerNorm(E)),
        (lambda **k: ln.LayerNorm(E, bias=False, **k), torch.nn.LayerNorm(E, bias=False)),
        (lambda **k: ln.RMSNorm(E, **k), torch.nn.RMSNorm(E)),
        (lambda **k: ln.GELU(**k), torch.nn.GELU()),
        (lambda dtype, backend: ln.ReLU(dtype=dtype), torch.nn.ReLU()),
    ],
    ids=["LayerNorm", "LayerNorm without bias", "RMSNorm", "GELU", "ReLU"],
)
def test_pointwise_layers_equal_torch(rng, dtype, tolerance, backend, make, theirs):
    ours = random_weights(make(dtype=dtype, backend=backend), rng)
    theirs = theirs.to(getattr(torch, dtype))
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    theirs.zero_grad()
    x, dy = (2 * rng.normal(size=(T, B, E)).astype(dtype) for _ in range(2))
    x_t = torch.tensor(x, requires_grad=True)
    y_t = theirs(x_t)
    y_t.backward(torch.tensor(dy))
    assert relative_error(ours(x), y_t.detach().numpy()) < tolerance
    assert relative_error(ours.backward(dy), x_t.grad.numpy()) < tolerance
    for name, parameter in theirs.named_parameters():
        assert relative_error(ours.grads[name], parameter.grad.numpy()) < tolerance, name


def test_gelu_far_from_zero(dtype):
    x = np.array([-30, -9, -5, 0, 5, 9, 30], dtype)
    y = ln.GELU(dtype=dtype)(x)
    np.testing.assert_allclose(y, [0, 0, -1.43e-6, 0, 5, 9, 30], rtol=1e-6, atol=2e-7)


def test_embedding_equals_torch(rng, dtype, tolerance):
    ours = ln.Embedding(5, E, dtype=dtype, seed=0)
    theirs = torch.nn.Embedding(5, E, dtype=getattr(torch, dtype))
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    symbols, dy = rng.integers(0, 5, (T, B)), rng.normal(size=(T, B, E)).astype(dtype)
    y = theirs(torch.tensor(symbols))
    y.backward(torch.tensor(dy))
    np.testing.assert_array_equal(ours(symbols), y.detach().numpy())
    assert ours.backward(dy) is None
    assert relative_error(ours.grads["weight"], theirs.weight.grad.numpy()) < tolerance


def test_positions_equal_the_reference(rng):
    layer = ln.SinusoidalPositions(7, dtype="float64")
    np.testing.assert_allclose(layer.table(9, first=4), reference.sinusoidal(9, 7, first=4), atol=1e-15)
    x = rng.normal(size=(9, 2, 7))
    first = ln.SinusoidalPositions(7, batch_first=True, dtype="float64")
    np.testing.assert_array_equal(first(x.transpose(1, 0, 2)), layer(x).transpose(1, 0, 2))
    np.testing.assert_array_equal(layer.backward(x), x)
    heads = rng.normal(size=(9, 2, 3, 4))
    turned = heads.copy()
    rotate(turned, *rotary_tables(2, 9, 4, np.dtype("float64")))
    np.testing.assert_allclose(turned, reference.rotary(heads, first=2), atol=1e-14)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_block_equals_torch(rng, dtype, tolerance, backend, norm_first, activation):
    ours = ln.TransformerEncoderLayer(
        E, N, F, activation=activation, norm_first=norm_first, dtype=dtype, backend=backend, batch_first=True, seed=0
    )
    random_weights(ours, rng)
    theirs = torch.nn.TransformerEncoderLayer(
        E, N, F, 0.0, activation, batch_first=True, norm_first=norm_first, dtype=getattr(torch, dtype)
    )
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    x, dy = (rng.normal(size=(B, T, E)).astype(dtype) for _ in range(2))
    padding = np.arange(T) >= np.array([T, 3, 5])[:, None]
    mask = np.triu(np.ones((T, T), bool), 1)
    x_t = torch.tensor(x, requires_grad=True)
    y_t = theirs(x_t, src_mask=torch.tensor(mask), src_key_padding_mask=torch.tensor(padding))
    y_t.backward(torch.tensor(dy))
    assert relative_error(ours(x, lengths=[T, 3, 5], is_causal=True), y_t.detach().numpy()) < tolerance
    assert relative_error(ours.backward(dy), x_t.grad.numpy()) < tolerance
    for name, parameter in theirs.named_parameters():
        # A bias of the keys adds the same to every score of a query: its gradient is zero but for rounding.
        scale = np.abs(parameter.grad.numpy()).max()
        assert np.abs(ours.grads[name] - parameter.grad.numpy()).max() < tolerance * max(scale, 1), name


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_decoder_block_equals_torch(rng, dtype, tolerance, backend, norm_first, batch_first):
    S = 4
    options = {"norm_first": norm_first, "batch_first": batch_first}
    ours = ln.TransformerDecoderLayer(E, N, F, activation="gelu", dtype=dtype, backend=backend, seed=0, **options)
    random_weights(ours, rng)
    theirs = torch.nn.TransformerDecoderLayer(E, N, F, 0.0, "gelu", dtype=getattr(torch, dtype), **options)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    order = slice(None) if batch_first else slice(None, None, -1)
    x, dy, memory = (rng.normal(size=((B, steps)[order] + (E,))).astype(dtype) for steps in (T, T, S))
    padding = np.arange(T) >= np.array([T, 3, 5])[:, None]
    hidden = np.arange(S) >= np.array([2, S, 1])[:, None]
    added = rng.normal(size=(T, S)).astype(dtype)
    x_t, memory_t = (torch.tensor(value, requires_grad=True) for value in (x, memory))
    y_t = theirs(
        x_t,
        memory_t,
        tgt_mask=torch.tensor(np.triu(np.ones((T, T), bool), 1)),
        memory_mask=torch.tensor(np.where(hidden[:, None, None, :], -np.inf, added))
        .to(x_t.dtype)
        .expand(B, N, T, S)
        .reshape(B * N, T, S),
        tgt_key_padding_mask=torch.tensor(padding),
    )
    y_t.backward(torch.tensor(dy))
    y = ours(x, memory, memory_mask=added, tgt_key_padding_mask=padding, memory_lengths=[2, S, 1])
    assert relative_error(y, y_t.detach().numpy()) < tolerance
    for gradient, expected in zip(ours.backward(dy), (x_t, memory_t), strict=True):
        assert relative_error(gradient, expected.grad.numpy()) < tolerance
    for name, parameter in theirs.named_parameters():
        scale = np.abs(parameter.grad.numpy()).max()
        assert np.abs(ours.grads[name] - parameter.grad.numpy()).max() < tolerance * max(scale, 1), name
    assert list(ours.state_dict()) == list(theirs.state_dict())


class Fixed(torch.nn.Module):
    """In place of PyTorch's dropout, which draws its own: multiplies by given factors."""

    def __init__(self, factors):
        super().__init__()
        self.factors = torch.tensor(factors)

    def forward(self, x):
        return x * self.factors


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_dropout_in_a_block_equals_torch_with_the_same_numbers_dropped(rng, dtype, tolerance, kind, norm_first):
    options = {"norm_first": norm_first, "batch_first": True, "activation": "gelu"}
    ours_of, theirs_of = {
        "encoder": (ln.TransformerEncoderLayer, torch.nn.TransformerEncoderLayer),
        "decoder": (ln.TransformerDecoderLayer, torch.nn.TransformerDecoderLayer),
    }[kind]
    ours = random_weights(ours_of(E, N, F, dropout=0.4, dtype=dtype, seed=0, **options), rng)
    ours.self_attn.dropout = 0.0  # the weights of attention have a test of their own
    sequences = [rng.normal(size=(B, T, E)).astype(dtype)]
    causal = {} if kind == "encoder" else {"tgt_is_causal": False}
    if kind == "decoder":
        ours.multihead_attn.dropout = 0.0
        sequences.append(rng.normal(size=(B, T, E)).astype(dtype))
    y = ours(*sequences, **causal)
    theirs = theirs_of(E, N, F, 0.0, dtype=getattr(torch, dtype), **options)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    theirs.dropout = Fixed(ours._hidden_dropout._factors)
    for n, dropout in enumerate(ours._branch_dropouts, 1):
        assert (dropout._factors == 0).any()
        setattr(theirs, f"dropout{n}", Fixed(dropout._factors))
    tensors = [torch.tensor(sequence, requires_grad=True) for sequence in sequences]
    y_t = theirs(*tensors)
    dy = rng.normal(size=y.shape).astype(dtype)
    y_t.backward(torch.tensor(dy))
    assert relative_error(y, y_t.detach().numpy()) < tolerance
    gradients = ours.backward(dy)
    for gradient, tensor in zip(gradients if kind == "decoder" else [gradients], tensors, strict=True):
        assert relative_error(gradient, tensor.grad.numpy()) < tolerance
    for name, parameter in theirs.named_parameters():
        scale = np.abs(parameter.grad.numpy()).max()
        assert np.abs(ours.grads[name] - parameter.grad.numpy()).max() < tolerance * max(scale, 1), name
    np.testing.assert_array_equal(ours.eval()(*sequences), ours(*sequences))


def test_a_refused_backward_adds_nothing(rng):
    block = ln.TransformerEncoderLayer(E, N, F, seed=0)
    y = block(rng.normal(size=(T, B, E)).astype("f4"))
    with pytest.raises(ValueError, match="need_mask_grads: expected False"):
        block.backward(y, need_mask_grads=True)
    assert not any(gradient.any() for gradient in block.grads.values())
    block.backward(y)  # the call is still there to be taken back


def test_dropout_layer(rng, dtype):
    layer = ln.Dropout(0.3, dtype=dtype, seed=0)
    x = rng.normal(size=(200, 300)).astype(dtype)
    y = layer(x)
    dropped = y == 0
    assert abs(dropped.mean() - 0.3) < 0.01  # five standard deviations
    np.testing.assert_allclose(y[~dropped], x[~dropped] / 0.7, rtol=1e-6)
    dy = rng.normal(size=x.shape).astype(dtype)
    np.testing.assert_array_equal(layer.backward(dy) == 0, dropped)
    assert not np.array_equal(layer(x) == 0, dropped)
    assert layer.eval()(x) is x


@pytest.mark.parametrize("norm_first", [True, False])
def test_blocks_pass_on_the_gradients_of_masks(rng, norm_first):
    options = {"norm_first": norm_first, "batch_first": True}
    x, memory, dy = (rng.normal(size=(B, T, E)) for _ in range(3))
    masks = {name: rng.normal(size=(T, T)) for name in ("tgt_mask", "memory_mask")}
    masks |= {name: rng.normal(size=(B, T)) for name in ("tgt_key_padding_mask", "memory_key_padding_mask")}
    for ours, theirs, inputs, chosen in (
        (
            ln.TransformerEncoderLayer(E, N, F, dtype="float64", seed=0, **options),
            torch.nn.TransformerEncoderLayer(E, N, F, 0.0, dtype=torch.float64, **options),
            [x],
            {"src_mask": masks["tgt_mask"], "src_key_padding_mask": masks["tgt_key_padding_mask"]},
        ),
        (
            ln.TransformerDecoderLayer(E, N, F, dtype="float64", seed=0, causal=False, **options),
            torch.nn.TransformerDecoderLayer(E, N, F, 0.0, dtype=torch.float64, **options),
            [x, memory],
            masks,
        ),
    ):
        random_weights(ours, rng)
        theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
        tensors = {name: torch.tensor(value, requires_grad=True) for name, value in chosen.items()}
        y_t = theirs(*(torch.tensor(value) for value in inputs), **tensors)
        y_t.backward(torch.tensor(dy))
        assert relative_error(ours(*inputs, **chosen), y_t.detach().numpy()) < 1e-10
        _, gradients = ours.backward(dy, need_mask_grads=True)
        assert gradients.keys() == chosen.keys()
        for name, tensor in tensors.items():
            assert relative_error(gradients[name], tensor.grad.numpy()) < 1e-10, name


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("rotary", [False, True])
def test_decoder_stream_is_the_sequence(rng, dtype, tolerance, norm_first, rotary, added):
    block = random_weights(
        ln.TransformerDecoderLayer(E, N, F, norm_first=norm_first, rotary=rotary, dtype=dtype, seed=0), rng
    ).eval()
    x, memory = rng.normal(size=(20, B, E)).astype(dtype), rng.normal(size=(5, B, E)).astype(dtype)
    numbers = {"memory_key_padding_mask": rng.normal(size=(B, 5)).astype(dtype)}
    masks = numbers if added else {"memory_lengths": [5, 1, 3]}
    stream = block.stream(memory, **masks)
    steps = np.stack([stream.step(x_t) for x_t in x])
    assert relative_error(steps, block(x, memory, **masks)) < tolerance
    assert stream.nbytes == 2 * (x.nbytes + memory.nbytes)
    stream.reset()
    assert relative_error(stream.step(x[0]), steps[0]) < tolerance


def test_decoder_backward_uses_the_memory_as_it_was(rng):
    block = ln.TransformerDecoderLayer(E, N, F, seed=0)
    x, memory = rng.normal(size=(T, B, E)).astype("f4"), rng.normal(size=(3, B, E)).astype("f4")
    results = []
    for spoil in (False, True):
        block.zero_grad()
        y = block(x, memory)
        if spoil:
            memory[...] = 0
        block.backward(y)
        results.append(block.grads["multihead_attn.in_proj_weight"].copy())
    np.testing.assert_array_equal(*results)


def test_block_gradients_equal_central_differences(rng):
    block = ln.TransformerEncoderLayer(4, 2, 3, activation="gelu", causal=True, rotary=True, dtype="float64", seed=1)
    report = check_layer(block, rng.normal(size=(4, 2, 4)))
    assert report.passed, str(report)


def model_of(kind, dtype):
    """A model on symbols, with positions of one kind; "lstm" mixes recurrence and attention."""
    blocks = [
        ln.TransformerEncoderLayer(E, N, F, causal=True, rotary=kind == "rotary", dtype=dtype, seed=n) for n in range(2)
    ]
    positions = [ln.SinusoidalPositions(E, dtype=dtype)] if kind == "sinusoidal" else []
    lstm = [ln.LSTM(E, E, dtype=dtype, seed=3)] if kind == "lstm" else []
    ends = ln.LayerNorm(E, dtype=dtype), ln.Dense(E, 5, dtype=dtype, seed=8)
    return ln.Sequential(ln.Embedding(5, E, dtype=dtype, seed=9), *positions, *lstm, *blocks, *ends)


@pytest.mark.parametrize("kind", ["sinusoidal", "rotary", "lstm"])
def test_a_model_step_by_step_is_the_model(rng, dtype, tolerance, kind):
    model = model_of(kind, dtype).eval()
    symbols = rng.integers(0, 5, (20, B))
    whole = model(symbols)
    stream = ln.ModelStream(model, B)
    steps = np.stack([stream.step(symbol).copy() for symbol in symbols])
    assert relative_error(steps, whole) < tolerance
    cache = 2 * 2 * 20 * B * E * whole.itemsize
    assert stream.nbytes == cache + (2 * B * E * whole.itemsize if kind == "lstm" else 0)
    stream.reset()
    assert relative_error(stream.step(symbols[0]), whole[0]) < tolerance


def test_a_causal_model_does_not_see_the_future(rng):
    model = model_of("sinusoidal", "float64").eval()
    symbols = rng.integers(0, 5, (10, 1))
    before = model(symbols)
    symbols[6] = (symbols[6] + 1) % 5
    after = model(symbols)
    np.testing.assert_array_equal(before[:6], after[:6])
    assert np.abs(before[6:] - after[6:]).max() > 1e-3


def test_a_model_learns_to_copy(rng):
    """Repeat the symbol of two steps ago: no way without attention and positions."""
    model = model_of("sinusoidal", "float32")
    optimiser = ln.Adam(model, lr=0.01)
    for _ in range(250):
        symbols = rng.integers(0, 5, (10, 32))
        loss, gradient = ln.cross_entropy_loss(model(symbols)[2:], symbols[:-2])
        model.zero_grad()
        model.backward(np.concatenate([np.zeros_like(gradient[:2]), gradient]))
        optimiser.step()
    assert loss < 0.3 < np.log(5)


def test_switches_reach_the_parts(rng):
    block = ln.TransformerEncoderLayer(E, N, F, seed=0)
    assert not block.eval().linear1.training
    assert block.train().self_attn.training
    x = rng.normal(size=(2, 1, E)).astype("f4")
    block.backward(block(x))
    assert block.grads["norm1.weight"].any()
    block.zero_grad()
    assert not any(grad.any() for grad in block.grads.values())


def x32(*shape):
    return np.zeros(shape, "f4")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ln.LayerNorm(4)(x32(2, 3)), ValueError, r"x: expected shape \(..., 4\), got \(2, 3\)"),
        (lambda: ln.LayerNorm(4, 2.0), ValueError, "eps: expected"),
        (lambda: ln.LayerNorm(4, backend="x"), ValueError, "backend: expected one of"),
        (lambda: ln.RMSNorm(4).backward(x32(4)), RuntimeError, "backward: expected a call"),
        (lambda: ln.Embedding(4, 2)(np.zeros(3)), TypeError, "symbols: expected integers, got dtype float64"),
        (lambda: ln.Embedding(4, 2)(np.array([1, 4])), ValueError, "symbols: expected integers from 0 to 3, got 4"),
        (lambda: ln.Embedding(4, 2).backward(x32(1, 2)), RuntimeError, "backward: expected a call"),
        (lambda: ln.SinusoidalPositions(4)(x32(2, 4)), ValueError, "x: expected shape"),
        (lambda: ln.SinusoidalPositions(4).backward(x32(1, 2)), RuntimeError, "backward: expected a call"),
        (lambda: ln.Dropout(1.0), ValueError, "p: expected a number from 0"),
        (lambda: ln.Dropout().backward(x32(2)), RuntimeError, "backward: expected a call"),
        (lambda: ln.TransformerEncoderLayer(4, 2, 5, dropout=-1), ValueError, "dropout: expected a number from 0"),
        (lambda: ln.TransformerEncoderLayer(4, 3, 5), ValueError, "num_heads: expected a divisor"),
        (lambda: ln.TransformerEncoderLayer(4, 2, 5, activation="tanh"), ValueError, "activation: expected 'relu'"),
        (lambda: ln.TransformerEncoderLayer(4, 2, 5)(x32(1, 4)), ValueError, "src: expected shape"),
        (lambda: ln.TransformerEncoderLayer(4, 2, 5, causal=True).stream(), RuntimeError, "inference mode"),
        (lambda: ln.TransformerDecoderLayer(4, 2, 5)(x32(3, 1, 4), x32(2, 2, 4)), ValueError, "memory: expected shape"),
        (lambda: ln.TransformerDecoderLayer(4, 2, 5).stream(x32(2, 1, 4)), RuntimeError, "inference mode"),
        (
            lambda: ln.TransformerDecoderLayer(4, 2, 5, causal=False).eval().stream(x32(2, 1, 4)),
            ValueError,
            "causal: expected a causal layer",
        ),
        (lambda: ln.Dense(4, 2, backend="gpu"), ValueError, "backend: expected one of 'cpu', 'reference'"),
        (lambda: ln.ModelStream(ln.Dense(2, 2)), TypeError, "model: expected a Sequential"),
        (lambda: ln.ModelStream(ln.Sequential(ln.Dense(2, 2))), RuntimeError, "inference mode"),
        (lambda: ln.ModelStream(ln.Sequential(ln.LastStep()).eval()), TypeError, "got LastStep at 0"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
