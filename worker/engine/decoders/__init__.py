"""The paths through a base model: its forward pass over the token axis, with the adapters of a cohort.

They run in trainers and in servers, on the weights that `worker.engine.base` has loaded.
"""
