"""Which workers to submit and to cancel, by what there is to do and which Slurm jobs there are.

The name of a worker's Slurm job is its place: `tunery-POOL-1` is the first of its pool. So whoever looks at
the same Slurm jobs plans the same, and a second submission of a place is seen as what it is.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cli.slurm.pools import Pool

PREFIX = "tunery-"
OVER = {"COMPLETED", "CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL", "REVOKED"}
# A worker that fails would fail again at once. So its place is taken until Slurm forgets the job (MinJobAge)
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

    pool: str
    place: int
    ends_when_idle: bool

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.pool}-{self.place}"


@dataclass
class Plan:
    """What to do now, and what was found of each pool."""

    submissions: list[Submission] = field(default_factory=list)
    cancellations: list[int] = field(default_factory=list)
    wanted: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)


def plan(pools: Mapping[str, Pool], work: Callable[[int, bool], int], known: Sequence[SlurmJob]) -> Plan:
    """Return what to do. `work` says how much there is for a device class, with tasks or without.

    Pools of one device class share its work: the next one gets what those before it have no room for.
    """
    made = Plan()
    given: dict[int, int] = defaultdict(int)  # work of each device class that pools have taken
    for name, pool in pools.items():
        places = _places(name, known)
        made.cancellations += _second_submissions(places)
        kept = {place: jobs[0] for place, jobs in places.items()}
        counting = {place: job for place, job in kept.items() if job.counts}
        room = max(0, pool.max - (len(kept) - len(counting)))
        left = max(0, work(pool.devices, pool.tasks) - given[pool.devices])
        wanted = min(room, max(pool.min, -(-left // pool.target)))
        given[pool.devices] += wanted * pool.target
        made.wanted[name] = wanted
        made.failed[name] = sum(job.state in FAILED for job in kept.values())
        missing = wanted - len(counting)
        free = (place for place in range(1, pool.max + 1) if place not in kept)
        made.submissions += [
            Submission(name, place, ends_when_idle=place > pool.min)
            for place, _ in zip(free, range(missing), strict=False)
        ]
        waiting = [job.number for _, job in sorted(counting.items(), reverse=True) if job.waits]
        made.cancellations += waiting[: max(0, -missing)]
    return made


def _places(pool: str, known: Sequence[SlurmJob]) -> dict[int, list[SlurmJob]]:
    """Return the jobs at each place that is not free, the one to keep first."""
    found: dict[int, list[SlurmJob]] = defaultdict(list)
    for job in known:
        of_pool, _, place = job.name.removeprefix(PREFIX).rpartition("-")
        if of_pool == pool and place.isdecimal() and job.state not in OVER:
            found[int(place)].append(job)
    for jobs in found.values():
        jobs.sort(key=lambda job: (not job.counts, job.waits, job.number))
    return found


def _second_submissions(places: Mapping[int, Sequence[SlurmJob]]) -> list[int]:
    return [job.number for jobs in places.values() for job in jobs[1:] if job.waits]
