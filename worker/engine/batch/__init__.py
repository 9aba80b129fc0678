"""How rows become micro-batches: they are grouped, packed on one token axis, and divided among lanes.

Nothing here computes with a model. The code runs on the training thread.
"""
