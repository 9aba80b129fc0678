"""Reads of permissions, by the name of the model or checkpoint that they share."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from core.tables import CheckpointPermission, Project


def page(
    session: Session, model: str, project_id: str | None, *, after: str | None, limit: int, newest_first: bool
) -> tuple[list[CheckpointPermission], bool]:
    query = select(CheckpointPermission).where(CheckpointPermission.model == model)
    if project_id is not None:
        query = query.where(CheckpointPermission.project_id == project_id)
    rows, has_more = fetch_page(
        session, query, CheckpointPermission.id, after=after, limit=limit, newest_first=newest_first
    )
    return [permission for (permission,) in rows], has_more


def of_projects(session: Session, model: str, project_ids: list[str]) -> list[CheckpointPermission]:
    query = select(CheckpointPermission).where(
        CheckpointPermission.model == model, CheckpointPermission.project_id.in_(project_ids)
    )
    return list(session.scalars(query.order_by(CheckpointPermission.id)))


def existing_projects(session: Session, project_ids: list[str]) -> set[str]:
    return set(session.scalars(select(Project.id).where(Project.id.in_(project_ids))))
