"""Stored chat completions: what was asked, what was answered, and what people think of the answer."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base, one_of

RATINGS = ("up", "down")


class StoredCompletion(Base):
    """A chat completion that its client asked to store.

    `request` and `answer` are `json`, not `jsonb`: nothing looks into them, and an answer may hold a NUL,
    which `jsonb` refuses.
    """

    __tablename__ = "stored_completions"
    __table_args__ = (
        CheckConstraint(one_of("rating", RATINGS), name="rating"),
        Index("ix_stored_completions_project_id_id", "project_id", "id"),
        Index("ix_stored_completions_project_id_model_id", "project_id", "model", "id"),
        Index(
            "ix_stored_completions_rated", "project_id", "id", postgresql_where=text("rated_at IS NOT NULL")
        ),
        Index(
            "ix_stored_completions_liked",
            "project_id",
            "prompt_sha256",
            "id",
            postgresql_where=text("rating = 'up'"),
        ),
        Index(
            "ix_stored_completions_client_metadata",
            "client_metadata",
            postgresql_using="gin",
            postgresql_ops={"client_metadata": "jsonb_path_ops"},
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    model: Mapped[str] = mapped_column(doc="The model that answered")
    request: Mapped[dict[str, Any]] = mapped_column(JSON())
    answer: Mapped[dict[str, Any]] = mapped_column(JSON())
    prompt_sha256: Mapped[str] = mapped_column(doc="Of the messages, to find other answers to them")
    client_metadata: Mapped[dict[str, Any]]
    request_id: Mapped[str | None]
    rating: Mapped[str | None]
    corrected_answer: Mapped[str | None] = mapped_column(doc="What the answer should have been")
    rated_at: Mapped[datetime | None] = mapped_column(doc="Null without rating and correction")
    bytes: Mapped[int] = mapped_column(doc="What the row counts in the project's quota")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CompletionBytes(Base):
    """The bytes of a project's stored completions. It changes in the transactions that change those."""

    __tablename__ = "completion_bytes"
    __table_args__ = (CheckConstraint("bytes >= 0", name="bytes"),)

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
