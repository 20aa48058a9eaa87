"""The affine map of the last axis in NumPy, and its derivative."""


def linear_forward(x, weight, bias=None):
    """Return ``x @ weight^T + bias`` for x (M, K), weight (N, K) and bias (N,)."""
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


def linear_backward(dy, x, weight, dweight, dbias=None):
    """Return ``dy @ weight`` and add to the gradients of weight and, if there is one, bias."""
    dweight += dy.T @ x
    if dbias is not None:
        dbias += dy.sum(axis=0)
    return dy @ weight
