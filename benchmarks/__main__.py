"""Command line of the benchmarks: ``python -m benchmarks``."""

import argparse
from pathlib import Path

from benchmarks import lstm_cpu

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Parse the arguments, run, and print the geometric means."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=lstm_cpu.__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "lstm_cpu.json", help="where to write the results")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch and of the kernels")
    parser.add_argument("--rounds", type=int, default=9, help="samples per implementation and shape")
    parser.add_argument("--seconds", type=float, default=0.03, help="length of one sample")
    parser.add_argument("--seed", type=int, default=0, help="seed of the inputs")
    options = vars(parser.parse_args())
    result = lstm_cpu.run(options.pop("out"), **options)
    for training, name in ((False, "inference"), (True, "training")):
        print(f"{name}: geometric mean of the speed-up over PyTorch {lstm_cpu.geometric_mean(result, training):.2f}")


if __name__ == "__main__":
    main()
