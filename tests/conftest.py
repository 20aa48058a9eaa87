"""What every test shares: the tolerances, stated once, and fixtures over backends and dtypes."""

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from lstm_numba.backend import BACKENDS

# Largest relative error (see lstm_numba.gradcheck.relative_error) between two implementations.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}

# Kernels compile on their first call, so a deadline would fail on the first example only.
settings.register_profile(
    "lstm_numba", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=50
)
settings.load_profile("lstm_numba")


def has_route(layer, lengths=None):
    """Whether a layer's backend has a kernel for it; a backend that says no is not tested, one that says yes is."""
    try:
        for k in range(layer.num_layers):
            layer._route(k, 2, 2, lengths is not None)
    except ValueError:
        return False
    return True


def gpu_is_there():
    """Whether kernels can run on a GPU of this machine."""
    from lstm_numba.gpu.device import CudaMissing, require_gpu

    try:
        require_gpu()
    except CudaMissing:
        return False
    return True


# Without a GPU the backend "cuda" is tested in tests/gpu only, on the emulator, which is too slow for every test.
TESTED_BACKENDS = tuple(name for name in BACKENDS if name != "cuda" or gpu_is_there())


@pytest.fixture(autouse=True)
def threads_as_before():
    """No test leaves the next one with fewer threads; some of what is tested sets their number for its process."""
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@pytest.fixture(params=TESTED_BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(params=sorted(TOLERANCE))
def dtype(request):
    return request.param


@pytest.fixture
def tolerance(dtype):
    return TOLERANCE[dtype]


@pytest.fixture
def rng():
    return np.random.default_rng(2026)
