"""How much there is to do for workers of a device class, and how many of them train already."""

from importlib.resources import files
from typing import NamedTuple

from sqlalchemy import Connection, func, select, text

from core.tables import Claim, Job

WORK = text((files("cli.slurm") / "work.sql").read_text("utf-8"))


class Demand(NamedTuple):
    """The work of a device class, and the workers that do it."""

    jobs: int  # that wait and that the limits of their projects let run, or that have lost their worker
    tasks: bool  # whether a task waits or a webhook is due; False if jobs wait, which start workers too
    busy: int  # workers that hold a job, whoever has started them


def demand(connection: Connection, project_jobs: int | None, devices: int) -> Demand:
    """Return what there is to do now for a device class.

    A job whose lease has run out counts as one that waits: only a worker puts it back into the queue.
    """
    jobs = count_work(connection, project_jobs, devices, tasks=False, running=False)
    tasks = not jobs and count_work(connection, project_jobs, devices, tasks=True, running=False) > 0
    holds = Claim.expires_at > func.now()
    busy, lost = connection.execute(
        select(func.count(Claim.owner.distinct()).filter(holds), func.count().filter(~holds))
        .join(Job, Job.id == Claim.job_id)
        .where(Claim.ended_at.is_(None), Job.devices == devices)
    ).one()
    return Demand(jobs + lost, tasks, busy)


def count_work(
    connection: Connection, project_jobs: int | None, devices: int, *, tasks: bool, running: bool
) -> int:
    """Return how many jobs there are for a device class, by the statement that KEDA runs too.

    With `tasks`, it is at least 1 if tasks are open or webhooks are due. With `running`, what runs already
    counts as well.
    """
    asked = {"devices": devices, "project_jobs": project_jobs, "tasks": tasks, "running": running}
    return int(connection.scalar(WORK, asked) or 0)
