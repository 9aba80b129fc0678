"""The kernels: pieces of a forward and backward pass that the engine computes itself.

Each has a plain twin: a few obvious lines, left to autograd, that tests compare it with. They run on the
training thread, and on the lanes' threads.
"""
