"""Lets administrators see and change projects: the operator's all projects, the others their own.

Nothing here commits.
"""

from sqlalchemy.orm import Session

from api.admission.callers import Caller
from api.organization import queries
from api.organization.schemas import CreateApiKey
from core.access.keys import NewKey, create_key, revoke_key
from core.database import from_now
from core.errors import NotFound
from core.tables import ApiKey, Project


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


def _no_such_project(project_id: str) -> NotFound:
    return NotFound(f"No such project: {project_id}", code="project_not_found", param="project_id")
