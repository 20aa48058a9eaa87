"""The recurrent layers against `torch.nn`: outputs, states, every gradient; over shapes, options, lengths, strides."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import lstm_numba as ln
from lstm_numba.gradcheck import relative_error
from tests.conftest import TESTED_BACKENDS, TOLERANCE, has_route


def strided(array, how):
    """The same numbers in memory laid out differently."""
    if how == "contiguous":
        return array
    if how == "fortran":
        return np.asfortranarray(array)
    if how == "sliced":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if how == "reversed":
        return array[::-1].copy()[::-1]
    frozen = array.copy()
    frozen.flags.writeable = False
    return frozen


# What the layers call themselves here -> our class, PyTorch's, and the options that make it.
KINDS = {
    "lstm": (ln.LSTM, torch.nn.LSTM, {}),
    "lstm with projection": (ln.LSTM, torch.nn.LSTM, {"proj_size": 2}),
    "gru": (ln.GRU, torch.nn.GRU, {}),
    "rnn tanh": (ln.RNN, torch.nn.RNN, {"nonlinearity": "tanh"}),
    "rnn relu": (ln.RNN, torch.nn.RNN, {"nonlinearity": "relu"}),
}


def run_torch(layer, x, state, lengths, batch_first):
    if lengths is None:
        return layer(x, state)
    packed = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False)
    y, final = layer(packed, state)
    T = x.shape[1 if batch_first else 0]
    return pad_packed_sequence(y, batch_first=batch_first, total_length=T)[0], final


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def as_state(parts):
    return parts if len(parts) == 2 else parts[0]


SERVED = [
    (kind, backend)
    for kind, (our_class, _, special) in KINDS.items()
    for backend in TESTED_BACKENDS
    if has_route(our_class(3, 4, **special, backend=backend))
]


# PyTorch tells that it has no fast path for a projection.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize(("kind", "backend"), SERVED)
@settings(max_examples=60)
@given(
    T=st.integers(1, 7),
    B=st.one_of(st.none(), st.integers(1, 5)),
    I=st.integers(1, 5),
    H=st.integers(3, 6),
    num_layers=st.integers(1, 3),
    bias=st.booleans(),
    batch_first=st.booleans(),
    bidirectional=st.booleans(),
    with_lengths=st.booleans(),
    with_state=st.booleans(),
    with_final_gradient=st.booleans(),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    strides=st.sampled_from(["contiguous", "fortran", "sliced", "reversed", "read-only"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_torch(
    kind,
    backend,
    T,
    B,
    I,
    H,
    num_layers,
    bias,
    batch_first,
    bidirectional,
    with_lengths,
    with_state,
    with_final_gradient,
    dtype,
    strides,
    seed,
):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=shape).astype(dtype)

    our_class, their_class, special = KINDS[kind]
    options = {"num_layers": num_layers, "bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
    ours = our_class(I, H, **options, **special, dtype=dtype, backend=backend, seed=seed)
    lengths = rng.integers(1, T + 1, size=B).tolist() if with_lengths and B is not None else None
    assume(has_route(ours, lengths))
    theirs = their_class(I, H, **options, **special, dtype=getattr(torch, dtype))
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})

    D = 2 if bidirectional else 1
    P = special.get("proj_size", H)
    batch = () if B is None else (B,)
    sequence = (*batch, T) if batch_first else (T, *batch)
    widths = (P, H) if our_class is ln.LSTM else (H,)
    x, state = draw(*sequence, I), tuple(draw(num_layers * D, *batch, width) for width in widths)
    dy, dstate = draw(*sequence, D * P), tuple(draw(num_layers * D, *batch, width) for width in widths)

    initial = as_state(tuple(strided(s, strides) for s in state)) if with_state else None
    y, final = ours(strided(x, strides), initial, lengths=lengths)
    dx, dinitial = ours.backward(strided(dy, strides), as_state(dstate) if with_final_gradient else None)

    their_x = torch.tensor(x, requires_grad=True)
    their_state = tuple(torch.tensor(s if with_state else 0 * s, requires_grad=True) for s in state)
    their_y, their_final = run_torch(theirs, their_x, as_state(their_state), lengths, batch_first)
    loss = (their_y * torch.tensor(dy)).sum()
    if with_final_gradient:
        loss = loss + sum((out * torch.tensor(d)).sum() for out, d in zip(as_tuple(their_final), dstate, strict=True))
    loss.backward()

    pairs = {"y": (y, their_y), "dx": (dx, their_x.grad)}
    for part, *values in zip(
        "hc", as_tuple(final), as_tuple(their_final), as_tuple(dinitial), their_state, strict=False
    ):
        pairs |= {f"{part}_n": (values[0], values[1]), f"d{part}0": (values[2], values[3].grad)}
    pairs |= {name: (ours.grads[name], parameter.grad) for name, parameter in theirs.named_parameters()}
    assert len(pairs) == 2 + 2 * len(widths) + len(ours.parameters)
    for name, (our_value, their_value) in pairs.items():
        assert our_value.dtype == np.dtype(dtype), name
        assert our_value.shape == tuple(their_value.shape), name
        assert relative_error(our_value, their_value.detach().numpy()) < TOLERANCE[dtype], name


def test_the_seed_example(rng):
    """The example of the book's chapter 2.2: (5, 3, 10) in, (5, 3, 20) out, equal to PyTorch to 1e-6."""
    ours = ln.LSTM(10, 20, num_layers=2, batch_first=True, seed=0)
    theirs = torch.nn.LSTM(10, 20, num_layers=2, batch_first=True)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
    x = rng.normal(size=(5, 3, 10)).astype(np.float32)
    y, _ = ours(x)
    assert y.shape == (5, 3, 20)
    np.testing.assert_allclose(y, theirs(torch.from_numpy(x))[0].detach().numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_round_trip_through_torch(kind):
    our_class, their_class, special = KINDS[kind]
    options = {"num_layers": 2, "bidirectional": True} | special
    ours, other = (our_class(3, 4, **options, dtype="float64", seed=seed) for seed in (1, 2))
    theirs = their_class(3, 4, **options, dtype=torch.float64)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()}, strict=True)
    other.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(other.parameters[name], value)


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_have_the_order_of_torch(kind):
    our_class, their_class, special = KINDS[kind]
    options = {"num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.25, "bidirectional": True}
    if our_class is ln.RNN:
        options = {"num_layers": 2} | special | options
    elif our_class is ln.LSTM:
        options |= {"proj_size": 0} | special
    ours, theirs = our_class(3, 4, *options.values()), their_class(3, 4, *options.values())
    for name, value in options.items():
        assert getattr(ours, name) == getattr(theirs, name) == value


def test_same_initial_distribution_as_torch():
    """U(-1/sqrt(H), 1/sqrt(H)): compared by range and variance over 40 000 draws."""
    ours = ln.LSTM(100, 100, seed=0).parameters["weight_ih_l0"]
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(100, 100).weight_ih_l0.detach().numpy()
    for quantile in (0, 0.25, 0.5, 0.75, 1):
        assert abs(np.quantile(ours, quantile) - np.quantile(theirs, quantile)) < 2e-3
