"""The trainer: it claims jobs, trains them together on one resident base model, and publishes their results.

`python -m worker.trainer.train.trainer OWNER`, which the supervisor starts. `train/loop.py` and
`train/job.py` have what it does, in the order in which it does it. The other folders have the parts:
`reading`, `candidates`, `devices`, `report` and `save`.
"""
