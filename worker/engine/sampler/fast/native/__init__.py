"""The sampler's step on a CPU, in C: built with the machine's compiler when a sampler begins.

It runs in the processes that sample. Where there is no compiler, `ragged.py` computes the same with PyTorch.
"""
