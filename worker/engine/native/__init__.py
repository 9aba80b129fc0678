"""Builds the engine's parts in C for the machine that runs them. Trainers and servers use it.

`numbers.h` has what the parts share.
"""
