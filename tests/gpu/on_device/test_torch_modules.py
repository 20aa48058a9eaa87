"""`lstm_numba.torch` on a real GPU, against `torch.nn` (cuDNN) on the same tensors.

Run with ``make test-gpu``. Without a GPU these tests are skipped; they had not been run on one when they were written.
"""

import os

import pytest

from lstm_numba.gpu.device import CudaMissing, require_gpu
from lstm_numba.gradcheck import relative_error

torch = pytest.importorskip("torch")
try:
    require_gpu()
except CudaMissing as missing:
    if os.environ.get("LSTM_NUMBA_GPU") == "required":
        raise
    pytest.skip(str(missing), allow_module_level=True)
if not torch.cuda.is_available():
    pytest.skip("PyTorch without CUDA", allow_module_level=True)

import lstm_numba.torch as lt  # noqa: E402

SEED = int.from_bytes(os.urandom(4), "little")  # fresh numbers every time; printed when a test fails
ALLOWED = {torch.float32: 2e-5, torch.float64: 1e-10}


@pytest.fixture(autouse=True)
def full_precision():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(SEED)
    print(f"seed {SEED}")
    yield
    torch.backends.cudnn.allow_tf32 = before


OPTIONS = [
    {},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"bias": False, "num_layers": 3},
]


def tensors(result):
    return [part for part in torch.utils._pytree.tree_leaves(result) if isinstance(part, torch.Tensor)]


def check(ours, theirs, x, packed=False):
    results = []
    for module in (ours, theirs):
        leaf = x.clone().requires_grad_()
        given = leaf
        if packed:
            lengths = [1 + n % leaf.shape[1] for n in range(leaf.shape[0])]
            given = torch.nn.utils.rnn.pack_padded_sequence(leaf, lengths, batch_first=True, enforce_sorted=False)
        y, final = module(given)
        numbers = [y.data if packed else y, *tensors(final)]
        weights = [torch.linspace(-1, 1, n.numel(), device=n.device, dtype=n.dtype).reshape(n.shape) for n in numbers]
        loss = sum((number * weight).sum() for number, weight in zip(numbers, weights, strict=True))
        gradients = torch.autograd.grad(loss, [leaf, *module.parameters()])
        results.append([*numbers, *gradients])
    for found, expected in zip(*results, strict=True):
        assert found.device == expected.device
        error = relative_error(found.detach().cpu().numpy(), expected.detach().cpu().numpy())
        assert error < ALLOWED[x.dtype]


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", list(ALLOWED))
@pytest.mark.parametrize("H", [20, 128])
def test_equals_cudnn(name, options, dtype, H):
    theirs = getattr(torch.nn, name)(6, H, **options, device="cuda", dtype=dtype)
    ours = lt.accelerate(theirs, copy=True)
    x = torch.randn(5, 9, 6, device="cuda", dtype=dtype)
    check(ours, theirs, x)
    if options.get("batch_first"):
        check(ours, theirs, x, packed=True)


@pytest.mark.parametrize("H", [20, 128])
def test_a_projection_equals_cudnn(H):
    theirs = torch.nn.LSTM(6, H, num_layers=2, bidirectional=True, batch_first=True, proj_size=7, device="cuda")
    ours = lt.accelerate(theirs, copy=True)
    x = torch.randn(5, 9, 6, device="cuda")
    check(ours, theirs, x)
    check(ours, theirs, x, packed=True)


def test_moving_there_and_back():
    lstm = lt.LSTM(3, 8)
    x = torch.randn(5, 2, 3)
    expected = lstm(x)[0]
    there = lstm.to("cuda")(x.to("cuda"))[0]
    assert there.is_cuda
    assert torch.allclose(there.cpu(), expected, atol=1e-5)
    with pytest.raises(ValueError, match="expected a tensor on cuda"):
        lstm(x)
    assert torch.equal(lstm.cpu()(x)[0], expected)


def test_on_a_busy_side_stream():
    """A kernel on another stream would read what is not there yet."""
    theirs = torch.nn.LSTM(16, 48, num_layers=2, device="cuda")
    ours = lt.accelerate(theirs, copy=True)
    x = torch.randn(6, 5, 16, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        busy = torch.full((4096, 4096), 1 / 4096, device="cuda")
        for _ in range(20):
            busy = busy @ busy  # stays what it is
        check(ours, theirs, x * (busy[0, 0] * 4096))


def test_training_follows_cudnn():
    theirs = torch.nn.GRU(4, 32, num_layers=2, device="cuda")
    ours = lt.accelerate(theirs, copy=True)
    x, target = torch.randn(20, 16, 4, device="cuda"), torch.randn(16, 32, device="cuda")
    losses = []
    for module in (ours, theirs):
        optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
        losses.append([])
        for _ in range(20):
            optimiser.zero_grad()
            loss = (module(x)[0][-1] - target).square().mean()
            loss.backward()
            optimiser.step()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_dropout_is_on_the_device():
    module = lt.LSTM(3, 8, num_layers=2, dropout=0.5, device="cuda")
    x = torch.randn(5, 2, 3, device="cuda")
    torch.manual_seed(1)
    one = module(x)[0]
    torch.manual_seed(1)
    assert torch.equal(one, module(x)[0])
    assert not torch.equal(one, module(x)[0])
