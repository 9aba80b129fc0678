"""The tables of jobs and of what comes of them: runs, metrics, checkpoints, adapters, tasks, evals and more.

API and worker use them.
"""
