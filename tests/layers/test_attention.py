"""Attention layers: PyTorch's numbers under PyTorch's names, masks, streams, and what they refuse."""

import numpy as np
import pytest
import torch

import lstm_numba as ln
from lstm_numba.gradcheck import central_difference, check_layer, relative_error

T, S, B, E, N = 7, 5, 3, 12, 3


@pytest.fixture(params=["cpu", "reference"])
def backend(request):
    return request.param


def pair(dtype, backend, **options):
    """Our layer and PyTorch's with the same weights; all biases random, since both start them at zero."""
    ours = ln.MultiheadAttention(E, N, dtype=dtype, backend=backend, seed=0, **options)
    ours.load_state_dict(
        {
            name: np.random.default_rng(len(name)).normal(size=p.shape).astype(dtype) * 0.4
            for name, p in ours.parameters.items()
        }
    )
    names = {name: value for name, value in options.items() if name in ("bias", "kdim", "vdim", "batch_first")}
    theirs = torch.nn.MultiheadAttention(E, N, dtype=getattr(torch, dtype), **names)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    return ours, theirs


def masks_of(kind, rng):
    if kind == "attn_mask":
        return {"attn_mask": np.triu(np.ones((T, T), bool), 2)}
    if kind == "attn_mask per head":
        mask = rng.random((B * N, T, T)) < 0.3
        mask[:, :, 0] = False
        return {"attn_mask": mask}
    if kind == "float mask":
        return {"attn_mask": np.where(np.triu(np.ones((T, T), bool), 3), -np.inf, rng.normal(size=(T, T)))}
    if kind == "float mask per head":
        return {"attn_mask": rng.normal(size=(B * N, T, T))}
    if kind == "key_padding_mask":
        return {"key_padding_mask": np.arange(T) >= np.array([T, 2, 5])[:, None]}
    return {}


@pytest.mark.parametrize(
    "kind",
    ["none", "causal", "attn_mask", "attn_mask per head", "float mask", "float mask per head", "key_padding_mask"],
)
@pytest.mark.parametrize("bias", [True, False])
def test_self_attention_equals_torch(rng, dtype, tolerance, backend, kind, bias):
    ours, theirs = pair(dtype, backend, bias=bias)
    x, dy = (rng.normal(size=(T, B, E)).astype(dtype) for _ in range(2))
    masks = {
        name: value if value.dtype == np.bool_ else value.astype(dtype) for name, value in masks_of(kind, rng).items()
    }
    x_t = torch.tensor(x, requires_grad=True)
    torch_masks = {name: torch.tensor(value) for name, value in masks.items()}
    if kind == "causal":
        torch_masks = {"attn_mask": torch.nn.Transformer.generate_square_subsequent_mask(T, dtype=x_t.dtype)}
    y_t, weights_t = theirs(x_t, x_t, x_t, average_attn_weights=False, **torch_masks)
    (y_t * torch.tensor(dy)).sum().backward()

    y, weights = ours(x, **masks, is_causal=kind == "causal", need_weights=True)
    dx = ours.backward(dy)
    assert relative_error(y, y_t.detach().numpy()) < tolerance
    assert relative_error(weights, weights_t.detach().numpy()) < tolerance
    assert relative_error(dx, x_t.grad.numpy()) < tolerance
    for name, parameter in theirs.named_parameters():
        assert relative_error(ours.grads[name], parameter.grad.numpy()) < tolerance, name


@pytest.mark.parametrize("kinds", ["shared", "per head", "padding", "shared padding", "per head padding"])
@pytest.mark.parametrize("steps", [T, 150])  # one block of queries and keys; several
def test_gradients_of_masks_equal_torch(rng, dtype, tolerance, backend, kinds, steps):
    ours, theirs = pair(dtype, backend)
    x, dy = (rng.normal(size=(steps, B, E)).astype(dtype) for _ in range(2))
    masks = {}
    if "padding" in kinds:
        masks["key_padding_mask"] = rng.normal(size=(B, steps)).astype(dtype)
        masks["key_padding_mask"][1, 3:] = -np.inf
    if kinds != "padding":
        shape = (steps, steps) if "shared" in kinds else (B * N, steps, steps)
        masks["attn_mask"] = rng.normal(size=shape).astype(dtype)
        masks["attn_mask"][..., 2:5, 1] = -np.inf
    x_t = torch.tensor(x, requires_grad=True)
    masks_t = {name: torch.tensor(value, requires_grad=True) for name, value in masks.items()}
    y_t, _ = theirs(x_t, x_t, x_t, need_weights=False, **masks_t)
    y_t.backward(torch.tensor(dy))
    y = ours(x, **masks)
    dx, gradients = ours.backward(dy, need_mask_grads=True)
    assert relative_error(y, y_t.detach().numpy()) < tolerance
    assert relative_error(dx, x_t.grad.numpy()) < tolerance
    assert gradients.keys() == masks.keys()
    for name, gradient in gradients.items():
        assert gradient.shape == masks[name].shape
        assert relative_error(gradient, masks_t[name].grad.numpy()) < tolerance, name


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_of_masks_equal_central_differences(rng, backend, causal):
    ours, _ = pair("float64", backend)
    query, key = rng.normal(size=(T, B, E)), rng.normal(size=(S if not causal else T, B, E))
    hidden = rng.random((B, len(key))) < 0.3
    hidden[:, 0] = False
    mask, dy = rng.normal(size=(T, len(key))), rng.normal(size=(T, B, E))
    options = {"key_padding_mask": hidden, "is_causal": causal}
    ours(query, key, attn_mask=mask, **options)
    (_, _, _), gradients = ours.backward(dy, need_mask_grads=True)
    expected = central_difference(lambda m: float((dy * ours(query, key, attn_mask=m, **options)).sum()), mask)
    assert relative_error(gradients["attn_mask"], expected) < 1e-7


@pytest.mark.parametrize("other_sizes", [False, True])
def test_cross_attention_equals_torch(rng, dtype, tolerance, backend, other_sizes):
    options = {"kdim": 4, "vdim": 6, "batch_first": True} if other_sizes else {"batch_first": True}
    ours, theirs = pair(dtype, backend, **options)
    widths = (E, options.get("kdim", E), options.get("vdim", E))
    inputs = [rng.normal(size=(B, n, w)).astype(dtype) for n, w in zip((T, S, S), widths, strict=True)]
    dy = rng.normal(size=(B, T, E)).astype(dtype)
    tensors = [torch.tensor(value, requires_grad=True) for value in inputs]
    padding = np.arange(S) >= np.array([S, 1, 3])[:, None]
    y_t, _ = theirs(*tensors, key_padding_mask=torch.tensor(padding))
    (y_t * torch.tensor(dy)).sum().backward()
    assert relative_error(ours(*inputs, lengths=[S, 1, 3]), y_t.detach().numpy()) < tolerance
    for ours_d, tensor in zip(ours.backward(dy), tensors, strict=True):
        assert relative_error(ours_d, tensor.grad.numpy()) < tolerance
    for name, parameter in theirs.named_parameters():
        assert relative_error(ours.grads[name], parameter.grad.numpy()) < tolerance, name


@pytest.mark.parametrize("rotary", [False, True])
def test_gradients_equal_central_differences(rng, backend, rotary):
    layer = ln.MultiheadAttention(4, 2, causal=True, rotary=rotary, dtype="float64", backend=backend, seed=1)
    report = check_layer(layer, rng.normal(size=(5, 2, 4)))
    assert report.passed, str(report)


def test_dropout_gradients_equal_central_differences_with_the_same_weights_dropped(rng, backend):
    layer = ln.MultiheadAttention(4, 2, dropout=0.4, causal=True, dtype="float64", backend=backend, seed=1)
    x, dy = rng.normal(size=(2, 5, 2, 4))

    def run(value):
        layer._rng = np.random.default_rng(3)  # every call drops the same weights
        return layer(value)

    y = run(x)
    dx = layer.backward(dy)
    numeric = central_difference(lambda value: (run(value) * dy).sum(), x)
    assert relative_error(dx, numeric) < 1e-8
    for name, gradient in layer.grads.items():
        values, expected = layer.parameters[name], gradient.copy()

        def loss(value, values=values):
            values[...] = value
            return (run(x) * dy).sum()

        kept = values.copy()
        assert np.abs(expected - central_difference(loss, kept.copy())).max() < 1e-8 * max(1, np.abs(expected).max())
        values[...] = kept
    assert np.abs(layer(x) - y).max() > 1e-3  # the next call drops others
    plain = ln.MultiheadAttention(4, 2, causal=True, dtype="float64", backend=backend, seed=1)
    np.testing.assert_array_equal(layer.eval()(x), plain(x))


def test_dropout_keeps_the_mean(rng):
    """Over many calls the output is that without dropout."""
    layer = ln.MultiheadAttention(4, 2, dropout=0.5, dtype="float64", seed=1)
    x = rng.normal(size=(6, 1, 4))
    outputs = np.stack([layer(x) for _ in range(600)])
    error = outputs.mean(axis=0) - layer.eval()(x)
    assert (np.abs(error) < 5 * outputs.std(axis=0) / np.sqrt(len(outputs))).all()


@pytest.mark.parametrize("rotary", [False, True])
def test_a_stream_of_steps_is_the_sequence(rng, dtype, tolerance, backend, rotary):
    layer = ln.MultiheadAttention(E, N, causal=True, rotary=rotary, dtype=dtype, backend=backend, seed=2).eval()
    x = rng.normal(size=(40, B, E)).astype(dtype)  # beyond the first sixteen slots, twice
    stream = layer.stream(B)
    steps = np.stack([stream.step(x_t) for x_t in x])
    assert relative_error(steps, layer(x)) < tolerance
    assert stream.nbytes == 2 * x.nbytes  # a key and a value of E numbers for every step
    stream.reset()
    assert relative_error(stream.step(x[0]), steps[0]) < tolerance


def test_rotary_scores_depend_on_the_distance_only(rng):
    """The same two steps, ten steps later, attend to each other in the same way."""
    layer = ln.MultiheadAttention(8, 1, rotary=True, bias=False, dtype="float64", seed=0).eval()
    x = rng.normal(size=(2, 1, 8))
    filler = rng.normal(size=(10, 1, 8))
    hidden = np.zeros((12, 12), bool)
    hidden[:, :10] = True
    _, early = layer(x, need_weights=True)
    _, late = layer(np.concatenate([filler, x]), attn_mask=hidden, need_weights=True)
    np.testing.assert_allclose(late[:, :, 10:, 10:], early, atol=1e-14)


def test_trains_inside_sequential_with_fit(rng):
    """Which of the earlier steps is the largest? A Dense layer alone cannot know."""
    x = rng.normal(size=(128, 6, 1)).astype("f4")
    model = ln.Sequential(
        ln.Dense(1, 8, seed=0),
        ln.MultiheadAttention(8, 2, batch_first=True, seed=1),
        ln.LastStep(batch_first=True),
        ln.Dense(8, 1, seed=2),
    )
    assert "1.out_proj.weight" in model.parameters
    target = x.mean(axis=1)
    history = ln.fit(model, x, target, loss=ln.mse_loss, optimiser=ln.Adam(model, lr=0.01), epochs=20, progress=False)
    assert history.train_loss[-1] < 0.2 * history.train_loss[0]


def test_backward_uses_the_input_as_it_was(rng):
    layer = ln.MultiheadAttention(4, 2, seed=0)
    x = rng.normal(size=(4, 2, 4)).astype("f4")
    y = layer(x)
    layer.backward(y)
    expected = layer.grads["in_proj_weight"].copy()
    layer.zero_grad()
    layer(x)
    x[...] = 0
    layer.backward(y)
    np.testing.assert_array_equal(layer.grads["in_proj_weight"], expected)
    with pytest.raises(RuntimeError, match="each call serves one backward"):
        layer.backward(y)


def test_additive_attention(rng):
    """Gradients by central differences, through the layer; hidden states get no weight and no gradient."""
    layer = ln.AdditiveAttention(3, 4, 5, dtype="float64", seed=0)
    query, memory = rng.normal(size=(2, 3)), rng.normal(size=(6, 2, 4))
    dcontext = rng.normal(size=(2, 4))
    _, weights = layer(query, memory, lengths=[6, 4])
    assert not weights[4:, 1].any()
    dquery, dmemory = layer.backward(dcontext)
    assert not dmemory[4:, 1].any()

    def loss():
        return (layer(query, memory, lengths=[6, 4])[0] * dcontext).sum()

    for name, values, gradient in (
        ("query", query, dquery),
        ("memory", memory, dmemory),
        *((name, layer.parameters[name], layer.grads[name].copy()) for name in layer.parameters),
    ):
        numeric = np.empty_like(values)
        for at in np.ndindex(values.shape):
            kept = values[at]
            values[at] = kept + 1e-6
            up = loss()
            values[at] = kept - 1e-6
            numeric[at] = (up - loss()) / 2e-6
            values[at] = kept
        assert relative_error(gradient, numeric) < 1e-8, name
    assert set(layer.parameters) == {"w", "query.weight", "memory.weight", "memory.bias"}


def without_added_masks():
    attention = ln.MultiheadAttention(4, 2)
    attention(x32(3, 1, 4), attn_mask=np.zeros((3, 3), bool))
    return attention


def x32(*shape):
    return np.zeros(shape, "f4")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ln.MultiheadAttention(10, 3), ValueError, "num_heads: expected a divisor of embed_dim=10, got 3"),
        (lambda: ln.MultiheadAttention(6, 2, rotary=True), ValueError, "rotary: expected an even number"),
        (lambda: ln.MultiheadAttention(4, 2, dropout=1.0), ValueError, "dropout: expected a number from 0"),
        (lambda: ln.MultiheadAttention(4, 2, backend="gpu"), ValueError, "backend: expected one of 'cpu', 'reference'"),
        (lambda: ln.MultiheadAttention(4, 2)(x32(3, 1, 5)), ValueError, r"query: expected shape \(T, B, features=4\)"),
        (lambda: ln.MultiheadAttention(4, 2)(np.zeros((3, 1, 4))), TypeError, "query: expected dtype float32"),
        (lambda: ln.MultiheadAttention(4, 2)(x32(0, 1, 4)), ValueError, "at least one step"),
        (lambda: ln.MultiheadAttention(4, 2)(x32(3, 1, 4), value=x32(3, 1, 4)), ValueError, "value: expected no value"),
        (lambda: ln.MultiheadAttention(4, 2, kdim=3)(x32(3, 1, 4)), ValueError, "key: expected a key"),
        (lambda: ln.MultiheadAttention(4, 2)(x32(3, 1, 4), x32(3, 2, 4)), ValueError, "key: expected S=3"),
        (
            lambda: ln.MultiheadAttention(4, 2)(x32(3, 1, 4), attn_mask=np.zeros((3, 3))),
            TypeError,
            "attn_mask: expected dtype bool, True where .* not allowed, or float32, added to the scores, got float64",
        ),
        (
            lambda: ln.MultiheadAttention(4, 2)(x32(3, 1, 4), attn_mask=np.zeros((2, 3), bool)),
            ValueError,
            r"attn_mask: expected shape \(T=3, S=3\) or \(B\*N=2, T, S\)",
        ),
        (
            lambda: ln.MultiheadAttention(4, 2)(x32(3, 1, 4), lengths=[3], key_padding_mask=np.zeros((1, 3), bool)),
            ValueError,
            "lengths: expected either lengths or key_padding_mask, got both",
        ),
        (
            lambda: ln.MultiheadAttention(4, 2)(x32(3, 1, 4), key_padding_mask=np.zeros((1, 3))),
            TypeError,
            "key_padding_mask: expected dtype bool, .*, or float32, added to the scores, got float64",
        ),
        (lambda: without_added_masks().backward(x32(3, 1, 4), need_mask_grads=True), ValueError, "need_mask_grads"),
        (lambda: ln.MultiheadAttention(4, 2).backward(x32(1, 1, 4)), RuntimeError, "backward: expected a call"),
        (lambda: ln.MultiheadAttention(4, 2).stream(), ValueError, "causal: expected a causal layer"),
        (lambda: ln.MultiheadAttention(4, 2, causal=True).stream(2).step(x32(1, 4)), ValueError, "x: expected shape"),
        (lambda: ln.AdditiveAttention(3, 4, 5)(x32(2, 4), x32(6, 2, 4)), ValueError, "query: expected shape"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
