"""The rows of an eval's run, in its own process.

They are read from the data source, kept on the disk as items, and rendered as in training.
"""
