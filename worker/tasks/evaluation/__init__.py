"""Evals: judges one model on the rows of a data source, for one run of an eval.

`python -m worker.tasks.evaluation TASK FENCE HOLDER`, which the worker starts, does one run. It loads no
model, but asks servers.
"""
