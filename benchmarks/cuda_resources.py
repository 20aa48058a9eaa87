"""Registers, spills and shared memory of the GPU kernels, from the compiler; no GPU is needed.

python -m benchmarks.cuda_resources          # prints a table
python -m benchmarks.cuda_resources --json   # and stores benchmarks/results/cuda_resources.json
"""

import argparse
import json
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from benchmarks.provenance import provenance
from lstm_numba.gpu.binding import Kernel
from lstm_numba.gpu.compiler import Target, resources, target_name
from lstm_numba.gpu.kernels import dense, steps
from lstm_numba.gpu.plan import H100, Chip, plan

RESULT = Path(__file__).parent / "results" / "cuda_resources.json"

# Bytes of stack per thread that a kernel may use: a few addresses, but never its weights.
SPILL_LIMIT = 128

A100, RTX_3050, RTX_4090 = Chip((8, 0), 108), Chip((8, 6), 20), Chip((8, 9), 128)
SM_75: Target = (7, 5)
SM_80: Target = (8, 0)
SM_86: Target = (8, 6)
SM_89: Target = (8, 9)
SM_90A: Target = (9, 0, "a")


def _both(cell: str, H: int, B: int, precision: str, chip: Chip, target: Target) -> list[tuple[Kernel, Target]]:
    chosen = plan(cell, H, B, "float32", chip, precision)
    return [(chosen.forward, target), (chosen.backward, target)]


# What the tests compile: every family, cell and precision at least once, on the chips that it is for.
CHECKED: list[tuple[Kernel, Target]] = [
    *_both("lstm", 64, 8, "float32", H100, SM_90A),
    *_both("lstm", 64, 8, "tf32", A100, SM_80),
    *_both("lstm", 128, 8, "tf32", H100, SM_90A),
    *_both("lstm", 256, 8, "float32", H100, SM_90A),
    *_both("lstm", 256, 8, "tf32", A100, SM_80),
    *_both("lstm", 512, 8, "tf32", H100, SM_90A),
    *_both("lstm", 1024, 8, "float32", H100, SM_90A),
    *_both("gru", 128, 8, "float32", H100, SM_90A),
    *_both("lstm", 64, 8, "bfloat16", A100, SM_80),
    *_both("lstm", 256, 8, "bfloat16", H100, SM_90A),
    *_both("lstm", 768, 16, "bfloat16", H100, SM_90A),
    *_both("rnn_tanh", 64, 8, "tf32", H100, SM_90A),
    *_both("lstm", 256, 8, "float32", RTX_3050, SM_86),
    *_both("gru", 128, 8, "bfloat16", RTX_4090, SM_89),
    (steps.forward("lstm", "float32"), SM_75),
    (steps.backward("lstm", "float32"), SM_75),
    (steps.forward("lstm", "float32"), SM_80),
    (steps.backward("gru", "float64"), SM_90A),
    (dense.matmul("float32"), SM_80),
]

# The table adds the sizes in between and larger batches, and what an A100 runs. Its grid kernels of 384 and more units
# spill more than the tests allow for an H100; chapter 5.4 says by how much.
TABLE: list[tuple[Kernel, Target]] = [
    *CHECKED,
    *(row for precision in ("tf32", "float32", "bfloat16") for H in (64, 128, 192, 256, 384, 512, 768, 1024)
      for B in (8, 2048) for row in _both("lstm", H, B, precision, H100, SM_90A)),
    *(row for H in (128, 256, 512) for row in _both("gru", H, 8, "tf32", H100, SM_90A)),
    *(row for precision in ("tf32", "float32", "bfloat16") for H in (64, 128, 256, 384, 512, 768)
      for row in _both("lstm", H, 8, precision, A100, SM_80)),
]  # fmt: skip


def label(kernel: Kernel, target: Target) -> str:
    """One word for a kernel on a chip."""
    return f"{kernel.name}-{target_name(target)}"


def main() -> None:
    """Compile everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help=f"store {RESULT.name}")
    store = parser.parse_args().json
    rows = []
    print(
        f"{'kernel':<46} {'chip':<7} {'threads':>7} {'registers':>9} {'stack':>6} {'spilled':>8} {'in loops':>8}"
        f" {'shared':>7}"
    )
    for kernel, target in dict.fromkeys(TABLE):
        found = resources(kernel, target)
        rows.append(asdict(found))
        print(
            f"{found.kernel:<46} {found.target:<7} {found.threads:7} {found.registers:9} {found.stack_bytes:6}"
            f" {found.spill_stores:8} {found.looped_spill_loads:8} {found.shared_bytes:7}",
            flush=True,
        )
    if store:
        source = provenance(seed=0)  # nothing is random here
        source["versions"] |= {name: metadata.version(name) for name in ("numba-cuda", "cuda-toolkit")}
        RESULT.write_text(json.dumps({"provenance": source, "kernels": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
