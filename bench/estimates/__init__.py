"""Compares estimates of jobs with what the same jobs take on this CPU: `python -m bench.estimates`."""
