"""Command line: ``python -m benchmarks.papers list``, ``... run hs97-6a --trials 20 --out FILE``, ``... study``.

``... check`` runs the first stored trial of each row of Tables 1 to 9 again and says which fields differ.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmarks.papers.check import check
from benchmarks.papers.study import RUNNABLE, Store, run_all, study
from lstm_numba.teaching.rerun_1997 import ROWS, TABLES, summary, trials_of, verdict

OUT = Path(__file__).parents[1] / "results" / "papers_1997.json"


def list_rows() -> None:
    """Print every row with its published value and rough cost."""
    for name, row in (ROWS | {k: v for k, v in RUNNABLE.items() if k not in ROWS}).items():
        what = f"Table {row.table} ({TABLES[row.table]}): {row.label}" if name in ROWS else row.label
        extra = f" [{row.reading}]" if row.reading else ""
        runs = "quoted only" if row.run is None else f"about {row.cost:.0f} s a trial"
        print(f"{name:24} {what}{extra}; published {row.published or 'nothing'}; {runs}")


def rows_starting_with(starts: str) -> list[str]:
    """Names of rows that start with one of several words, separated by commas."""
    return [name for name in RUNNABLE if name.startswith(tuple(starts.split(",")))]


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.papers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print all rows")
    one = commands.add_parser("run", help="run one row")
    one.add_argument("row", choices=sorted(RUNNABLE), metavar="ROW", help="a name from the list")
    one.add_argument("--trials", type=int, default=10)
    one.add_argument("--dask", metavar="ADDRESS", help="spread the trials over a Dask cluster")
    every = commands.add_parser("study", help="run all rows, cheap ones first")
    every.add_argument("--rows", default="", metavar="START,...", help="only rows whose name starts so")
    every.add_argument("--trials", type=int, metavar="N", help="at most N trials a row; default: as many as the paper")
    every.add_argument("--minutes", type=float, default=60.0, help="start no trial after this time")
    compare = commands.add_parser("check", help="run stored trials of Tables 1 to 9 again, cheap ones first")
    compare.add_argument("--rows", default="", metavar="START,...", help="only rows whose name starts so")
    compare.add_argument("--trials", type=int, default=1, help="how many of each row")
    compare.add_argument("--minutes", type=float, default=60.0, help="start no trial after this time")
    compare.add_argument("--results", type=Path, default=OUT.parent, help="folder of the stored trials")
    for command, out in ((one, None), (every, OUT)):
        command.add_argument("--seed", type=int, default=0, help="seed of the first trial")
        command.add_argument(
            "--out", type=Path, default=out, required=out is None, help="JSON file; lines lie beside it"
        )
        command.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    options = parser.parse_args(arguments)
    if options.command == "list":
        list_rows()
        return
    if options.command == "check":
        names = [name for name in rows_starting_with(options.rows) if name in ROWS]
        if not check(names, options.results, options.trials, options.minutes):
            raise SystemExit(1)
        return
    command = "python -m benchmarks.papers " + " ".join(sys.argv[1:] if arguments is None else arguments)
    chosen = [options.row] if options.command == "run" else rows_starting_with(options.rows)
    store = Store(options.out, command, options.seed, chosen)
    if options.command == "study":
        study(store, chosen, options.minutes, options.jobs, options.seed, options.trials)
    else:
        seeds = store.missing(options.row, range(options.seed, options.seed + options.trials))
        for result in run_all([(options.row, seed) for seed in seeds], options.jobs, options.dask):
            store.add(result)
        store.assemble()
    for name in dict.fromkeys([*ROWS, *RUNNABLE]) if options.command == "study" else [options.row]:
        trials = trials_of(ROWS[name], store.rows) if name in ROWS else store.rows.get(name, [])
        if trials:
            found = summary(trials)
            judged = verdict(ROWS[name], trials) if name in ROWS else ""
            print(f"{name:24} solved {found['solved']}/{found['trials']} median {found['median']} {judged}")


if __name__ == "__main__":
    main()
