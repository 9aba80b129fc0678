"""Compositions: make one LoRA adapter of several, with given weights or with weights that a search finds.

`python -m worker.tasks.composition TASK FENCE HOLDER`, which the worker starts, makes one composition.
"""
