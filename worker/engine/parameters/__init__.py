"""What an adapter trains, as flat tensors, and the factors that follow from them.

The optimizer steps the flat tensors; the kernels read the factors.
"""
