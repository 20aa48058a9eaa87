"""How well the value of a unit tells apart what is true from what is not."""

import numpy as np


def auc(values: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each column: how well its value alone tells the labelled rows from the others.

    It is the probability that a random labelled row has a larger value than a random other row, ties counting one
    half (the statistic of Mann and Whitney). 0.5 is chance; 1 and 0 are perfect, with opposite signs.

    Parameters
    ----------
    values : ndarray (N, H)
        One column for each unit.
    label : ndarray of bool (N,)
        Both values must occur.

    Returns
    -------
    ndarray (H,)
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the shapes do not fit or all labels are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.looking_inside import auc
    >>> auc(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]), np.array([False, False, True]))
    array([1., 0.])
    """
    return auc_of_ranks(ranks(values), label)


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value within its column, 1 for the smallest, ties sharing their mean rank.

    Parameters
    ----------
    values : ndarray (N, H)
        One column for each unit.

    Returns
    -------
    ndarray (N, H)
        The ranks; sort once, then ask about many labels with :func:`auc_of_ranks`.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.looking_inside import ranks
    >>> ranks(np.array([[5.0], [7.0], [5.0]]))[:, 0]
    array([1.5, 3. , 1.5])
    """
    if values.ndim != 2:
        raise ValueError(f"values: expected shape (N, H), got {values.shape}")
    result = np.empty(values.shape)
    for k in range(values.shape[1]):
        _, where, counts = np.unique(values[:, k], return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        result[:, k] = (last - (counts - 1) / 2)[where]
    return result


def auc_of_ranks(rank: np.ndarray, label: np.ndarray) -> np.ndarray:
    """:func:`auc` from :func:`ranks` of the same values.

    Parameters
    ----------
    rank : ndarray (N, H)
        From :func:`ranks`.
    label : ndarray of bool (N,)
        Both values must occur.

    Returns
    -------
    ndarray (H,)
        Between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_numba.teaching.looking_inside import auc_of_ranks
    >>> auc_of_ranks(np.array([[1.0], [2.0], [3.0]]), np.array([True, False, True]))
    array([0.5])
    """
    label = np.asarray(label, dtype=bool)
    if label.shape != rank.shape[:1]:
        raise ValueError(f"label: expected shape ({len(rank)},) like the rows of values, got {label.shape}")
    positive = int(label.sum())
    negative = len(label) - positive
    if positive == 0 or negative == 0:
        raise ValueError(f"label: expected both True and False, got {positive} True among {len(label)}")
    return (label @ rank - positive * (positive + 1) / 2) / (positive * negative)
