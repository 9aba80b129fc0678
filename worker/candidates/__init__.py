"""The adapters that one job trains side by side, and the choice of the best one.

A job with a single adapter goes through the same code. It runs in the trainer.
"""
