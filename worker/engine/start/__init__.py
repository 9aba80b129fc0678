"""First values of an adapter that need more than its own layers: the source weights, or the job's rows.

It runs once when a job is attached, on the training thread.
"""
