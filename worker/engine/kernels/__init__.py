"""The parts of a forward and backward pass that the engine computes itself, each with a plain twin in tests.

They run on the training thread and on its lanes.
"""
