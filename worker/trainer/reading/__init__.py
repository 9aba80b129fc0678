"""Reads a job's files: threads fetch them, the render process turns their lines into rows of tokens.

It runs in the trainer's first process. It also makes the files that a job holds rows out into.
"""
