"""The fair fight, stored: ``python -m benchmarks.fair_fight``."""
