"""What layers need to work on arrays of the device: take them in, rearrange them, hand results back in kind."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from lstm_numba.gpu.device import Device, current, hand_over, is_on_device, stream_of
from lstm_numba.gpu.kernels import dense

__all__ = ["DeviceWork", "device_work", "is_on_device"]


class DeviceWork:
    """Operations on arrays of the device that one call of a layer needs; made by :func:`device_work`."""

    def __init__(self, device: Device, example: Any) -> None:
        self._device, self._example = device, example

    def take(self, name: str, array: Any, dtype: np.dtype) -> Any:
        """Return an array of the device without a copy, a NumPy array as a copy on the device."""
        try:
            found = self._device.upload(array)
        except ValueError as error:
            raise ValueError(f"{name}: {str(error).removeprefix('array: ')}") from error
        if np.dtype(found.dtype) != dtype:
            raise TypeError(f"{name}: expected dtype {dtype}, got {np.dtype(found.dtype)}. Nothing is cast silently")
        return found

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        """Return an array of zeros."""
        return self._device.zeros(shape, dtype)

    def swap(self, array: Any) -> Any:
        """Return a copy with the first two axes exchanged."""
        T, B, width = array.shape
        dtype = str(np.dtype(array.dtype))
        result = self._device.empty((B, T, width), dtype)
        blocks = -(-array.size // dense.COPY_THREADS)
        flat = array.reshape(array.size), result.reshape(array.size)
        self._device.launch(dense.swap(dtype), blocks, *flat, T, B, width, array.size)
        return result

    def join(self, parts: Sequence[Any]) -> Any:
        """Return arrays of one shape as one, along the first axis."""
        if len(parts) == 1:
            return parts[0]
        dtype, size = str(np.dtype(parts[0].dtype)), parts[0].size
        result = self._device.empty((len(parts) * parts[0].shape[0], *parts[0].shape[1:]), dtype)
        flat = result.reshape(result.size)
        nobody = self._device.zeros((1,), np.int32)
        for position, part in enumerate(parts):
            self._device.launch(
                dense.copy_rows(dtype), -(-size // dense.COPY_THREADS), part.reshape(size), 0, size, size, flat,
                position * size, size, size, size, nobody, 1, False,
            )  # fmt: skip
        return result

    def download(self, array: Any) -> np.ndarray:
        """Return a NumPy copy."""
        return self._device.download(array)

    def give(self, array: Any) -> Any:
        """Return a result in kind: a tensor for tensors, a CuPy array for CuPy arrays, else a Numba device array."""
        return hand_over(array, self._example)


@contextmanager
def device_work(example: Any) -> Iterator[DeviceWork]:
    """Work on the stream that the library of ``example`` works on."""
    device = current()
    with device.on_stream(stream_of(example)):
        yield DeviceWork(device, example)
