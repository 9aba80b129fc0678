"""The life of a task: who may create, cancel, take, renew and end it. API and worker call these functions.

A task is work on results that is not training, such as an export. One process at a time has it.
"""
