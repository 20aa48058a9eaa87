"""Characters of Python source, what is true at each of them, and how to ask the units of a network about it.

The protocol of chapter 2.7 and of ``benchmarks.looking_inside``, which trains the networks that the chapter opens.
Text comes from the installed Python's own standard library, so it differs a little from one Python to the next;
:func:`digest` says which text it was, and :func:`generated_source` makes text that is the same everywhere.
"""

from lstm_numba.teaching.looking_inside.generated import generated_source, generated_words
from lstm_numba.teaching.looking_inside.networks import (
    cell_states,
    character_model,
    connectivity,
    cut_out,
    parameter_count,
    run,
    traces,
    untrained,
)
from lstm_numba.teaching.looking_inside.scores import auc, auc_of_ranks, ranks
from lstm_numba.teaching.looking_inside.text import (
    HELD_OUT,
    PROPERTIES,
    SYMBOLS,
    TRAINING,
    decode,
    digest,
    encode,
    excerpt,
    marks,
    one_hot,
    read_modules,
)

__all__ = [
    "HELD_OUT",
    "PROPERTIES",
    "SYMBOLS",
    "TRAINING",
    "auc",
    "auc_of_ranks",
    "cell_states",
    "character_model",
    "connectivity",
    "cut_out",
    "decode",
    "digest",
    "encode",
    "excerpt",
    "generated_source",
    "generated_words",
    "marks",
    "one_hot",
    "parameter_count",
    "ranks",
    "read_modules",
    "run",
    "traces",
    "untrained",
]
