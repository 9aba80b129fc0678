"""The lanes in which a trainer computes on a CPU. The command line reads this too, so it imports nothing."""

MAX_LANES = 2
"""The most parts of a micro-batch that are computed at once. Each has a gradient for every adapter."""
