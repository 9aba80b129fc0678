"""Uploaded and produced files."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.datasets.kinds import KINDS, Kind
from core.tables.base import Base, one_of


class File(Base):
    """An uploaded or produced file. Its bytes are in the object store under `object_key`."""

    __tablename__ = "files"
    __table_args__ = (
        CheckConstraint(one_of("kind", KINDS), name="kind"),
        Index("ix_files_present", "project_id", "id", postgresql_where=text("deleted_at IS NULL")),
        Index(
            "ix_files_present_by_purpose",
            "project_id",
            "purpose",
            "id",
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index(
            "ix_files_expires_at",
            "expires_at",
            postgresql_where=text("expires_at IS NOT NULL AND deleted_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    object_key: Mapped[str]
    rows: Mapped[int | None] = mapped_column(BigInteger, doc="Number of rows of a checked dataset, else null")
    kind: Mapped[Kind | None] = mapped_column(
        String, doc="Kind of a checked dataset's rows; null for other files"
    )
    needs: Mapped[dict[str, int] | None] = mapped_column(
        JSONB(none_as_null=True), doc="First line that needs each (`template_needs`); null if none does"
    )
    longest_line: Mapped[int | None] = mapped_column(
        BigInteger, doc="Bytes of the longest line of a checked dataset, else null"
    )
    lineage: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), doc="What the server made it of; null for what clients upload"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(doc="Time from which it counts as deleted")
    deleted_at: Mapped[datetime | None] = mapped_column(doc="The row stays for the jobs that name it")


class TokenCount(Base):
    """The tokens of a file's rows as a job has rendered them, with its tokenizer and objective, and cut."""

    __tablename__ = "token_counts"

    file_id: Mapped[str] = mapped_column(ForeignKey("files.id"), primary_key=True)
    tokenizer: Mapped[str] = mapped_column(primary_key=True, doc="The base model's id and revision")
    rendering: Mapped[str] = mapped_column(primary_key=True, doc="The objective's kind of rows")
    max_length: Mapped[int] = mapped_column(primary_key=True, doc="Tokens to which rows were cut")
    rows: Mapped[int] = mapped_column(BigInteger, doc="All rows that have something to learn")
    tokens: Mapped[int] = mapped_column(BigInteger)
    longest: Mapped[int]
    squares: Mapped[float] = mapped_column(doc="The sum over the rows of their tokens squared")
    computed_share: Mapped[float | None] = mapped_column(
        doc="Share of the tokens that were computed, since the rows of a step share beginnings"
    )
