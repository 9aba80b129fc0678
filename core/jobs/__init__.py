"""The life of a job, shared by the API and the worker: its specification, its states, its place in the queue.

Both sides run this code. `lifecycle` alone changes a job's status.
"""
