"""Which workers to submit and to cancel, by what there is to do and which Slurm jobs there are.

The name of a worker's Slurm job is its seat: `tunery-FLEET-1` is the first of its fleet. So whoever looks at
the same Slurm jobs plans the same, and a second submission of a seat is seen as what it is.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cli.slurm.demand import Demand
from cli.slurm.fleets import Fleet

PREFIX = "tunery-"
OVER = {"COMPLETED", "CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL", "REVOKED"}
RUNS = {"RUNNING", "CONFIGURING", "SIGNALING", "RESIZING", "STAGE_OUT"}
ENDING = {"COMPLETING"}
# Reasons of Slurm jobs that wait and will begin by themselves. With any other one, a job waits for a person
WILL_BEGIN = re.compile(
    r"""None | Priority | Resources | Dependency | BeginTime | Cleaning | Prolog | Licenses | Reservation
    | ReqNodeNotAvail.* | Nodes\ required\ for\ job\ are.* | NodeDown | PartitionDown | PartitionInactive
    | DelayBoot | BurstBuffer(Resources|Staging) | QOSUsageThreshold | QOSJobLimit | QOSResourceLimit
    | AssociationJobLimit | AssociationResourceLimit | (QOS|Assoc)(Grp|Max)(?!\w*Per(Job|Node))\w*""",
    re.VERBOSE,
)


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
    def runs(self) -> bool:
        """Whether it is a worker now."""
        return self.state in RUNS

    @property
    def counts(self) -> bool:
        """Whether it is a worker, or will be one as soon as Slurm has room."""
        return self.runs or (self.waits and WILL_BEGIN.fullmatch(self.reason) is not None)

    @property
    def is_stuck(self) -> bool:
        """Whether a person must see to it.

        A worker that failed would fail again at once. So its seat is taken until Slurm forgets the job, after
        MinJobAge.
        """
        return not self.counts and self.state not in OVER | ENDING


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
    """The Slurm jobs to submit and to cancel now, and what was found of each fleet."""

    submissions: list[Submission] = field(default_factory=list)
    cancellations: list[int] = field(default_factory=list)
    wanted: dict[str, int] = field(default_factory=dict)
    stuck: dict[str, list[SlurmJob]] = field(default_factory=dict)


class _Seats:
    """The seats of a fleet that are not free."""

    def __init__(self, fleet: str, known: Sequence[SlurmJob]) -> None:
        jobs = _by_seat(fleet, known)
        self.kept = {seat: at[0] for seat, at in jobs.items()}
        self.second = [job.number for at in jobs.values() for job in at[1:] if job.waits]
        self.running = sum(job.runs for job in self.kept.values())
        counting = sorted(((seat, job) for seat, job in self.kept.items() if job.counts), reverse=True)
        self.waiting = [job.number for _, job in counting if job.waits]  # the last seats first


def plan(fleets: Mapping[str, Fleet], demand: Callable[[int], Demand], known: Sequence[SlurmJob]) -> Plan:
    """Return what to do. `demand` says what there is to do for a device class.

    Fleets of one device class share its jobs. Workers that run and train nothing take waiting jobs first.
    Then each fleet gets what those before it have no room for. Jobs that train ask for no worker, because one
    worker trains several, and it may be a worker that Slurm does not know.
    """
    made = Plan()
    seats = {name: _Seats(name, known) for name in fleets}
    asked = {fleet.devices: demand(fleet.devices) for fleet in fleets.values()}
    left, unseen = _besides_running_workers(fleets, seats, asked)
    workers = Counter[int]()  # of each device class, as far as fleets have been planned
    for name, fleet in fleets.items():
        workers[fleet.devices] += seats[name].running
    for name, fleet in fleets.items():
        of, devices = seats[name], fleet.devices
        for_tasks = int(fleet.tasks and asked[devices].tasks and not workers[devices])
        for_jobs = -(-left[devices] // fleet.target)
        # A worker that was requeued may still hold jobs, until its leases run out
        requeued = min(len(of.waiting), unseen[devices])
        missing = max(for_jobs, for_tasks, fleet.min - of.running, requeued)
        more = min(missing, fleet.max - len(of.kept) + len(of.waiting))  # besides those that run
        left[devices] = max(0, left[devices] - more * fleet.target)
        unseen[devices] = max(0, unseen[devices] - more)
        workers[devices] += more
        made.wanted[name] = of.running + more
        made.stuck[name] = [job for job in of.kept.values() if job.is_stuck]
        made.cancellations += of.second + of.waiting[: max(0, len(of.waiting) - more)]
        free = (seat for seat in range(1, fleet.max + 1) if seat not in of.kept)
        made.submissions += [
            Submission(name, seat, ends_when_idle=seat > fleet.min)
            for seat, _ in zip(free, range(more - len(of.waiting)), strict=False)
        ]
    return made


def _besides_running_workers(
    fleets: Mapping[str, Fleet], seats: Mapping[str, _Seats], asked: Mapping[int, Demand]
) -> tuple[dict[int, int], dict[int, int]]:
    """Return the jobs and the busy workers that running workers do not account for, of each device class."""
    left = {devices: of_class.jobs for devices, of_class in asked.items()}
    busy = {devices: of_class.busy for devices, of_class in asked.items()}
    for name, fleet in fleets.items():
        running = seats[name].running
        train = min(running, busy[fleet.devices])
        busy[fleet.devices] -= train
        left[fleet.devices] = max(0, left[fleet.devices] - (running - train) * fleet.target)
    return left, busy


def _by_seat(fleet: str, known: Sequence[SlurmJob]) -> dict[int, list[SlurmJob]]:
    """Return the jobs at each seat that is not free, the one to keep first."""
    found: dict[int, list[SlurmJob]] = defaultdict(list)
    for job in known:
        of_fleet, _, seat = job.name.removeprefix(PREFIX).rpartition("-")
        if of_fleet == fleet and seat.isdecimal() and job.state not in OVER:
            found[int(seat)].append(job)
    for jobs in found.values():
        jobs.sort(key=lambda job: (not job.counts, job.waits, job.number))
    return found
