"""Trainers of others, each run in a virtual environment of its own, and what their scripts share."""
