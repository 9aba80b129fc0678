"""Evals: how models are judged. Their runs are tasks."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql import func

from core.tables.base import Base


class Eval(Base):
    """The criteria of one eval, and what its rows look like. A `job_id` names the job that it judges."""

    __tablename__ = "evals"
    __table_args__ = (
        Index("ix_evals_project_id", "project_id", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("ix_evals_job_id", "job_id", postgresql_where=text("job_id IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    name: Mapped[str]
    data_source_config: Mapped[dict[str, Any]]
    criteria: Mapped[list[dict[str, Any]]] = mapped_column(doc="See core/evals/criteria.py")
    client_metadata: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]
