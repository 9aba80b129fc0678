"""Reads of uploads and their parts. Those that start from an upload's id take the project."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.tables import Upload, UploadPart


def find(
    session: Session, project_id: str, upload_id: str, *, lock: bool = False
) -> tuple[Upload, bool] | None:
    """Return the upload, and whether its time is over.

    With `lock`, no other transaction adds a part to it or ends it until this one ends.
    """
    query = select(Upload, Upload.expires_at <= func.now()).where(
        Upload.id == upload_id, Upload.project_id == project_id
    )
    found = session.execute(query.with_for_update() if lock else query).one_or_none()
    return (found[0], found[1]) if found else None


def stored_parts(session: Session, upload_id: str) -> tuple[int, int]:
    """Return the number of the parts, and the sum of their bytes."""
    query = select(func.count(), func.coalesce(func.sum(UploadPart.bytes), 0))
    count, size = session.execute(query.where(UploadPart.upload_id == upload_id)).one()
    return count, size


def part_sizes(session: Session, upload_id: str) -> dict[str, int]:
    parts = session.scalars(select(UploadPart).where(UploadPart.upload_id == upload_id))
    return {part.id: part.bytes for part in parts}
