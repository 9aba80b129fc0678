"""`tunery demo` trains a model from start to end as a user would, and shows what the training has changed.

It runs in the process of the command; `compare` runs in a process of its own.
"""
