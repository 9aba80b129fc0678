"""Work beside the training, each task in a process of its own: a folder for a program, and `frame` for all.

The supervisor starts each process on the CPU, behind the training. `datasets` does two kinds of work: checks
and conversions. The process of `importing` starts another one, which reads the file. `offered_base.py` finds
the base model of a task.
"""
