"""The encrypted secrets of projects."""

from datetime import datetime

from sqlalchemy import ForeignKey, func
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class Secret(Base):
    """A named value of a project, such as `WANDB_API_KEY`, encrypted by `core.secrets.vault`."""

    __tablename__ = "secrets"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    sealed: Mapped[str]
    hosts: Mapped[list[str] | None] = mapped_column(
        ARRAY(TEXT),
        doc="The hosts to which it may be sent; null: those of the operator, and AWS",
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
