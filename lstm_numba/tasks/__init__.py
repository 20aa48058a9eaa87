"""Sequence tasks with a source, a baseline and a success criterion: what recurrent networks are tested on.

For each task there is a generator ``name(rng, B, ...)`` that returns a :class:`Batch`, the loss of the best trivial
answer ``name_baseline_loss(...)``, and a criterion ``name_solved(prediction, batch)`` that says for each sequence
whether it was solved. Random numbers come from the generator that is passed in, so a seed gives the same data
everywhere. Arrays are time-major, ``(T, B, ...)``.
"""

from lstm_numba.tasks.associative import associative_recall, associative_recall_baseline_loss, associative_recall_solved
from lstm_numba.tasks.batch import Batch
from lstm_numba.tasks.copying import (
    copy_memory,
    copy_memory_baseline_loss,
    copy_memory_solved,
    selective_copy,
    selective_copy_baseline_loss,
    selective_copy_solved,
)
from lstm_numba.tasks.counting import counting, counting_baseline_loss, counting_solved
from lstm_numba.tasks.latching import two_sequences, two_sequences_baseline_loss, two_sequences_solved
from lstm_numba.tasks.long_lags import long_lag, long_lag_baseline_loss, long_lag_solved
from lstm_numba.tasks.marked_pairs import (
    adding,
    adding_baseline_loss,
    adding_solved,
    multiplication,
    multiplication_baseline_loss,
    multiplication_solved,
)
from lstm_numba.tasks.parities import parity, parity_baseline_loss, parity_solved
from lstm_numba.tasks.reber import (
    continual_reber,
    continual_reber_run,
    embedded_reber,
    reber_baseline_loss,
    reber_solved,
    reber_strings,
)
from lstm_numba.tasks.swapping import swapped_cups, swapped_cups_baseline_loss, swapped_cups_solved
from lstm_numba.tasks.temporal import temporal_order, temporal_order_baseline_loss, temporal_order_solved

__all__ = [
    "Batch",
    "adding",
    "adding_baseline_loss",
    "adding_solved",
    "associative_recall",
    "associative_recall_baseline_loss",
    "associative_recall_solved",
    "continual_reber",
    "continual_reber_run",
    "copy_memory",
    "copy_memory_baseline_loss",
    "copy_memory_solved",
    "counting",
    "counting_baseline_loss",
    "counting_solved",
    "embedded_reber",
    "long_lag",
    "long_lag_baseline_loss",
    "long_lag_solved",
    "multiplication",
    "multiplication_baseline_loss",
    "multiplication_solved",
    "parity",
    "parity_baseline_loss",
    "parity_solved",
    "reber_baseline_loss",
    "reber_solved",
    "reber_strings",
    "selective_copy",
    "selective_copy_baseline_loss",
    "selective_copy_solved",
    "swapped_cups",
    "swapped_cups_baseline_loss",
    "swapped_cups_solved",
    "temporal_order",
    "temporal_order_baseline_loss",
    "temporal_order_solved",
    "two_sequences",
    "two_sequences_baseline_loss",
    "two_sequences_solved",
]
