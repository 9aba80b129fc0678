"""How many seconds a process may take to stop before the process around it kills it, from the inside out.

Each process waits a little longer than the process inside of it may take.
"""

MARGIN = 5

TRAINER = 50  # to save checkpoints and give the jobs back; then the trainer ends itself, even if a part hangs
GROUP = TRAINER + MARGIN  # torchrun waits for the processes of a trainer
SUPERVISOR = GROUP + MARGIN  # the supervisor waits for its trainer
WORKER = SUPERVISOR + MARGIN  # `tunery up` waits for a worker; a container's `stop_grace_period` is longer

STREAMS = 20  # a server's answers that have begun may go on for so long
SERVER = STREAMS + 2 * MARGIN  # `tunery up` waits for a server; a container's `stop_grace_period` is longer
