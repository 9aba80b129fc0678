"""Creates evals, for clients and for jobs. Every function works in the caller's transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from core import artifacts
from core.artifacts import Owner
from core.errors import NotFound
from core.evals.criteria import Criterion
from core.ids import new_id
from core.tables import Eval

ANY_ITEM: Mapping[str, Any] = {"type": "custom", "item_schema": {}, "include_sample_schema": True}


def create_eval(
    session: Session,
    project_id: str,
    name: str,
    criteria: Sequence[Criterion],
    *,
    data_source_config: Mapping[str, Any] = ANY_ITEM,
    metadata: dict[str, str] | None = None,
    job_id: str | None = None,
    eval_id: str | None = None,
) -> Eval:
    """Add an eval whose criteria are checked, and return it. `job_id` names the job that asked for it.

    It gets a new id, unless `eval_id` names one.
    """
    created = Eval(
        id=eval_id or new_id("eval-"),
        project_id=project_id,
        job_id=job_id,
        name=name,
        data_source_config=dict(data_source_config),
        criteria=[criterion.model_dump(mode="json") for criterion in criteria],
        client_metadata=metadata,
    )
    session.add(created)
    session.flush()
    session.refresh(created)
    count(session, created)
    return created


def count(session: Session, row: Eval) -> None:
    """Let the texts of an eval count for the project's quota."""
    texts = row.name, row.criteria, row.data_source_config, row.client_metadata
    artifacts.hold(session, Owner("eval", row.id), row.project_id, *texts)


def held_eval(session: Session, eval_id: str) -> Eval:
    """Return an eval, and keep it from deletion until the transaction ends. Raises NotFound."""
    row = session.get(Eval, eval_id, with_for_update={"read": True}, populate_existing=True)
    if row is None or row.deleted_at is not None:
        raise no_such_eval(eval_id)
    return row


def no_such_eval(eval_id: str) -> NotFound:
    """Return the error for an eval that does not exist, or belongs to another project."""
    return NotFound(f"No such eval: {eval_id}", code="eval_not_found", param="eval_id")
