"""Work beside the training, each task in a process of its own: one folder for each kind, and `frame` for all.

The supervisor starts each process on the CPU, at a low priority.
"""
