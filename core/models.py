"""The tables. `core/lifecycle.py` alone writes `Job.status` and `Run`; migrations/ creates them."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    MetaData,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.statuses import ENDED

JOB_STATUSES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")
RUN_OUTCOMES = ("succeeded", "failed", "cancelled", "paused", "lost", "released")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads the class attribute)
        str: String(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
        list[dict[str, Any]]: JSONB(),
    }


class Project(Base):
    """Owns files, jobs, adapters and keys."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Base):
    """A key `tnr_<id>_<random>_<check>`; only its SHA-256 is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]


class File(Base):
    """An uploaded or produced file; its bytes lie in the object store under `object_key`."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    object_key: Mapped[str]
    rows: Mapped[int | None] = mapped_column(BigInteger, doc="Rows of a checked dataset, else null")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None] = mapped_column(doc="The row stays for the jobs that name it")


class Job(Base):
    """A fine-tuning job. The hot columns that change while it trains stand in `Run`.

    `spec` is the resolved `core.jobspec.JobSpec`. `fence` counts the claims: whoever holds the current
    number, in an open `Run`, owns the job.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(_one_of("status", JOB_STATUSES), name="status"),
        CheckConstraint(
            "(status = 'succeeded') = (fine_tuned_model IS NOT NULL)", name="only_a_succeeded_job_has_a_model"
        ),
        CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name="only_a_failed_job_has_an_error"),
        CheckConstraint(f"({_one_of('status', ENDED)}) = (finished_at IS NOT NULL)", name="finished_at"),
        Index("ix_jobs_queue", "devices", "base_model", "id", postgresql_where=text("status = 'queued'")),
        Index("ix_jobs_running", "project_id", postgresql_where=text("status = 'running'")),
        Index("ix_jobs_project_id_id", "project_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    base_model: Mapped[str] = mapped_column(doc="Id in the catalog")
    devices: Mapped[int] = mapped_column(server_default="1", doc="The class of the workers that may claim it")
    training_file_id: Mapped[str] = mapped_column(ForeignKey("files.id"), index=True)
    validation_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"), index=True)
    suffix: Mapped[str | None]
    client_metadata: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    spec: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    status: Mapped[str]
    fence: Mapped[int] = mapped_column(server_default="0")
    lost_attempts: Mapped[int] = mapped_column(
        server_default="0", doc="Trainers lost since the last checkpoint, perhaps through this job"
    )
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    fine_tuned_model: Mapped[str | None] = mapped_column(unique=True)
    trained_tokens: Mapped[int | None] = mapped_column(BigInteger)
    result_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))


class Run(Base):
    """One claim of a job: its lease while open, its progress, and how it ended.

    At most one run of a job is open: the partial unique index says so, whatever the code does.
    """

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(_one_of("outcome", RUN_OUTCOMES), name="outcome"),
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="an_ended_run_has_an_outcome"),
        Index("uq_runs_open", "job_id", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("ix_runs_open_expires_at", "expires_at", postgresql_where=text("ended_at IS NULL")),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    fence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str] = mapped_column(doc="The trainer process that holds the lease")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    pause_requested_at: Mapped[datetime | None] = mapped_column(doc="The trainer reads it as it renews")
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]

    phase: Mapped[str] = mapped_column(server_default="claimed")
    step: Mapped[int] = mapped_column(server_default="0")
    total_steps: Mapped[int | None]
    epoch: Mapped[float] = mapped_column(server_default="0")
    tokens_per_second: Mapped[float | None]
    trained_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    seconds_left: Mapped[float | None]


class Event(Base):
    """What the client reads in the job's log, in the order of `sequence`."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_job_id_sequence", "job_id", "sequence"),)

    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    level: Mapped[str]
    type: Mapped[str] = mapped_column(doc="message or metrics")
    message: Mapped[str]
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class Metric(Base):
    """The values of one optimizer step. A step computed again after a crash replaces the row."""

    __tablename__ = "metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[dict[str, Any]]


class Checkpoint(Base):
    """A verified state of training in the object store: adapter, optimizer, position."""

    __tablename__ = "checkpoints"
    __table_args__ = (
        UniqueConstraint("job_id", "step"),
        ForeignKeyConstraint(["job_id", "fence"], ["runs.job_id", "runs.fence"]),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    fence: Mapped[int]
    step: Mapped[int]
    ends_epoch: Mapped[bool] = mapped_column(doc="The API lists these; the others only serve a resume")
    metrics: Mapped[dict[str, Any]]
    object_prefix: Mapped[str]
    files: Mapped[list[dict[str, Any]]] = mapped_column(doc="[{name, bytes, sha256}]")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Adapter(Base):
    """The published result of a succeeded job."""

    __tablename__ = "adapters"
    __table_args__ = (Index("ix_adapters_project_id_id", "project_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    object_prefix: Mapped[str]
    files: Mapped[list[dict[str, Any]]] = mapped_column(doc="[{name, bytes, sha256}]")
    training: Mapped[dict[str, Any]] = mapped_column(
        doc="How it was trained: losses, steps, seconds, versions"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
