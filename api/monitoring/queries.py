"""Reads the figures of the whole service. Indexes answer all of these statements but that of the ledger."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Float, and_, case, cast, func, or_, select
from sqlalchemy.orm import Session

from core.artifacts import NOT_DOOMED
from core.monitoring.declared import MOST_PROJECTS, OTHERS
from core.tables import Artifact, Claim, Job, Project, Server, Task, WebhookDelivery, Worker

NO_WAIT = 0.0


class Waiting(NamedTuple):
    """How much waits, and for how many seconds the first of it has waited."""

    number: int
    seconds: float


def queue(session: Session) -> dict[tuple[int, str], Waiting]:
    """Return what waits of each device class and project; the shorter queues count together as OTHERS."""
    queued = (
        select(Job.devices, Job.project_id, func.count().label("jobs"), func.min(Job.id).label("first"))
        .where(Job.status == "queued")
        .group_by(Job.devices, Job.project_id)
        .subquery()
    )
    given_back = select(func.max(Claim.ended_at)).where(Claim.job_id == queued.c.first).scalar_subquery()
    since = func.greatest(Job.created_at, given_back)
    query = (
        select(queued.c.devices, queued.c.project_id, queued.c.jobs, _seconds_since(since))
        .join(Job, Job.id == queued.c.first)
        .order_by(queued.c.jobs.desc())
    )
    found: dict[tuple[int, str], Waiting] = {}
    shown: set[str] = set()
    for devices, project, jobs, seconds in session.execute(query):
        if project in shown or len(shown) < MOST_PROJECTS:
            shown.add(project)
        name = project if project in shown else OTHERS
        before = found.get((devices, name), Waiting(0, NO_WAIT))
        found[devices, name] = Waiting(before.number + jobs, max(before.seconds, seconds))
    return found


def jobs_running(session: Session) -> dict[str, int]:
    return _counts(session, select(Job.devices, func.count()).where(Job.status == "running"), Job.devices)


def trainers(session: Session) -> dict[str, int]:
    live = Worker.expires_at > func.now()
    return _counts(session, select(Worker.devices, func.count()).where(live), Worker.devices)


def servers(session: Session) -> dict[str, int]:
    """Return how many servers are serving, and how many drain. Both are there, also if they are 0."""
    query = select(Server.draining, func.count()).where(Server.expires_at > func.now())
    found = _counts(session, query, Server.draining)
    return {"serving": found.get("False", 0), "draining": found.get("True", 0)}


def tasks(session: Session) -> tuple[dict[str, Waiting], dict[str, int]]:
    """Return what waits and how many run, by kind. A task whose next try comes later waits for nobody yet."""
    queued = Task.status == "queued"
    may_be_taken = and_(queued, or_(Task.held_until.is_(None), Task.held_until < func.now()))
    since = func.greatest(Task.created_at, Task.held_until)
    query = (
        select(
            Task.kind,
            func.count().filter(queued),
            _seconds_since(func.min(since).filter(may_be_taken)),
            func.count().filter(~queued),
        )
        .where(Task.finished_at.is_(None))
        .group_by(Task.kind)
    )
    rows = session.execute(query).all()
    return {kind: Waiting(count, seconds) for kind, count, seconds, _ in rows}, {
        kind: running for kind, _, _, running in rows
    }


def deliveries(session: Session) -> Waiting:
    query = select(func.count(), _seconds_since(func.min(WebhookDelivery.created_at)))
    count, seconds = session.execute(query.where(WebhookDelivery.next_attempt_at.is_not(None))).one()
    return Waiting(count, seconds)


class Stored(NamedTuple):
    """Bytes by the kind of owner, and the used share of the quotas of the fullest projects."""

    by_owner: Mapping[str, int]
    quotas: Mapping[str, float]


def stored(session: Session, default_quota: int | None) -> Stored:
    """Return what the ledger holds. It reads the whole ledger, so ask it seldom."""
    counted = func.sum(case((Artifact.counted, Artifact.bytes), else_=0))
    query = (
        select(Artifact.owner_kind, Artifact.project_id, func.sum(Artifact.bytes), counted)
        .where(NOT_DOOMED)
        .group_by(Artifact.owner_kind, Artifact.project_id)
    )
    by_owner: dict[str, int] = defaultdict(int)
    by_project: dict[str, int] = defaultdict(int)
    for owner, project, size, counts in session.execute(query):
        by_owner[owner] += int(size)
        if project is not None:
            by_project[project] += int(counts)
    limited = select(Project.id, func.coalesce(Project.max_stored_bytes, default_quota))
    quotas = session.execute(limited.where(Project.id.in_(by_project))) if by_project else ()
    return Stored(dict(by_owner), _fullest((by_project[name], name, most) for name, most in quotas))


def _fullest(used: Iterable[tuple[int, str, int | None]]) -> dict[str, float]:
    shares = {name: size / most for size, name, most in used if most}
    return dict(sorted(shares.items(), key=lambda each: -each[1])[:MOST_PROJECTS])


def _counts(session: Session, query: Any, key: Any) -> dict[str, int]:
    return {str(value): count for value, count in session.execute(query.group_by(key))}


def _seconds_since(moment: Any) -> Any:
    """Return an SQL expression: the seconds since the moment, 0 if there is none or if it is to come."""
    seconds = func.extract("epoch", func.now() - moment)
    return cast(func.greatest(func.coalesce(seconds, 0), 0), Float)
