"""Cutting a batch of sequences into segments of time, for layers that keep states instead of activations."""

from typing import NamedTuple

import numpy as np

Parts = tuple[np.ndarray, ...]  # the arrays of a state, second axis the batch


class Segment(NamedTuple):
    """Some consecutive steps, and the sequences that have not ended before them."""

    steps: slice
    rows: np.ndarray | None  # numbers of these sequences; None: all
    lengths: np.ndarray | None  # how many of the segment's steps each of them has; None: all

    def sequence(self, array: np.ndarray) -> np.ndarray:
        """Return this segment's share of an array (T, B, features)."""
        part = array[self.steps]
        return part if self.rows is None else part.take(self.rows, axis=1)

    def write_sequence(self, array: np.ndarray, part: np.ndarray) -> None:
        """Write this segment's share of an array (T, B, features)."""
        if self.rows is None:
            array[self.steps] = part
        else:
            array[self.steps, self.rows] = part

    def state(self, parts: Parts) -> Parts:
        """Return the states of this segment's sequences."""
        return parts if self.rows is None else tuple(part.take(self.rows, axis=1) for part in parts)

    def with_state(self, parts: Parts, new: Parts) -> Parts:
        """Return the states of all sequences after those of this segment's have changed; no argument is written."""
        if self.rows is None:
            return new
        result = tuple(part.copy() for part in parts)
        for part, values in zip(result, new, strict=True):
            part[:, self.rows] = values
        return result


def cut(T: int, size: int, lengths: np.ndarray | None) -> list[Segment]:
    """Cut T steps into segments of ``size``; the last may be shorter, and padding that nobody reaches has none."""
    segments = []
    for start in range(0, T, size):
        steps = slice(start, min(T, start + size))
        if lengths is None:
            segments.append(Segment(steps, None, None))
            continue
        rows = np.flatnonzero(lengths > start)
        if len(rows) == 0:
            break
        count = steps.stop - start
        own = np.minimum(lengths[rows] - start, count)
        segments.append(
            Segment(steps, None if len(rows) == len(lengths) else rows, None if (own == count).all() else own)
        )
    return segments
