"""`LSTM` against `torch.nn.LSTM`: outputs, states and every gradient over shapes, options, dtypes and strides."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lstm_numba as ln
from lstm_numba.backend import BACKENDS
from lstm_numba.gradcheck import relative_error
from tests.conftest import TOLERANCE


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


@settings(max_examples=120)
@given(
    T=st.integers(1, 7),
    B=st.one_of(st.none(), st.integers(1, 5)),
    I=st.integers(1, 5),
    H=st.integers(1, 6),
    num_layers=st.integers(1, 3),
    bias=st.booleans(),
    batch_first=st.booleans(),
    bidirectional=st.booleans(),
    with_state=st.booleans(),
    with_final_gradient=st.booleans(),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    backend=st.sampled_from(BACKENDS),
    strides=st.sampled_from(["contiguous", "fortran", "sliced", "reversed", "read-only"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_torch(
    T,
    B,
    I,
    H,
    num_layers,
    bias,
    batch_first,
    bidirectional,
    with_state,
    with_final_gradient,
    dtype,
    backend,
    strides,
    seed,
):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=shape).astype(dtype)

    options = {"num_layers": num_layers, "bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
    ours = ln.LSTM(I, H, **options, dtype=dtype, backend=backend, seed=seed)
    theirs = torch.nn.LSTM(I, H, **options, dtype=getattr(torch, dtype))
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})

    D = 2 if bidirectional else 1
    batch = () if B is None else (B,)
    sequence = (*batch, T) if batch_first else (T, *batch)
    x, state = draw(*sequence, I), (draw(num_layers * D, *batch, H), draw(num_layers * D, *batch, H))
    dy, dstate = draw(*sequence, D * H), (draw(num_layers * D, *batch, H), draw(num_layers * D, *batch, H))

    y, final = ours(strided(x, strides), tuple(strided(s, strides) for s in state) if with_state else None)
    dx, dinitial = ours.backward(strided(dy, strides), dstate if with_final_gradient else None)

    their_x = torch.tensor(x, requires_grad=True)
    their_state = tuple(torch.tensor(s if with_state else 0 * s, requires_grad=True) for s in state)
    their_y, their_final = theirs(their_x, their_state)
    loss = (their_y * torch.tensor(dy)).sum()
    if with_final_gradient:
        loss = loss + sum((out * torch.tensor(d)).sum() for out, d in zip(their_final, dstate, strict=True))
    loss.backward()

    pairs = {"y": (y, their_y), "h_n": (final[0], their_final[0]), "c_n": (final[1], their_final[1])}
    pairs |= {"dx": (dx, their_x.grad), "dh0": (dinitial[0], their_state[0].grad)}
    pairs |= {"dc0": (dinitial[1], their_state[1].grad)}
    pairs |= {name: (ours.grads[name], parameter.grad) for name, parameter in theirs.named_parameters()}
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


def test_state_dict_round_trip_through_torch():
    ours = ln.LSTM(3, 4, num_layers=2, bidirectional=True, dtype="float64", seed=1)
    theirs = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True, dtype=torch.float64)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()}, strict=True)
    other = ln.LSTM(3, 4, num_layers=2, bidirectional=True, dtype="float64", seed=2)
    other.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(other.parameters[name], value)


def test_same_initial_distribution_as_torch():
    """U(-1/sqrt(H), 1/sqrt(H)): compared by range and variance over 40 000 draws."""
    ours = ln.LSTM(100, 100, seed=0).parameters["weight_ih_l0"]
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(100, 100).weight_ih_l0.detach().numpy()
    for quantile in (0, 0.25, 0.5, 0.75, 1):
        assert abs(np.quantile(ours, quantile) - np.quantile(theirs, quantile)) < 2e-3
