"""Estimates: what a job would take on some devices. Nothing is created."""
