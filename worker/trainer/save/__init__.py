"""Saves a job's state and its result to the object store: checkpoints, adapters and model cards.

It runs in the trainer's first process. Uploads run in threads beside the training.
"""
