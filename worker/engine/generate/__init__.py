"""Text from the model that is being trained, for the answers that an evaluation shows.

It runs on the training thread.
"""
