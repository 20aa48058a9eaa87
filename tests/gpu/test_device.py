"""What is missing for a GPU is said in one message that names it; `import lstm_numba` does not care."""

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import cuda_speed
from lstm_numba.gpu import device
from lstm_numba.gpu.__main__ import main as say_what_is_there
from lstm_numba.gpu.device import CudaMissing, is_on_device, require_compiler, require_gpu

HAS_NUMBA_CUDA = importlib.util.find_spec("numba_cuda") is not None


def test_numba_cuda_is_not_installed(monkeypatch):
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    with pytest.raises(CudaMissing, match=r"numba-cuda, which is not installed: pip install \"lstm_numba\[cuda\]\""):
        require_compiler()


def test_numba_cuda_is_too_old(monkeypatch):
    monkeypatch.setattr(device, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "numba_cuda", SimpleNamespace(__version__="0.14.0"))
    with pytest.raises(CudaMissing, match=r"needs numba-cuda 0\.30 or newer, 0\.14\.0 is installed"):
        require_compiler()


@pytest.mark.skipif(not HAS_NUMBA_CUDA, reason="numba-cuda is not installed")
def test_the_compiler_library_is_missing(monkeypatch):
    from numba.cuda.cudadrv import nvvm

    def fail():
        raise RuntimeError("libnvvm.so: cannot open shared object file\nmore")

    monkeypatch.setattr(nvvm, "NVVM", fail)
    with pytest.raises(CudaMissing, match=r"libnvvm, which cannot be loaded: .* said: libnvvm.so: cannot"):
        require_compiler()


@pytest.mark.skipif(not HAS_NUMBA_CUDA, reason="numba-cuda is not installed")
@pytest.mark.parametrize(("compiler", "linker", "fits"), [((13, 0), (13, 0), True), ((13, 0), (13, 2), True),
    (None, (13, 0), True), ((13, 5), (13, 0), False), ((12, 9), (13, 0), False)])  # fmt: skip
def test_compiler_and_linker_of_different_toolkits(monkeypatch, compiler, linker, fits):
    monkeypatch.setattr(device, "_version_of", lambda package: compiler)
    monkeypatch.setattr(device, "_linker_version", lambda: linker)
    if fits:
        require_compiler()
    else:
        wanted = rf"libnvvm is of CUDA {compiler[0]}\.{compiler[1]}, nvJitLink of CUDA 13\.0"
        with pytest.raises(CudaMissing, match=wanted):
            require_compiler()


@pytest.mark.skipif(not HAS_NUMBA_CUDA, reason="numba-cuda is not installed")
def test_the_linker_library_is_missing(monkeypatch):
    from cuda.bindings import nvjitlink

    def fail():
        raise RuntimeError("libnvJitLink.so: cannot open shared object file\nmore")

    monkeypatch.setattr(nvjitlink, "version", fail)
    with pytest.raises(CudaMissing, match=r"nvJitLink, which cannot be loaded: .* said: libnvJitLink.so: cannot"):
        require_compiler()


@pytest.fixture
def pretended(monkeypatch):
    """A working compiler, and a driver that answers as the test wants."""
    from numba import cuda

    def pretend(available, error=None, capability=(9, 0), driver=(13, 0)):
        monkeypatch.setattr(device, "require_compiler", lambda: None)
        monkeypatch.setattr(device, "_driver_version", lambda: driver)
        monkeypatch.setattr(device, "_linker_version", lambda: (13, 0))
        monkeypatch.setattr(cuda, "is_available", lambda: available)
        monkeypatch.setattr(cuda, "cuda_error", lambda: error)
        current = SimpleNamespace(compute_capability=capability, name="Old Chip")
        monkeypatch.setattr(cuda, "get_current_device", lambda: current)

    return pretend


def test_no_driver(pretended):
    pretended(False, "CUDA driver library cannot be found.\nmore")
    with pytest.raises(CudaMissing, match=r"\(580 or newer.*said: CUDA driver library cannot be found\. backend"):
        require_gpu()


def test_a_driver_without_a_device(pretended):
    pretended(False)
    with pytest.raises(CudaMissing, match="said: no device"):
        require_gpu()


def test_a_driver_that_is_too_old(pretended):
    pretended(True, driver=(12, 8))
    with pytest.raises(CudaMissing, match=r"newer driver: this one is for CUDA 12\.8, .* CUDA 13\.0 .*580 or newer"):
        require_gpu()


def test_a_chip_that_is_too_old(pretended):
    pretended(True, capability=(6, 1))
    with pytest.raises(CudaMissing, match=r"needs compute capability 7\.5 or higher, Old Chip has 6\.1"):
        require_gpu()


def test_a_chip_that_will_do(pretended):
    pretended(True, capability=(8, 6))
    require_gpu()


def test_one_line_about_the_gpu(pretended, monkeypatch, capsys):
    """What `make test-gpu` and `make bench-gpu` begin with."""
    from numba import cuda

    pretended(True)
    found = SimpleNamespace(compute_capability=(9, 0), name=b"A Chip", MULTIPROCESSOR_COUNT=7)
    monkeypatch.setattr(cuda, "get_current_device", lambda: found)
    say_what_is_there()
    assert capsys.readouterr().out == "A Chip: compute capability 9.0, 7 multiprocessors\n"


@pytest.mark.parametrize("program", [say_what_is_there, cuda_speed.main], ids=["test-gpu", "bench-gpu"])
def test_without_a_gpu_the_targets_end_with_the_message_alone(pretended, monkeypatch, program):
    pretended(False, "no driver.")
    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(SystemExit) as end:
        program()
    assert str(end.value).startswith("backend='cuda' needs an NVIDIA GPU and its driver")
    assert "The driver said: no driver. backend='cpu' needs neither" in str(end.value)


def test_where_an_array_lies():
    assert not is_on_device(np.zeros(3))
    assert is_on_device(SimpleNamespace(__cuda_array_interface__={"shape": (3,)}))
    assert is_on_device(SimpleNamespace(__dlpack_device__=lambda: (2, 0)))
    assert not is_on_device(SimpleNamespace(__dlpack_device__=lambda: (1, 0)))


def test_importing_the_package_loads_nothing_of_cuda():
    code = "import sys, lstm_numba; print([name for name in sys.modules if 'cuda' in name or 'gpu' in name])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # numba-cuda itself puts its import hook in place when Python starts, if it is installed
    assert set(eval(run.stdout)) <= {"_numba_cuda_redirector"}
