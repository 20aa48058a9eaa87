"""Networks that read characters: make them, run them, and watch or change single units."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from lstm_numba.layers import LSTM, RNN, Dense, Sequential
from lstm_numba.layers.layer import Layer
from lstm_numba.reference.lstm import lstm_forward
from lstm_numba.teaching.looking_inside.text import SYMBOLS, encode, one_hot


def character_model(recurrent: Layer, *, seed: int) -> Sequential:
    """Put a linear read-out of 96 scores, one for each possible next character, on a recurrent layer.

    Parameters
    ----------
    recurrent : Layer
        An LSTM or RNN with 96 inputs, time-major. The forget gates of an LSTM start with a bias of 1.
    seed : int
        For the read-out.

    Returns
    -------
    Sequential
        The model.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import character_model
    >>> model = character_model(ln.LSTM(96, 8, seed=0), seed=1)
    >>> list(model.parameters)[-1], float(model.parameters["0.bias_ih_l0"][8])
    ('1.bias', 1.0)
    """
    H = recurrent.hidden_size  # type: ignore[attr-defined]
    if recurrent.parameters["weight_hh_l0"].shape[0] == 4 * H:
        for name, bias in (("bias_ih_l0", 1.0), ("bias_hh_l0", 0.0)):
            recurrent.parameters[name][H : 2 * H] = bias
    return Sequential(recurrent, Dense(H, len(SYMBOLS), seed=seed))


def untrained(kind: str, hidden: int, seed: int) -> Sequential:
    """Make one of the chapter's networks as it is before the first update.

    Parameters
    ----------
    kind : str
        ``"LSTM"`` or ``"RNN"``.
    hidden : int
        Hidden units.
    seed : int
        Seed of the initial weights.

    Returns
    -------
    Sequential
        The network.

    Examples
    --------
    >>> from lstm_numba.teaching.looking_inside import parameter_count, untrained
    >>> parameter_count(untrained("LSTM", 128, seed=0)), parameter_count(untrained("RNN", 273, seed=0))
    (128096, 127587)
    """
    if kind == "LSTM":
        layer: Layer = LSTM(len(SYMBOLS), hidden, seed=seed)
    elif kind == "RNN":  # its step is one matrix product, which NumPy already does at full speed
        layer = RNN(len(SYMBOLS), hidden, seed=seed)
    else:
        raise ValueError(f"kind: expected 'LSTM' or 'RNN', got {kind!r}")
    return character_model(layer, seed=seed + 1000)


def run(model: Sequential, codes: np.ndarray, state=None):
    """Run a model over text and hand the state back, so that the next call can go on from there.

    Parameters
    ----------
    model : Sequential
        From :func:`character_model`.
    codes : ndarray of integers (T, B)
        The characters read.
    state : optional
        As the recurrent layer returns it. Zero by default.

    Returns
    -------
    scores : ndarray (T, B, 96)
        Logits of the next character.
    state
        After the last character.

    Examples
    --------
    >>> import numpy as np
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import character_model, encode, run
    >>> model = character_model(ln.LSTM(96, 8, seed=0), seed=1)
    >>> scores, _ = run(model, encode("def f(")[:, None])
    >>> scores.shape
    (6, 1, 96)
    """
    recurrent, readout = model.layers
    y, state = recurrent(one_hot(codes), state)
    return readout(y), state


def traces(model: Sequential, codes: np.ndarray) -> dict[str, np.ndarray]:
    """Everything inside an LSTM while it reads: gates, candidate, cell state and hidden state.

    The layer returns hidden states only. Here its weights run through the NumPy reference, which keeps everything.

    Parameters
    ----------
    model : Sequential
        A character model with an LSTM of one layer.
    codes : ndarray of integers (T, B)
        The characters read, from the zero state.

    Returns
    -------
    dict of str to ndarray of float32 (T, B, H)
        Keys ``i f g o c h``.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import character_model, encode, traces
    >>> inside = traces(character_model(ln.LSTM(96, 8, seed=0), seed=1), encode("x = 1")[:, None])
    >>> sorted(inside), inside["f"].shape
    (['c', 'f', 'g', 'h', 'i', 'o'], (5, 1, 8))
    """
    lstm: Any = model.layers[0]
    weights: list[Any] = [lstm.parameters[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    zero = np.zeros((codes.shape[1], lstm.hidden_size), np.float32)
    _, _, _, cache = lstm_forward(one_hot(codes), zero, zero, *weights, True)  # type: ignore[call-arg]
    gates = dict(zip("ifgo", np.split(cache.gates, 4, axis=2), strict=True))
    return gates | {"c": cache.c[1:], "h": cache.h[1:]}


def cell_states(model: Sequential, text: str, *, pieces: int = 16, warm_up: int = 200) -> np.ndarray:
    """The cell state of every unit after every character.

    To read faster, the text is cut into pieces that are read side by side. Each starts from zero, some characters
    early, so that its state has settled when it counts.

    Parameters
    ----------
    model : Sequential
        A character model with an LSTM of one layer.
    text : str
        In the alphabet of :data:`SYMBOLS`.
    pieces : int
        How many pieces.
    warm_up : int
        Characters read before a piece; before the start of the text these are newlines.

    Returns
    -------
    ndarray of float32 (T, H)
        The cell states.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import cell_states, character_model
    >>> model = character_model(ln.LSTM(96, 8, seed=0), seed=1)
    >>> cell_states(model, "x = [1, 2]", pieces=3).shape
    (10, 8)
    """
    size = -(-len(text) // pieces)
    padded = "\n" * warm_up + text + "\n" * (size * pieces - len(text))
    codes = encode(padded)
    side_by_side = np.stack([codes[k * size : (k + 1) * size + warm_up] for k in range(pieces)], axis=1)
    c = traces(model, side_by_side)["c"][warm_up:]  # (size, pieces, H)
    return c.transpose(1, 0, 2).reshape(size * pieces, -1)[: len(text)]


def connectivity(model: Sequential, codes: np.ndarray) -> np.ndarray:
    """How much each prediction depends on each character read: the size of a gradient.

    Every column of the batch reads the same text, and column ``t`` is asked about the prediction after character
    ``t`` only, so one backward pass answers for all pairs.

    Parameters
    ----------
    model : Sequential
        From :func:`character_model`; left in inference mode.
    codes : ndarray of integers (T + 1,)
        The text; the last character is only predicted.

    Returns
    -------
    ndarray (T, T)
        Row ``t``, column ``s``: norm of the gradient of ``log p(codes[t + 1])`` with respect to input ``s``. Zero for
        ``s > t``.

    Examples
    --------
    >>> import numpy as np
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import character_model, connectivity, encode
    >>> G = connectivity(character_model(ln.LSTM(96, 8, seed=0), seed=1), encode("x = [1, 2]"))
    >>> G.shape, bool(np.all(G[np.triu_indices(9, 1)] == 0)), bool(np.all(np.diag(G) > 0))
    ((9, 9), True, True)
    """
    T = len(codes) - 1
    model.train()
    scores = model(one_hot(np.repeat(codes[:-1, None], T, axis=1)).astype(model.dtype))  # (T, T, 96)
    gradient = np.zeros_like(scores)
    for t in range(T):
        p = np.exp(scores[t, t] - scores[t, t].max())
        gradient[t, t] = -p / p.sum()
        gradient[t, t, codes[t + 1]] += 1  # d log p / d scores = one_hot(next character) - p
    dx = model.backward(gradient)  # (T inputs, T questions, 96)
    model.zero_grad()
    model.eval()
    return np.linalg.norm(dx, axis=2).T


def cut_out(model: Sequential, unit: int, value: float) -> Sequential:
    """A copy of a model in which one unit says the same at every step, whatever happens.

    What a unit says, ``h[unit]``, is read in two places: by the gates at the next step and by the read-out. In both,
    its column of weights times the constant moves into the bias.

    Parameters
    ----------
    model : Sequential
        From :func:`character_model`.
    unit : int
        Which hidden unit.
    value : float
        What it says, usually its mean.

    Returns
    -------
    Sequential
        The copy, in inference mode.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import character_model, cut_out
    >>> model = character_model(ln.LSTM(96, 8, seed=0), seed=1)
    >>> bool((cut_out(model, 3, 0.0).parameters["1.weight"][:, 3] == 0).all())
    True
    """
    copy = deepcopy(model)
    recurrent, readout = (layer.parameters for layer in copy.layers)
    for weight, bias in (
        (recurrent["weight_hh_l0"], recurrent["bias_hh_l0"]),
        (readout["weight"], readout["bias"]),
    ):
        bias += weight[:, unit] * weight.dtype.type(value)
        weight[:, unit] = 0
    return copy.eval()


def parameter_count(model: Layer) -> int:
    """Count the numbers that training may change.

    Parameters
    ----------
    model : Layer
        Any layer or model.

    Returns
    -------
    int
        The count.

    Examples
    --------
    >>> import lstm_numba as ln
    >>> from lstm_numba.teaching.looking_inside import parameter_count
    >>> parameter_count(ln.Dense(3, 2, seed=0))
    8
    """
    parameters: Mapping[str, np.ndarray] = model.parameters
    return sum(value.size for value in parameters.values())
