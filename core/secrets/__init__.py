"""Secrets at rest: how they are encrypted, and how they are encrypted again under a new key.

The API and the worker's processes decrypt them; nobody else has the keys.
"""
