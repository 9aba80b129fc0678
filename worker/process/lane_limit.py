"""The limit of lanes. It is not in `worker/engine/batch/lanes.py`, because that module imports torch.

The supervising process needs the limit too: it gives a trainer one memory arena for each lane.
"""

MAX_LANES = 2  # each lane holds the activations of a micro-batch and a gradient for every adapter
