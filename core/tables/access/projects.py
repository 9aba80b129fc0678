"""Projects, which own everything else, and their API keys."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.roles import Role
from core.tables.base import Base, one_of

if TYPE_CHECKING:
    from core.tables.access.seats import Seat


class Project(Base):
    """A project, which owns files, jobs, adapters and keys. A null quota is the installation's default."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    max_queued_jobs: Mapped[int | None]
    max_running_jobs: Mapped[int | None]
    max_stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_requests_per_minute: Mapped[int | None]
    max_concurrent_chats: Mapped[int | None]
    max_tokens_per_minute: Mapped[int | None]
    max_completion_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_completion_days: Mapped[int | None]


class ApiKey(Base):
    """An API key `tnr_<id>_<random>_<check>`, of which only the SHA-256 is stored."""

    __tablename__ = "api_keys"
    __table_args__ = (CheckConstraint(one_of("role", tuple(role.value for role in Role)), name="role"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    role: Mapped[str] = mapped_column(server_default="member")
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    created_by: Mapped[str | None]
    """The key that created this one. Null if an operator did."""

    project: Mapped[Project] = relationship(lazy="joined", innerjoin=True)
    seat: Mapped["Seat | None"] = relationship(viewonly=True)
    """The person who acts by this key, if it is the seat of one."""
