"""Compares the memory model (`core/estimates`) with torch's accounting of the engine, and lists what fits.

`python -m bench.memory` runs it.
"""
