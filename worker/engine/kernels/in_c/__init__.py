"""Kernels of a forward and backward pass in C, for CPUs with a compiler.

They are attention, norm, gate and cross-entropy. Trainers and servers use them.
"""
