"""The tables of jobs and of what comes of them: runs, candidates, metrics, checkpoints, adapters, tasks.

API and worker use them.
"""
