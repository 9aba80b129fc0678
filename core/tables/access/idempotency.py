"""The requests that created something, so that repeating a request creates nothing."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class IdempotencyRecord(Base):
    """A request that created something, and its answer. It is written in the transaction of the creation."""

    __tablename__ = "idempotency_records"
    __table_args__ = (
        UniqueConstraint("project_id", "idempotency_key"),
        Index("ix_idempotency_records_fingerprint", "fingerprint"),
        Index("ix_idempotency_records_created_at", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    idempotency_key: Mapped[str | None] = mapped_column(doc="As the client sent it, if it sent one")
    fingerprint: Mapped[str] = mapped_column(doc="SHA-256 of the key's id, the route and what was asked for")
    retry_count: Mapped[int] = mapped_column(doc="Number of the client's attempt, 0 for the first")
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
