"""A job's state and its result on their way to the store: checkpoints, adapters, model cards.

It runs in the trainer; uploads run in threads beside the training.
"""
