"""Uploads: files that arrive in parts, of which several may arrive at the same time."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base, one_of

UPLOAD_STATUSES = ("pending", "completed", "cancelled", "expired")


class Upload(Base):
    """A file that is announced first, and then sent in parts until the upload is completed.

    A pending upload counts as expired after `expires_at`, and the janitor then changes its status. The rows
    of its parts go when it ends.
    """

    __tablename__ = "uploads"
    __table_args__ = (
        CheckConstraint(one_of("status", UPLOAD_STATUSES), name="status"),
        CheckConstraint("(status = 'completed') = (file_id IS NOT NULL)", name="completed_with_a_file"),
        CheckConstraint("(status = 'pending') = (ended_at IS NULL)", name="ended_at"),
        Index("ix_uploads_pending", "project_id", postgresql_where=text("status = 'pending'")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger, doc="The announced size")
    file_lifetime: Mapped[int | None] = mapped_column(doc="Seconds from the file's creation to its expiry")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(server_default="pending")
    ended_at: Mapped[datetime | None]
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"), index=True)


class UploadPart(Base):
    """A stored part. The client says at completion which parts make the file, and in which order."""

    __tablename__ = "upload_parts"

    id: Mapped[str] = mapped_column(primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"), index=True)
    bytes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
