"""Lets administrators see and change projects: the operator's all projects, the others their own.

Nothing here commits.
"""

from typing import TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session, selectinload

from api.admission.callers import Caller
from api.http.paging import shown_page
from api.organization.schemas import ApiKeyObject, AuditLogObject, CreateApiKey, ProjectObject
from api.schemas import Page
from core.access.keys import NewKey, create_key, revoke_key
from core.database import from_now
from core.errors import NotFound
from core.ids import id_pattern
from core.tables import ApiKey, AuditLog, Project

PROJECT_ID, KEY_ID, AUDIT_LOG_ID = id_pattern("proj_"), id_pattern(""), id_pattern("audit_log-")

Row = TypeVar("Row")


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


def list_projects(session: Session, caller: Caller, after: str | None, limit: int) -> Page[ProjectObject]:
    query = _within(select(Project), Project.id, scope(caller, None))
    return shown_page(session, query, Project.id, ProjectObject.of, ids=PROJECT_ID, after=after, limit=limit)


def list_audit_logs(
    session: Session, project_id: str | None, after: str | None, limit: int
) -> Page[AuditLogObject]:
    """Return a page of the project's entries, or of those of all projects without a project."""
    query, key = _within(select(AuditLog), AuditLog.project_id, project_id), AuditLog.id
    return shown_page(session, query, key, AuditLogObject.of, ids=AUDIT_LOG_ID, after=after, limit=limit)


def _within(query: Select[Row], column: InstrumentedAttribute[str], project_id: str | None) -> Select[Row]:
    return query if project_id is None else query.where(column == project_id)


def list_keys(
    session: Session, caller: Caller, project_id: str, after: str | None, limit: int
) -> Page[ApiKeyObject]:
    query = _valid_keys(get_project(session, caller, project_id))
    return shown_page(session, query, ApiKey.id, ApiKeyObject.of, ids=KEY_ID, after=after, limit=limit)


def _valid_keys(project: Project) -> Select[ApiKey]:
    query = select(ApiKey).options(selectinload(ApiKey.seat))
    return query.where(ApiKey.project_id == project.id, ApiKey.revoked_at.is_(None))


def get_key(session: Session, caller: Caller, project_id: str, key_id: str) -> ApiKey:
    query = _valid_keys(get_project(session, caller, project_id)).where(ApiKey.id == key_id)
    key = session.scalars(query).one_or_none()
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


def _no_such_project(project_id: str) -> NotFound:
    return NotFound(f"No such project: {project_id}", code="project_not_found", param="project_id")
