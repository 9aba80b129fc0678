"""Runs the GPU's code on a machine that has no GPU: on tensors without values, and through the compilers."""
