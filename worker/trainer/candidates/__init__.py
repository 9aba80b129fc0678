"""The adapters that one job trains side by side, and the choice of the best one.

It runs in the trainer's first process. A job with a single adapter goes through the same code.
"""
