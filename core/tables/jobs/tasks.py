"""Tasks: work on results that is not training, such as an export. `core/work` alone writes these rows."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql import func

from core.tables.base import Base, one_of

TASK_STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")
TASK_ENDED = ("succeeded", "failed", "cancelled")


class Task(Base):
    """One piece of work that a process beside a worker does, and what came of it.

    The process `holder` has the task until `held_until`, and renews that time while it works. `fence` counts
    the processes that have taken the task. An `adapter_id` names the adapter that the task belongs to, or
    that it has made; the task goes when that adapter is deleted. An `eval_id` names the eval that a run
    belongs to. A `file_id` names the file that is checked or converted, and `made_file_id` the file that came
    of it. A `job_id` names the job that a tracker follows.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint(one_of("status", TASK_STATUSES), name="status"),
        CheckConstraint(f"({one_of('status', TASK_ENDED)}) = (finished_at IS NOT NULL)", name="finished_at"),
        CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name="only_a_failed_task_has_an_error"),
        CheckConstraint("status <> 'running' OR held_until IS NOT NULL", name="a_running_task_is_held"),
        Index("ix_tasks_open", "project_id", "id", postgresql_where=text("finished_at IS NULL")),
        Index(
            "ix_tasks_open_kind_held_until",
            "kind",
            text("held_until NULLS FIRST"),
            postgresql_where=text("finished_at IS NULL"),
        ),
        Index("ix_tasks_kept", "project_id", postgresql_where=text("deleted_at IS NULL")),
        Index(
            "ix_tasks_served",
            "project_id",
            text("greatest(started_at, held_until)"),
        ),
        Index("ix_tasks_adapter_id_id", "adapter_id", "id"),
        Index("ix_tasks_eval_id_id", "eval_id", "id", postgresql_where=text("eval_id IS NOT NULL")),
        Index(
            "ix_tasks_judged_model",
            "project_id",
            text("(request ->> 'model')"),
            postgresql_where=text("eval_id IS NOT NULL AND deleted_at IS NULL"),
        ),
        Index("ix_tasks_job_id", "job_id", postgresql_where=text("job_id IS NOT NULL")),
        Index("ix_tasks_file_id_id", "file_id", "id", postgresql_where=text("file_id IS NOT NULL")),
        Index("ix_tasks_expires_at", "expires_at", postgresql_where=text("deleted_at IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    kind: Mapped[str]
    adapter_id: Mapped[str | None] = mapped_column(ForeignKey("adapters.id"))
    eval_id: Mapped[str | None] = mapped_column(ForeignKey("evals.id"))
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    made_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    request: Mapped[dict[str, Any]] = mapped_column(doc="What the client asked for")
    started_by_job: Mapped[bool] = mapped_column(
        server_default="false", doc="Whether a job has started it: it takes no room of the client's own tasks"
    )
    status: Mapped[str] = mapped_column(server_default="queued")
    phase: Mapped[str | None] = mapped_column(doc="What the process is doing, in a few words")
    done: Mapped[float] = mapped_column(server_default="0", doc="The share of the work that is done, 0 to 1")
    fence: Mapped[int] = mapped_column(server_default="0")
    holder: Mapped[str | None]
    held_until: Mapped[datetime | None] = mapped_column(
        doc="The end of the lease; of a queued task, the time before which nobody takes it"
    )
    losses: Mapped[int] = mapped_column(server_default="0", doc="Processes that died or hung with the task")
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    report: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), doc="What was measured or decided on the way"
    )
    object_prefix: Mapped[str | None]
    files: Mapped[list[dict[str, Any]]] = mapped_column(server_default="[]", doc="[{name, bytes, sha256}]")
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0", doc="The sum of the files' sizes")
    traceparent: Mapped[str | None] = mapped_column(doc="The span that created it, as of a job")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None] = mapped_column(doc="When the janitor deletes it")
    deleted_at: Mapped[datetime | None]
