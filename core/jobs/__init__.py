"""The life of a job: its specification, its status, its position in the queue, its events.

API and worker both run this code. `lifecycle` alone changes a job's status.
"""
