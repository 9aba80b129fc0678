"""Lets administrators see and change projects: the operator's all projects, the others their own.

Nothing here commits.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from api.admission.callers import Caller
from api.organization import queries
from api.organization.schemas import CreateApiKey, UsageBucket, UsageResult
from api.schemas import unix_seconds
from core.access.keys import NewKey, create_key, revoke_key
from core.access.usage import usage
from core.database import database_time, from_now
from core.errors import InvalidRequest, NotFound
from core.tables import ApiKey, Project

DAY = timedelta(days=1)
DEFAULT_DAYS = 30
MAX_DAYS = 366


def scope(caller: Caller, project_id: str | None) -> str | None:
    """Return the project that the caller may look at, or None for all projects.

    Only the operator may look at all projects. Raises NotFound if another caller asks for a project that is
    not its own.
    """
    if caller.of_operator:
        return project_id
    if project_id not in (None, caller.project_id):
        raise _no_such_project(str(project_id))
    return caller.project_id


def get_project(session: Session, caller: Caller, project_id: str) -> Project:
    """Return a project. Raises NotFound, also for one that the caller does not administer."""
    project = session.get(Project, scope(caller, project_id))
    if project is None:
        raise _no_such_project(project_id)
    return project


def get_key(session: Session, caller: Caller, project_id: str, key_id: str) -> ApiKey:
    project = get_project(session, caller, project_id)
    key = queries.find_key(session, project.id, key_id)
    if key is None:
        raise NotFound(f"No such API key: {key_id}", code="api_key_not_found", param="api_key_id")
    return key


def create(session: Session, caller: Caller, project_id: str, request: CreateApiKey) -> NewKey:
    lifetime = request.expires_in_seconds
    expires_at = from_now(lifetime) if lifetime else None
    project = get_project(session, caller, project_id)
    return create_key(session, project, request.name, request.role, expires_at, caller)


def revoke(session: Session, caller: Caller, project_id: str, key_id: str) -> None:
    revoke_key(session, get_key(session, caller, project_id, key_id).id, caller)


def usage_by_day(
    session: Session, caller: Caller, project_id: str | None, start_time: int | None, end_time: int | None
) -> list[UsageBucket]:
    """Return the usage of every day that the span touches. The times are Unix seconds.

    Raises NotFound, and InvalidRequest if the span is empty or too long.
    """
    end = datetime.fromtimestamp(end_time, UTC) if end_time is not None else database_time(session)
    start = datetime.fromtimestamp(start_time, UTC) if start_time is not None else end - DEFAULT_DAYS * DAY
    first, last = _midnight(start), _midnight(end - timedelta(microseconds=1))
    if start >= end or last - first >= MAX_DAYS * DAY:
        raise InvalidRequest(
            f"'start_time' must be before 'end_time', by {MAX_DAYS} days at most.",
            code="invalid_value",
            param="start_time",
        )
    rows = usage(session, scope(caller, project_id), first, last)
    results: dict[datetime, list[UsageResult]] = {}
    for row in rows:
        result = UsageResult(**{name: getattr(row, name) for name in row._fields if name != "day"})
        results.setdefault(row.day, []).append(result)
    days = [first + number * DAY for number in range((last - first).days + 1)]
    return [
        UsageBucket(
            start_time=unix_seconds(day), end_time=unix_seconds(day + DAY), results=results.get(day, [])
        )
        for day in days
    ]


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _no_such_project(project_id: str) -> NotFound:
    return NotFound(f"No such project: {project_id}", code="project_not_found", param="project_id")
