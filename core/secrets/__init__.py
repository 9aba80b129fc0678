"""Stored secrets: how they are encrypted, and how they are encrypted again with a new key.

Only the API and the processes of the worker have the keys and can decrypt them.
"""
