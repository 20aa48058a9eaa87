"""What PyTorch expects of a module beside its numbers: autograd's rules, optimisers, copies, threads, autocast."""

import copy
import io
import pickle
import threading

import pytest
import torch
from torch import nn

import lstm_numba.torch as lt
from tests.torch.test_modules import KINDS, assert_close, assert_same_results, twins


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind):
    ours, _ = twins(kind, 2, 3, bidirectional=True)
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in ours.named_parameters()]

    def function(x, *weights):
        y, state = torch.func.functional_call(ours, dict(zip(names, weights, strict=True)), (x,))
        return y, *(state if isinstance(state, tuple) else (state,))

    weights = [parameter.detach().clone().requires_grad_() for parameter in ours.parameters()]
    assert torch.autograd.gradcheck(function, (x, *weights))


def losses_of(model, x, target):
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = ((model["head"](model["body"](x)[0][-1]) - target) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_training_with_adam_follows_pytorch():
    theirs = nn.ModuleDict({"body": nn.LSTM(3, 8, num_layers=2), "head": nn.Linear(8, 1)})
    ours = lt.accelerate(theirs, copy=True)
    x, target = torch.randn(12, 16, 3), torch.randn(16, 1)
    found, expected = losses_of(ours, x, target), losses_of(theirs, x, target)
    assert expected[-1] < 0.8 * expected[0]
    assert found == pytest.approx(expected, rel=1e-5)


def test_inference_sees_what_an_optimiser_wrote():
    """Kernels keep packed weights between calls in inference; writing in place must not go unnoticed."""
    ours, theirs = twins("lstm", 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        before = ours(x)[0]
        version = ours.weight_hh_l0._version
        for module in (ours, theirs):
            module.weight_hh_l0.mul_(0.5)
        assert ours.weight_hh_l0._version > version
        assert_same_results(ours(x), theirs(x))
        for module in (ours, theirs):
            module.weight_hh_l0.data = torch.ones_like(module.weight_hh_l0)  # other memory
        assert_same_results(ours(x), theirs(x))
        for module in (ours, theirs):
            module.weight_ih_l0 = nn.Parameter(torch.full((16, 3), 0.1, dtype=torch.float64))
            module.weight_hh_l0 = nn.Parameter(torch.full((4, 16), 0.1, dtype=torch.float64).T)  # not contiguous
            module.weight_hh_l0[3, 2] = 0.7
        assert_same_results(ours(x), theirs(x))
        assert not torch.equal(ours(x)[0], before)


def test_several_calls_before_their_gradients_in_any_order():
    ours, theirs = twins("gru", 3, 4)
    inputs = [torch.randn(T, 2, 3, dtype=torch.float64) for T in (4, 6, 5)]
    for module in (ours, theirs):
        outputs = [module(x)[0].square().sum() for x in inputs]
        outputs[1].backward()
        (outputs[0] * outputs[2]).backward()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert_close(one.grad, other.grad, name)


def test_retain_graph_and_grad_of_some():
    ours, theirs = twins("lstm", 3, 4, num_layers=2)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    found = []
    for module in (ours, theirs):
        y, (_, c_n) = module(x)
        first = torch.autograd.grad(y.sum(), [module.weight_hh_l0], retain_graph=True)
        second = torch.autograd.grad(c_n.sum(), [module.bias_ih_l1, module.weight_ih_l0], retain_graph=True)
        third = torch.autograd.grad(y.sum(), [module.weight_hh_l0])
        found.append([*first, *second, *third])
        with pytest.raises(RuntimeError, match="second time"):
            torch.autograd.grad(y.sum(), [module.weight_hh_l0])
    for one, other in zip(*found, strict=True):
        assert_close(one, other, "gradient")
    assert torch.equal(found[0][0], found[0][-1])


@pytest.mark.parametrize("what", ["x", "weight"])
def test_writing_to_what_the_gradient_needs_is_an_error(what):
    lstm = lt.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    y, _ = lstm(x)
    with torch.no_grad():
        (x if what == "x" else lstm.weight_hh_l0).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_what_is_frozen_gets_no_gradient():
    ours, theirs = twins("lstm", 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    for module in (ours, theirs):
        module.weight_ih_l0.requires_grad_(False)
        module.bias_hh_l0.requires_grad_(False)
        module(x)[0].sum().backward()
    assert ours.weight_ih_l0.grad is None
    assert ours.bias_hh_l0.grad is None
    assert_close(ours.weight_hh_l0.grad, theirs.weight_hh_l0.grad, "weight_hh_l0")
    ours.requires_grad_(False)
    assert ours(x)[0].grad_fn is None


def test_a_second_derivative_is_refused_and_a_first_with_create_graph_is_not():
    ours, theirs = twins("lstm", 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    found = []
    for module in (ours, theirs):
        (dx,) = torch.autograd.grad(module(x)[0].sum(), [x], create_graph=True)
        found.append(dx)
    assert_close(*found, "dx")
    with pytest.raises(NotImplementedError, match=r"first derivatives only.*restore\(model\)"):
        found[0].square().sum().backward()
    found[1].square().sum().backward()


@pytest.mark.parametrize("packed", [False, True])
def test_dropout_is_pytorchs(packed):
    """The same generator in the same order: masks, and so results, are those of torch.nn."""
    ours, theirs = twins("gru", 3, 4, num_layers=3, dropout=0.4, bidirectional=True)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    given = nn.utils.rnn.pack_padded_sequence(x, [6, 6]) if packed else x
    results = []
    for module in (ours, theirs):
        torch.manual_seed(5)
        results.append(module(given))
        (results[-1][0].data if packed else results[-1][0]).sum().backward()
    assert_same_results(*results)
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert_close(one.grad, other.grad, name)
    assert not torch.equal(results[0][1], ours(given)[1])
    assert_same_results(ours.eval()(given), theirs.eval()(given))


@pytest.mark.filterwarnings("ignore:dropout option adds dropout after all but last:UserWarning")
def test_dropout_at_its_edges():
    ours, theirs = twins("lstm", 3, 4, num_layers=2, dropout=1.0)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    assert_same_results(ours(x), theirs(x))
    ours, theirs = twins("lstm", 3, 4, dropout=0.5)
    assert_same_results(ours(x), theirs(x))


def round_trip(module):
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("how", [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m)), round_trip])
def test_copies(how):
    ours = lt.LSTM(3, 4, bidirectional=True)
    x = torch.randn(5, 2, 3)
    expected = ours(x)
    copied = how(ours)
    assert type(copied) is lt.LSTM
    assert_same_results(copied(x), expected)
    if how is not copy.copy:
        with torch.no_grad():
            ours.weight_hh_l0.zero_()
        assert_same_results(copied(x), expected)


def test_parametrisations_and_hooks():
    ours, theirs = twins("lstm", 3, 4)
    seen = []
    for module in (ours, theirs):
        nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
        module.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[0].shape))
        module(torch.ones(5, 2, 3, dtype=torch.float64))[0].sum().backward()
    assert seen == [(5, 2, 4)] * 2
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert_close(one.grad, other.grad, name)


def test_moving_between_dtypes():
    ours = lt.LSTM(3, 4)
    y, _ = ours(torch.ones(5, 2, 3))
    ours.double()
    wide, _ = ours(torch.ones(5, 2, 3, dtype=torch.float64))
    assert wide.dtype == torch.float64
    assert torch.allclose(wide.float(), y, atol=1e-6)
    with pytest.raises(TypeError, match=r"parameters: expected torch.float32 or torch.float64, got torch.float16"):
        ours.half()(torch.ones(5, 2, 3, dtype=torch.float16))
    with pytest.raises(TypeError, match=r"dtype: expected torch.float32 .* got torch.bfloat16"):
        lt.GRU(3, 4, dtype=torch.bfloat16)


def test_under_autocast_it_computes_in_its_own_dtype():
    model = nn.ModuleList([nn.Linear(3, 3), lt.LSTM(3, 4)])
    x = torch.randn(5, 2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = model[0](x)
        y, _ = model[1](narrow, (narrow.new_zeros(1, 2, 4), torch.zeros(1, 2, 4)))
    assert narrow.dtype == torch.bfloat16
    assert_close(y, model[1](narrow.float())[0], "output")
    y.sum().backward()
    assert model[0].weight.grad.dtype == torch.float32
    assert model[0].weight.grad.any()


def test_threads_share_a_module():
    ours, theirs = twins("lstm", 3, 8)
    inputs = [torch.randn(10 + n, 2 + n, 3, dtype=torch.float64) for n in range(4)]
    expected = [theirs(x) for x in inputs]
    errors = []

    def work(n):
        try:
            for _ in range(10):
                x = inputs[n].clone().requires_grad_()
                found = ours(x)
                assert_same_results(found, expected[n])
                torch.autograd.grad(found[0].sum(), [x, ours.weight_hh_l0])
                with torch.no_grad():
                    assert_same_results(ours(inputs[n]), expected[n])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


@pytest.mark.parametrize("shape", [(5, 0, 3), (5, 2, 3)])
def test_an_empty_batch(shape):
    ours, theirs = twins("lstm", 3, 4)
    results = []
    for module in (ours, theirs):
        x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        results.append(module(x))
        results[-1][0].sum().backward()
        assert x.grad.shape == shape
    assert_same_results(*results)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x: m(x.double()), TypeError, "input: expected torch.float32 like the parameters, got torch.float64"),
        (lambda m, x: m(x.numpy()), TypeError, "input: expected a tensor, got ndarray"),
        (lambda m, x: m(x[0, 0]), ValueError, r"input: expected shape \(T, B, I=3\), got \(3,\)"),
        (lambda m, x: m(x[..., :2]), ValueError, r"input: expected shape \(T, B, I=3\), got \(5, 2, 2\)"),
        (lambda m, x: m(x[:0]), ValueError, "input: expected at least one time step"),
        (lambda m, x: m(x, x), TypeError, r"hx: expected a pair \(h0, c0\) of tensors, got Tensor"),
        (lambda m, x: m(x, (torch.zeros(1, 2, 4), torch.zeros(1, 3, 4))), ValueError, r"c0: expected shape .*B=2"),
        (lambda m, x: m(x.to("meta")), ValueError, "input: expected a tensor on cpu like the parameters, got .* meta"),
        (lambda m, x: m.to("meta")(x.to("meta")), ValueError, "parameters: .* type 'cpu' or 'cuda', got meta"),
    ],
)
def test_errors_say_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call(lt.LSTM(3, 4), torch.zeros(5, 2, 3))


@pytest.mark.filterwarnings("ignore")  # of Dynamo, about itself
def test_torch_compile_leaves_its_graph_for_the_module():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    lstm, head = lt.LSTM(3, 4), nn.Linear(4, 1)

    def function(x):
        return head(lstm(model(x))[0][-1]).square().sum()

    x = torch.randn(5, 2, 3)
    expected = torch.autograd.grad(function(x), [lstm.weight_hh_l0, model[0].weight])
    compiled = torch.compile(function, backend="aot_eager")
    for _ in range(2):
        found = torch.autograd.grad(compiled(x), [lstm.weight_hh_l0, model[0].weight])
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, atol=1e-6)
