"""All that a job reports while it trains: progress, metrics, evaluations, samples, warnings; and its lease.

It runs in the trainer's first process: on the training thread, and on one more thread for each job's lease.
"""
