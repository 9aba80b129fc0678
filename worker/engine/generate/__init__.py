"""Text from the model that is being trained: the answers that an evaluation shows.

It runs in the first process, on the training thread.
"""
