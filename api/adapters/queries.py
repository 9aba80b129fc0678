"""Reads of adapters. Each takes the project, which must own an adapter or have a permission to read it."""

from sqlalchemy import Row, Select, and_, or_, select
from sqlalchemy.orm import Session

from api.http.paging import bytes_of, fetch_page
from core.jobs.adapter_row import AdapterRow
from core.jobs.lineage import continues_from
from core.tables import Adapter, CheckpointPermission, Job


def find(session: Session, project_id: str, adapter_id: str) -> AdapterRow | None:
    """Return the adapter if the project owns it, or if its model is shared with the project.

    The permission of a checkpoint does not open the adapter.
    """
    shared = select(CheckpointPermission.id).where(
        CheckpointPermission.job_id == Adapter.job_id,
        CheckpointPermission.step.is_(None),
        CheckpointPermission.project_id == project_id,
    )
    readable = or_(Adapter.project_id == project_id, shared.exists())
    found = session.execute(_rows().where(Adapter.id == adapter_id, readable)).one_or_none()
    return AdapterRow(*found) if found else None


def page(
    session: Session, project_id: str, *, after: str | None, limit: int, part: str | None = None
) -> tuple[list[AdapterRow], bool]:
    query = _rows().where(Adapter.project_id == project_id)
    if part is not None:
        query = query.where(
            Adapter.job_id.is_(None), Adapter.origin.contains({"parents": [{"adapter_id": part}]})
        )
    size = bytes_of(Adapter.files, Adapter.training, Adapter.options, Adapter.origin, Job.spec)
    rows, has_more = fetch_page(session, query, Adapter.id, after=after, limit=limit, size=size)
    return [AdapterRow(*row) for row in rows], has_more


def descendants(
    session: Session, project_id: str, adapter_id: str, *, after: str | None, limit: int
) -> tuple[list[Row[Job, Adapter | None]], bool]:
    """Return a page of the project's jobs that continue from the adapter itself, and whether more follow.

    The adapter of a job is None as long as the job has none, and after the adapter's deletion.
    """
    own = and_(Adapter.job_id == Job.id, Adapter.deleted_at.is_(None))
    query = (
        select(Job, Adapter)
        .outerjoin(Adapter, own)
        .where(Job.project_id == project_id, continues_from(adapter_id))
        .where(or_(Job.deleted_at.is_(None), Adapter.id.is_not(None)))
    )
    return fetch_page(session, query, Job.id, after=after, limit=limit, size=bytes_of(Job.spec))


def _rows() -> Select[Adapter, Job]:
    return select(Adapter, Job).outerjoin(Job, Job.id == Adapter.job_id).where(Adapter.deleted_at.is_(None))
