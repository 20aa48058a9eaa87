"""Clipping by global norm: one scale for all gradients, so the direction of the step does not change."""

from collections.abc import Iterable, Mapping

import numpy as np

from .protocol import real_number


def global_norm(grads: Mapping[str, np.ndarray] | Iterable[np.ndarray]) -> float:
    """Euclidean norm of all gradients seen as one long vector.

    Parameters
    ----------
    grads : dict of str to ndarray, or iterable of ndarray
        Float arrays of any shapes.

    Returns
    -------
    float
        The norm, summed in float64: squares of large float32 gradients do not overflow.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.training import global_norm
    >>> global_norm({"weight": np.array([[3.0]]), "bias": np.array([4.0])})
    5.0
    """
    arrays = grads.values() if isinstance(grads, Mapping) else grads
    return float(np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in arrays)))


def clip_grad_norm(
    grads: Mapping[str, np.ndarray] | Iterable[np.ndarray],
    max_norm: float,
    *,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients in place so that their global norm is at most `max_norm`.

    Same arithmetic as ``torch.nn.utils.clip_grad_norm_``: the scale is ``max_norm / (norm + 1e-6)``, at most
    1.

    Parameters
    ----------
    grads : dict of str to ndarray, or iterable of ndarray
        Float arrays of any shapes, for example ``model.grads``; scaled in place.
    max_norm : float
        Largest norm allowed, > 0.
    error_if_nonfinite : bool
        Raise if the norm is NaN or infinite. Otherwise such gradients are scaled like the rest: an infinite
        norm turns finite entries into 0, and a NaN norm turns every entry into NaN.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    TypeError
        If a gradient is not a float array, or not writeable.
    ValueError
        If `max_norm` is not a positive number, or the norm is not finite and `error_if_nonfinite` is set.

    References
    ----------
    Pascanu, R., Mikolov, T. and Bengio, Y. (2013), On the difficulty of training recurrent neural networks,
    ICML, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> import lstm_numba as ln
    >>> grads = {"weight": np.array([3.0]), "bias": np.array([4.0])}
    >>> ln.clip_grad_norm(grads, max_norm=1.0)
    5.0
    >>> bool(np.isclose(grads["weight"][0], 0.6))
    True
    """
    max_norm = real_number("max_norm", max_norm, above=0)
    named = dict(grads) if isinstance(grads, Mapping) else {str(k): g for k, g in enumerate(grads)}
    for name, g in named.items():
        if not isinstance(g, np.ndarray) or g.dtype.kind != "f":
            raise TypeError(f"grads[{name!r}]: expected a float array, got {getattr(g, 'dtype', type(g).__name__)}")
        if not g.flags.writeable:
            raise TypeError(f"grads[{name!r}]: expected a writeable array, got a read-only one")
    norm = global_norm(named)
    if error_if_nonfinite and not np.isfinite(norm):
        guilty = [name for name, g in named.items() if not np.isfinite(g).all()]
        raise ValueError(f"grads: the global norm is {norm}; not finite in {guilty}")
    scale = max_norm / (norm + 1e-6)
    if not scale >= 1:  # written so that a NaN norm is not mistaken for a small one
        for g in named.values():
            g *= scale
    return norm
