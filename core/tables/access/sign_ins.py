"""The sign-ins of browsers, which act for an API key without holding it."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.tables.access.projects import ApiKey
from core.tables.base import Base, one_of


class SignIn(Base):
    """A link that can be followed once, or a browser's session. Only the SHA-256 of its token is stored."""

    __tablename__ = "sign_ins"
    __table_args__ = (CheckConstraint(one_of("kind", ("link", "session")), name="kind"),)

    sha256: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)

    key: Mapped[ApiKey] = relationship(lazy="joined", innerjoin=True)
