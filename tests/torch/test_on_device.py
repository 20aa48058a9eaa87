"""CUDA tensors take the other path through the modules; here the device is the emulator, its memory the host's."""

import numpy as np
import pytest
import torch
from torch import nn

import lstm_numba.torch as lt
from lstm_numba.gpu import plan as planning
from lstm_numba.gpu.device import EmulatedDevice, use_device
from lstm_numba.torch import engine
from tests.torch.test_modules import KINDS, assert_close, assert_same_results


class There(torch.Tensor):
    """A tensor in "device memory", which NumPy cannot read by itself."""

    @property
    def __cuda_array_interface__(self):
        if self.requires_grad or not self.is_contiguous():
            raise AttributeError("as PyTorch's does, it wants a detached, contiguous tensor here")
        return {"data": (self.data_ptr(), False), "shape": tuple(self.shape), "typestr": self._typestr(), "version": 3}

    def _typestr(self):
        return {torch.float32: "<f4", torch.float64: "<f8"}[self.dtype]

    def numpy(self, **options):
        raise TypeError("this tensor is not on the host")

    def __array__(self, *_):
        raise TypeError("this tensor is not on the host")


class WatchedDevice(EmulatedDevice):
    """Writes down what is used where it is, and what is copied to the host."""

    def __init__(self):
        super().__init__()
        self.adopted, self.downloads = [], []

    def upload(self, array):
        found = super().upload(array)
        if isinstance(array, There):
            assert found.__array_interface__["data"][0] == array.data_ptr()
            self.adopted.append(tuple(array.shape))
        return found

    def download(self, array):
        self.downloads.append(array.shape)
        return super().download(array)


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(planning, "family", lambda H, dtype, chip: "steps")  # the family with the fewest threads
    monkeypatch.setitem(engine.BACKENDS, "cpu", "cuda")
    give = engine._as_tensor
    monkeypatch.setattr(engine, "_as_tensor", lambda array, like: give(array, like).as_subclass(There))
    memory = engine._as_memory
    monkeypatch.setattr(engine, "_as_memory", lambda tensor, backend: memory(tensor, backend).as_subclass(There))
    with use_device(WatchedDevice()) as device:
        yield device


CASES = [
    ("lstm", {"num_layers": 2, "dropout": 0.5, "bidirectional": True}),
    ("gru", {"batch_first": True}),
    ("rnn relu", {"bias": False, "num_layers": 2}),
    ("lstm with projection", {"num_layers": 2, "bidirectional": True}),
]


@pytest.mark.parametrize(("kind", "options"), CASES, ids=[kind for kind, _ in CASES])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
def test_equals_torch_and_copies_nothing_to_the_host(device, kind, options, packed):
    torch.manual_seed(0)
    ours_class, theirs_class, special = KINDS[kind]
    theirs = theirs_class(3, 4, **options, **special)
    ours = ours_class(3, 4, **options, **special)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 3)
    if packed:
        ours.eval(), theirs.eval()  # masks are drawn for padded sequences here, for packed ones there
    results, gradients = [], []
    for module in (ours, theirs):
        torch.manual_seed(1)
        leaf = x.clone().requires_grad_()
        lengths = [2, 2] if options.get("batch_first") else [2, 1, 2]
        pack = nn.utils.rnn.pack_padded_sequence
        given = pack(leaf, lengths, options.get("batch_first", False), enforce_sorted=False) if packed else leaf
        y, final = plain_tensors(module(given))  # backward is not called on a There: that would switch them all off
        results.append((y, final))
        numbers = y.data if packed else y
        weights = torch.arange(numbers.numel(), dtype=torch.float32).reshape(numbers.shape).cos()
        last = final[0] if isinstance(final, tuple) else final
        ((numbers * weights).sum() + last.square().sum()).backward()
        gradients.append({"x": leaf.grad} | {name: p.grad for name, p in module.named_parameters()})
    assert_same_results(*results)
    for name, expected in gradients[1].items():
        assert_close(plain_tensors(gradients[0][name]), expected, name)
    assert device.downloads == []
    assert tuple(theirs.weight_hh_l0.shape) in device.adopted


def plain_tensors(result):
    if isinstance(result, torch.Tensor):
        return result.as_subclass(torch.Tensor)
    if isinstance(result, nn.utils.rnn.PackedSequence):
        return result._replace(data=plain_tensors(result.data))
    return tuple(plain_tensors(part) for part in result)


def test_inference_keeps_nothing(device):
    lstm = lt.LSTM(3, 4)
    with torch.no_grad():
        y, _ = lstm(torch.zeros(2, 1, 3))
    assert y.grad_fn is None
    assert np.isfinite(y.as_subclass(torch.Tensor).numpy()).all()
    assert not [name for name in device.launches if "backward" in name]
