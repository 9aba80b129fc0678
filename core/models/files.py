"""Uploaded and produced files."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base


class File(Base):
    """An uploaded or produced file; its bytes lie in the object store under `object_key`."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    object_key: Mapped[str]
    rows: Mapped[int | None] = mapped_column(BigInteger, doc="Rows of a checked dataset, else null")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None] = mapped_column(doc="The row stays for the jobs that name it")
