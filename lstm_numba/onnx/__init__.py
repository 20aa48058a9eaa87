"""Layers in and out of ONNX.

:func:`export` writes a layer, or a ``Sequential`` of them, as an ONNX model that any runtime can serve.
:func:`load` reads the ``LSTM``, ``GRU`` and ``RNN`` nodes of a model as layers. What has no counterpart on the other
side is refused by name.
"""

try:
    import onnx  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"lstm_numba.onnx needs onnx, which cannot be imported ({error}): pip install 'lstm_numba[onnx]'"
    ) from error

from lstm_numba.onnx.exporting import export
from lstm_numba.onnx.loading import load

__all__ = ["export", "load"]
