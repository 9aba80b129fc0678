"""The order of the waiting jobs: fair between projects, oldest first, within the limit of each project.

The project with the fewest running jobs goes first. Among its jobs, and among projects with equally many
running jobs, the oldest job goes first. A project at its limit waits. The limit is the project's quota, or
`project_jobs` if it has none. None means no limit.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Integer,
    Select,
    Subquery,
    Text,
    all_,
    bindparam,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session

from core.tables import Job, Project

CLAIM_LOCK = 0x74756E657279  # the number of our advisory lock in the database


def first_job(
    session: Session, project_jobs: int | None, devices: int, passed_over: Collection[str] = ()
) -> str | None:
    """Return the id of the next job that a worker of a device class may claim, or None.

    The ids in `passed_over` are skipped.
    """
    return session.scalar(FIRST_JOB, _asked(project_jobs, devices, passed_over))


def _first_job() -> Select[str]:
    """Return the query for the id of the next job of all.

    It reads a few rows for each project with waiting jobs, however many jobs wait, because every claim waits
    for it.
    """
    devices = bindparam("devices", type_=Integer)
    waiting, running = _projects_with_waiting_jobs(devices), _running_jobs()
    first = (
        select(Job.id)
        .where(Job.status == "queued", Job.devices == devices, Job.project_id == waiting.c.project_id)
        .where(Job.id != all_(bindparam("passed_over", type_=ARRAY(Text))))
        .order_by(Job.id)
        .limit(1)
        .lateral("first")
    )
    of_project = func.coalesce(running.c.jobs, 0)
    cap = func.coalesce(Project.max_running_jobs, bindparam("project_jobs", type_=Integer))
    return (
        select(first.c.id)
        .select_from(waiting)
        .join(Project, Project.id == waiting.c.project_id)
        .outerjoin(running, running.c.project_id == waiting.c.project_id)
        .join(first, true())
        .where(or_(cap.is_(None), of_project < cap))
        .order_by(of_project, first.c.id)
        .limit(1)
    )


def positions() -> Select[tuple[str, int]]:
    """Return the query for the id and position of each queued job; 1 is the next job of a device class.

    Positions follow the order of the claims. A claim counts for its project at once, so the k-th waiting job
    of a project is claimed when the project runs k - 1 more jobs. The positions hold as long as no job is
    added and no running job ends; an end moves the jobs of its project forward.
    """
    running = _running_jobs()
    earlier = func.row_number().over(partition_by=(Job.project_id, Job.devices), order_by=Job.id)
    waiting = (
        select(Job.id, Job.devices, (func.coalesce(running.c.jobs, 0) + earlier).label("jobs_before"))
        .outerjoin(running, running.c.project_id == Job.project_id)
        .where(Job.status == "queued")
        .subquery("waiting")
    )
    in_class = func.row_number().over(
        partition_by=waiting.c.devices, order_by=(waiting.c.jobs_before, waiting.c.id)
    )
    return select(waiting.c.id, in_class.label("position"))


def wait_for_other_claims(session: Session) -> None:
    """Wait until no other transaction claims a job.

    Otherwise two claims could count the running jobs at the same time, and both find room for one more job.
    The lock is in the database, so it holds between all workers. It ends with the transaction.
    """
    session.execute(select(func.pg_advisory_xact_lock(CLAIM_LOCK)))


def next_job(
    session: Session, project_jobs: int | None, devices: int, passed_over: Collection[str] = ()
) -> Job | None:
    """Return the job to claim, locked. The caller has called `wait_for_other_claims`.

    Jobs that others have locked are skipped, and so are those whose ids are in `passed_over`.
    """
    job = session.scalars(NEXT_JOB, _asked(project_jobs, devices, passed_over)).one_or_none()
    if job is not None:
        return job
    skipped = set(passed_over)
    while job_id := first_job(session, project_jobs, devices, skipped):
        query = select(Job).where(Job.id == job_id, Job.status == "queued")
        job = session.scalars(query.with_for_update(skip_locked=True, key_share=True)).one_or_none()
        if job is not None:
            return job
        skipped.add(job_id)  # a client is cancelling or pausing it
    return None


def jobs_wait(session: Session, project_jobs: int | None, devices: int = 1) -> bool:
    """Return whether a job waits that a worker of the device class could claim."""
    return first_job(session, project_jobs, devices) is not None


def _asked(project_jobs: int | None, devices: int, passed_over: Collection[str]) -> dict[str, Any]:
    """Return the parameters of FIRST_JOB and NEXT_JOB."""
    return {"project_jobs": project_jobs, "devices": devices, "passed_over": list(passed_over)}


def _projects_with_waiting_jobs(devices: BindParameter[int]) -> Subquery:
    """Return the ids of the projects that have waiting jobs of a device class.

    The index has them in order, so each is found from the one before it: the other jobs of a project are
    never read. (SELECT DISTINCT would read all of them.)
    """
    of_class = select(Job.project_id).where(Job.status == "queued", Job.devices == devices)
    ordered = of_class.order_by(Job.project_id).limit(1)
    found = select(ordered.scalar_subquery().label("project_id")).cte("found", recursive=True)
    after = ordered.where(Job.project_id > found.c.project_id).correlate(found).scalar_subquery()
    found = found.union_all(select(after).where(found.c.project_id.is_not(None)))
    return select(found.c.project_id).where(found.c.project_id.is_not(None)).subquery("waiting")


def _running_jobs() -> Subquery:
    """Return the number of running jobs of each project that runs any."""
    return (
        select(Job.project_id, func.count().label("jobs"))
        .where(Job.status == "running")
        .group_by(Job.project_id)
        .subquery("running")
    )


# Built once: to build them takes as long as to run them, and all other claims would wait meanwhile.
FIRST_JOB = _first_job()
# Finds and locks the next job in one round trip. It finds nothing if somebody else has locked that job.
NEXT_JOB = (
    select(Job)
    .where(Job.id == FIRST_JOB.scalar_subquery(), Job.status == "queued")
    .with_for_update(skip_locked=True, key_share=True)
)
