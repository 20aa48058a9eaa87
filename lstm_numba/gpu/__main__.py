"""``python -m lstm_numba.gpu``: name the GPU that ``backend="cuda"`` would use, or fail and say what is missing."""

from lstm_numba.gpu.device import CudaMissing, require_gpu


def main() -> None:
    """Look, and print one line."""
    try:
        require_gpu()
    except CudaMissing as missing:
        raise SystemExit(str(missing)) from None
    from numba import cuda

    found = cuda.get_current_device()
    major, minor = found.compute_capability
    name = found.name.decode() if isinstance(found.name, bytes) else found.name
    print(f"{name}: compute capability {major}.{minor}, {found.MULTIPROCESSOR_COUNT} multiprocessors")


if __name__ == "__main__":
    main()
