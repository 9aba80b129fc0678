"""Sweeps: a job that trains one candidate for each combination of some values, and keeps the best."""
