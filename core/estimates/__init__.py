"""Predicts what a job takes before a device is spent. It needs no torch, so the API can answer from it.

Both the API and the trainer use it.
"""
