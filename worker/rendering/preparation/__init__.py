"""Makes a job's rows of its training file: the rows to hold out, and variants of the others.

The render process does this once for a job, before the rows are rendered.
"""
