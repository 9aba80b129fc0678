"""Which workers to submit and to cancel, by what there is to do and which Slurm jobs there are.

The name of a worker's Slurm job is its seat: `tunery-FLEET-1` is the first of its fleet. So whoever looks at
the same Slurm jobs plans the same, and a second submission of a seat is seen as what it is.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cli.slurm.fleets import Fleet

PREFIX = "tunery-"
OVER = {"COMPLETED", "CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL", "REVOKED"}
# A worker that fails would fail again at once. So its seat is taken until Slurm forgets the job (MinJobAge)
FAILED = {"FAILED", "OUT_OF_MEMORY", "BOOT_FAIL"}
ENDING = {"COMPLETING"}
# Slurm does not start such a job until a person releases it
HELD = {
    "JobHeldAdmin",
    "JobHeldUser",
    "JobHoldMaxRequeue",
    "launch_failed_requeued_held",
    "launch failed requeued held",
}


class SlurmJob(NamedTuple):
    """A job as squeue shows it."""

    number: int
    name: str
    state: str
    reason: str

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state == "PENDING"

    @property
    def counts(self) -> bool:
        """Whether it is a worker, or will be one as soon as Slurm has room."""
        return self.state not in OVER | FAILED | ENDING and not (self.waits and self.reason in HELD)


class Submission(NamedTuple):
    """A worker to submit."""

    fleet: str
    seat: int
    ends_when_idle: bool

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.fleet}-{self.seat}"


@dataclass
class Plan:
    """What to do now, and what was found of each fleet."""

    submissions: list[Submission] = field(default_factory=list)
    cancellations: list[int] = field(default_factory=list)
    wanted: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)


def plan(fleets: Mapping[str, Fleet], work: Callable[[int, bool], int], known: Sequence[SlurmJob]) -> Plan:
    """Return what to do. `work` says how much there is for a device class, with tasks or without.

    Fleets of one device class share its work: the next one gets what those before it have no room for.
    """
    made = Plan()
    given: dict[int, int] = defaultdict(int)  # work of each device class that fleets have taken
    for name, fleet in fleets.items():
        seats = _seats(name, known)
        made.cancellations += _second_submissions(seats)
        kept = {seat: jobs[0] for seat, jobs in seats.items()}
        counting = {seat: job for seat, job in kept.items() if job.counts}
        room = max(0, fleet.max - (len(kept) - len(counting)))
        left = max(0, work(fleet.devices, fleet.tasks) - given[fleet.devices])
        wanted = min(room, max(fleet.min, -(-left // fleet.target)))
        given[fleet.devices] += wanted * fleet.target
        made.wanted[name] = wanted
        made.failed[name] = sum(job.state in FAILED for job in kept.values())
        missing = wanted - len(counting)
        free = (seat for seat in range(1, fleet.max + 1) if seat not in kept)
        made.submissions += [
            Submission(name, seat, ends_when_idle=seat > fleet.min)
            for seat, _ in zip(free, range(missing), strict=False)
        ]
        waiting = [job.number for _, job in sorted(counting.items(), reverse=True) if job.waits]
        made.cancellations += waiting[: max(0, -missing)]
    return made


def _seats(fleet: str, known: Sequence[SlurmJob]) -> dict[int, list[SlurmJob]]:
    """Return the jobs at each seat that is not free, the one to keep first."""
    found: dict[int, list[SlurmJob]] = defaultdict(list)
    for job in known:
        of_fleet, _, seat = job.name.removeprefix(PREFIX).rpartition("-")
        if of_fleet == fleet and seat.isdecimal() and job.state not in OVER:
            found[int(seat)].append(job)
    for jobs in found.values():
        jobs.sort(key=lambda job: (not job.counts, job.waits, job.number))
    return found


def _second_submissions(seats: Mapping[int, Sequence[SlurmJob]]) -> list[int]:
    return [job.number for jobs in seats.values() for job in jobs[1:] if job.waits]
