"""The experiments of Hochreiter and Schmidhuber (1997), row by row: what is run, what was published, how it is judged.

Chapter 2.6 runs the fast rows, ``python -m benchmarks.papers`` all of them.
"""

from lstm_numba.teaching.rerun_1997.judging import microseconds_per_step, summary, verdict, verdicts, wilson
from lstm_numba.teaching.rerun_1997.row import FEWEST_TRIALS, TABLES, Row
from lstm_numba.teaching.rerun_1997.rows import ROWS, run_trial, trials_of
from lstm_numba.teaching.rerun_1997.runners import trained_temporal_order
from lstm_numba.teaching.rerun_1997.tables import deviations, show_table, table_rows

__all__ = [
    "FEWEST_TRIALS",
    "ROWS",
    "TABLES",
    "Row",
    "deviations",
    "microseconds_per_step",
    "run_trial",
    "show_table",
    "summary",
    "table_rows",
    "trained_temporal_order",
    "trials_of",
    "verdict",
    "verdicts",
    "wilson",
]
