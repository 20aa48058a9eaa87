"""Published experiments, run again: ``python -m benchmarks.papers``."""
