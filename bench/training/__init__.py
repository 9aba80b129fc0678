"""Measurements of training: the rows, the trainers that take part, and runs of one job or of many jobs.

`running` starts each run as a process of its own. Modules that end with a `main` are such processes.
"""
