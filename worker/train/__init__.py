"""The trainer process: it claims jobs, trains them together as a cohort, and publishes their results.

`trainer` is its entry point; each job that it holds is a `TrainingJob`.
"""
