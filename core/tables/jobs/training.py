"""The results of training: events, metrics, checkpoints, adapters."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    UniqueConstraint,
    func,
    or_,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base, one_of

ORIGINS = ("import", "composition")


class Event(Base):
    """One entry of a job's log, which clients read in the order of `sequence`."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_job_id_sequence", "job_id", "sequence"),
        Index("ix_events_job_id_type_sequence", "job_id", "type", "sequence"),
    )

    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    level: Mapped[str]
    type: Mapped[str] = mapped_column(doc="message, metrics or samples")
    message: Mapped[str]
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class Metric(Base):
    """The values of one optimizer step. A step that is computed again after a crash replaces the row."""

    __tablename__ = "metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[dict[str, Any]]


class Checkpoint(Base):
    """A verified state of training in the object store. A `listed` checkpoint has the adapter too."""

    __tablename__ = "checkpoints"
    __table_args__ = (
        UniqueConstraint("job_id", "step"),
        ForeignKeyConstraint(["job_id", "fence"], ["runs.job_id", "runs.fence"]),
        Index("ix_checkpoints_for_resume", "job_id", postgresql_where=text("NOT ends_epoch AND NOT best")),
        Index("uq_checkpoints_best", "job_id", unique=True, postgresql_where=text("best")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    fence: Mapped[int]
    step: Mapped[int]
    promised: Mapped[bool] = mapped_column(
        "ends_epoch",
        doc="Whether clients are promised it: at the end of an epoch or, if the job samples its answers, at "
        "one of the three best validations",
    )
    best: Mapped[bool] = mapped_column(
        server_default=text("false"), doc="Whether its validation loss is the job's lowest so far"
    )
    metrics: Mapped[dict[str, Any]]
    object_prefix: Mapped[str]
    files: Mapped[list[dict[str, Any]]] = mapped_column(doc="[{name, bytes, sha256}]")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @hybrid_property
    def listed(self) -> bool:
        """Whether the API lists it. The other checkpoints only serve to resume the job."""
        return self.promised or self.best

    @listed.inplace.expression
    @classmethod
    def _listed(cls) -> ColumnElement[bool]:
        return or_(cls.promised, cls.best)


class Adapter(Base):
    """The published result of a succeeded job, or an adapter of another origin.

    The other origins are an import and a composition of adapters. Such an adapter has no job. Its own row has
    what the job's row has for the others: the model's name, the base model, and the method with its options.
    """

    __tablename__ = "adapters"
    __table_args__ = (
        CheckConstraint(
            "(job_id IS NULL) = (origin IS NOT NULL) AND (job_id IS NULL) = (model IS NOT NULL)"
            " AND (job_id IS NULL) = (base_model IS NOT NULL) AND (job_id IS NULL) = (options IS NOT NULL)",
            name="either_trained_or_of_another_origin",
        ),
        CheckConstraint(
            "origin IS NULL OR (" + one_of("origin ->> 'type'", ORIGINS) + ")",
            name="origin_type",
        ),
        Index("ix_adapters_project_id_id", "project_id", "id"),
        Index("ix_adapters_without_a_job", "project_id", "id", postgresql_where=text("job_id IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    model: Mapped[str | None] = mapped_column(unique=True, doc="The name of the model, without a job")
    base_model: Mapped[str | None] = mapped_column(doc="Id in the catalog, without a job")
    options: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), doc="The method and its options without a job, as in a job's specification"
    )
    origin: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True),
        doc="Its `type`, one of ORIGINS, and what was imported or composed",
    )
    object_prefix: Mapped[str]
    files: Mapped[list[dict[str, Any]]] = mapped_column(
        doc="[{name, bytes, sha256}], with the object's `key` where a file has taken the place of another"
    )
    training: Mapped[dict[str, Any]] = mapped_column(
        doc="Facts of the training: base revision, type, path, steps, tokens, last losses, target modules"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None] = mapped_column(doc="The row stays for the job that trained it")


class CheckpointPermission(Base):
    """A permission of another project to see a model and download its adapter, or to see one checkpoint."""

    __tablename__ = "checkpoint_permissions"
    __table_args__ = (
        UniqueConstraint("model", "project_id"),
        Index("ix_checkpoint_permissions_model_id", "model", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    step: Mapped[int | None] = mapped_column(doc="Step of the checkpoint; null for the model itself")
    model: Mapped[str] = mapped_column(doc="Name of the model or checkpoint")
    project_id: Mapped[str] = mapped_column(
        ForeignKey("projects.id"), index=True, doc="The project that may see it"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
