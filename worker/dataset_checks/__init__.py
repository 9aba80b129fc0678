"""The check of a dataset's content: what makes a file of correct rows teach the wrong things.

A task's process and the render process run it over a file's rows, one at a time. It imports neither torch nor
a tokenizer.
"""
