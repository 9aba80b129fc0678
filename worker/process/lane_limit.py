"""Apart from `lanes.py`, which imports torch: whoever starts a trainer asks for an arena for each lane."""

MAX_LANES = 2  # each holds the activations of a micro-batch, and every adapter's gradient
