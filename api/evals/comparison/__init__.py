"""Compares two runs of an eval on the same rows: what the criteria say, and which rows changed."""
