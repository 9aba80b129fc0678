"""Sweeps: jobs that train one candidate for each combination of values, and keep the best candidate."""
