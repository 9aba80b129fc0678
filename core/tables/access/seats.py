"""The seats of people who sign on by the operator's OpenID provider."""

from datetime import datetime

from sqlalchemy import ForeignKey, func
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
    signed_on_at: Mapped[datetime] = mapped_column(server_default=func.now())

    key: Mapped[ApiKey] = relationship(lazy="joined", innerjoin=True)
