"""Paired timings of the package against its peers. ``python -m benchmarks --help`` lists what can be run."""
