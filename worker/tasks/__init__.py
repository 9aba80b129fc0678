"""Work beside the training, each task in a process of its own: a folder for a program, and `frame` for all.

The supervisor starts each process on the CPU, at a low priority. `datasets` does two kinds of work: checks
and conversions. `importing` is no kind of work: a server starts its process.
"""
