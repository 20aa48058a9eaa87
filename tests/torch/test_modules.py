"""The PyTorch modules against `torch.nn`: outputs, states and every gradient, over options, lengths and strides."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import lstm_numba.torch as lt
from lstm_numba.gradcheck import relative_error
from tests.conftest import TOLERANCE

# What the modules call themselves here -> our class, PyTorch's, and the options that make it.
KINDS = {
    "lstm": (lt.LSTM, torch.nn.LSTM, {}),
    "lstm with projection": (lt.LSTM, torch.nn.LSTM, {"proj_size": 2}),
    "gru": (lt.GRU, torch.nn.GRU, {}),
    "rnn tanh": (lt.RNN, torch.nn.RNN, {"nonlinearity": "tanh"}),
    "rnn relu": (lt.RNN, torch.nn.RNN, {"nonlinearity": "relu"}),
}
# PyTorch tells that it has no fast path for a projection.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


def parts_of(state):
    return list(state) if isinstance(state, tuple) else [state]


def state_of(parts):
    return tuple(parts) if len(parts) == 2 else parts[0]


def twins(kind, *sizes, dtype=torch.float64, **options):
    """Our module and PyTorch's, with the same weights."""
    ours, theirs, special = KINDS[kind]
    theirs = theirs(*sizes, **options, **special, dtype=dtype)
    ours = ours(*sizes, **options, **special, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def assert_close(ours, theirs, what):
    assert ours.dtype == theirs.dtype, what
    assert ours.shape == theirs.shape, what
    error = relative_error(ours.detach().numpy(), theirs.detach().numpy())
    assert error < TOLERANCE[str(ours.dtype).removeprefix("torch.")], (what, error)


def assert_same_results(ours, theirs):
    """Both are (output, state)."""
    (y, final), (y_expected, expected) = ours, theirs
    assert type(y) is type(y_expected)
    if isinstance(y, PackedSequence):
        assert torch.equal(y.batch_sizes, y_expected.batch_sizes)
        for name in ("sorted_indices", "unsorted_indices"):
            one, other = getattr(y, name), getattr(y_expected, name)
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other)
        y, y_expected = y.data, y_expected.data
    assert_close(y, y_expected, "output")
    for name, one, other in zip("hc", parts_of(final), parts_of(expected), strict=False):
        assert_close(one, other, f"{name}_n")


def loss_of(output, state, weights):
    """A number that depends on everything given, with another weight on every element."""
    y = output.data if isinstance(output, PackedSequence) else output
    terms = [part for part in (y, *parts_of(state)) if part is not None]
    return sum((term * weights[: term.numel()].reshape(term.shape)).sum() for term in terms)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(
    T=st.integers(1, 6),
    B=st.one_of(st.none(), st.integers(1, 5)),
    I=st.integers(1, 5),
    H=st.integers(3, 6),
    options=st.fixed_dictionaries(
        {
            "num_layers": st.integers(1, 3),
            "bias": st.booleans(),
            "batch_first": st.booleans(),
            "bidirectional": st.booleans(),
        }
    ),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    packed=st.sampled_from([None, "sorted", "unsorted"]),
    with_state=st.booleans(),
    used=st.sampled_from(["all", "output", "state"]),
    strided=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_torch(kind, T, B, I, H, options, dtype, packed, with_state, used, strided, seed):
    torch.manual_seed(seed)
    ours, theirs = twins(kind, I, H, dtype=dtype, **options)
    batch = () if B is None else (B,)
    shape = (*batch, T, I) if options["batch_first"] else (T, *batch, I)
    values = torch.randn(*shape, dtype=dtype)
    if strided:
        values = torch.stack([values, values + 1], dim=-1)[..., 0]
    rows = options["num_layers"] * (1 + options["bidirectional"])
    widths = [theirs.proj_size or H] + ([H] if theirs.mode == "LSTM" else [])
    states = [torch.randn(rows, *batch, width, dtype=dtype) for width in widths]
    lengths = None
    if packed and B is not None:
        lengths = torch.randint(1, T + 1, (B,))
        lengths = lengths.sort(descending=True).values if packed == "sorted" else lengths
    weights = torch.randn(10_000, dtype=dtype)

    results, gradients = [], []
    for module in (ours, theirs):
        x = values.clone().requires_grad_()
        hx = [part.clone().requires_grad_() for part in states]
        given_x = x
        if lengths is not None:
            given_x = pack_padded_sequence(x, lengths, options["batch_first"], enforce_sorted=packed == "sorted")
        output, final = module(given_x, state_of(hx) if with_state else None)
        results.append((output, final))
        nothing = state_of([None] * len(widths))
        loss_of(
            torch.zeros(0, dtype=dtype) if used == "state" else output, nothing if used == "output" else final, weights
        ).backward()
        gradients.append(
            {"x": x.grad}
            | {f"state {n}": part.grad for n, part in enumerate(hx) if with_state}
            | {name: parameter.grad for name, parameter in module.named_parameters()}
        )
    assert_same_results(*results)
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[1].items():
        if expected is None:  # what cannot matter: PyTorch leaves it out, we may have zeros
            assert gradients[0][name] is None or not gradients[0][name].any(), name
        else:
            assert_close(gradients[0][name], expected, name)


@pytest.mark.parametrize("kind", KINDS)
def test_inference_equals_torch_and_builds_no_graph(kind):
    torch.manual_seed(0)
    ours, theirs = twins(kind, 3, 5, num_layers=2, bidirectional=True)
    x = torch.randn(7, 4, 3, dtype=torch.float64)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            found = ours(x)
            assert_same_results(found, theirs(x))
        assert found[0].grad_fn is None
    assert np.isfinite(found[0].numpy()).all()
