"""Composes adapters of two tasks by every method, and scores them on both: `python -m bench.composing`."""
