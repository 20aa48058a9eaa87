"""Weights between Keras' recurrent layers and ours.

Keras needs a backend of its own; set ``KERAS_BACKEND`` to ``torch``, ``jax`` or ``tensorflow``, whichever is installed,
before the first import.
"""

try:
    import keras  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"lstm_numba.keras needs Keras and a backend for it, which cannot be imported ({error}): "
        "pip install 'lstm_numba[keras]', and set KERAS_BACKEND to torch, jax or tensorflow, whichever is installed"
    ) from error

from lstm_numba.keras.convert import load_weights, to_keras

__all__ = ["load_weights", "to_keras"]
