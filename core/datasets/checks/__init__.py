"""The check of a dataset's content: what makes a file of correct rows a bad teacher.

A task's process runs it over a file's rows, one at a time. Nothing here imports torch or a tokenizer.
"""
