"""Exports: other forms of a published adapter, for runtimes that do not load PEFT's files.

`python -m worker.tasks.export TASK FENCE HOLDER`, which the worker starts, makes one export.
"""
