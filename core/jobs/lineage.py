"""The models from which a job continues, and what keeps these models from deletion meanwhile."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, String, literal_column, select
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.options import Options
from core.statuses import ENDED
from core.tables import Job
from core.tables.jobs.jobs import PARENT_ADAPTER_SQL


class Ancestor(Options):
    """One model of a lineage: an adapter, or a checkpoint of a job.

    `job_id` is null for an adapter that was imported or composed, `adapter_id` and `step` tell the adapter or
    the checkpoint. `sha256` is the hash of the content that servers know too. A part of a composed adapter
    has the `weight` with which it was composed; other ancestors have none.
    """

    model: str
    adapter_id: str | None = None
    job_id: str | None = None
    step: int | None = None
    sha256: str
    weight: float | None = None


def lineage_of(spec: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the lineage in a stored specification: first the parent, then the parent's parent, and so on.

    It is empty for a job that begins at its base model.
    """
    found: Sequence[Mapping[str, Any]] = spec.get("lineage") or ()
    return found


def continues_from(adapter_id: str) -> ColumnElement[bool]:
    """Return the condition that a job itself continues from an adapter. An index finds these jobs."""
    return literal_column(f"({PARENT_ADAPTER_SQL})", String) == adapter_id


def refuse_if_continued(session: Session, project_id: str, **parent: str) -> None:
    """Raise Conflict if an unfinished job of the project continues from this adapter or checkpoint.

    `parent` is `adapter_id` or `job_id`. Call this after the row of the adapter or of the job is locked: the
    creation of a job locks it too.
    """
    first = Job.spec["lineage"][0]
    meant: list[ColumnElement[bool]] = [first[name].astext == value for name, value in parent.items()]
    if "job_id" in parent:
        meant.append(first["step"].astext.is_not(None))
    query = select(Job.id).where(Job.project_id == project_id, Job.status.not_in(ENDED), *meant).limit(1)
    job_id = session.scalar(query)
    if job_id is not None:
        raise Conflict(
            f"The job {job_id} continues from this model. Cancel the job, or wait until it has ended.",
            code="model_in_use",
        )
