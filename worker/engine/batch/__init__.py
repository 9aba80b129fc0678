"""How rows become micro-batches: grouped, packed on one token axis, and divided among lanes.

Nothing here computes with a model. It runs on the training thread.
"""
