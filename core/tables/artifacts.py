"""The ledger of what is stored. `core/artifacts.py` alone writes it."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base, one_of

ARTIFACT_OWNERS = ("adapter", "answer", "eval", "file", "job", "probe", "task", "upload")
ARTIFACT_STATES = ("writing", "kept", "doomed")


class Artifact(Base):
    """Bytes that somebody owns: the objects under a prefix of the store, or what Postgres holds of the owner.

    Its row is there before the first byte. Whoever writes the objects keeps it in the transaction that makes
    the result exist. Everything that is not kept has an end, after which the janitor empties it.
    """

    __tablename__ = "artifacts"
    __table_args__ = (
        CheckConstraint(one_of("owner_kind", ARTIFACT_OWNERS), name="owner_kind"),
        CheckConstraint(one_of("state", ARTIFACT_STATES), name="state"),
        CheckConstraint("(state = 'kept') = (expires_at IS NULL)", name="only_what_is_kept_has_no_end"),
        CheckConstraint("prefix <> ''", name="not_the_whole_store"),
        CheckConstraint("project_id IS NOT NULL OR owner_kind = 'probe'", name="of_a_project"),
        Index("uq_artifacts_prefix", "prefix", unique=True),
        Index(
            "uq_artifacts_in_postgres",
            "owner_kind",
            "owner_id",
            unique=True,
            postgresql_where=text("prefix IS NULL"),
        ),
        Index("ix_artifacts_owner", "owner_kind", "owner_id"),
        Index("ix_artifacts_counted", "project_id", postgresql_where=text("counted AND state <> 'doomed'")),
        Index("ix_artifacts_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id"))
    owner_kind: Mapped[str]
    owner_id: Mapped[str]
    prefix: Mapped[str | None] = mapped_column(doc="Of its objects; null for what Postgres itself holds")
    state: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    counted: Mapped[bool] = mapped_column(
        server_default=text("true"), doc="Whether its bytes count for the project's quota"
    )
    rounds: Mapped[int] = mapped_column(doc="How often the janitor empties it yet")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(doc="When the janitor empties it; null if it is kept")
