"""Reports jobs to experiment trackers, from the metrics in the database and apart from the training.

The supervisor starts a process for each job and tracker.
"""
