"""Reads of adapters. Each takes the project, which must own an adapter or have a permission to read it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from core.tables import Adapter, CheckpointPermission, Job


class AdapterRow(NamedTuple):
    """An adapter, and the job that trained it. An imported adapter has no job."""

    adapter: Adapter
    job: Job | None

    @property
    def model(self) -> str:
        """The name of the fine-tuned model."""
        found = self.adapter.model if self.job is None else self.job.fine_tuned_model
        return found or self.adapter.id

    @property
    def base_model(self) -> str:
        """The id of the base model in the catalog."""
        return self.job.base_model if self.job is not None else self.adapter.base_model or ""

    @property
    def options(self) -> Mapping[str, Any]:
        """The method of adaptation and its options, as a job's specification has them."""
        return self.job.spec["adapter"] if self.job is not None else self.adapter.options or {}


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
    session: Session, project_id: str, *, after: str | None, limit: int
) -> tuple[list[AdapterRow], bool]:
    query = _rows().where(Adapter.project_id == project_id)
    rows, has_more = fetch_page(session, query, Adapter.id, after=after, limit=limit)
    return [AdapterRow(*row) for row in rows], has_more


def _rows() -> Select[Adapter, Job]:
    return select(Adapter, Job).outerjoin(Job, Job.id == Adapter.job_id).where(Adapter.deleted_at.is_(None))
