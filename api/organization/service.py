"""Lets administrators see and change projects: the operator's all projects, the others their own.

Nothing here commits.
"""

from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy.orm import Session

from api.admission.callers import Caller
from api.organization import queries
from api.organization.schemas import (
    CompletionsUsageBucket,
    CompletionsUsageResult,
    CreateApiKey,
    UsageBucket,
    UsageResult,
)
from api.schemas import unix_seconds
from core.access.chat_usage import chat_usage
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
    """Return what jobs used on every day that the span touches. The times are Unix seconds.

    Raises NotFound, and InvalidRequest if the span is empty or too long.
    """
    days = _days(session, start_time, end_time)
    results: dict[date, list[UsageResult]] = {}
    for day, project, tokens, seconds in usage(session, scope(caller, project_id), days[0], days[-1]):
        used = UsageResult(project_id=project, trained_tokens=tokens, device_seconds=seconds)
        results.setdefault(day, []).append(used)
    return [UsageBucket(**_bounds(day), results=results.get(day, [])) for day in days]


def completions_by_day(
    session: Session, caller: Caller, project_id: str | None, start_time: int | None, end_time: int | None
) -> list[CompletionsUsageBucket]:
    """Return what chats and completions used on every day that the span touches. The times are Unix seconds.

    Raises NotFound, and InvalidRequest if the span is empty or too long.
    """
    days = _days(session, start_time, end_time)
    results: dict[date, list[CompletionsUsageResult]] = {}
    for row in chat_usage(session, scope(caller, project_id), days[0], days[-1]):
        result = CompletionsUsageResult(
            project_id=row.project_id,
            model=row.model,
            num_model_requests=row.tokens.requests,
            input_tokens=row.tokens.prompt_tokens,
            input_cached_tokens=row.tokens.cached_tokens,
            output_tokens=row.tokens.completion_tokens,
        )
        results.setdefault(row.day, []).append(result)
    return [CompletionsUsageBucket(**_bounds(day), results=results.get(day, [])) for day in days]


def _days(session: Session, start_time: int | None, end_time: int | None) -> list[date]:
    """Return the days, in UTC, that the span touches. Raises InvalidRequest."""
    end = datetime.fromtimestamp(end_time, UTC) if end_time is not None else database_time(session)
    start = datetime.fromtimestamp(start_time, UTC) if start_time is not None else end - DEFAULT_DAYS * DAY
    first, last = start.date(), (end - timedelta(microseconds=1)).date()
    if start >= end or last - first >= MAX_DAYS * DAY:
        raise InvalidRequest(
            f"'start_time' must be before 'end_time', by {MAX_DAYS} days at most.",
            code="invalid_value",
            param="start_time",
        )
    return [first + number * DAY for number in range((last - first).days + 1)]


def _bounds(day: date) -> dict[str, int]:
    return {"start_time": _midnight(day), "end_time": _midnight(day + DAY)}


def _midnight(day: date) -> int:
    """Return the Unix seconds at which the day begins in UTC."""
    return unix_seconds(datetime.combine(day, time(), UTC))


def _no_such_project(project_id: str) -> NotFound:
    return NotFound(f"No such project: {project_id}", code="project_not_found", param="project_id")
