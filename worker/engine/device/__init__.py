"""The device that a process computes on: whether it works, and how much memory is free on it."""
