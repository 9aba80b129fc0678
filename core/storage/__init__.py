"""The object store, and folders of files in it, each file with its hash.

The API streams files through it; the worker writes checkpoints, adapters and results to it.
"""
