"""The tables of jobs and of what comes of them: claims, metrics, checkpoints, adapters, tasks, evals …

API and worker use them.
"""
