"""Fine-tuning jobs: list jobs, and read, cancel, delete, pause or resume one. `creation` makes a new job.

The things that belong to a job have their own folders: events, checkpoints, metrics and candidates. These
folders import from here.
"""
