"""Measures where an adapter of every method loads and answers alike: `python -m bench.portability`."""
