"""Aliases of models, such as `prod`, and the moves that each has made."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class Alias(Base):
    """A name of a project for one model, or for several with weights. `version` counts its moves."""

    __tablename__ = "aliases"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    weights: Mapped[dict[str, Any]] = mapped_column(doc="{name of a model: weight}")
    version: Mapped[int] = mapped_column(doc="Number of its latest move")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AliasMove(Base):
    """One move of an alias. The row stays as long as the alias."""

    __tablename__ = "alias_moves"
    __table_args__ = (
        ForeignKeyConstraint(
            ["project_id", "alias"], ["aliases.project_id", "aliases.name"], ondelete="CASCADE"
        ),
    )

    project_id: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    weights: Mapped[dict[str, Any]] = mapped_column(doc="Where the alias led from then on")
    restored: Mapped[int | None] = mapped_column(doc="The version to which this move went back, else null")
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"), doc="The API key that moved it")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
