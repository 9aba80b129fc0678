"""Builds the engine's kernels in C for the machine that runs them. Trainers and servers use it.

`numbers.h` has what the kernels share.
"""
