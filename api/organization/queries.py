"""Reads for administrators, in one project, or in all projects if `project_id` is None."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from core.tables import ApiKey, AuditLog, Project


def projects(
    session: Session, project_id: str | None, *, after: str | None, limit: int
) -> tuple[list[Project], bool]:
    query = select(Project)
    if project_id is not None:
        query = query.where(Project.id == project_id)
    rows, has_more = fetch_page(session, query, Project.id, after=after, limit=limit)
    return [project for (project,) in rows], has_more


def find_key(session: Session, project_id: str, key_id: str) -> ApiKey | None:
    query = select(ApiKey).where(ApiKey.id == key_id, ApiKey.project_id == project_id)
    return session.scalars(query.where(ApiKey.revoked_at.is_(None))).one_or_none()


def keys(session: Session, project_id: str, *, after: str | None, limit: int) -> tuple[list[ApiKey], bool]:
    query = select(ApiKey).where(ApiKey.project_id == project_id, ApiKey.revoked_at.is_(None))
    rows, has_more = fetch_page(session, query, ApiKey.id, after=after, limit=limit)
    return [key for (key,) in rows], has_more


def audit_logs(
    session: Session, project_id: str | None, *, after: str | None, limit: int
) -> tuple[list[AuditLog], bool]:
    query = select(AuditLog)
    if project_id is not None:
        query = query.where(AuditLog.project_id == project_id)
    rows, has_more = fetch_page(session, query, AuditLog.id, after=after, limit=limit)
    return [entry for (entry,) in rows], has_more
