"""The object store, and folders of files in it with the hash of each file.

The API streams files through it; the worker writes checkpoints, adapters and results to it.
"""
