"""The trainer: it claims jobs, trains them together as a cohort, and publishes their results.

It runs in the trainer process, whose entry point is `trainer`; of several processes, in the first one.
"""
