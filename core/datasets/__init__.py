"""Datasets: the rules for the rows of each kind, and the check of a file while it is uploaded.

The API checks uploads with it, and the worker reads rows with it. Nothing here imports torch or a tokenizer.
"""
