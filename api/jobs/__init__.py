"""Fine-tuning jobs: list, read, cancel, delete, pause and resume one. The folder `creation` makes a new job.

What belongs to a job has a folder each, which imports from here: events, checkpoints, metrics, candidates.
"""
