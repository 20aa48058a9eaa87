"""The layouts: Keras has ``x @ kernel`` and stacks i, f, c, o and z, r, h; we, ``W @ x``, i, f, g, o and r, z, n."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from lstm_numba import layers as ln
from lstm_numba.layers.stack import RecurrentStack

_THEIRS: dict[type, Any] = {ln.LSTM: keras.layers.LSTM, ln.GRU: keras.layers.GRU, ln.RNN: keras.layers.SimpleRNN}
# For each block of one side the other side's; every one of these undoes itself.
_ORDER = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2), "RNN": (0,)}


def load_weights(layer: RecurrentStack, keras_layer: Any) -> RecurrentStack:
    """Copy the weights of Keras layers into a layer of ``lstm_numba``.

    Parameters
    ----------
    layer
        ``LSTM``, ``GRU`` or ``RNN`` with the sizes, ``bias``, ``bidirectional``, ``reset_after`` and ``nonlinearity``
        of the Keras layers. Use ``batch_first=True`` to give it sequences with Keras' axes.
    keras_layer
        ``keras.layers.LSTM``, ``GRU`` or ``SimpleRNN``, or a ``Bidirectional`` of one that concatenates. For a layer
        with ``num_layers`` above 1 a list of them, or a ``keras.Sequential``. They must be built.

    Returns
    -------
    LSTM, GRU or RNN
        ``layer``.

    Raises
    ------
    TypeError, ValueError
        If a kind of layer, an option, a size or a dtype does not fit; nothing is copied then.

    Notes
    -----
    Keras has one bias where there are two here (except in the GRU with ``reset_after=True``): it becomes ``bias_ih``,
    and ``bias_hh`` becomes zero. Dropout is not weights, and not looked at.

    Examples
    --------
    >>> import keras, numpy as np, lstm_numba as ln
    >>> from lstm_numba.keras import load_weights
    >>> theirs = keras.layers.LSTM(4, return_sequences=True)
    >>> x = np.ones((2, 5, 3), np.float32)
    >>> expected = keras.ops.convert_to_numpy(theirs(x))
    >>> y, _ = load_weights(ln.LSTM(3, 4, batch_first=True), theirs)(x)
    >>> np.allclose(y, expected, atol=1e-6)
    True
    """
    _check_kind(layer)
    if isinstance(keras_layer, keras.Sequential):
        keras_layer = keras_layer.layers
    given = list(keras_layer) if isinstance(keras_layer, Sequence) else [keras_layer]
    if len(given) != layer.num_layers:
        raise ValueError(f"keras_layer: expected num_layers={layer.num_layers} Keras layers, got {len(given)}")
    state: dict[str, np.ndarray] = {}
    for k, theirs in enumerate(given):
        label = "keras_layer" if layer.num_layers == 1 else f"keras_layer[{k}]"
        for suffix, direction in _directions(label, layer, theirs):
            state |= _weights(label, layer, direction, f"_l{k}{suffix}")
    layer.load_state_dict(state)
    return layer


def to_keras(layer: RecurrentStack, *, return_sequences: bool = True, return_state: bool = False) -> Any:
    """Make a Keras layer with the options and a copy of the weights of a layer of ``lstm_numba``.

    Parameters
    ----------
    layer
        ``LSTM`` without projection, ``GRU`` or ``RNN``.
    return_sequences
        Whether the last Keras layer returns all steps, as ``layer`` does, or the last one.
    return_state
        Whether it returns the final state too. For a single layer.

    Returns
    -------
    keras.Layer
        Built; a ``keras.Sequential`` if ``layer`` has several layers. It takes sequences as (B, T, I), whatever
        ``layer`` takes.

    Raises
    ------
    TypeError, ValueError
        If Keras has no such layer.

    Notes
    -----
    Keras has one bias where there are two here (except in the GRU with ``reset_after=True``): the two are added, which
    rounds once. Dropout between layers is left out.

    Examples
    --------
    >>> import keras, numpy as np, lstm_numba as ln
    >>> from lstm_numba.keras import to_keras
    >>> gru = ln.GRU(3, 4, batch_first=True, bidirectional=True, seed=0)
    >>> x = np.ones((2, 5, 3), np.float32)
    >>> np.allclose(keras.ops.convert_to_numpy(to_keras(gru)(x)), gru(x)[0], atol=1e-6)
    True
    """
    _check_kind(layer)
    if return_state and layer.num_layers > 1:
        raise ValueError(f"return_state: expected False for num_layers={layer.num_layers}, got True")
    made = []
    for k in range(layer.num_layers):
        last = k == layer.num_layers - 1
        options: dict[str, Any] = {"return_sequences": return_sequences or not last, "return_state": return_state}
        options |= {"use_bias": layer.bias, "dtype": layer.dtype.name}
        if isinstance(layer, ln.GRU):
            options["reset_after"] = layer.reset_after
        if isinstance(layer, ln.RNN):
            options["activation"] = layer.nonlinearity
        theirs = _THEIRS[type(layer)](layer.hidden_size, **options)
        if layer.bidirectional:
            theirs = keras.layers.Bidirectional(theirs, merge_mode="concat", dtype=layer.dtype.name)
        theirs.build((None, None, layer._layer_input_size(k)))
        for suffix, direction in _directions("layer", layer, theirs):
            direction.set_weights(_as_keras(layer, f"_l{k}{suffix}"))
        made.append(theirs)
    if len(made) == 1:
        return made[0]
    return keras.Sequential([keras.Input((None, layer.input_size), dtype=layer.dtype.name), *made])


def _check_kind(layer: Any) -> None:
    if type(layer) not in _THEIRS:
        raise TypeError(f"layer: expected lstm_numba.LSTM, GRU or RNN, got {type(layer).__name__}")
    if layer.proj_size:
        raise ValueError(f"proj_size: expected 0, got {layer.proj_size}; Keras' LSTM has no projection")


def _directions(label: str, layer: RecurrentStack, theirs: Any) -> list[tuple[str, Any]]:
    """Suffixes of our parameters, with the Keras layer of that direction."""
    both = isinstance(theirs, keras.layers.Bidirectional)
    if both != layer.bidirectional:
        raise ValueError(
            f"{label}: expected {'a Bidirectional' if layer.bidirectional else 'one direction'}, got "
            f"{type(theirs).__name__}; the layer has bidirectional={layer.bidirectional}"
        )
    if not both:
        return [("", theirs)]
    if theirs.merge_mode != "concat":
        raise ValueError(f"{label}: expected merge_mode='concat', got {theirs.merge_mode!r}")
    return [("", theirs.forward_layer), ("_reverse", theirs.backward_layer)]


def _weights(label: str, layer: RecurrentStack, theirs: Any, suffix: str) -> dict[str, np.ndarray]:
    """One direction of one layer under our names."""
    kind = type(layer).__name__
    if type(theirs) is not _THEIRS[type(layer)]:
        raise TypeError(f"{label}: expected keras.layers.{_THEIRS[type(layer)].__name__}, got {type(theirs).__name__}")
    wanted: dict[str, Any] = {"activation": getattr(layer, "nonlinearity", "tanh"), "use_bias": layer.bias}
    if kind != "RNN":
        wanted["recurrent_activation"] = "sigmoid"
    if isinstance(layer, ln.GRU):
        wanted["reset_after"] = layer.reset_after
    if not suffix.endswith("_reverse"):
        wanted["go_backwards"] = False
    for option, expected in wanted.items():
        value = getattr(theirs, option)
        value = getattr(value, "__name__", value)
        if value != expected:
            raise ValueError(f"{label}: expected {option}={expected!r}, as {layer!r} has it, got {value!r}")
    if not theirs.built:
        raise ValueError(f"{label}: expected a layer with weights, got one that is not built; call it, or its build()")
    kernel, recurrent, *bias = (np.asarray(keras.ops.convert_to_numpy(value)) for value in theirs.weights)
    order = _ORDER[kind]
    found = {"weight_ih": _reorder(kernel.T, order), "weight_hh": _reorder(recurrent.T, order)}
    if bias:
        rows = bias[0] if bias[0].ndim == 2 else np.stack([bias[0], np.zeros_like(bias[0])])
        found |= {"bias_ih": _reorder(rows[0], order), "bias_hh": _reorder(rows[1], order)}
    return {f"{name}{suffix}": np.ascontiguousarray(value) for name, value in found.items()}


def _as_keras(layer: RecurrentStack, suffix: str) -> list[np.ndarray]:
    """One direction of one layer as Keras lists its weights."""
    order = _ORDER[type(layer).__name__]
    own = {name: _reorder(layer.parameters[f"{name}{suffix}"], order) for name in ("weight_ih", "weight_hh")}
    result = [own["weight_ih"].T, own["weight_hh"].T]
    if layer.bias:
        rows = [_reorder(layer.parameters[f"{name}{suffix}"], order) for name in ("bias_ih", "bias_hh")]
        both = isinstance(layer, ln.GRU) and layer.reset_after
        result.append(np.stack(rows) if both else rows[0] + rows[1])
    return result


def _reorder(value: np.ndarray, order: Sequence[int]) -> np.ndarray:
    blocks = np.split(value, len(order))
    return np.concatenate([blocks[position] for position in order])
