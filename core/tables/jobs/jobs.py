"""Jobs, and the claims of trainers to them. `core/jobs/lifecycle` alone writes `Job.status` and `Claim`.

One column of `Claim` is an exception: `core/access/usage.py` sets `counted`.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func, literal_column, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.statuses import ENDED, STATUSES
from core.tables.base import Base, one_of

MODEL_ID_LENGTH = 12  # characters at the end of a job's id that end the name of its model
PARENT_ADAPTER_SQL = "((spec -> 'lineage') -> 0) ->> 'adapter_id'"  # in the form in which Postgres shows it
OUTCOMES = ("succeeded", "failed", "cancelled", "paused", "lost", "released")


class Job(Base):
    """A fine-tuning job. The columns that change while it trains are in `Claim`.

    `spec` is the resolved `core.jobs.spec.JobSpec`. `fence` counts the claims. The trainer whose open `Claim`
    has the current number owns the job.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(one_of("status", STATUSES), name="status"),
        CheckConstraint(
            "(status = 'succeeded') = (fine_tuned_model IS NOT NULL)", name="only_a_succeeded_job_has_a_model"
        ),
        CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name="only_a_failed_job_has_an_error"),
        CheckConstraint(f"({one_of('status', ENDED)}) = (finished_at IS NOT NULL)", name="finished_at"),
        CheckConstraint("deleted_at IS NULL OR finished_at IS NOT NULL", name="only_an_ended_job_is_deleted"),
        Index(
            "ix_jobs_queue_by_project",
            "devices",
            "project_id",
            "id",
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ix_jobs_queued", "project_id", postgresql_where=text("status = 'queued'")),
        Index("ix_jobs_running", "project_id", postgresql_where=text("status = 'running'")),
        Index("ix_jobs_project_id_id", "project_id", "id"),
        Index("ix_jobs_project_id_status_id", "project_id", "status", "id"),
        Index(
            "ix_jobs_measured",
            "base_model",
            "id",
            postgresql_where=text("status = 'succeeded' AND measured IS NOT NULL"),
        ),
        Index("ix_jobs_sweeps", "project_id", "id", postgresql_where=text("is_sweep")),
        Index(
            "ix_jobs_parent_adapter",
            "project_id",
            text(f"({PARENT_ADAPTER_SQL})"),
            "id",
            postgresql_where=text(f"({PARENT_ADAPTER_SQL}) IS NOT NULL"),
        ),
        Index(
            "ix_jobs_prepared_file_id",
            "prepared_file_id",
            postgresql_where=text("prepared_file_id IS NOT NULL"),
        ),
        Index("ix_jobs_model_id", func.right(literal_column("id"), MODEL_ID_LENGTH)),
        Index(
            "ix_jobs_client_metadata",
            "client_metadata",
            postgresql_using="gin",
            postgresql_ops={"client_metadata": "jsonb_path_ops"},
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    base_model: Mapped[str] = mapped_column(doc="Id in the catalog")
    devices: Mapped[int] = mapped_column(
        server_default="1", doc="Device class of the workers that may claim it"
    )
    training_file_id: Mapped[str] = mapped_column(ForeignKey("files.id"), index=True)
    validation_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"), index=True)
    prepared_file_id: Mapped[str | None] = mapped_column(
        ForeignKey("files.id"), doc="The rows that it trains on, if a split or variants were asked for"
    )
    prepared_rows: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), doc="{training, augmented, validation}: how many rows were made"
    )
    suffix: Mapped[str | None]
    client_metadata: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    spec: Mapped[dict[str, Any]]
    is_sweep: Mapped[bool] = mapped_column(
        server_default=text("false"), doc="Whether the client asked for a sweep"
    )
    integrations: Mapped[list[dict[str, Any]]] = mapped_column(
        server_default="[]", doc="The trackers to report to, as `core.jobs.integrations` defines them"
    )
    estimate: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True),
        doc="What was expected of it when it was created (`api/job_estimates`)",
    )
    measured: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True),
        doc="What was measured of it, beside what was expected (`core/jobs/measured.py`)",
    )
    traceparent: Mapped[str | None] = mapped_column(
        doc="The span of the request that created it, in W3C's form, for whoever goes on with its trace"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    status: Mapped[str]
    fence: Mapped[int] = mapped_column(server_default="0")
    lost_attempts: Mapped[int] = mapped_column(
        server_default="0", doc="Trainers lost since the last checkpoint, perhaps because of this job"
    )
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    fine_tuned_model: Mapped[str | None] = mapped_column(unique=True)
    trained_tokens: Mapped[int | None] = mapped_column(BigInteger)
    result_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    tensorboard_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    data_check: Mapped[list[dict[str, Any]] | None] = mapped_column(
        JSONB(none_as_null=True), doc="What the check of its rows has found, once they are read"
    )
    deleted_at: Mapped[datetime | None] = mapped_column(doc="The row stays for its adapter and the usage")


class JobNames(Base):
    """All names of a job in one text in lower case, for the search. A trigger on `jobs` alone writes it.

    The names are the job's own, its metadata, its method and objective, and those of its files.
    """

    __tablename__ = "job_names"
    __table_args__ = (
        Index("ix_job_names_terms", text("job_search_terms(project_id, names)"), postgresql_using="gin"),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    project_id: Mapped[str]
    names: Mapped[str]


class Claim(Base):
    """One claim of a job: its lease while the claim is open, its progress, and its outcome.

    A partial unique index ensures that at most one claim of a job is open. No index has a column that a
    renewal changes, and a page has room for new versions of its rows. So most renewals write
    to one page only.
    """

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(one_of("outcome", OUTCOMES), name="outcome"),
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="an_ended_run_has_an_outcome"),
        Index("uq_runs_open", "job_id", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("ix_runs_owner", "owner"),
        Index("ix_runs_open_owner", "owner", postgresql_where=text("ended_at IS NULL")),
        Index("ix_runs_to_count", "job_id", postgresql_where=text("ended_at IS NOT NULL AND NOT counted")),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    fence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str] = mapped_column(doc="The trainer process that holds the lease")
    nonce: Mapped[str] = mapped_column("token", key="nonce", doc="Random, so that no two leases are equal")
    alone: Mapped[bool] = mapped_column(
        server_default=text("false"),
        doc="Whether the job was claimed to compute alone: see core/jobs/suspects.py",
    )
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    pause_requested_at: Mapped[datetime | None] = mapped_column(
        doc="The trainer reads it when it renews its lease"
    )
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    counted: Mapped[bool] = mapped_column(
        server_default=text("false"),
        doc="Whether `UsageDay` includes it",
    )

    phase: Mapped[str] = mapped_column(server_default="claimed")
    step: Mapped[int] = mapped_column(server_default="0")
    total_steps: Mapped[int | None]
    epoch: Mapped[float] = mapped_column(server_default="0")
    tokens_per_second: Mapped[float | None]
    trained_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    seconds_left: Mapped[float | None]
    best_valid_loss: Mapped[float | None] = mapped_column(doc="The lowest loss on all validation rows")
    best_step: Mapped[int | None] = mapped_column(doc="The step of the lowest loss")
