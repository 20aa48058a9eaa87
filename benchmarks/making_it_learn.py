"""The studies of chapter 2.5 (start, clipping, truncation, dropout, learning rate) with more seeds than its page has.

Results are written after every run, and a run that was stopped goes on where it was:
``python -m benchmarks.making_it_learn --out FILE``.
"""

import argparse
import json
from pathlib import Path

from benchmarks.provenance import provenance
from lstm_numba.teaching.learning import STUDIES, Study

OUT = Path(__file__).parent / "results" / "making_it_learn.json"


def run(out: Path, seeds: int, studies: dict[str, Study]) -> dict:
    """Compute what is missing in ``out`` and return everything.

    Parameters
    ----------
    out
        Where the results are written, and read from if a run was stopped.
    seeds
        Number of runs per condition.
    studies
        The studies by name.
    """
    result = _resumed(out, seeds)
    for seed in range(seeds):  # the seed is the outer loop: a run that is stopped early has few seeds, but all studies
        for name, study in studies.items():
            for condition, settings in study.conditions.items():
                runs = result["studies"].setdefault(name, {}).setdefault(condition, [])
                if len(runs) == seed:
                    runs.append(_rounded(study.measure(**settings, seed=seed)))
            _write(out, result)
    return result


def _rounded(measured: dict) -> dict:
    return {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in measured.items()}


def _resumed(out: Path, seeds: int) -> dict:
    """What an earlier run of the same sources left behind, or a new start."""
    fresh = {"provenance": provenance(seed=0), "seeds": seeds, "studies": {}}
    if not out.is_file():
        return fresh
    old = json.loads(out.read_text(encoding="utf-8"))
    same = ("commit", "sources_modified", "versions", "processor")
    if any(old["provenance"][key] != fresh["provenance"][key] for key in same):
        return fresh
    return old | {"seeds": seeds}


def _write(out: Path, result: dict) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".tmp")  # a run that is killed while writing must not spoil what is there
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(out)


def main() -> None:
    """Parse the arguments, run, and print how many runs there are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.making_it_learn",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where to write the results")
    parser.add_argument("--seeds", type=int, default=20, help="runs per condition, at least 5")
    options = parser.parse_args()
    for name, conditions in run(options.out, options.seeds, STUDIES)["studies"].items():
        print(f"{name:<16}{len(conditions):>4} conditions {sum(map(len, conditions.values())):>5} runs")


if __name__ == "__main__":
    main()
