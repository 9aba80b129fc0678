"""Finds the stored files of a model from which another one is made."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.jobs.ancestor import Ancestor
from core.serving.served_model import StoredAdapter
from core.tables import Adapter, Checkpoint


def stored_parent(session: Session, parent: Ancestor) -> Adapter | Checkpoint | None:
    """Return the row with the parent's files, or None if the parent has been deleted or replaced."""
    row: Adapter | Checkpoint | None
    if parent.adapter_id is not None:
        row = session.get(Adapter, parent.adapter_id)
        if row is not None and row.deleted_at is not None:
            return None
    else:
        of_step = Checkpoint.job_id == parent.job_id, Checkpoint.step == parent.step
        row = session.scalars(select(Checkpoint).where(*of_step)).one_or_none()
    if row is None or StoredAdapter.of(row.object_prefix, row.files).sha256 != parent.sha256:
        return None
    return row
