"""Says why a trainer ended, in a sentence for its jobs and in a label for Prometheus."""

import signal
from typing import Literal, NamedTuple, get_args

from core.jobs import lifecycle
from worker.process.exit_statuses import DEVICE_BROKEN, HUNG

Reason = Literal[
    "lease_ran_out",
    "database_away",
    "killed",
    "memory_ran_out",
    "device_failed",
    "hung",
    "ended",
    "not_started",
]
REASONS: tuple[Reason, ...] = get_args(Reason)


class Death(NamedTuple):
    """Why a trainer ended, in a sentence and for Prometheus.

    A job that ends too many trainers fails with the error of the `code`.
    """

    sentence: str
    reason: Reason
    code: str = lifecycle.LOST


def describe_exit(code: int, *, memory_ran_out: bool = False) -> Death:
    """Return what a trainer's exit status says, which is a `Popen.returncode`.

    `memory_ran_out` says whether the system has just ended a process for that reason.
    """
    if code == -signal.SIGKILL and memory_ran_out:
        return Death(
            "The machine's memory ran out, and the system killed the trainer (SIGKILL)",
            "memory_ran_out",
            lifecycle.OUT_OF_MEMORY,
        )
    if code == -signal.SIGKILL:
        return Death(
            "The trainer was killed (SIGKILL): by hand, or by the system because memory ran out", "killed"
        )
    if code == DEVICE_BROKEN:
        return Death("The trainer's device failed", "device_failed")
    if code == HUNG:
        return Death("The trainer hung while it computed", "hung")
    if code < 0:
        return Death(f"The trainer died of {signal.Signals(-code).name}", "ended")
    return Death(f"The trainer ended with status {code}", "ended")
