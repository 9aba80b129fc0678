"""Portability: loads an adapter in other runtimes and compares their answers with our sampler's.

`python -m worker.tasks.portability TASK FENCE HOLDER`, which the worker starts, measures one adapter.
"""
