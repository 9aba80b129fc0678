"""The order of the waiting jobs: fair between projects, oldest first, within the limit of each project."""

from collections.abc import Collection

from sqlalchemy import ARRAY, Integer, Select, Subquery, Text, all_, func, literal, or_, select
from sqlalchemy.orm import Session

from core.tables import Job, Project

CLAIM_LOCK = 0x74756E657279  # the number of our advisory lock in the database


def claimable(project_jobs: int | None, devices: int) -> Select[Job]:
    """Return the query for the queued jobs that a worker of a device class may claim, the next job first.

    The project with the fewest running jobs goes first. Among its jobs, and among projects with equally many
    running jobs, the oldest job goes first. A project at its limit waits. The limit is the project's quota,
    or `project_jobs` if it has none. None means no limit.
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
    """Return the query for the id and place of each queued job. Place 1 is the next job of a device class.

    Places follow the order of the claims. A claim counts for its project at once, so the k-th waiting job of
    a project is claimed when the project runs k - 1 more jobs. The places hold as long as no job is added and
    no running job ends; an end moves the jobs of its project forward.
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
    query = claimable(project_jobs, devices).limit(1)
    if passed_over:
        query = query.where(Job.id != all_(literal(list(passed_over), ARRAY(Text))))
    return session.scalars(query.with_for_update(of=Job, skip_locked=True, key_share=True)).first()


def jobs_wait(session: Session, project_jobs: int | None, devices: int = 1) -> bool:
    """Whether a job waits that a worker of the device class could claim."""
    return bool(session.scalar(select(claimable(project_jobs, devices).order_by(None).exists())))


def _running_jobs() -> Subquery:
    """Return the number of running jobs of each project that runs any."""
    return (
        select(Job.project_id, func.count().label("jobs"))
        .where(Job.status == "running")
        .group_by(Job.project_id)
        .subquery("running")
    )
