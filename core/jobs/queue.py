"""Which waiting job is next: fair between projects, oldest first, within each project's cap."""

from collections.abc import Collection

from sqlalchemy import ARRAY, Integer, Select, Subquery, Text, all_, func, literal, or_, select
from sqlalchemy.orm import Session

from core.tables import Job, Project

CLAIM_LOCK = 0x74756E657279  # a number of our own among the database's advisory locks


def claimable(project_jobs: int | None, devices: int) -> Select[Job]:
    """The queued jobs that a worker of a device class may claim, the next one first.

    The project with the fewest running jobs goes first, and among its jobs (and projects that are equal) the
    oldest. A project that runs as many jobs as it may waits: as its quota says, or else `project_jobs`, where
    None is no cap.
    """
    running = _running_jobs()
    of_project = func.coalesce(running.c.jobs, 0)
    cap = func.coalesce(Project.max_running_jobs, literal(project_jobs, Integer))
    return (
        select(Job)
        .join(Project, Project.id == Job.project_id)
        .outerjoin(running, running.c.project_id == Job.project_id)
        .where(Job.status == "queued", Job.devices == devices, or_(cap.is_(None), of_project < cap))
        .order_by(of_project, Job.id)
    )


def places() -> Select[tuple[str, int]]:
    """The id and the place of each queued job in the order in which they will be claimed, 1 for the next one
    on as many devices.

    A claim counts for its project at once: a project's k-th waiting job goes when it runs k - 1 more. So it
    comes as long as no running job ends, which brings jobs of its project forward, and none is added.
    """
    running = _running_jobs()
    earlier = func.row_number().over(partition_by=(Job.project_id, Job.devices), order_by=Job.id)
    turns = (
        select(Job.id, Job.devices, (func.coalesce(running.c.jobs, 0) + earlier).label("turn"))
        .outerjoin(running, running.c.project_id == Job.project_id)
        .where(Job.status == "queued")
        .subquery("turns")
    )
    in_class = func.row_number().over(partition_by=turns.c.devices, order_by=(turns.c.turn, turns.c.id))
    return select(turns.c.id, in_class.label("place"))


def wait_for_other_claims(session: Session) -> None:
    """Let one transaction claim at a time: two that count at once would both find room for one more job.

    The lock is the database's, so it holds between all workers; it goes with the transaction.
    """
    session.execute(select(func.pg_advisory_xact_lock(CLAIM_LOCK)))


def next_job(
    session: Session, project_jobs: int | None, devices: int, passed_over: Collection[str] = ()
) -> Job | None:
    """The job to claim, locked; after `wait_for_other_claims`. One that is being changed is passed over, and
    so are those whose ids are given."""
    query = claimable(project_jobs, devices).limit(1)
    if passed_over:
        query = query.where(Job.id != all_(literal(list(passed_over), ARRAY(Text))))
    return session.scalars(query.with_for_update(of=Job, skip_locked=True, key_share=True)).first()


def jobs_wait(session: Session, project_jobs: int | None, devices: int = 1) -> bool:
    """Whether there is a job that a worker of the class could claim."""
    return bool(session.scalar(select(claimable(project_jobs, devices).order_by(None).exists())))


def _running_jobs() -> Subquery:
    """How many jobs each project runs, where it runs any."""
    return (
        select(Job.project_id, func.count().label("jobs"))
        .where(Job.status == "running")
        .group_by(Job.project_id)
        .subquery("running")
    )
