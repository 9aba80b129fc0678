"""Kernels of a forward and backward pass in C, for CPUs with a compiler.

They are attention, norm, gate, convolution, recurrences with a state, and cross-entropy. Trainers and servers
use them.
"""
