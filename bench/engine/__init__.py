"""Measurements of the engine's parts, each a command of its own.

Kernels, products in 8 bits, the fast path, long rows, and how speed changes with the size of a cohort.
"""
