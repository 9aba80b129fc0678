"""Reads of adapters. Every one takes the project."""

from typing import NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from api.paging import fetch_page
from core.models import Adapter, Job


class AdapterRow(NamedTuple):
    adapter: Adapter
    job: Job


def find(session: Session, project_id: str, adapter_id: str) -> AdapterRow | None:
    found = session.execute(_rows(project_id).where(Adapter.id == adapter_id)).one_or_none()
    return AdapterRow(*found) if found else None


def is_cursor(session: Session, project_id: str, adapter_id: str) -> bool:
    """True also for a deleted adapter: a client may delete while it pages."""
    query = select(Adapter.id).where(Adapter.id == adapter_id, Adapter.project_id == project_id)
    return session.scalar(query) is not None


def page(
    session: Session, project_id: str, *, after: str | None, limit: int
) -> tuple[list[AdapterRow], bool]:
    rows, has_more = fetch_page(session, _rows(project_id), Adapter.id, after=after, limit=limit)
    return [AdapterRow(*row) for row in rows], has_more


def _rows(project_id: str) -> Select[Adapter, Job]:
    return (
        select(Adapter, Job)
        .join(Job, Job.id == Adapter.job_id)
        .where(Adapter.project_id == project_id, Adapter.deleted_at.is_(None))
    )
