"""All that a job reports while it trains: its lease, progress, metrics, evaluations, samples and warnings.

It runs in the trainer, on the training thread and on one thread for each job's lease.
"""
