"""The audit log. A trigger refuses to change a row, and to delete one except by the operator's retention."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class AuditLog(Base):
    """One action on something of a project. Where the key is null, the operator acted on the server."""

    __tablename__ = "audit_logs"
    __table_args__ = (Index("ix_audit_logs_project_id_id", "project_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    action: Mapped[str] = mapped_column(doc="For example job.cancelled")
    resource_id: Mapped[str]
    details: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    request_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
