"""The trained values of an adapter, as flat tensors, and the factors that follow from them.

The optimizer updates the flat tensors, and the kernels compute with the factors, in
trainers and servers.
"""
