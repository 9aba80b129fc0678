"""Seconds from the order to stop until whoever gave it kills what is left, from the inside to the outside.

Each waits a little longer than what it waits for takes at most.
"""

MARGIN = 5

TRAINER = 50  # to write checkpoints and give the jobs back; then it ends itself, whatever hangs
GROUP = TRAINER + MARGIN  # torchrun's, for the processes of a trainer
SUPERVISOR = GROUP + MARGIN  # for its trainer
WORKER = SUPERVISOR + MARGIN  # whoever started a worker; a container's `stop_grace_period` is longer still
