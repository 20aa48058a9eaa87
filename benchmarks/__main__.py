"""Command line of the benchmarks: ``python -m benchmarks``."""

import argparse
import sys
from importlib import import_module

# name -> module with add_arguments(parser) and main(options) -> number of failures
COMMANDS = {
    "attention": "causal attention, the multi-head layer and a Transformer block against PyTorch",
    "recurrent": "layers against PyTorch, ONNX Runtime and NumPy, over all shapes",
    "memory": "peak memory of one call, in a process of its own",
    "checkpointing": "memory and time of training with segments of the sequence recomputed",
    "where_time_goes": "matrix products, gates and the rest, and what could be won at most",
    "overlap": "stacked layers at the same time against one after the other",
    "streaming": "one time step at a time",
    "training_loop": "a small model trained end to end, optimiser included",
    "torch_adapter": "the PyTorch modules against the layers they wrap and torch.nn",
    "cold_start": "import, first compile and first call in new processes",
    "compile_profile": "where the seconds of a first call with an empty kernel cache go",
    "ladder": "the rungs from Python loops to the register tile",
    "stress": "random shapes, threads and layers, compared with the reference",
    "report": "the stored results as Markdown tables, with the targets",
    "plots": "roofline, heat maps and ladder from the stored results",
}
SUITE = (
    "recurrent",
    "where_time_goes",
    "memory",
    "checkpointing",
    "streaming",
    "training_loop",
    "cold_start",
    "compile_profile",
    "ladder",
)


def parser_of_everything() -> argparse.ArgumentParser:
    """Build the parser; the modules that do the work are imported here, so that the help shows their options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Without a command, the whole suite runs: {', '.join(SUITE)}, and then the report.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    everything = commands.add_parser("all", help="the whole suite and the report")
    everything.add_argument("--quick", action="store_true", help="small samples of everything, in a few minutes")
    for name, text in COMMANDS.items():
        module = import_module(f"benchmarks.{name}")
        command = commands.add_parser(
            name.replace("_", "-"),
            help=text,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.main)
    return parser


def run_everything(parser: argparse.ArgumentParser, *, quick: bool) -> int:
    """Run the suite and print the report."""
    failures = 0
    for name in SUITE:
        print(f"\n== {name.replace('_', ' ')}: {COMMANDS[name]}", flush=True)
        options = parser.parse_args([name.replace("_", "-"), *(["--quick"] if quick else [])])
        failures += options.run(options)
    print()
    options = parser.parse_args(["report", *(["--quick"] if quick else [])])
    options.run(options)
    return failures


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run."""
    parser = parser_of_everything()
    options = parser.parse_args(arguments)
    if options.command in (None, "all"):
        return run_everything(parser, quick=getattr(options, "quick", False))
    return options.run(options)


if __name__ == "__main__":
    sys.exit(min(1, main()))
