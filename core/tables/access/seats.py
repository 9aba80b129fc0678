"""The seats of people who sign on by the operator's OpenID provider."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.tables.access.projects import ApiKey
from core.tables.base import Base


class Seat(Base):
    """A person's place in a project: the API key for which the person's sessions act. Nobody holds this key.

    The provider names a person by `issuer` and `subject`, which never change. A person without the groups of
    a project has no seat there.
    """

    __tablename__ = "seats"

    issuer: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), unique=True)
    chosen_at: Mapped[datetime | None]
    """When the person last signed on to this project. Null if they have only signed on to others."""

    key: Mapped[ApiKey] = relationship(lazy="joined", innerjoin=True)
