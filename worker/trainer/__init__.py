"""The trainer: it claims jobs, trains them together on one resident base model, and publishes their results.

`python -m worker.trainer.train.trainer OWNER`, which the supervisor starts. `train` has its loop, and the
other folders the parts of it: `reading`, `candidates`, `devices`, `report` and `save`.
"""
