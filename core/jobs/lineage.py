"""The models from which a job continues, and what keeps these models from deletion meanwhile."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, String, literal_column, select
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.statuses import ENDED
from core.tables import Job
from core.tables.jobs.jobs import PARENT_ADAPTER_SQL


def lineage_of(spec: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the lineage in a stored specification: first the parent, then the parent's parent, and so on.

    It is empty for a job that begins at its base model.
    """
    found: Sequence[Mapping[str, Any]] = spec["lineage"]
    return found


def continues_from(adapter_id: str) -> ColumnElement[bool]:
    """Return the condition that a job itself continues from an adapter. An index finds these jobs."""
    return literal_column(f"({PARENT_ADAPTER_SQL})", String) == adapter_id


def continues_from_checkpoint_of(job_id: str) -> ColumnElement[bool]:
    """Return the condition that a job itself continues from a checkpoint of another job."""
    parent = Job.spec["lineage"][0]
    return (parent["job_id"].astext == job_id) & parent["step"].astext.is_not(None)


def refuse_if_continued(session: Session, project_id: str, continues: ColumnElement[bool]) -> None:
    """Raise Conflict if an unfinished job of the project continues from a model, as the condition says.

    Call this after the row of the adapter or of the job is locked: the creation of a job locks it too.
    """
    unfinished = Job.project_id == project_id, Job.status.not_in(ENDED)
    job_id = session.scalar(select(Job.id).where(*unfinished, continues).limit(1))
    if job_id is not None:
        raise Conflict(
            f"The job {job_id} continues from this model. Cancel the job, or wait until it has ended.",
            code="model_in_use",
        )
