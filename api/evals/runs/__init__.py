"""Runs of evals: check and create them, watch, cancel and delete them."""
